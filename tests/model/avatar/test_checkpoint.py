from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from model.avatar import checkpoint
from rsat_data.errors import DiskFullError, WorkspaceError

TENSORS = {"a/x": torch.arange(6.0).reshape(2, 3), "a/n": torch.tensor([3, 4])}
VALUES = {"step": 7, "elapsed": 1.25, "names": ["a", "b"]}


def test_what_was_kept_comes_back(tmp_path: Path) -> None:
    checkpoint.write(tmp_path / "new", TENSORS, VALUES, "mine")
    tensors, values = checkpoint.read(tmp_path / "new", "mine") or ({}, {})
    assert values == VALUES and tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    assert [path.name for path in (tmp_path / "new").iterdir()] == [checkpoint.FILE]
    checkpoint.remove(tmp_path / "new")
    assert checkpoint.read(tmp_path / "new", "mine") is None


def test_states_of_other_fits_and_damaged_ones_are_none(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, TENSORS, VALUES, "mine")
    assert checkpoint.read(tmp_path, "another") is None
    whole = (tmp_path / checkpoint.FILE).read_bytes()
    for damaged in (b"", whole[:40], whole[:-5], b"\xff" * 100):
        (tmp_path / checkpoint.FILE).write_bytes(damaged)
        assert checkpoint.read(tmp_path, "mine") is None
    checkpoint.write(tmp_path, {"x": torch.tensor([float("nan")])}, VALUES, "mine")
    assert checkpoint.read(tmp_path, "mine") is None


@pytest.mark.parametrize(("code", "kind"), [(errno.ENOSPC, DiskFullError), (errno.EACCES, WorkspaceError)])
def test_the_old_state_outlives_a_failed_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[Exception]
) -> None:
    checkpoint.write(tmp_path, TENSORS, VALUES, "mine")

    def fail(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(kind, match=str(tmp_path)):
        checkpoint.write(tmp_path, TENSORS, VALUES | {"step": 8}, "mine")
    kept = checkpoint.read(tmp_path, "mine")
    assert kept is not None and kept[1]["step"] == 7
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.FILE]
