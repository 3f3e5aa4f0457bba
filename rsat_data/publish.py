"""From the rows of many clips to one dataset: splits, order, shards, meta tables, card, manifest.

Two passes with constant memory: the first reads the keys of every row and decides splits, order and shards; the second
carries the rows over, one row group at a time. The result depends on the rows, the seed and the options, and not on
the order in which clips were finished.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from rsat_data import __version__, card
from rsat_data.amend import VOTES, finish_interrupted
from rsat_data.avatars.carry import Carried, carry_over, with_columns
from rsat_data.card import DatasetInfo
from rsat_data.errors import DatasetError, WorkspaceError
from rsat_data.labels import (
    LABELS_FILE,
    RELATION,
    VOTED,
    Labels,
    carry_labels,
    labels_summary,
    read_labels,
    set_columns,
)
from rsat_data.manifest import MANIFEST, ManifestEntry, read_manifest, safe_join
from rsat_data.meta_tables import quarantine_records, source_records, subject_records
from rsat_data.parts import Parts, Ref
from rsat_data.siblings import check_siblings
from rsat_data.stats import StatsCollector
from rsat_data.writer import AVATARS, OWNED, DatasetWriter, plan_shards

if TYPE_CHECKING:
    from pipelines.assemble.splits import Splits
    from schemas import Table

#: Names of the two files that the assemble stage leaves for a clip; one file may also hold the rows of many clips.
ROWS_FILE, CLIPS_FILE = "rows.parquet", "clip.parquet"

_ROW_KEYS = (
    "row_id",
    "clip_id",
    "dyad_id",
    "subject_id",
    "partner_row_id",
    "partner_subject_id",
    "source_id",
    "person",
    "fps",
    "num_frames",
    "head_model",
    "kinship",
    "licence",
    "consent_id",
    "language",
    "avatar_id",
    "audio_isolation",
    "pii",
)
_CLIP_KEYS = ("clip_id", "dyad_id", "source_id", "row_id_a", "row_id_b", "subject_id_a", *RELATION)


@dataclass(frozen=True)
class Published:
    """What a publication wrote."""

    entries: tuple[ManifestEntry, ...]
    """The new manifest."""
    rows: Mapping[str, int]
    """Split -> rows of triplets; all three splits are named."""
    clips: int
    """Rows of clips."""
    repeated_clips: tuple[str, ...]
    """Clips that came more than once; each is in the dataset once."""
    avatars: tuple[str, ...] = ()
    """Subjects whose avatar was carried over."""
    stale_avatars: tuple[str, ...] = ()
    """Subjects whose avatar was fitted to other rows than they have now; it is in the dataset no more."""
    labels: int = 0
    """Clips that keep a label which votes gave them."""
    lost_labels: tuple[str, ...] = ()
    """Clips that lost such a label: the source's owner says something else now, or their pair is another."""


@dataclass
class _Plan:
    """Everything decided in the first pass."""

    rows: list[Ref]
    clips: list[Ref]
    splits: Splits
    repeated: list[str] = field(default_factory=list)
    labels: Labels = field(default_factory=Labels)

    def split_of_row(self, ref: Ref) -> str:
        return self.splits.split_of[ref.keys["subject_id"]]

    def split_of_clip(self, ref: Ref) -> str:
        return self.splits.split_of[ref.keys["subject_id_a"]]


