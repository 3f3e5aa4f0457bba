"""Labels of relations in a published dataset: what is said of them as a whole, and how they outlive a rebuild.

Votes and the labels that follow from them are no result of a build, so a build keeps them: a clip that is still there,
with the same two people's rows, keeps its label unless the owner of its source says something else now.
``meta/labels.json`` records how labels were agreed on, and what the owners had said of clips whose label votes changed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rsat_data.errors import DatasetError
from rsat_data.manifest import ManifestEntry, safe_join

LABELS_FILE = "meta/labels.json"

#: Columns of triplets and clips that hold the relation.
RELATION = ("kinship", "status", "senior", "relation_source", "relation_confidence")
#: And of clips, what stands behind it.
BEHIND = ("num_votes", "agreement")
#: Sources of a relation that a build does not know of.
VOTED = ("votes", "adjudicated")

_KEYS = ("clip_id", "dyad_id", "row_id_a", "row_id_b")


@dataclass(frozen=True)
class Labels:
    """Labels of a dataset, or of a publication to be."""

    clips: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """clip_id -> columns of clips."""
    rows: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """row_id -> columns of triplets."""
    record: Mapping[str, Any] | None = None
    """Content of meta/labels.json; None where labels were never applied."""


def read_labels(root: Path, files: Mapping[str, ManifestEntry]) -> Labels:
    """Labels that votes gave to the clips of a dataset, and how many votes there were.

    Args:
        root: folder of the dataset.
        files: its manifest.

    Raises:
        DatasetError: a file cannot be read.
    """
    found = {}
    for file in sorted(files):
        if file.startswith("data/clips/"):
            columns = [*_KEYS, *RELATION, *BEHIND]
            for row in _read(safe_join(root, file), columns):
                if row["relation_source"] in VOTED or row["num_votes"]:
                    found[row["clip_id"]] = row
    return Labels(found, {}, read_record(root, files))


def read_record(root: Path, files: Mapping[str, ManifestEntry]) -> dict[str, Any] | None:
    """Content of meta/labels.json; None where there is none.

    Raises:
        DatasetError: it is damaged.
    """
    if LABELS_FILE not in files:
        return None
    path = safe_join(root, LABELS_FILE)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        stated = record["metadata"]
        if not all(set(RELATION) <= relation.keys() for relation in stated.values()):
            raise ValueError("a relation lacks a column")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"{path} cannot be read: {error!r}.",
            hint="Take it from a backup, or remove it and its line of manifest.jsonl.",
            path=path,
        ) from error
    assert isinstance(record, dict)
    return record


def _read(path: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = pq.read_table(path, columns=list(columns), partitioning=None).to_pylist()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DatasetError(
            f"{path} cannot be read: {error}.",
            hint="The file is damaged; `rsat-data validate` tells more.",
            path=path,
        ) from error
    return rows


def carry_labels(old: Labels, clips: Iterable[Mapping[str, Any]]) -> Labels:
    """What a new publication takes over from the dataset it replaces.

    Args:
        old: labels of the dataset.
        clips: keys and relation of every clip of the new publication, as a build made them.

    A label goes where the owner says something else than he did when it was made, and where it came from other clips of
    a pair that the clip does not belong to any more; applying labels again then decides anew. Counts of votes stay.
    """
    from schemas.vocabulary import PERSONS, senior_of_person

    before: Mapping[str, Any] = (old.record or {}).get("metadata", {})
    of_clip: dict[str, dict[str, Any]] = {}
    of_row: dict[str, dict[str, Any]] = {}
    stated = {}
    for clip in clips:
        was = old.clips.get(clip["clip_id"])
        if was is None or any(was[key] != clip[key] for key in ("row_id_a", "row_id_b")):
            continue
        said = {name: clip[name] for name in RELATION} if clip["relation_source"] == "metadata" else None
        then = before.get(clip["clip_id"])
        lent = not was["num_votes"] and was["dyad_id"] != clip["dyad_id"]
        if was["relation_source"] in VOTED and _same(said, then) and not lent:
            relation = {name: was[name] for name in RELATION}
            of_clip[clip["clip_id"]] = {**relation, **{name: was[name] for name in BEHIND}}
            for person, row in zip(PERSONS, (clip["row_id_a"], clip["row_id_b"]), strict=True):
                if row is not None:
                    of_row[row] = {**relation, "senior": senior_of_person(was["senior"], person)}
            if then is not None:
                stated[clip["clip_id"]] = then
        elif was["num_votes"]:
            same = _same(said or {}, was)
            of_clip[clip["clip_id"]] = {
                "num_votes": was["num_votes"],
                "agreement": was["agreement"] if same else None,
            }
    record = None if old.record is None else {**old.record, "metadata": dict(sorted(stated.items()))}
    return Labels(of_clip, of_row, record)


def _same(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> bool:
    if one is None or other is None:
        return one is None and other is None
    return all(one.get(name) == other[name] for name in ("kinship", "status", "senior"))


def labels_summary(
    clips: Iterable[Mapping[str, Any]], votes: pa.Table | None, record: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What meta/info.json and the card say of the labels.

    Args:
        clips: kinship, status, relation_source of every clip.
        votes: the table of votes, of any format version; None for none.
        record: content of meta/labels.json.
    """
    from schemas.vocabulary import KINSHIP, RELATION_SOURCES, STATUS
    from schemas.votes import current, upgraded

    rows = list(clips)
    counts = {name: Counter(row[name] for row in rows) for name in ("relation_source", "kinship", "status")}
    of_clip: dict[str, list[dict[str, Any]]] = {}
    people = set()
    adjudicated = 0
    if votes is not None:
        columns = ["clip_id", "annotator", "round", "kinship", "status"]
        for vote in current(upgraded(votes)).select(columns).to_pylist():
            if vote["round"] == "labelling":
                of_clip.setdefault(vote["clip_id"], []).append(vote)
                people.add(vote["annotator"])
            adjudicated += vote["round"] == "adjudication"
    return {
        "relation_source": {value: counts["relation_source"][value] for value in RELATION_SOURCES},
        "kinship": {value: counts["kinship"][value] for value in KINSHIP},
        "status": {value: counts["status"][value] for value in STATUS},
        "votes": sum(map(len, of_clip.values())),
        "annotators": len(people),
        "clips_voted_on": len(of_clip),
        "adjudications": adjudicated,
        "pairs_alike": {name: _pairs_alike(of_clip.values(), name) for name in ("kinship", "status")},
        "applied": None if record is None else {key: value for key, value in record.items() if key != "metadata"},
    }


