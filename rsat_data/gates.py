"""Gates: which finished clips go into the dataset, by their scores. Nothing is computed again, nothing thrown away.

A gate is a condition on a column, such as ``q_sync>0.3``. Columns are those of triplets, of which every person of the
clip must pass, or, written ``clips.q_overlap<0.5``, those of clips. A clip is in the dataset whole or not at all: half
a conversation is none. What cannot be told (null) passes, since somebody who never speaks has no ``q_sync``; a ``!`` at
the end refuses it.
"""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rsat_data.content import content_hash
from rsat_data.errors import ConfigError, DatasetError
from rsat_data.publish_plan import CLIPS_FILE, ROWS_FILE
from rsat_data.workspace import Failure

STAGE, ERROR = "gate", "GatedClip"
"""How gated clips are listed among what is not in the dataset."""

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
_CONDITION = re.compile(r"\s*(clips\.)?([A-Za-z_]\w*)\s*(>=|<=|==|!=|>|<)\s*([-+0-9.eE]+)\s*(!)?\s*")


@dataclass(frozen=True)
class Gate:
    """One condition."""

    table: str
    """triplets or clips."""
    column: str
    """A column of numbers."""
    compare: str
    """>, >=, <, <=, == or !=."""
    value: float
    """What the column is compared with."""
    refuses_null: bool = False
    """Whether a row without the number fails."""

    def __str__(self) -> str:
        """As it is written."""
        place = "clips." if self.table == "clips" else ""
        return f"{place}{self.column}{self.compare}{self.value:g}{'!' if self.refuses_null else ''}"

    def passes(self, value: float | None) -> bool:
        """Whether a number (or none) passes. NaN counts as none."""
        if value is None or math.isnan(value):
            return not self.refuses_null
        return _COMPARE[self.compare](value, self.value)


@dataclass(frozen=True)
class Gated:
    """What gates did."""

    kept: tuple[Path, ...]
    """Folders of the clips that passed, in the order given."""
    failures: tuple[Failure, ...]
    """One for each clip that did not, with the reason."""
    unknown: dict[str, int]
    """Gate -> how many rows had no such number and passed."""


def parse_gates(texts: Iterable[str]) -> tuple[Gate, ...]:
    """Gates from texts like ``q_sync>0.3,clips.q_overlap<0.5``, several in one text or not.

    Raises:
        ConfigError: a condition cannot be read, or names a column that is none of numbers; the nearest is named.
    """
    return tuple(_parse(part) for text in texts for part in text.split(",") if part.strip())


def _parse(text: str) -> Gate:
    found = _CONDITION.fullmatch(text)
    try:
        value = float(found[4]) if found else math.nan
    except ValueError:
        value = math.nan
    if found is None or not math.isfinite(value):
        raise ConfigError(
            f"The gate {text.strip()!r} cannot be read.",
            hint="Write COLUMN, one of > >= < <= == !=, and a number: --gate 'q_sync>0.3,q_face_px>96'",
        )
    table = "clips" if found[1] else "triplets"
    known = numbers_of(table)
    if found[2] not in known:
        near = difflib.get_close_matches(found[2], known, 3, 0.5)
        scores = [name for name in known if name.startswith("q_")]
        raise ConfigError(
            f"The gate {text.strip()!r} names no number of the table {table}.",
            hint=f"Nearest: {', '.join(near)}." if near else f"Scores are: {', '.join(scores)}.",
        )
    return Gate(table, found[2], found[3], value, found[5] is not None)


def numbers_of(table: str) -> list[str]:
    """Columns of a table that hold one number a row and are known when a dataset is put together."""
    import schemas

    later = ("avatar_psnr", "num_votes", "agreement")
    return [
        column.name
        for column in schemas.TABLES[table]
        if (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)) and column.name not in later
    ]


def apply_gates(gates: Sequence[Gate], folders: Sequence[Path], names: dict[str, str]) -> Gated:
    """Part finished clips by gates.

    Args:
        gates: none lets everything pass.
        folders: of the stage `assemble`, one a clip.
        names: source_id -> name of the source.

    Raises:
        DatasetError: gates leave nothing of clips that are there; what was published before stays as it is.
    """
    kept: list[Path] = []
    failures: list[Failure] = []
    unknown: Counter[str] = Counter()
    blame: Counter[str] = Counter()
    for folder in folders:
        wrong: list[str] = []
        clip: dict[str, Any] = {}
        for gate in gates:
            for row in _rows(folder, gate):
                clip = row
                value = row[gate.column]
                if not gate.passes(value):
                    who = f"person {row['person']}: " if "person" in row else ""
                    wrong.append(f"{who}{gate.column} is {_shown(value)}, the gate asks {gate}")
                    blame[str(gate)] += 1
                elif value is None or math.isnan(value):
                    unknown[str(gate)] += 1
        if wrong:
            failures.append(_failure(clip, wrong, names))
        else:
            kept.append(folder)
    if folders and not kept:
        counted = ", ".join(f"{gate} fails {count} times" for gate, count in blame.most_common(3))
        raise DatasetError(
            f"The gates leave none of {len(folders)} clips: {counted}.",
            hint="Loosen them; finished work is kept and a dataset that was there before is as it was.",
        )
    return Gated(tuple(kept), tuple(failures), dict(unknown))


def _rows(folder: Path, gate: Gate) -> list[dict[str, Any]]:
    keys = ["clip_id", "source_id", "start_s", "end_s", *(["person"] if gate.table == "triplets" else [])]
    path = folder / (ROWS_FILE if gate.table == "triplets" else CLIPS_FILE)
    columns = list(dict.fromkeys([*keys, gate.column]))
    never_seen = gate.table == "triplets" and gate.column == "q_valid"
    if never_seen:
        columns.append("invalid_reason")
    found: list[dict[str, Any]] = pq.read_table(path, columns=columns).to_pylist()
    for row in found if never_seen else ():
        if set(row.pop("invalid_reason")) == {"off_screen"}:
            row["q_valid"] = None  # nobody looked for this face: that says nothing of the clip
    return found


def _shown(value: float | None) -> str:
    return "not known" if value is None or math.isnan(value) else f"{value:.4g}"


def _failure(clip: dict[str, Any], wrong: list[str], names: dict[str, str]) -> Failure:
    message = "; ".join(wrong)
    return Failure(
        stage=STAGE,
        key=content_hash([clip["clip_id"], message]),
        name=names.get(clip["source_id"], clip["source_id"]),
        source_id=clip["source_id"],
        clip_id=clip["clip_id"],
        error=ERROR,
        message=message,
        hint="Build without that gate, or with a looser one: nothing is computed again.",
        permanent=True,
        start_s=float(clip["start_s"]),
        end_s=float(clip["end_s"]),
    )
