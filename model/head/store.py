"""Heads by name: where the file of each lies, and how one that is not here gets here.

``open`` comes with the project. Other heads belong to their publishers; a user imports their file once, which writes
``<home>/heads/<name>.safetensors`` (home: ``RSAT_DATA_HOME`` or the user's cache), and from then on it has a name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from rsat_data.errors import ModelFileError
from rsat_data.registry import home

OPEN_HEAD = Path(__file__).with_name("open_head.safetensors")
SUFFIX = ".safetensors"
HOW_TO_IMPORT = {
    "flame2020": "rsat-data models import-flame FILE --name flame2020",
    "flame2023": "rsat-data models import-flame FILE --name flame2023",
    "flame2023open": "rsat-data models import-flame FILE --name flame2023open",
    "ict": "rsat-data models import-ict FILE_OR_FOLDER",
}
"""Heads that a user can bring, and the command that imports each."""
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


@dataclass(frozen=True)
class HeadEntry:
    """One head that can be named."""

    name: str
    """What :func:`model.head.load_head` takes."""
    path: Path
    """Where its file is, or would be after an import."""
    here: bool
    """Whether the file is on this machine."""
    how: str
    """The command that imports it; empty for the open head."""


def heads_folder() -> Path:
    """Folder of the imported heads on this machine."""
    return home() / "heads"


def is_head_name(name: str) -> bool:
    """Whether ``name`` can name a head: lower-case letters, digits, - and _; everything else is a path."""
    return _NAME.fullmatch(name) is not None


def imported_path(name: str) -> Path:
    """Where the imported head called ``name`` lies, or will lie.

    Raises:
        ModelFileError: that is no name for an imported head.
    """
    if not is_head_name(name) or name == "open":
        raise ModelFileError(
            f"{name!r} cannot name an imported head",
            hint="Use lower-case letters, digits, - and _; 'open' is the head that comes with the project.",
        )
    return heads_folder() / f"{name}{SUFFIX}"


def list_heads() -> list[HeadEntry]:
    """Every head that has a name: the open one, those that can be imported, and what else was imported."""
    entries = [HeadEntry("open", OPEN_HEAD, OPEN_HEAD.is_file(), "")]
    folder = heads_folder()
    others = sorted(
        path.name.removesuffix(SUFFIX)
        for path in (folder.glob(f"*{SUFFIX}") if folder.is_dir() else ())
        if is_head_name(path.name.removesuffix(SUFFIX))
    )
    for name in [*HOW_TO_IMPORT, *(name for name in others if name not in HOW_TO_IMPORT)]:
        path = imported_path(name)
        entries.append(HeadEntry(name, path, path.is_file(), HOW_TO_IMPORT.get(name, "")))
    return entries


def head_path(name: str | Path = "open") -> Path:
    """The file of a head.

    Args:
        name: ``"open"``, the name of an imported head (``"flame2020"``, ``"flame2023"``, ``"ict"``...), or the path of
            a head file. A plain word is a name; a file of that name in the current folder is reached as ``./word``.

    Raises:
        ModelFileError: no such head is on this machine; the hint says how to import it.
    """
    text = str(name)
    if text == "open":
        return OPEN_HEAD
    if isinstance(name, Path) or not is_head_name(text):
        return Path(name)
    path = imported_path(text)
    if path.is_file():
        return path
    here = ", ".join(entry.name for entry in list_heads() if entry.here)
    if text in HOW_TO_IMPORT:
        message = f"The head '{text}' has not been imported on this machine (looked for {path})"
        raise ModelFileError(message, hint=f"Import your file once: {HOW_TO_IMPORT[text]}", path=path)
    raise ModelFileError(
        f"There is no head called '{text}'. Here: {here}. Can be imported: {', '.join(HOW_TO_IMPORT)}.",
        hint="Import one (rsat-data models import-flame --help), or give the path of a head file.",
        path=path,
    )
