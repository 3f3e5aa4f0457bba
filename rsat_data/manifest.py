"""The manifest: which files a dataset consists of. What is not in it is not part of the dataset.

``manifest.jsonl`` holds one JSON object a line: file (relative, with slashes), rows (null for what is no table),
bytes, sha256. It is replaced as a whole, so a reader sees the state before a publication or the state after it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from rsat_data.errors import DatasetError

MANIFEST = "manifest.jsonl"
#: Present only while a publication moves its files into place; see rsat_data.writer.
MANIFEST_NEXT = "manifest.next.jsonl"
TMP_SUFFIX = ".tmp"


@dataclass(frozen=True)
class ManifestEntry:
    """One file of a dataset."""

    file: str
    """Path below the dataset's folder, with forward slashes."""
    rows: int | None
    """Rows of a table; None for other files."""
    bytes: int
    """Size."""
    sha256: str
    """Hash of the content, 64 hex digits."""


def safe_join(root: Path, file: str) -> Path:
    """``root / file`` for a path that came out of a file, refusing any that leads out of ``root``.

    Raises:
        DatasetError: the path is absolute, climbs with ``..``, or a symbolic link on the way leads outside.
    """
    pure = PurePosixPath(file)
    if not file or "\\" in file or "\0" in file or pure.is_absolute() or ".." in pure.parts or ":" in pure.parts[0]:
        raise DatasetError(f"{root}: the path {file!r} is not one below the dataset's folder.", path=root)
    path = root / pure
    if not path.resolve().is_relative_to(root.resolve()):
        raise DatasetError(f"{root}: {file!r} leads outside the dataset's folder.", path=path)
    return path


def parse_manifest(text: str, path: Path) -> list[ManifestEntry]:
    """Read the text of a manifest; ``path`` is named in errors.

    Raises:
        DatasetError: a line is torn or not a manifest entry, or a file is listed twice.
    """
    entries: dict[str, ManifestEntry] = {}
    for number, line in enumerate(text.splitlines(), 1):
        try:
            raw = json.loads(line)
            rows = raw["rows"]
            entry = ManifestEntry(
                str(raw["file"]), None if rows is None else int(rows), int(raw["bytes"]), str(raw["sha256"])
            )
        except (ValueError, KeyError, TypeError) as error:
            raise DatasetError(
                f"{path}: line {number} is not a manifest entry ({error}).",
                hint="Publish the dataset again with the command that built it.",
                path=path,
            ) from error
        if entry.file in entries:
            raise DatasetError(f"{path}: line {number} lists {entry.file!r} a second time.", path=path)
        entries[entry.file] = entry
    return list(entries.values())


def format_manifest(entries: Iterable[ManifestEntry]) -> str:
    """The text of a manifest: one line a file, sorted by name."""
    ordered = sorted(entries, key=lambda entry: entry.file)
    return "".join(json.dumps(asdict(entry), ensure_ascii=False) + "\n" for entry in ordered)


def read_manifest(root: Path) -> list[ManifestEntry]:
    """Read the manifest of the dataset at ``root``.

    Raises:
        DatasetError: there is no dataset, the manifest is damaged, or a publication is under way or was interrupted.
    """
    path = root / MANIFEST
    if os.path.lexists(root / MANIFEST_NEXT):
        raise DatasetError(
            f"{root}: a publication is moving its files into place, or was interrupted while it did.",
            hint="Try again in a moment; if it stays, run the command that built the dataset again to finish it.",
            path=root,
        )
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        what = "has no manifest.jsonl" if root.is_dir() else "is not a folder"
        raise DatasetError(
            f"{root} {what}: there is no dataset (or it is not finished).",
            hint="Give the OUT folder of a finished `rsat-data build` or `rsat-data synth --as-dataset`.",
            path=root,
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read: {error}.", path=path) from error
    return parse_manifest(text, path)
