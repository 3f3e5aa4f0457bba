"""Conversations recorded one file a person: the table that names their files (docs/recordings.md)."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rsat_data.config import from_mapping
from rsat_data.content import canonical_json
from rsat_data.errors import (
    ConfigError,
    RecordingsError,
    SourceError,
    UnreadableSource,
    UnsafeSource,
    UsageError,
)
from rsat_data.sources import Sidecar, SourceFile, printable

REQUIRED = ("conversation", "person", "video")
"""Columns that must be there."""
OWN = ("audio", "offset_s", "subject_id")
"""Columns about one recording that may be missing or empty."""
SHARED = ("licence", "consent_id", "language", "pii", "kinship", "status", "senior")
"""Columns about the conversation, as in a sidecar: the same in both rows, or empty in one."""
PERSONS = ("A", "B")
_MAX_BYTES = 16 << 20
_MAX_ROWS = 100_000
_MAX_CELL = 4096
_HINT = "docs/recordings.md describes the file."


@dataclass(frozen=True)
class Recording:
    """One person's row."""

    line: int
    """Line in the file, from 1."""
    cells: Mapping[str, str]
    """Column -> text without surrounding space; every known column is there."""


def find_recordings(table: Path) -> list[SourceFile]:
    """The conversations a table names, in the order of their names. Files must lie inside the table's folder.

    A conversation is one source: ``path`` is its first person's video and ``metadata["recordings"]`` is {P: {video,
    audio, offset_s, line}}, with absolute paths, None for an audio or offset that was not given.

    Raises:
        UsageError: the table cannot be read, is empty, or its columns are wrong. A wrong row is no such error: its
            conversation comes with ``error`` set, and the others are as they would be without it.
    """
    rows = read_table(table)
    root = table.parent.resolve()
    conversations: dict[str, list[Recording]] = {}
    for row in rows:
        conversations.setdefault(row.cells["conversation"], []).append(row)
    owners: dict[Path, tuple[str, int]] = {}
    found = [_conversation(name, own, root, owners) for name, own in conversations.items()]
    return sorted(found, key=lambda source: source.name)


def named_files(table: Path) -> set[Path]:
    """Every video and sound file a table names that exists, also of conversations that cannot be used."""
    root = table.parent.resolve()
    names = [row.cells[column] for row in read_table(table) for column in ("video", "audio")]
    return {path.resolve() for name in names if name and "\0" not in name and (path := root / name).is_file()}


def read_table(table: Path) -> list[Recording]:
    """The rows of a table: UTF-8 with or without a byte order mark, cells parted by comma or semicolon.

    Raises:
        UsageError: see :func:`find_recordings`.
    """
    try:
        if table.is_dir():
            raise UsageError(f"{table} is a folder.", hint="--manifest takes the CSV file that names the recordings.")
        if table.stat().st_size > _MAX_BYTES:
            raise UsageError(f"{table} is larger than {_MAX_BYTES >> 20} MiB.", hint="Split it into several builds.")
        text = table.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{table} cannot be read: {error.strerror or error}.", hint=_HINT, path=table) from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{table} is not UTF-8 text (byte {error.start}).", hint="Save it as CSV in UTF-8.", path=table
        ) from error
    first = next((line for line in text.splitlines() if line.strip()), "")
    if not first:
        raise UsageError(f"{table} is empty.", hint=f"Its first line names the columns: {', '.join(REQUIRED + OWN)}.")
    delimiter = ";" if first.count(";") > first.count(",") else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns: list[str] | None = None
    rows: list[Recording] = []
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if columns is None:
                columns = _columns([cell.strip().lower() for cell in cells], table)
                continue
            rows.append(_row(cells, columns, reader.line_num))
            if len(rows) > _MAX_ROWS:
                raise UsageError(f"{table} has more than {_MAX_ROWS} rows.", hint="Split it into several builds.")
    except csv.Error as error:
        raise UsageError(
            f"{table}, line {reader.line_num}: {error}.", hint="Check the quotes around its cells.", path=table
        ) from error
    if not rows:
        raise UsageError(f"{table} names no recording.", hint="One row a person below the line of columns. " + _HINT)
    return rows


