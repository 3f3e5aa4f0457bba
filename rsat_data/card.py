"""The dataset card (README.md) and the Croissant description, both made from the declared schemas.

The card's front matter carries what ``datasets.load_dataset`` needs: which files make which split, and the features.
The (T, D) columns are declared Array2D there and are plain nested lists in the files, so that ``datasets`` gives arrays
and every other Parquet reader sees ordinary lists.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import yaml

from rsat_data.manifest import ManifestEntry

if TYPE_CHECKING:
    from schemas import Column


@dataclass(frozen=True)
class DatasetInfo:
    """What a person says about a dataset as a whole."""

    name: str = "rsat-data"
    """Title of the card."""
    description: str = ""
    """A paragraph for the card."""
    citation: str = ""
    """BibTeX or text; empty for none."""
    url: str = ""
    """Where the dataset is or will be found; empty for nowhere."""
    date: str = ""
    """Day of publication as YYYY-MM-DD; empty for none, so that the same rows give the same bytes on any day."""


TABLES = ("triplets", "clips")

#: Licences the Hugging Face hub knows by name, by the way people write them.
_HUB_LICENCES = {
    name.lower(): name.lower()
    for name in ("cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "apache-2.0", "mit")
}

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


# README ------------------------------------------------------------------------------------------------------------


def readme(info: DatasetInfo, summary: Mapping[str, Any], files: Sequence[str]) -> str:
    """Text of README.md.

    Args:
        info: title and description.
        summary: counts and facts, as in meta/info.json.
        files: every file below ``data/``.
    """
    front = yaml.safe_dump(_front_matter(info, summary, files), sort_keys=False, allow_unicode=True, width=120)
    return f"---\n{front}---\n\n{_body(info, summary)}"


def _front_matter(info: DatasetInfo, summary: Mapping[str, Any], files: Sequence[str]) -> dict[str, Any]:
    rows = summary["totals"]["rows"]
    licences = [licence.lower() for licence in summary["licences"]]
    front: dict[str, Any] = {
        "pretty_name": info.name,
        "license": _HUB_LICENCES.get(licences[0], "other") if len(licences) == 1 else "other",
        "language": summary["languages"],
        "tags": ["talking-head", "conversation", "3d-face", "speech", "social-relationship", "croissant"],
        "size_categories": [next((name for limit, name in _SIZES if rows < limit), "n>1M")],
        "annotations_creators": _creators(summary.get("labels")),
    }
    if not front["language"]:
        del front["language"]
    configs, infos = [], []
    for table in TABLES:
        splits = [split for split in summary["splits"] if any(f.startswith(f"data/{table}/{split}-") for f in files)]
        if not splits:
            continue  # no rows at all: nothing that could be loaded
        configs.append(
            {
                "config_name": table,
                **({"default": True} if table == "triplets" else {}),
                "data_files": [{"split": split, "path": f"data/{table}/{split}-*.parquet"} for split in splits],
            }
        )
        infos.append({"config_name": table, "features": features(table, summary["widths"])})
    if configs:
        front |= {"configs": configs, "dataset_info": infos}
    return front


def _creators(labels: Mapping[str, Any] | None) -> list[str]:
    """Who annotated, in the hub's words: machines always, people where labels follow from votes."""
    source = labels["relation_source"] if labels else {}
    people = {"crowdsourced": source.get("votes"), "expert-generated": source.get("adjudicated")}
    return ["machine-generated", *(name for name, count in people.items() if count)]


def features(table: str, widths: Mapping[str, int]) -> list[dict[str, Any]]:
    """The features of a table in the notation of a card's ``dataset_info``.

    Args:
        table: triplets or clips.
        widths: D of every (T, D) column.
    """
    import schemas

    return [_feature(column, widths) for column in schemas.TABLES[table]]


def _feature(column: Column, widths: Mapping[str, int]) -> dict[str, Any]:
    if column.is_frames:
        shape = [None, widths.get(column.name, column.width or 0)]
        return {"name": column.name, "dtype": {"array2_d": {"shape": shape, "dtype": "float32"}}}
    if column.media:
        # decode: false gives the bytes; decoding audio and video in `datasets` would need torchcodec.
        options: dict[str, Any] = {"decode": False}
        if column.media == "audio":
            options = {"sampling_rate": 16000, **options}
        return {"name": column.name, "dtype": {column.media: options}}
    return {"name": column.name, **_plain_feature(column.type)}


