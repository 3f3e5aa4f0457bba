"""A second copy of a published dataset that shares unchanged files with the first.

Files are hard links where the file system allows it, else copies. That is safe because a dataset's files are never
written to: every change puts a new file in the old one's place, so the other copy keeps what it had.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rsat_data.errors import DatasetError
from rsat_data.manifest import MANIFEST, format_manifest, read_manifest, safe_join
from rsat_data.writer import disk_errors

#: What says that two files cannot be one on the disk: other file systems, systems without links, too many of them.
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.EACCES, errno.ENOSYS}


@contextmanager
def duplicate(out: Path, new: Path) -> Iterator[Path]:
    """Give a copy of the dataset at ``out`` to be changed; when the block ends it stands at ``new``, as a whole.

    If ``new`` holds a dataset already, it must be the very one that comes out, and nothing is changed then. Hidden
    folders (workspace, labelling store) belong to ``out`` and are not copied. If the block fails there is no copy.

    Raises:
        DatasetError: ``out`` is no dataset, or ``new`` is ``out``, lies in it, or holds something else.
        WorkspaceError, DiskFullError: the copy cannot be written.
    """
    out, new = Path(out), Path(new)
    entries = read_manifest(out)
    if new.resolve() == out.resolve() or out.resolve() in new.resolve().parents:
        raise DatasetError(f"{new} is the dataset itself, or lies in it.", hint="Give another folder.", path=new)
    if os.path.lexists(new) and not (new / MANIFEST).exists() and (not new.is_dir() or any(new.iterdir())):
        raise DatasetError(f"{new} is there already and is no dataset.", hint="Give another folder.", path=new)
    with disk_errors(new):
        new.parent.mkdir(parents=True, exist_ok=True)
    _sweep(new)
    copy = new.with_name(f".{new.name}.{os.getpid()}.tmp")
    try:
        with disk_errors(copy):
            copy.mkdir()
            for entry in entries:
                _link(safe_join(out, entry.file), copy / entry.file)
            (copy / MANIFEST).write_text(format_manifest(entries), encoding="utf-8")
        yield copy
        if (new / MANIFEST).exists():
            if read_manifest(new) != read_manifest(copy):
                raise DatasetError(
                    f"{new} holds another dataset already.",
                    hint="Give another folder, or remove that one first.",
                    path=new,
                )
            return
        with disk_errors(new):
            os.replace(copy, new)
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        shutil.copy2(source, target)


def _sweep(new: Path) -> None:
    """Remove copies that killed processes left half made."""
    for path in new.parent.glob(f".{new.name}.*.tmp"):
        found = re.fullmatch(rf"\.{re.escape(new.name)}\.(\d+)\.tmp", path.name)
        if found and path.is_dir() and not _alive(int(found[1])):
            shutil.rmtree(path, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