def _columns(names: list[str], table: Path) -> list[str]:
    known = (*REQUIRED, *OWN, *SHARED)
    if missing := [name for name in REQUIRED if name not in names]:
        raise UsageError(
            f"{table} has no column {missing[0]}.", hint=f"Its columns are {', '.join(known)}.", path=table
        )
    if unknown := [name for name in names if name not in known]:
        raise UsageError(
            f"{table} has a column {unknown[0]!r} that is not known.",
            hint=f"Remove or rename it; known are {', '.join(known)}.",
            path=table,
        )
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"{table} has two columns {twice[0]}.", hint="Keep one of them.", path=table)
    return names


def _row(cells: Sequence[str], columns: Sequence[str], line: int) -> Recording:
    values = dict.fromkeys((*REQUIRED, *OWN, *SHARED), "")
    values |= {name: cell.strip() for name, cell in zip(columns, cells, strict=False)}
    values["conversation"] = values["conversation"] or f"(line {line})"
    if len(cells) > len(columns) and any(cell.strip() for cell in cells[len(columns) :]):
        values["surplus"] = str(len(cells))
    return Recording(line, values)


def _conversation(
    name: str, rows: Sequence[Recording], root: Path, owners: dict[Path, tuple[str, int]]
) -> SourceFile:
    """A conversation as a source, with its error where it has one."""
    shown = printable(Path(name))
    try:
        by_person = _persons(shown, rows)
        recordings: dict[str, dict[str, Any]] = {}
        for person, row in by_person.items():
            video = _file(row, "video", root, shown)
            audio = _file(row, "audio", root, shown) if row.cells["audio"] else None
            for path in (video, audio):
                if path is not None and path in owners and (path != video or owners[path] != (shown, row.line)):
                    other, line = owners[path]
                    raise _wrong(
                        shown,
                        row,
                        f"{printable(path.relative_to(root))} is named a second time, after conversation {other!r}, "
                        f"line {line}",
                        "Every recording belongs to one person of one conversation.",
                    )
                if path is not None:
                    owners[path] = (shown, row.line)
            recordings[person] = {
                "video": str(video),
                "audio": None if audio is None else str(audio),
                "offset_s": _offset(row, shown),
                "line": row.line,
            }
        metadata = _metadata(shown, by_person) | {"recordings": recordings}
        return SourceFile(Path(recordings["A"]["video"]), shown, metadata=metadata)
    except SourceError as error:
        return SourceFile(root, shown, error)


def _wrong(name: str, row: Recording, what: str, fix: str, kind: type[SourceError] = RecordingsError) -> SourceError:
    return kind(f"Conversation {name!r}, line {row.line}: {what}.", hint=fix)


def _persons(name: str, rows: Sequence[Recording]) -> dict[str, Recording]:
    """A and B of a conversation.

    Raises:
        RecordingsError: somebody is missing, doubled or neither of the two, or a row cannot be understood.
    """
    if name.startswith("(line "):
        raise _wrong(name, rows[0], "it names no conversation", "Give both rows of a conversation the same name.")
    found: dict[str, Recording] = {}
    for row in rows:
        if "surplus" in row.cells:
            raise _wrong(name, row, f"it has {row.cells['surplus']} cells, more than there are columns",
                         "Put cells that hold a comma or semicolon into double quotes.")  # fmt: skip
        long = next((column for column, cell in row.cells.items() if len(cell) > _MAX_CELL), None)
        if long is not None:
            raise _wrong(name, row, f"its {long} has more than {_MAX_CELL} characters", "Shorten it.")
        person = row.cells["person"].upper()
        if person not in PERSONS:
            said = f"person is {printable(Path(row.cells['person']))!r}" if person else "it names no person"
            raise _wrong(name, row, said, "A conversation has two persons, A and B, one row each.")
        if person in found:
            raise _wrong(name, row, f"person {person} is there a second time, after line {found[person].line}",
                         "A conversation has two persons, A and B, one row each.")  # fmt: skip
        found[person] = row
    if len(found) < 2:
        (person,) = found
        raise _wrong(name, found[person], f"person {person} is alone",
                     "Add the row of the other person; a video of both goes into a folder for --videos.")  # fmt: skip
    return {person: found[person] for person in PERSONS}


