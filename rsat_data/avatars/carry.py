"""Avatars through a new publication of their dataset: those whose rows are still the same stay, the others go."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from rsat_data.avatars.content import cells, row_hash
from rsat_data.errors import DatasetError
from rsat_data.manifest import ManifestEntry, safe_join
from rsat_data.parts import Ref
from rsat_data.writer import AVATARS


@dataclass(frozen=True)
class Carried:
    """What a publication does with the avatars that are there."""

    columns: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """row_id -> avatar_id and avatar_psnr."""
    files: tuple[str, ...] = ()
    """Files that stay."""
    subjects: tuple[str, ...] = ()
    """Subjects whose avatar stays."""
    stale: tuple[str, ...] = ()
    """Subjects whose avatar was fitted to other rows than they have now: it goes."""


def carry_over(
    root: Path,
    old: Mapping[str, ManifestEntry],
    rows: Mapping[str, Sequence[Ref]],
    read: Callable[[Ref], pa.Table],
) -> Carried:
    """Compare every avatar of a dataset with the rows that its subject is about to have.

    An avatar stays if its subject has exactly the rows it was fitted to, with the same codes, camera, validity, video
    and matte. One row more or less makes another avatar, and rows that were withdrawn must not live on in one.

    Args:
        root: folder of the dataset.
        old: its manifest so far.
        rows: subject_id -> its rows in the new publication.
        read: gives a row as a table; called for subjects that have an avatar only.
    """
    columns: dict[str, Mapping[str, Any]] = {}
    files, kept, stale = [], [], []
    for name in sorted({file.split("/")[1] for file in old if file.startswith(AVATARS)}):
        record = _record(root, f"{AVATARS}{name}/avatar.json", old)
        refs = rows.get(name, ())
        if record is not None and _same(record, refs, read):
            columns.update(columns_of(record))
            files += [file for file in old if file.startswith(f"{AVATARS}{name}/")]
            kept.append(name)
        else:
            stale.append(name)
    return Carried(columns, tuple(sorted(files)), tuple(kept), tuple(stale))


def columns_of(record: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """row_id -> avatar_id and avatar_psnr, from an avatar.json."""
    return {
        row: {"avatar_id": record["avatar_id"], "avatar_psnr": facts["psnr"]} for row, facts in record["rows"].items()
    }


def with_columns(table: pa.Table, carried: Carried) -> pa.Table:
    """Rows of triplets with the columns of the avatars that stay; other rows as they are."""
    names = table["row_id"].to_pylist()
    if not any(name in carried.columns for name in names):
        return table
    for column in ("avatar_id", "avatar_psnr"):
        position = table.schema.get_field_index(column)
        values = [
            carried.columns.get(name, {}).get(column, was)
            for name, was in zip(names, table[column].to_pylist(), strict=True)
        ]
        table = table.set_column(
            position, table.schema.field(position), pa.array(values, table.schema.field(position).type)
        )
    return table


def _record(root: Path, file: str, old: Mapping[str, ManifestEntry]) -> dict[str, Any] | None:
    """The avatar.json; None where it is missing or damaged."""
    if file not in old:
        return None
    try:
        record = json.loads(safe_join(root, file).read_text(encoding="utf-8"))
        columns_of(record)
        {row: facts["content"] for row, facts in record["rows"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, DatasetError):
        return None
    assert isinstance(record, dict)
    return record


def _same(record: Mapping[str, Any], refs: Sequence[Ref], read: Callable[[Ref], pa.Table]) -> bool:
    wanted = record["rows"]
    if {ref.keys["row_id"] for ref in refs} != wanted.keys():
        return False
    return all(row_hash(cells(read(ref))) == wanted[ref.keys["row_id"]]["content"] for ref in refs)