def _plain_feature(kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_struct(kind):
        return {"struct": [{"name": field.name, **_plain_feature(field.type)} for field in kind]}
    if pa.types.is_list(kind):
        inner = _plain_feature(kind.value_type)
        return {"list": inner["dtype"] if set(inner) == {"dtype"} else inner.get("struct", inner)}
    return {"dtype": {"float": "float32", "double": "float64"}.get(str(kind), str(kind))}


def _body(info: DatasetInfo, summary: Mapping[str, Any]) -> str:
    totals = summary["totals"]
    lines = [f"# {info.name}", ""]
    if info.description:
        lines += [info.description, ""]
    lines += [
        "Speech, head mesh codes, images and relationship of the people in conversations: one row is one person in one "
        "clip, so a conversation is two rows that share `clip_id` and `dyad_id`. "
        f"Format {summary['format_version']} of rsat-data.",
        "",
        "| split | rows | clips | subjects | h:mm:ss |",
        "|---|---|---|---|---|",
    ]
    for name, split in [*summary["splits"].items(), ("all", totals)]:
        length = _clock(split["seconds"])
        lines.append(f"| {name} | {split['rows']} | {split['clips']} | {split['subjects']} | {length} |")
    if "face_seconds" in totals:  # not in datasets published before there was one
        lines += ["", f"Hours are those of voices; faces with valid codes: {_clock(totals['face_seconds'])}."]
    lines += [
        "",
        "No subject, family, source or pair of people is in two splits.",
        "",
        "## Reading",
        "",
        "```python",
        "import rsat_data",
        "",
        'rows = rsat_data.load("PATH", split="train")',
        'row = rows[0]; row["expression"]            # (T, E) float32',
        "row.audio(); row.frames([0, 10]); row.partner()",
        "",
        "from datasets import load_dataset",
        "",
        'rows = load_dataset("PATH", "triplets", split="train").with_format("numpy")',
        "```",
        "",
        "polars, DuckDB, Spark and pandas read the Parquet files as they lie.",
        "",
        "## Head model",
        "",
        f"All codes belong to `{summary['head_model']}`. Rotations are axis-angle in radians, lengths are metres, the "
        "camera frame is that of OpenCV (x right, y down, z away). Vertices follow from the codes and are not stored.",
        "",
        *_relations(summary.get("labels")),
        "## Columns of triplets",
        "",
        *column_table("triplets"),
        "",
        "## Columns of clips",
        "",
        *column_table("clips"),
        "",
        "## Personal data, licence, consent",
        "",
        "Faces and voices identify people. "
        f"Kinds named by the rows: {', '.join(summary['pii']) or 'none'}. "
        f"Rows with a consent reference: {summary['consented_rows']} of {totals['rows']}. "
        f"Licences named by the sources: {', '.join(name or 'none given' for name in summary['licences']) or 'none'}.",
        "",
        "## Limits",
        "",
        "Codes, transcripts and speaker assignments are made by machines; each row carries its scores (`q_*`) and each "
        f"frame its validity. What was left out is listed in meta/quarantine.parquet ({summary['quarantined']}).",
    ]
    if info.citation:
        lines += ["", "## Citation", "", info.citation]
    return "\n".join(lines) + "\n"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _relations(labels: Mapping[str, Any] | None) -> list[str]:
    """What the card says of relationships and of the votes behind them."""
    if labels is None:
        return []
    source, pairs = labels["relation_source"], labels["pairs_alike"]
    total = sum(source.values())

    def counted(name: str) -> str:
        return ", ".join(f"{value} {count}" for value, count in labels[name].items())

    lines = [
        "## Relationships",
        "",
        f"Of {total} clips, {source['metadata']} carry a relation that the owner of the source stated, "
        f"{source['votes']} one that annotators agree on, {source['adjudicated']} one that was adjudicated, "
        f"{source['unlabelled']} none. Kinship: {counted('kinship')}. Status: {counted('status')}.",
    ]
    if labels["votes"]:
        alike = [f"{pairs[name]:.0%} on {name}" for name in ("kinship", "status") if pairs[name] is not None]
        lines += [
            "",
            f"Votes: {labels['votes']} of {labels['annotators']} annotators on {labels['clips_voted_on']} clips, and "
            f"{labels['adjudications']} by adjudicators (meta/votes.parquet)."
            + (f" Two votes on the same clip are alike in {' and '.join(alike)}." if alike else ""),
        ]
    if labels["applied"]:
        options = labels["applied"]["options"]
        lines += [
            "",
            f"An answer counts as agreed on from {options['majority']:.0%} of at least {options['min_votes']} votes, "
            f"and clips of the same two people must not differ. Labelling form {labels['applied']['form_hash'][:12]}.",
        ]
    return [*lines, ""]


def column_table(table: str) -> list[str]:
    """The columns of a table as lines of Markdown."""
    import schemas

    lines = ["| column | type | shape | unit | frame | meaning |", "|---|---|---|---|---|---|"]
    for column in schemas.TABLES[table]:
        cells = (f"`{column.name}`", type_name(column.type), column.shape, column.unit, column.frame, meaning(column))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return lines


def meaning(column: Column) -> str:
    """What a column says, with its vocabulary and whether it may be null."""
    text = column.meaning
    if column.values:
        text += f" One of: {', '.join(value or 'empty' for value in column.values)}."
    if column.nullable and "null" not in text:
        text += " May be null."
    return text


def type_name(kind: pa.DataType) -> str:
    """A type as people write it: ``struct<bytes: binary, path: string>``."""
    if pa.types.is_struct(kind):
        return f"struct<{', '.join(f'{field.name}: {type_name(field.type)}' for field in kind)}>"
    if pa.types.is_list(kind):
        return f"list<{type_name(kind.value_type)}>"
    return {"float": "float32", "double": "float64"}.get(str(kind), str(kind))


# Croissant ---------------------------------------------------------------------------------------------------------

_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataBiases": "cr:dataBiases",
    "dataCollection": "cr:dataCollection",
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "personalSensitiveInformation": "cr:personalSensitiveInformation",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}

