"""Rows of the meta tables, from the keys of the data's rows: pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.assemble.splits import Splits


def subject_records(rows: Sequence[Mapping[str, Any]], splits: Splits) -> list[dict[str, Any]]:
    """Table subjects: what the rows of each subject add up to."""
    of_subject: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        of_subject.setdefault(row["subject_id"], []).append(row)
    records = []
    for subject, own in sorted(of_subject.items()):
        avatars = sorted({row["avatar_id"] for row in own} - {None})
        records.append(
            {
                "subject_id": subject,
                "family_id": splits.family_of[subject],
                "component_id": splits.component_of[subject],
                "split": splits.split_of[subject],
                "num_rows": len(own),
                "num_frames": sum(row["num_frames"] for row in own),
                "seconds": sum(row["num_frames"] / row["fps"] for row in own),
                "partners": sorted({row["partner_subject_id"] for row in own} - {None}),
                "sources": sorted({row["source_id"] for row in own}),
                "consent_ids": sorted({row["consent_id"] for row in own} - {None}),
                "licences": sorted({row["licence"] for row in own} - {""}),
                "avatar_id": avatars[0] if avatars else None,
            }
        )
    return records


def source_records(
    rows: Sequence[Mapping[str, Any]], clips: Sequence[Mapping[str, Any]], sources: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Table sources: the records given, with their number of clips; bare ones for sources nobody described."""
    from schemas.sources import TABLE

    counts: dict[str, int] = {}
    for clip in clips:
        counts[clip["source_id"]] = counts.get(clip["source_id"], 0) + 1
    bare = dict.fromkeys(TABLE.by_name)
    known = {source["source_id"]: {**bare, **source} for source in sources}
    for row in rows:
        if row["source_id"] not in known:
            facts = {"source_id": row["source_id"], "sha256": "", "name": "", "bytes": 0}
            known[row["source_id"]] = {**bare, **facts, "licence": row["licence"], "consent_id": row["consent_id"]}
    return [{**record, "num_clips": counts.get(name, 0)} for name, record in sorted(known.items())]


def quarantine_records(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Table quarantine: the records given, filled up and in a fixed order."""
    from schemas.quarantine import TABLE

    empty: dict[str, Any] = {column.name: None if column.nullable else "" for column in TABLE}
    empty |= {"attempts": 1, "transient": False}
    filled = [{**empty, **record} for record in records]
    return sorted(
        filled, key=lambda record: tuple(str(record[name]) for name in ("source_name", "start_s", "key", "stage"))
    )
