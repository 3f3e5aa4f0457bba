"""The pickle reader: everything a head model needs, and nothing else, whoever asks."""

from __future__ import annotations

import builtins
import os
import pickle
import struct
import subprocess
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.head import restricted_pickle
from model.head.restricted_pickle import ALLOWED, numbers, read_pickle
from rsat_data.errors import ModelFileError, UnsafeModelFile
from tests.model.head.flame_factory import Ch, Select, chumpy, tiny_flame, write

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


class Payload:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_of_every_kind_come_back(tmp_path: Path, protocol: int) -> None:
    rng = np.random.default_rng(0)
    sparse = scipy.sparse.random(5, 40, density=0.2, random_state=0, format="csc")
    with chumpy():
        given_values = {
            "real": rng.normal(size=(4, 3)),
            "fortran": np.asfortranarray(rng.normal(size=(4, 3))),
            "whole": np.arange(6, dtype=np.uint32).reshape(2, 3),
            "swapped": np.arange(4, dtype=">f8"),
            "number": np.float32(2.5),
            "csc": sparse,
            "csr": sparse.tocsr(),
            "coo": sparse.tocoo(),
            "chumpy": Ch(np.arange(3.0)),
            "chosen": Select(Ch(np.arange(10.0)), np.array([7, 2])),
            "ordered": OrderedDict(a=1),
            "empty": np.zeros((0, 3)),
            "text": "lbs",
        }
        content = pickle.dumps(given_values, protocol)
    path = tmp_path / "model.pkl"
    path.write_bytes(content)
    found = read_pickle(path).value
    for key in ("real", "fortran", "whole", "swapped", "number", "empty"):
        np.testing.assert_array_equal(numbers(found[key]), given_values[key])
    for key in ("csc", "csr", "coo"):
        np.testing.assert_array_equal(numbers(found[key]), sparse.toarray())
    np.testing.assert_array_equal(numbers(found["chumpy"]), np.arange(3.0))
    np.testing.assert_array_equal(numbers(found["chosen"]), [7.0, 2.0])
    assert found["text"] == "lbs" and found["ordered"] == OrderedDict(a=1)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("function", "arguments", "named"),
    [
        (os.system, ("touch {canary}",), "system"),
        (builtins.eval, ("open({canary!r}, 'w')",), "eval"),
        (builtins.exec, ("open({canary!r}, 'w')",), "exec"),
        (builtins.getattr, ("a", "upper"), "getattr"),
        (subprocess.check_call, (["touch", "{canary}"],), "check_call"),
        (open, ("{canary}", "w"), "open"),
        (np.load, ("{canary}",), "load"),
        (np.zeros, ((10,),), "zeros"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
@pytest.mark.parametrize("place", ["top", "in a dict", "in chumpy's state"])
def test_a_payload_is_refused_by_name_and_not_run(
    tmp_path: Path, protocol: int, function: Any, arguments: tuple[Any, ...], named: str, place: str
) -> None:
    canary = tmp_path / "canary"
    filled = tuple(part.format(canary=str(canary)) if isinstance(part, str) else part for part in arguments)
    bad = Payload(function, *filled)
    value = {"top": bad, "in a dict": {"v_template": bad}, "in chumpy's state": {"v_template": Ch({"deep": [bad]})}}
    path = write(tmp_path / "bad.pkl", value[place], protocol)
    with pytest.raises(UnsafeModelFile, match=rf"{named}.*nothing of the file was run"):
        read_pickle(path)
    assert not canary.exists()


def test_a_name_made_of_parts_on_the_stack_is_refused_too(tmp_path: Path) -> None:
    """STACK_GLOBAL takes its names from anywhere on the stack, so that no scan can foresee them."""
    path = tmp_path / "bad.pkl"
    body = b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94\x8c\x07nothing0h\x00h\x01\x93\x8c\x04true\x85R."
    path.write_bytes(body)
    with pytest.raises(UnsafeModelFile, match="posix.system"):
        read_pickle(path)


def test_attributes_of_the_readers_parts_cannot_be_reached_or_changed(tmp_path: Path) -> None:
    path = tmp_path / "bad.pkl"
    path.write_bytes(b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__init__\x93.")
    with pytest.raises(UnsafeModelFile, match="ndarray.__init__"):
        read_pickle(path)
    before = dict(ALLOWED)
    for module, name in (("numpy", "ndarray"), ("_codecs", "encode"), ("numpy.core.multiarray", "_reconstruct")):
        state = b"c" + f"{module}\n{name}\n".encode() + b"(N}U\x05_workU\x01xstb."  # BUILD with slots {"_work": "x"}
        path.write_bytes(b"\x80\x02" + state)
        with pytest.raises(ModelFileError):
            read_pickle(path)
    assert before == ALLOWED
    np.testing.assert_array_equal(numbers(_round_trip(tmp_path, np.arange(3))), [0, 1, 2])


def _round_trip(folder: Path, value: Any) -> Any:
    path = folder / "again.pkl"
    path.write_bytes(pickle.dumps(value, 2))
    return read_pickle(path).value


@pytest.mark.parametrize("opcode", [b"P0\n", b"K\x00Q", b"\x82\x01", b"\x83\x01\x00", b"\x84\x01\x00\x00\x00"])
def test_references_outside_the_file_are_refused(tmp_path: Path, opcode: bytes) -> None:
    path = tmp_path / "bad.pkl"
    path.write_bytes(b"\x80\x02" + opcode + b".")
    with pytest.raises(UnsafeModelFile, match="outside the file"):
        read_pickle(path)


def test_small_files_cannot_ask_for_much_memory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pkl"
    path.write_bytes(b"\x80\x02Nr" + struct.pack("<I", 2**31) + b".")  # LONG_BINPUT: the memo would grow to 16 GB
    with pytest.raises(ModelFileError, match="asks for memory"):
        read_pickle(path)
    path.write_bytes(b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"abc.")  # BINBYTES8 of a terabyte
    with pytest.raises(ModelFileError, match="cut off"):
        read_pickle(path)
    huge = Payload(np.ndarray, (10**12,))
    path.write_bytes(pickle.dumps(huge, 2))
    with pytest.raises(ModelFileError):
        read_pickle(path)
    path.write_bytes(b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(J\xff\xff\xff\x7ftU\x01btR.")
    with pytest.raises(ValueError, match="without content"):  # numpy's own would have allocated 2 GB
        numbers(read_pickle(path).value)


def test_sizes_are_capped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "model.pkl", tiny_flame())
    with pytest.raises(ModelFileError, match="Nothing of it was read|less than"):
        read_pickle(path, max_bytes=1000)
    monkeypatch.setattr(restricted_pickle, "MAX_OPCODES", 20)
    with pytest.raises(ModelFileError, match="more than 20 instructions"):
        read_pickle(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04" + bytes(100), "zip archive or a file saved by torch"),
        (b"<!DOCTYPE html><title>Sign in</title>", "web page"),
        (b"\n\n<html>", "web page"),
        (b"\x1f\x8b\x08" + bytes(20), "gzip"),
        (b"\x89HDF\r\n\x1a\n" + bytes(20), "HDF5"),
        (b"\x93NUMPY" + bytes(20), "numpy array"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"\xc2\x80\x02}q\x00.", "re-encoded as text"),
        (b"hello world", "no pickle"),
        (b"\x80\x02}q\x00U\x01aK\x01\xffs.", "no readable pickle"),
    ],
)
def test_other_files_are_named(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "file.pkl"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=says) as caught:
        read_pickle(path)
    assert "file.pkl" in caught.value.message


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="does not exist"):
        read_pickle(tmp_path / "none.pkl")
    with pytest.raises(ModelFileError, match="is a folder"):
        read_pickle(tmp_path)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_text_mode_damage_is_named(tmp_path: Path, protocol: int) -> None:
    """As Python 2 on Windows writes a file opened with 'w', and as a transfer in text mode leaves it."""
    content = write(tmp_path / "model.pkl", tiny_flame(), protocol).read_bytes()
    damaged = tmp_path / "damaged.pkl"
    damaged.write_bytes(content.replace(b"\n", b"\r\n"))
    with pytest.raises(ModelFileError, match="text mode"):
        read_pickle(damaged)


def test_lost_carriage_returns_are_named(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, 4_000_000).astype(np.uint8)
    content = pickle.dumps({"v_template": values}, 2)
    damaged = tmp_path / "damaged.pkl"
    damaged.write_bytes(pickle.dumps({"v_template": values}, 3).replace(b"\r\n", b"\n"))
    assert b"\r\n" in content
    with pytest.raises(ModelFileError, match="text mode"):
        read_pickle(damaged)


@given(st.floats(0.01, 0.999), st.sampled_from(list(PROTOCOLS)))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_truncation_anywhere_is_an_error_that_names_the_file(tmp_path: Path, share: float, protocol: int) -> None:
    content = write(tmp_path / "model.pkl", {"a": np.arange(300.0), "b": [1, "x"]}, protocol).read_bytes()
    cut = tmp_path / "cut.pkl"
    cut.write_bytes(content[: max(1, int(share * len(content)))])
    with pytest.raises(ModelFileError, match=r"cut\.pkl"):
        read_pickle(cut)


@given(st.binary(min_size=1, max_size=400))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_arbitrary_bytes_end_in_a_value_or_a_typed_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "any.pkl"
    path.write_bytes(b"\x80\x02" + content)
    try:
        read_pickle(path)
    except ModelFileError as error:
        assert "any.pkl" in error.message


@pytest.mark.parametrize(
    "value",
    [np.array(["a"]), np.array([None], dtype=object), "text", None, {"x": 1}, np.zeros(2, dtype="datetime64[s]")],
)
def test_what_holds_no_numbers_is_no_array(tmp_path: Path, value: Any) -> None:
    with pytest.raises((ValueError, UnsafeModelFile)):
        numbers(_round_trip(tmp_path, value))
