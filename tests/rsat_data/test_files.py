from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from rsat_data.errors import DiskFullError, WorkspaceError
from rsat_data.files import is_locked, keep_state


def test_a_state_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "state"
    keep_state(path, b"one", "The run")
    keep_state(path, b"two", "The run")
    assert path.read_bytes() == b"two" and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, DiskFullError), (errno.EIO, WorkspaceError)])
def test_the_old_state_stays_where_the_new_one_cannot_be_written(
    number: int, kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state"
    keep_state(path, b"one", "The run")

    def fails(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(kind, match="The run cannot be kept in"):
        keep_state(path, b"two", "The run")
    assert path.read_bytes() == b"one" and list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "folder").write_text("no folder")
    with pytest.raises(WorkspaceError, match="cannot be kept"):
        keep_state(tmp_path / "folder" / "state", b"one", "The run")


def test_locks_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not is_locked(path)
    with open(path, "w") as file:
        assert not is_locked(path)
        fcntl.flock(file, fcntl.LOCK_EX)
        assert is_locked(path)
    assert not is_locked(path)