_DATA_TYPES = (
    (pa.types.is_floating, "sc:Float"),
    (pa.types.is_integer, "sc:Integer"),
    (pa.types.is_boolean, "sc:Boolean"),
    (pa.types.is_string, "sc:Text"),
)


def croissant(info: DatasetInfo, summary: Mapping[str, Any], shards: Sequence[ManifestEntry]) -> dict[str, Any]:
    """Content of croissant.json: Croissant 1.1 with responsible-AI fields.

    Columns that are structs or lists of structs are left out: what they hold is in README.md.
    """
    files = [
        {
            "@type": "cr:FileObject",
            "@id": shard.file,
            "name": shard.file,
            "contentUrl": shard.file,
            "contentSize": f"{shard.bytes} B",
            "encodingFormat": "application/x-parquet",
            "sha256": shard.sha256,
        }
        for shard in sorted(shards, key=lambda shard: shard.file)
    ]
    # One record set a table and split, each over one shard or a set of shards.
    distribution: list[dict[str, Any]] = list(files)
    record_sets = []
    for table in TABLES:
        for split in summary["splits"]:
            names = [str(f["@id"]) for f in files if str(f["@id"]).startswith(f"data/{table}/{split}-")]
            if not names:
                continue
            if len(names) == 1:
                source: dict[str, Any] = {"fileObject": {"@id": names[0]}}
            else:
                group = f"{table}-{split}-shards"
                distribution.append(
                    {
                        "@type": "cr:FileSet",
                        "@id": group,
                        "name": group,
                        "encodingFormat": "application/x-parquet",
                        "includes": f"data/{table}/{split}-*.parquet",
                    }
                )
                source = {"fileSet": {"@id": group}}
            record_sets.append(_record_set(table, split, source, summary["widths"]))
    pii = ", ".join(summary["pii"]) or "none named"
    licences = [licence for licence in summary["licences"] if licence]
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": [
            "http://mlcommons.org/croissant/1.1",
            "http://mlcommons.org/croissant/RAI/1.0",
        ],
        "name": info.name,
        "description": info.description
        or "Speech, head mesh codes, images and relationship of people in conversation.",
        "version": "1.0.0",
        "license": licences or ["unspecified"],
        "url": info.url or "https://schema.org/Dataset",
        "citeAs": info.citation or f"{info.name}, a dataset made with rsat-data",
        **({"datePublished": info.date} if info.date else {}),
        "rai:dataCollection": "Cut from videos that the maker of the dataset provided; see meta/sources.parquet.",
        "rai:dataCollectionType": ["Existing datasets", "Secondary Data Analysis"],
        "rai:machineAnnotationTools": [f"rsat-data, head model {summary['head_model']}"],
        "rai:dataAnnotationProtocol": (
            "Codes, transcripts and speaker assignments are made by machines and carry scores. Relations come from the "
            "source's owner or from votes (meta/votes.parquet); relation_source tells which."
        ),
        **_annotators(summary.get("labels")),
        "rai:personalSensitiveInformation": [f"Faces and voices of people. Kinds named by the rows: {pii}."],
        "rai:dataLimitations": [
            "Machine-made labels hold errors; use valid and the q_ columns.",
            "Head codes of one model only; neck rotation is not separated from head rotation.",
        ],
        "rai:dataBiases": ["Detectors and recognisers do not work equally well for all people and languages."],
        "rai:dataReleaseMaintenancePlan": "Consent can be withdrawn: rows are found by consent_id and subject_id.",
        "distribution": distribution,
        "recordSet": record_sets,
    }