def _pairs_alike(groups: Iterable[Sequence[Mapping[str, Any]]], question: str) -> float | None:
    """Share of pairs of votes on the same clip that are alike, averaged over clips with two votes or more."""
    shares = []
    for votes in groups:
        total = len(votes) * (len(votes) - 1)
        if total:
            counts = Counter(vote[question] for vote in votes).values()
            shares.append(sum(count * (count - 1) for count in counts) / total)
    return round(sum(shares) / len(shares), 6) if shares else None


def read_clips(root: Path, file: str, tmp: Path | None = None) -> list[dict[str, Any]]:
    """Relation of every clip of a shard; ``tmp`` is where it lies while a publication is under way."""
    return _read(tmp or safe_join(root, file), ["clip_id", "kinship", "status", "relation_source"])


def set_columns(table: pa.Table, key: str, values: Mapping[str, Mapping[str, Any]]) -> pa.Table:
    """A table with other values in the rows and columns that ``values`` (key of a row -> column -> value) names."""
    names = table[key].to_pylist()
    found = [values[name] for name in names if name in values]
    for column in sorted({column for new in found for column in new}):
        position = table.schema.get_field_index(column)
        kept = table[column].to_pylist()
        new = [values.get(name, {}).get(column, was) for name, was in zip(names, kept, strict=True)]
        field_ = table.schema.field(position)
        table = table.set_column(position, field_, pa.array(new, field_.type))
    return table