def _file(row: Recording, column: str, root: Path, name: str) -> Path:
    """An existing file inside the table's folder.

    Raises:
        UnsafeSource: it lies outside.
        UnreadableSource: it is missing, empty or no file.
    """
    cell = row.cells[column]
    shown = printable(Path(cell))
    if not cell:
        raise _wrong(name, row, f"it names no {column}", f"Write the path of the {column}, relative to the table.")
    if "\0" in cell:
        raise _wrong(name, row, f"its {column} holds a zero byte", "Write the name of a file.", UnsafeSource)
    try:
        path = (root / cell).resolve()
        if not path.is_relative_to(root):
            raise _wrong(name, row, f"the {column} {shown} lies outside the table's folder",
                         "Put the files beside the table or below it; links must not lead out.",
                         UnsafeSource)  # fmt: skip
        if not path.is_file():
            there = "is not a regular file" if path.exists() else "does not exist"
            raise _wrong(name, row, f"the {column} {shown} {there}",
                         "Paths are relative to the table's folder; check the name.", UnreadableSource)  # fmt: skip
        if path.stat().st_size == 0:
            raise _wrong(name, row, f"the {column} {shown} is empty (0 bytes)",
                         "Copy it again from where it came.", UnreadableSource)  # fmt: skip
        with path.open("rb") as stream:
            stream.read(1)
    except (OSError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise _wrong(name, row, f"the {column} {shown} cannot be read: {why}",
                     "Check that the file exists and that you may read it.", UnreadableSource) from error  # fmt: skip
    return path


def _offset(row: Recording, name: str) -> float | None:
    text = row.cells["offset_s"]
    if not text:
        return None
    fix = "offset_s is when this recording starts, in seconds on the timeline of person A's; empty: estimated."
    if not re.fullmatch(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d{1,3})?", text):
        raise _wrong(name, row, f"offset_s is {printable(Path(text))!r}, not a number", fix)
    value = float(text.replace(",", "."))
    if not math.isfinite(value) or abs(value) > 1e6:
        raise _wrong(name, row, f"offset_s is {text}, which no recording lasts", fix)
    return value


def _metadata(name: str, rows: Mapping[str, Recording]) -> dict[str, Any]:
    """What a sidecar would say, from the columns of both rows.

    Raises:
        RecordingsError: the rows contradict each other, or a value is not known.
    """
    said: dict[str, str] = {}
    for column in SHARED:
        cells = {person: row.cells[column] for person, row in rows.items() if row.cells[column]}
        if len(set(cells.values())) > 1:
            raise _wrong(name, rows["B"], f"{column} is {cells['B']!r}, but {cells['A']!r} in line {rows['A'].line}",
                         f"{column} belongs to the conversation: write the same in both rows, or in one.")  # fmt: skip
        if cells:
            said[column] = next(iter(cells.values()))
    stated: dict[str, Any] = {key: said[key] for key in ("licence", "consent_id", "language") if key in said}
    if relation := {key: said[key] for key in ("kinship", "status", "senior") if key in said}:
        stated["relation"] = relation
    if "pii" in said:
        stated["pii"] = [word for word in re.split(r"[\s,;|]+", said["pii"]) if word]
    if names := {person: row.cells["subject_id"] for person, row in rows.items() if row.cells["subject_id"]}:
        stated["subjects"] = names
    try:
        sidecar = from_mapping(Sidecar, stated, where=f"conversation {name}")
    except ConfigError as error:
        raise _wrong(name, rows["A"], error.message.rstrip("."), error.hint or "See docs/sidecar.md.") from error
    if len(set(names.values())) == 1 and len(names) == 2:
        raise _wrong(name, rows["B"], f"A and B have the same subject_id {names['A']!r}", "Nobody talks to themselves.")
    return {key: value for key, value in asdict(sidecar).items() if value not in (None, {}, [])}


def source_sha256(source: SourceFile, hash_of: Callable[[Path], str]) -> str:
    """What identifies a source by content: its file's sha256, or one over those of its recordings and whose they are.

    Args:
        source: any source without an error.
        hash_of: sha256 of a file, 64 hex digits.

    Raises:
        RecordingsError: both persons have the same video, byte by byte.
    """
    recordings = source.metadata.get("recordings")
    if not recordings:
        return hash_of(source.path)
    content = {
        person: {kind: own[kind] and hash_of(Path(own[kind])) for kind in ("video", "audio")}
        for person, own in sorted(recordings.items())
    }
    if content["A"]["video"] == content["B"]["video"]:
        raise RecordingsError(
            f"Conversation {source.name!r}, lines {recordings['A']['line']} and {recordings['B']['line']}: "
            "the videos of A and B hold the same bytes.",
            hint="Name the recording of each person; one video of both goes into a folder for --videos.",
        )
    return hashlib.sha256(canonical_json({"recordings": content}).encode("ascii")).hexdigest()