def _annotators(labels: Mapping[str, Any] | None) -> dict[str, Any]:
    """Croissant's words on the people who voted; nothing without votes."""
    if not labels or not labels["votes"]:
        return {}
    return {
        "rai:annotationsPerItem": f"{labels['votes'] / labels['clips_voted_on']:.3g} votes a clip voted on",
        "rai:annotatorDemographics": [f"{labels['annotators']} annotators, known by pseudonyms only."],
    }


def _record_set(table: str, split: str, source: Mapping[str, Any], widths: Mapping[str, int]) -> dict[str, Any]:
    import schemas

    name = f"{table}-{split}"
    fields = []
    for column in schemas.TABLES[table]:
        inner, array = column.type, {}
        if column.is_frames:
            inner = pa.float32()
            shape = f"-1,{widths.get(column.name, column.width or 0)}"
            array = {"cr:isArray": True, "cr:arrayShape": shape}
        elif pa.types.is_list(column.type):
            inner = column.type.value_type
            array = {"cr:isArray": True, "cr:arrayShape": "-1"}
        kind = next((name for test, name in _DATA_TYPES if test(inner)), None)
        if kind is None:
            continue
        fields.append(
            {
                "@type": "cr:Field",
                "@id": f"{name}/{column.name}",
                "name": column.name,
                "description": meaning(column),
                "dataType": kind,
                "source": {**source, "extract": {"column": column.name}},
                **{key.removeprefix("cr:"): value for key, value in array.items()},
            }
        )
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "key": {"@id": f"{name}/{fields[0]['name']}"},
        "field": fields,
    }


# docs/format.md ----------------------------------------------------------------------------------------------------


def update_tables(text: str) -> str:
    """Put the declared columns between the marks ``<!-- columns NAME -->`` and ``<!-- end NAME -->`` of a document."""
    import schemas

    for name in schemas.TABLES:
        begin, end = f"<!-- columns {name} -->\n", f"<!-- end {name} -->"
        before, _, rest = text.partition(begin)
        if rest:
            after = rest[rest.index(end) :]
            text = before + begin + "\n" + "\n".join(column_table(name)) + "\n\n" + after
    return text


def main(path: str) -> None:
    """Bring the column tables of a document up to date: ``python -m rsat_data.card docs/format.md``."""
    document = Path(path)
    document.write_text(update_tables(document.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
