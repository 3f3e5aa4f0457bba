"""Writing files so that a reader sees the old one or the new one, and a full disk is told as such."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

from rsat_data.errors import DiskFullError


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
