"""Answers known beforehand: read from a CSV file, kept as votes of round gold, mixed among the other tasks."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from annotation.votes import append_votes, current_votes, read_votes, vote_id, votes_table
from rsat_data.errors import LabelError

_COLUMNS = ("clip_id", "kinship", "status", "senior", "confidence")
_VALUES = {
    "kinship": ("blood", "non_blood", "unsure"),
    "status": ("equal", "unequal", "unsure"),
    "senior": ("A", "B", "unsure"),
}
_MAX_BYTES = 64 << 20


@dataclass(frozen=True)
class GoldAnswer:
    """What is known of a clip."""

    kinship: str
    """blood, non_blood or unsure."""
    status: str
    """equal, unequal or unsure."""
    senior: str | None
    """A, B or unsure; None unless unequal."""
    confidence: int = 5
    """1 to 5."""


def read_gold(path: Path) -> dict[str, GoldAnswer]:
    """Clip -> known answer, from a CSV file with the columns clip_id, kinship, status, senior and maybe confidence.

    Raises:
        LabelError: the file cannot be read, or a line breaks the rules; names the line.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise LabelError(f"The gold file {path} is larger than 64 MiB.", path=path)
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise LabelError(f"The gold file {path} cannot be read: {error.strerror}.", path=path) from error
    except UnicodeDecodeError as error:
        raise LabelError(f"The gold file {path} is not UTF-8 text: {error}.", path=path) from error

    def fail(line: int, what: str) -> LabelError:
        return LabelError(
            f"{path}, line {line}: {what}.",
            hint="Columns: clip_id,kinship,status,senior[,confidence]; senior only where status is unequal.",
            path=path,
        )

    reader = csv.DictReader(io.StringIO(text, newline=""), restkey="")
    header = [name.strip() for name in reader.fieldnames or []]
    reader.fieldnames = header
    wrong = [name for name in header if name not in _COLUMNS]
    lacking = [name for name in _COLUMNS[:3] if name not in header]
    if wrong or lacking or len(set(header)) < len(header):
        what = f"there is no column {lacking[0]}" if lacking else f"the column {(wrong or header)[0]!r} is not expected"
        raise fail(1, what)
    found: dict[str, GoldAnswer] = {}
    try:
        for raw in reader:
            line = reader.line_num
            if "" in raw or None in raw.values():
                raise fail(line, f"it should have {len(header)} fields")
            row = {name: value.strip() for name, value in raw.items()}
            if not row["clip_id"]:
                raise fail(line, "clip_id is empty")
            if row["clip_id"] in found:
                raise fail(line, f"{row['clip_id']} is in the file twice")
            found[row["clip_id"]] = _answer(row, line, fail)
    except csv.Error as error:
        raise fail(reader.line_num, str(error)) from error
    if not found:
        raise fail(1, "no answer follows")
    return found


def _answer(row: Mapping[str, str], line: int, fail: object) -> GoldAnswer:
    assert callable(fail)
    for name in ("kinship", "status"):
        if row[name] not in _VALUES[name]:
            raise fail(line, f"{name} should be one of {', '.join(_VALUES[name])}, not {row[name]!r}")
    senior = row.get("senior", "")
    if row["status"] == "unequal":
        if senior not in _VALUES["senior"]:
            raise fail(line, f"status is unequal, so senior should be A, B or unsure, not {senior!r}")
    elif senior:
        raise fail(line, f"senior is {senior!r}, but status is {row['status']}")
    confidence = row.get("confidence", "") or "5"
    if confidence not in ("1", "2", "3", "4", "5"):
        raise fail(line, f"confidence should be a number from 1 to 5, not {confidence!r}")
    return GoldAnswer(row["kinship"], row["status"], senior or None, int(confidence))


def keep_gold(out: Path, answers: Mapping[str, GoldAnswer], form_hash: str) -> int:
    """Write answers as votes of round gold, those that say something new. Returns how many came.

    Raises:
        DatasetError, WorkspaceError, DiskFullError: as of :func:`annotation.votes.append_votes`.
    """
    from schemas.votes import GOLD

    fields = ("kinship", "status", "senior", "confidence")
    known = {
        row["clip_id"]: tuple(row[name] for name in fields)
        for row in current_votes(read_votes(out)).to_pylist()
        if row["round"] == GOLD
    }
    now = datetime.now(UTC)
    rows = []
    for clip_id, answer in answers.items():
        said = tuple(getattr(answer, name) for name in fields)
        if known.get(clip_id) == said:
            continue
        rows.append(
            {
                # No server and no annotation: the clip and the moment name it.
                "vote_id": vote_id(f"gold {clip_id}", 0, 0, now),
                "clip_id": clip_id,
                "annotator": GOLD,
                **dict(zip(fields, said, strict=True)),
                "issues": [],
                "evidence": [],
                "notes": "",
                "prediction_shown": False,
                "prediction_accepted": None,
                "seconds_spent": None,
                "created_at": now,
                "updated_at": now,
                "config_hash": form_hash,
                "round": GOLD,
            }
        )
    return append_votes(out, votes_table(rows)) if rows else 0
