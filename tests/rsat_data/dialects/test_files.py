"""Foreign files are read with suspicion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rsat_data.dialects import files
from rsat_data.dialects.torch_files import read_torch
from rsat_data.dialects.track import BadDialectFile
from rsat_data.errors import SourceError, UnreadableSource, UnsafeSource


@pytest.mark.parametrize("text", ["../x.npz", "a/../../x", "/etc/passwd", "C:\\x", "..\\x", "link/x", "a/./../../b"])
def test_paths_that_lead_out(text: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    with pytest.raises(UnsafeSource, match="lies outside its folder"):
        files.inside(text, root, root / "transforms.json")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["..", ".", "a", "b", ""]), min_size=1, max_size=6))
def test_what_is_let_through_lies_inside(parts: list[str]) -> None:
    root = Path("/nowhere/root")
    try:
        found = files.inside("/".join(parts), root, root / "transforms.json")
    except SourceError:
        return
    assert found.is_relative_to(root)


@pytest.mark.parametrize("value", [None, 3, "", "a\0b", ["x"]])
def test_what_is_no_path(value: object, tmp_path: Path) -> None:
    with pytest.raises(BadDialectFile, match="names no file"):
        files.inside(value, tmp_path, tmp_path / "transforms.json")


def test_an_archive_that_unpacks_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "bomb.npz", exp=np.zeros(1_000_000))
    monkeypatch.setattr(files, "MAX_BYTES", 1_000_000)
    with pytest.raises(UnsafeSource, match="would unpack to"):
        files.read_npz(tmp_path / "bomb.npz")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not arrays", b"\x93NUMPY\x01\x00"])
def test_damaged_arrays(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises((UnreadableSource, UnsafeSource), match="a.npz"):
        files.read_npz(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no torch file at all"])
def test_damaged_torch_files(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.frame"
    path.write_bytes(content)
    with pytest.raises((UnreadableSource, UnsafeSource), match="a.frame"):
        read_torch(path)


def test_torch_files_with_tensors_and_arrays(tmp_path: Path) -> None:
    content = {"a": torch.ones(2, dtype=torch.float16), "b": {"c": np.arange(3.0)}, "d": "text", "e": np.float32(2)}
    torch.save(content, tmp_path / "a.pt")
    found = read_torch(tmp_path / "a.pt")
    np.testing.assert_array_equal(found["a"], [1, 1])
    np.testing.assert_array_equal(found["b"]["c"], [0, 1, 2])
    assert found["d"] == "text" and found["e"] == 2
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(UnreadableSource, match="holds a list"):
        read_torch(tmp_path / "list.pt")


def test_numbers_too_large_for_codes(tmp_path: Path) -> None:
    with pytest.raises(BadDialectFile, match="too large"):
        files.numbers({"exp": np.array([1e300])}, "exp", tmp_path, (1,))
