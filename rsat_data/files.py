"""Writing files so that a reader sees the old one or the new one, and a full disk is told as such; locks."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from pathlib import Path
from typing import Any

from rsat_data.errors import DiskFullError, WorkspaceError


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically: a reader sees the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as stream:
            json.dump(value, stream, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise as_disk_error(error, path) from error


def as_disk_error(error: OSError, path: Path) -> Exception:
    """A :class:`DiskFullError` when the disk or quota is full, else the error itself."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(
            f"No space is left to write {path}.",
            hint="Free some space (or choose another --out) and run the same command again: finished work is kept.",
            path=path,
        )
    return error


def keep_state(path: Path, data: bytes, what: str) -> None:
    """Replace a file that long work goes on from, in one rename; its folder is made if it is absent.

    Args:
        path: the file.
        data: its new content.
        what: what is kept, for messages, such as "The run".

    Raises:
        DiskFullError: no space is left.
        WorkspaceError: the folder cannot be written.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        kind = DiskFullError if error.errno in (errno.ENOSPC, errno.EDQUOT) else WorkspaceError
        raise kind(
            f"{what} cannot be kept in {path.parent}: {error.strerror}.",
            hint="Free some space, or choose another folder; the last state that was kept is still there.",
            path=path.parent,
        ) from error
    finally:
        try:
            temporary.unlink(missing_ok=True)
        except OSError:  # its folder is no folder: that was told above
            pass


def is_locked(path: Path) -> bool:
    """Whether a living process holds a lock on the file; False where there is none."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False