def publish(
    parts: Iterable[Path],
    out: Path,
    *,
    seed: int = 0,
    ratios: Mapping[str, float] | None = None,
    sources: Sequence[Mapping[str, Any]] = (),
    quarantine: Sequence[Mapping[str, Any]] = (),
    info: DatasetInfo | None = None,
    keep_splits: Mapping[str, str] | None = None,
    extra_files: Mapping[str, bytes] | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> Published:
    """Write or rewrite the dataset at ``out`` from the rows of finished clips.

    Args:
        parts: folders that hold ``rows.parquet`` (table triplets) and ``clip.parquet`` (table clips) of one clip or of
            many; their split columns are ignored.
        out: folder of the dataset. What it held is replaced once all is written, except votes, labels that follow from
            them, and avatars of subjects whose rows are the same as before.
        seed: decides the splits.
        ratios: share of train, validation and test; 80, 10, 10 % by default.
        sources: records of the table sources without num_clips, see :func:`schemas.sources.from_ingest`; sources that
            are not described get a bare record.
        quarantine: records of the table quarantine; what is absent is left empty.
        info: title and description of the card.
        keep_splits: subject_id -> split of an earlier version that must not change.
        extra_files: more files for ``meta/``, e.g. the resolved configuration: name -> content.
        progress: called with the done share.

    Raises:
        DatasetError: a part is not of this format, or the parts do not fit together (two head models, a partner that
            is missing).
        WorkspaceError, DiskFullError: the folder cannot be written.
    """
    check_siblings()
    import schemas

    folders = sorted(Path(part) for part in parts)
    old, seen = _labels_before(Path(out))
    plan = _make_plan(folders, seed, ratios, keep_splits, old)
    info = info or DatasetInfo()
    stats = StatsCollector()
    total = len(plan.rows) + len(plan.clips) + 1
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(done / total)

    with DatasetWriter(Path(out), owned=(*OWNED, AVATARS)) as writer:
        if {file: entry.sha256 for file, entry in writer.old.items() if _tells_labels(file)} != seen:
            raise WorkspaceError(
                f"{out}: labels were changed while this publication was prepared.",
                hint="Run the same command again.",
                path=out,
            )
        triplets, clips = schemas.TABLES["triplets"], schemas.TABLES["clips"]
        carried = _carry_over(writer, plan, folders)
        _write_data(
            writer,
            triplets,
            ROWS_FILE,
            folders,
            plan.rows,
            plan.split_of_row,
            advance,
            stats.add,
            carried,
            ("row_id", plan.labels.rows),
        )
        _write_data(
            writer,
            clips,
            CLIPS_FILE,
            folders,
            plan.clips,
            plan.split_of_clip,
            advance,
            None,
            None,
            ("clip_id", plan.labels.clips),
        )
        summary = _summary(plan, stats, len(quarantine), _votes(writer))
        _write_meta(writer, plan, carried, sources, quarantine, seed, ratios)
        extra = extra_files or {}
        for name in sorted(extra):  # one content in memory at a time, where the mapping reads files
            writer.write_file(f"meta/{name}", extra[name])
        writer.write_file("meta/info.json", _json(_info_record(info, summary)))
        writer.write_file("meta/stats.json", _json(stats.result()))
        data = sorted(entry.file for entry in writer.new.values() if entry.file.startswith("data/"))
        writer.write_file("README.md", card.readme(info, summary, data).encode())
        # Last, because it names the hash of every shard.
        shards = [entry for entry in writer.new.values() if entry.file.startswith("data/")]
        writer.write_file("croissant.json", _json(card.croissant(info, summary, shards)))
        entries = writer.commit()
    progress(1.0)
    rows = {name: split["rows"] for name, split in summary["splits"].items()}
    now = {ref.keys["clip_id"] for ref in plan.clips}
    before = {name for name, clip in old.clips.items() if clip["relation_source"] in VOTED}
    kept = {name for name in before if plan.labels.clips.get(name, {}).get("relation_source") in VOTED}
    return Published(
        tuple(entries),
        rows,
        len(plan.clips),
        tuple(plan.repeated),
        carried.subjects,
        carried.stale,
        len(kept),
        tuple(sorted((before & now) - kept)),
    )


def _tells_labels(file: str) -> bool:
    return file.startswith("data/clips/") or file == LABELS_FILE


def _labels_before(out: Path) -> tuple[Labels, dict[str, str]]:
    """Labels of the dataset that is replaced, and the hashes of the files that told them."""
    finish_interrupted(out)
    if not (out / MANIFEST).exists():
        return Labels(), {}
    files = {entry.file: entry for entry in read_manifest(out)}
    seen = {file: entry.sha256 for file, entry in files.items() if _tells_labels(file)}
    return read_labels(out, files), seen


def _votes(writer: DatasetWriter) -> pa.Table | None:
    """The table of votes as it stays; None for a new dataset."""
    if VOTES not in writer.old:
        return None
    path = safe_join(writer.root, VOTES)
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(
            f"{path} cannot be read: {error}.",
            hint="Take the file from a backup: a build cannot make votes.",
            path=path,
        ) from error


def _carry_over(writer: DatasetWriter, plan: _Plan, folders: Sequence[Path]) -> Carried:
    """Keep the avatars whose rows are the same as before; the files of the others are not kept."""
    if not any(file.startswith(AVATARS) for file in writer.old):
        return Carried()
    rows: dict[str, list[Ref]] = {}
    for ref in plan.rows:
        rows.setdefault(ref.keys["subject_id"], []).append(ref)
    parts = Parts(folders, ROWS_FILE, writer.root / "data")
    try:
        carried = carry_over(writer.root, writer.old, rows, parts.row)
    finally:
        parts.close()
    for file in carried.files:
        writer.keep(file)
    return carried


# First pass: what there is, and where it goes ----------------------------------------------------------------------


def _make_plan(
    folders: Sequence[Path],
    seed: int,
    ratios: Mapping[str, float] | None,
    keep: Mapping[str, str] | None,
    old: Labels,
) -> _Plan:
    from pipelines.assemble.splits import RowKeys, assign_splits
    from schemas.vocabulary import SPLITS

    clips: dict[str, Ref] = {}
    repeated = []
    for ref in _index(folders, CLIPS_FILE, "clips", _CLIP_KEYS):
        if ref.keys["clip_id"] in clips:
            repeated.append(ref.keys["clip_id"])
        else:
            clips[ref.keys["clip_id"]] = ref
    rows: dict[str, Ref] = {}
    for ref in _index(folders, ROWS_FILE, "triplets", _ROW_KEYS):
        clip = clips.get(ref.keys["clip_id"])
        if clip is None:
            raise DatasetError(
                f"{folders[ref.part]}: row {ref.keys['row_id']} belongs to clip {ref.keys['clip_id']}, "
                f"which no {CLIPS_FILE} holds.",
                path=folders[ref.part],
            )
        if clip.part == ref.part:  # rows of a repeated clip are left out with it
            if ref.keys["row_id"] in rows:
                raise DatasetError(f"{folders[ref.part]}: row {ref.keys['row_id']} is there twice.")
            rows[ref.keys["row_id"]] = ref
    _check_plan(folders, rows, clips)
    labels = carry_labels(old, (clip.keys for clip in clips.values()))
    # A blood relation joins a family: what is carried over counts before splits and families are made.
    rows = {name: _with_keys(ref, labels.rows.get(name)) for name, ref in rows.items()}
    clips = {name: _with_keys(ref, labels.clips.get(name)) for name, ref in clips.items()}
    keys = [
        RowKeys(
            subject_id=ref.keys["subject_id"],
            partner_subject_id=ref.keys["partner_subject_id"],
            source_id=ref.keys["source_id"],
            dyad_id=ref.keys["dyad_id"],
            kinship=ref.keys["kinship"],
            weight=ref.keys["num_frames"],
        )
        for ref in rows.values()
    ]
    try:
        splits = assign_splits(keys, seed=seed, ratios=ratios, pinned=keep)
    except ValueError as error:
        raise DatasetError(f"{error}.") from error
    plan = _Plan([], [], splits, sorted(set(repeated)), labels)
    rank = {name: number for number, name in enumerate(SPLITS)}
    # By subject inside a split: an avatar is fitted to one subject's rows, which then lie together.
    plan.rows = sorted(
        rows.values(),
        key=lambda ref: (
            rank[plan.split_of_row(ref)],
            ref.keys["subject_id"],
            ref.keys["clip_id"],
            ref.keys["person"],
        ),
    )
    plan.clips = sorted(
        clips.values(),
        key=lambda ref: (rank[plan.split_of_clip(ref)], ref.keys["dyad_id"], ref.keys["clip_id"]),
    )
    return plan


def _with_keys(ref: Ref, values: Mapping[str, Any] | None) -> Ref:
    if values is None:
        return ref
    return replace(ref, keys={**ref.keys, **{name: value for name, value in values.items() if name in ref.keys}})


def _index(folders: Sequence[Path], name: str, table: str, columns: Sequence[str]) -> Iterator[Ref]:
    """Keys and place of every row. Sizes are uncompressed bytes as the part's own footer has them."""
    import schemas
    from schemas.validators import schema_problems

    spec = schemas.TABLES[table]
    for number, folder in enumerate(folders):
        path = folder / name
        try:
            with pq.ParquetFile(path) as file:
                problems = schema_problems(file.schema_arrow, spec)
                if problems:
                    first = problems[0]
                    raise DatasetError(
                        f"{path}: {first.column or 'file'}: {first.message}.",
                        hint="It was written by another version; build the dataset into a new folder.",
                        path=path,
                    )
                for group in range(file.num_row_groups):
                    footer = file.metadata.row_group(group)
                    size = footer.total_byte_size // max(footer.num_rows, 1)
                    for index, keys in enumerate(file.read_row_group(group, columns=list(columns)).to_pylist()):
                        yield Ref(number, group, index, size, keys)
        except (OSError, pa.ArrowException) as error:
            raise DatasetError(
                f"{path} is not a readable Parquet file: {error}.",
                hint="Remove its folder and run the same command again to make it anew.",
                path=path,
            ) from error


def _check_plan(folders: Sequence[Path], rows: Mapping[str, Ref], clips: Mapping[str, Ref]) -> None:
    heads = {ref.keys["head_model"] for ref in rows.values()}
    if len(heads) > 1:
        raise DatasetError(
            f"The rows hold codes of {len(heads)} head models ({', '.join(sorted(heads))}); one dataset has one.",
            hint="Build every clip with the same head model, or into separate folders.",
        )
    for clip in clips.values():
        wanted = {clip.keys["row_id_a"], clip.keys["row_id_b"]} - {None}
        missing = sorted(wanted - rows.keys())
        if missing:
            raise DatasetError(
                f"{folders[clip.part]}: clip {clip.keys['clip_id']} lacks its row {missing[0]}.",
                path=folders[clip.part],
            )
    for ref in rows.values():
        partner = ref.keys["partner_row_id"]
        clip = clips[ref.keys["clip_id"]]
        if ref.keys["row_id"] not in (clip.keys["row_id_a"], clip.keys["row_id_b"]):
            raise DatasetError(f"{folders[ref.part]}: row {ref.keys['row_id']} is not one of its clip's rows.")
        if partner is not None and partner not in rows:
            raise DatasetError(f"{folders[ref.part]}: row {ref.keys['row_id']} lacks its partner {partner}.")


# Second pass: the rows ---------------------------------------------------------------------------------------------


def _write_data(
    writer: DatasetWriter,
    spec: Table,
    name: str,
    folders: Sequence[Path],
    refs: Sequence[Ref],
    split_of: Callable[[Ref], str],
    advance: Callable[[int], None],
    look: Callable[[str, pa.Table], None] | None,
    carried: Carried | None,
    labels: tuple[str, Mapping[str, Mapping[str, Any]]],
) -> None:
    """Write the shards of one table. An empty split has no file: a shard without rows would break readers."""
    from schemas.vocabulary import SPLITS

    parts = Parts(folders, name, writer.root / "data")
    position = spec.schema.get_field_index("split")

    def groups(shard: list[range], split: str, chosen: list[Ref]) -> Iterator[pa.Table]:
        for group in shard:
            table = pa.concat_tables([parts.row(chosen[number]) for number in group]).select(spec.schema.names)
            table = table.set_column(position, spec.schema.field(position), pa.array([split] * len(group)))
            if carried is not None:
                table = with_columns(table, carried)
            table = set_columns(table, *labels)
            # One chunk a column, and the declared metadata: the bytes then depend on the rows alone.
            table = pa.Table.from_arrays([column.combine_chunks() for column in table.columns], schema=spec.schema)
            if look is not None:
                look(split, table)
            yield table
            advance(len(group))

    try:
        for split in SPLITS:
            chosen = [ref for ref in refs if split_of(ref) == split]
            shards = plan_shards([ref.size for ref in chosen])
            for number, shard in enumerate(shards):
                file = f"data/{spec.name}/{split}-{number:05d}-of-{len(shards):05d}.parquet"
                writer.write_table(file, spec.schema, groups(shard, split, chosen))
    finally:
        parts.close()


# Meta --------------------------------------------------------------------------------------------------------------


def _summary(plan: _Plan, stats: StatsCollector, quarantined: int, votes: pa.Table | None) -> dict[str, Any]:
    """Counts and facts that the card and info.json state."""
    from schemas import FORMAT_VERSION
    from schemas.vocabulary import SPLITS

    splits: dict[str, dict[str, Any]] = {}
    for split in SPLITS:
        rows = [ref.keys for ref in plan.rows if plan.split_of_row(ref) == split]
        splits[split] = {
            "rows": len(rows),
            "clips": sum(plan.split_of_clip(ref) == split for ref in plan.clips),
            "subjects": len({row["subject_id"] for row in rows}),
            "dyads": len({row["dyad_id"] for row in rows}),
            "sources": len({row["source_id"] for row in rows}),
            "frames": sum(row["num_frames"] for row in rows),
            "seconds": sum(row["num_frames"] / row["fps"] for row in rows),
        }
    keys = [ref.keys for ref in plan.rows]
    totals = {name: sum(split[name] for split in splits.values()) for name in splits["train"]}
    return {
        "format_version": FORMAT_VERSION,
        "head_model": keys[0]["head_model"] if keys else None,
        "widths": stats.widths(),
        "fps": 25.0,
        "sample_rate": 16000,
        "totals": totals,
        "splits": splits,
        "quarantined": quarantined,
        "licences": sorted({row["licence"] for row in keys}),
        "languages": sorted({row["language"] for row in keys if row["language"]}),
        "pii": sorted({kind for row in keys for kind in row["pii"]}),
        "consented_rows": sum(row["consent_id"] is not None for row in keys),
        "labels": labels_summary((ref.keys for ref in plan.clips), votes, plan.labels.record),
    }


def _info_record(info: DatasetInfo, summary: Mapping[str, Any]) -> dict[str, Any]:
    import schemas

    tables = {}
    for name in ("triplets", "clips"):
        tables[name] = {
            "path": f"data/{name}/{{split}}-{{shard:05d}}-of-{{shards:05d}}.parquet",
            "row": schemas.TABLES[name].row,
            "columns": [
                {
                    "name": column.name,
                    "type": str(column.type),
                    "shape": column.shape,
                    "unit": column.unit,
                    "frame": column.frame,
                    "nullable": column.nullable,
                    "meaning": column.meaning,
                }
                for column in schemas.TABLES[name]
            ],
        }
    return {**asdict(info), "rsat_data_version": __version__, **summary, "tables": tables}


def _write_meta(
    writer: DatasetWriter,
    plan: _Plan,
    carried: Carried,
    sources: Sequence[Mapping[str, Any]],
    quarantine: Sequence[Mapping[str, Any]],
    seed: int,
    ratios: Mapping[str, float] | None,
) -> None:
    import schemas
    from pipelines.assemble.splits import ALGORITHM, DEFAULT_RATIOS
    from schemas.arrow import table_from_rows

    def write(name: str, records: list[dict[str, Any]]) -> None:
        spec = schemas.TABLES[name]
        writer.write_table(f"meta/{name}.parquet", spec.schema, [table_from_rows(spec, records)])

    rows, clips = [ref.keys for ref in plan.rows], [ref.keys for ref in plan.clips]
    with_avatars = [{**row, **carried.columns.get(row["row_id"], {})} for row in rows]
    write("subjects", subject_records(with_avatars, plan.splits))
    write("sources", source_records(rows, clips, sources))
    write("quarantine", quarantine_records(quarantine))
    # Votes are append-only and not made by a build: what is there stays.
    if VOTES in writer.old:
        writer.keep(VOTES)
    else:
        write("votes", [])
    if plan.labels.record is not None:
        writer.write_file(LABELS_FILE, _json(plan.labels.record))
    record = {
        "algorithm": ALGORITHM,
        "seed": seed,
        "ratios": dict(ratios or DEFAULT_RATIOS),
        "weight": "frames",
        "components": [asdict(component) for component in plan.splits.components],
    }
    writer.write_file("meta/splits.json", _json(record))


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
