"""The finished file: whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rsat_data.errors import WorkspaceError
from rsat_data.writer import disk_errors


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A name beside ``path`` to write to; it becomes ``path`` when the block ends well, and is gone when it does not.

    Raises:
        WorkspaceError: the folder cannot be made or written.
        DiskFullError: no space is left.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorkspaceError(f"{path.parent} cannot be made: {error.strerror}.", path=path.parent) from error
    if path.is_dir():
        raise WorkspaceError(f"{path} is a folder; the video needs a name of its own.", path=path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        with disk_errors(path):
            yield temporary
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
