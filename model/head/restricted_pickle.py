"""Reads arrays out of a pickle without running it: the one place of this project that meets the pickle format.

FLAME is published as a pickle, and a pickle is a program. This reader runs it on a machine that has nothing but inert
parts: numpy's and scipy's constructors are replaced by classes of this module that only keep bytes and numbers,
chumpy's by one that keeps its state, and any other name is refused before a single instruction is carried out. Sizes
are checked first, so neither memory nor time can be exhausted by a small file. See docs/decisions/0007.
"""

from __future__ import annotations

import collections
import hashlib
import io
import pickle
import pickletools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rsat_data.errors import ModelFileError, UnsafeModelFile

MAX_BYTES = 1_000_000_000
"""Largest file read; FLAME's are 50 to 130 MB."""
MAX_OPCODES = 2_000_000
"""Most instructions; FLAME's files have a few hundred to some thousand."""
MAX_MEMO = 1_000_000
"""Largest memo slot; the unpickler's table grows to it at once, whatever the file's size."""
HINT_AGAIN = "Download the file again in binary form from its publisher, and import that copy."


class InertArray:
    """What numpy's ``ndarray`` becomes: bytes with a shape, checked when they are looked at."""

    def __init__(self) -> None:
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, tuple) else ()

    def array(self) -> np.ndarray:
        """A numpy array of numbers.

        Raises:
            ValueError: the state is not that of an array of numbers.
        """
        if len(self.state) == 5:
            _, shape, dtype, fortran, raw = self.state
        elif len(self.state) == 4:
            shape, dtype, fortran, raw = self.state
        else:
            raise ValueError("an array without content")
        if not isinstance(dtype, InertDtype):
            raise ValueError("an array without a type")
        kind = dtype.numpy()
        if isinstance(raw, str):
            raw = raw.encode("latin1")
        if not isinstance(raw, bytes | bytearray):
            raise ValueError("an array of objects")
        if not (isinstance(shape, tuple) and all(isinstance(n, int) and n >= 0 for n in shape)):
            raise ValueError("an array whose shape is no tuple of sizes")
        count = 1
        for n in shape:
            count *= n
        if count * kind.itemsize != len(raw):
            raise ValueError(f"an array of shape {shape} and type {kind} with {len(raw)} bytes")
        return np.frombuffer(raw, dtype=kind).reshape(shape, order="F" if fortran else "C")


class InertDtype:
    """What numpy's ``dtype`` becomes: its letters, and its byte order."""

    def __init__(self, code: Any = "", *_: Any) -> None:
        self.code = code
        self.order = "="

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">", "|", "="):
            self.order = str(state[1])

    def numpy(self) -> np.dtype[Any]:
        """The type, if it is one of numbers.

        Raises:
            ValueError: it is of objects, text or records.
        """
        code = self.code.decode("latin1") if isinstance(self.code, bytes) else self.code
        if not isinstance(code, str) or not re.fullmatch(r"[<>|=]?[fiub][1248]", code):
            raise ValueError(f"an array of type {code!r}, which is not one of plain numbers")
        kind = np.dtype(code.lstrip("<>|="))
        return kind.newbyteorder(">") if ">" in (self.order, code[:1]) else kind


class _Part:
    """A function given to the file: can be called, and neither looked into nor changed (BUILD may set attributes)."""

    __slots__ = ("_work",)
    _work: Callable[..., Any]

    def __init__(self, work: Callable[..., Any]) -> None:
        object.__setattr__(self, "_work", work)

    def __call__(self, *arguments: Any) -> Any:
        return self._work(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("the file tries to change one of the reader's parts")

    def __setattr__(self, name: str, value: Any) -> None:
        raise pickle.UnpicklingError("the file tries to change one of the reader's parts")


def _no_call(*_: Any) -> Any:
    raise pickle.UnpicklingError("a class is called that has no use here")


_NDARRAY, _OBJECT = _Part(_no_call), _Part(_no_call)
"""Stand for the classes ``numpy.ndarray`` and ``object``, which only ever are arguments."""


class InertSparse:
    """What a scipy sparse matrix becomes: its attributes."""

    layout = ""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.state = _plain_state(state)

    def array(self) -> np.ndarray:
        """The dense matrix, float64.

        Raises:
            ValueError: attributes are missing or contradict each other.
        """
        state = {name.lstrip("_"): value for name, value in self.state.items()}
        shape = tuple(int(n) for n in state["shape"]) if "shape" in state else ()
        if len(shape) != 2 or not all(0 < n <= 1_000_000 for n in shape) or shape[0] * shape[1] > 50_000_000:
            raise ValueError(f"a sparse matrix of shape {shape}")
        if isinstance(state.get("coords"), tuple) and len(state["coords"]) == 2:
            state["row"], state["col"] = state["coords"]
        missing = [k for k in (("row", "col") if self.layout == "coo" else ("indices", "indptr")) if k not in state]
        if missing or "data" not in state:
            raise ValueError(f"a sparse matrix without {', '.join([*missing, 'data'][:2])}")
        data = numbers(state["data"]).astype(np.float64).ravel()
        dense = np.zeros(shape)
        if self.layout == "coo":
            rows, columns = (numbers(state[k]).astype(np.int64).ravel() for k in ("row", "col"))
        else:
            inner, pointer = (numbers(state[k]).astype(np.int64).ravel() for k in ("indices", "indptr"))
            major = shape[1] if self.layout == "csc" else shape[0]
            if len(pointer) != major + 1 or (np.diff(pointer) < 0).any() or pointer[-1] != len(inner):
                raise ValueError("a sparse matrix whose index does not fit its shape")
            outer = np.repeat(np.arange(major), np.diff(pointer))
            rows, columns = (inner, outer) if self.layout == "csc" else (outer, inner)
        inside = (rows >= 0) & (rows < shape[0])
        if not (len(rows) == len(columns) == len(data)) or not (inside & (columns >= 0) & (columns < shape[1])).all():
            raise ValueError("a sparse matrix with entries outside its shape")
        np.add.at(dense, (rows, columns), data)
        return dense


class InertCsc(InertSparse):
    """``csc_matrix``, ``csc_array``."""

    layout = "csc"


class InertCsr(InertSparse):
    """``csr_matrix``, ``csr_array``."""

    layout = "csr"


class InertCoo(InertSparse):
    """``coo_matrix``, ``coo_array``."""

    layout = "coo"


class InertChumpy:
    """What a chumpy array becomes: its state. A plain one has the array in ``x``, a selection ``a`` and ``idxs``."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.state = _plain_state(state)

    def array(self) -> np.ndarray:
        """The array.

        Raises:
            ValueError: it is an expression that this reader does not evaluate.
        """
        return self._array(depth=0)

    def _array(self, depth: int) -> np.ndarray:
        if depth > 8:
            raise ValueError("a chumpy expression that is nested too deep")
        if "x" in self.state:
            return numbers(self.state["x"])
        if "a" in self.state and "idxs" in self.state:
            inner = self.state["a"]
            base = inner._array(depth + 1) if isinstance(inner, InertChumpy) else numbers(inner)
            indices = numbers(self.state["idxs"]).astype(np.int64).ravel()
            if len(indices) and not (0 <= indices.min() and indices.max() < base.size):
                raise ValueError("a chumpy selection outside its array")
            taken = base.ravel()[indices]
            shape = self.state.get("preferred_shape")
            if isinstance(shape, tuple) and int(np.prod(shape)) == taken.size:
                taken = taken.reshape(shape)
            return taken
        raise ValueError(f"a chumpy expression (state: {', '.join(sorted(self.state)) or 'empty'})")


def _plain_state(state: Any) -> dict[str, Any]:
    if isinstance(state, tuple) and len(state) == 2:  # (__dict__, slots)
        state = {**(state[0] or {}), **(state[1] or {})} if all(isinstance(s, dict | None) for s in state) else {}
    return {str(name): value for name, value in state.items()} if isinstance(state, dict) else {}


def _reconstruct(kind: Any, *_: Any) -> InertArray:
    """Stands for numpy's function, which would allocate what it is told: the shape comes with the bytes again."""
    if kind is not _NDARRAY:
        raise pickle.UnpicklingError("numpy's constructor is asked for something that is no array")
    return InertArray()


def _from_buffer(raw: Any, dtype: Any, shape: Any, order: Any = "C") -> InertArray:
    """Stands for numpy's function of protocol 5."""
    made = InertArray()
    made.__setstate__((1, shape, dtype, order == "F", bytes(raw) if isinstance(raw, bytes | bytearray) else raw))
    return made


def _scalar(dtype: Any, raw: Any = b"") -> InertArray:
    """Stands for numpy's function for a single number."""
    made = InertArray()
    made.__setstate__((1, (), dtype, False, raw))
    return made


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """``_codecs.encode``, with which protocols below 3 write bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("_codecs.encode is used for something else than latin1 bytes")
    return text.encode("latin1")


def _bytes(raw: Any = b"") -> bytes:
    """Stands for ``bytes`` and ``bytearray``, which would also take a size and allocate it."""
    if not isinstance(raw, bytes):
        raise pickle.UnpicklingError("bytes are to be made of something else")
    return raw


def _rebuild(kind: Any, *_: Any) -> Any:
    """``copy_reg._reconstructor``, with which protocols 0 and 1 make an object of a class."""
    if kind not in _OWN:
        raise pickle.UnpicklingError("copy_reg is used for a class that is not known")
    return kind()


_OWN = (InertChumpy, InertCsc, InertCsr, InertCoo)
_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric")
ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): InertDtype,
    **{(module, "_reconstruct"): _Part(_reconstruct) for module in _NUMPY},
    **{(module, "scalar"): _Part(_scalar) for module in _NUMPY},
    **{(module, "_frombuffer"): _Part(_from_buffer) for module in _NUMPY},
    **{
        (f"scipy.sparse{room}", f"{name}_{kind}"): stub
        for name, stub in (("csc", InertCsc), ("csr", InertCsr), ("coo", InertCoo))
        for room in (f".{name}", f"._{name}", "")
        for kind in ("matrix", "array")
    },
    **{(module, "Ch"): InertChumpy for module in ("chumpy", "chumpy.ch")},
    **{("chumpy.reordering", name): InertChumpy for name in ("Select", "Reorder")},
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("_codecs", "encode"): _Part(_encode),
    **{(module, "_reconstructor"): _Part(_rebuild) for module in ("copy_reg", "copyreg")},
    **{(module, "object"): _OBJECT for module in ("__builtin__", "builtins")},
    **{(module, name): _Part(_bytes) for module in ("__builtin__", "builtins") for name in ("bytes", "bytearray")},
}
"""Every name that a file may use, and the inert part that it gets. Nothing else exists for the file."""


class _RestrictedUnpickler(pickle.Unpickler):
    """The pickle machine without a way out: it can only make what ``ALLOWED`` lists."""

    def find_class(self, module: str, name: str) -> Any:
        """The inert part for a name, or a refusal."""
        try:
            return ALLOWED[(module, name)]
        except KeyError:
            raise _Refused(f"{module}.{name}") from None

    def persistent_load(self, pid: Any) -> Any:
        """References to things outside the file do not exist."""
        raise _Refused("a reference to an object outside the file")


class _Refused(Exception):
    """A name that is not allowed."""


@dataclass(frozen=True)
class PickleContent:
    """What a file held."""

    value: Any
    """The object, made of plain Python values and this module's inert parts."""
    sha256: str
    """Of the file, hexadecimal."""
    names: frozenset[str]
    """Dotted names that the file used."""


def numbers(value: Any) -> np.ndarray:
    """A plain array out of an inert part, a list or a number.

    Raises:
        ValueError: there are no numbers in it.
    """
    if isinstance(value, InertArray | InertSparse | InertChumpy):
        return value.array()
    if isinstance(value, list | tuple | int | float | bool):
        found = np.asarray(value)
        if found.dtype.kind in "fiub":
            return found
    raise ValueError(f"{type(value).__name__} where numbers should be")


def read_bytes(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """A whole file, if it is not too large.

    Raises:
        ModelFileError: it is missing, no plain file, empty, or larger than ``max_bytes``.
    """
    try:
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "does not exist"
            raise ModelFileError(f"{path} {what}", hint="Give the path of the model file.", path=path)
        size = path.stat().st_size
        if size > max_bytes:
            raise ModelFileError(
                f"{path} has {size / 1e6:.0f} MB; a head model has less than {max_bytes / 1e6:.0f} MB",
                hint="Is this the right file? Nothing of it was read.",
                path=path,
            )
        content = path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read ({error})", hint="Check its permissions.", path=path) from error
    if not content:
        raise ModelFileError(f"{path} is empty", hint=HINT_AGAIN, path=path)
    return content


def read_pickle(path: Path, max_bytes: int = MAX_BYTES) -> PickleContent:
    """Read a pickle without running any code of it.

    Args:
        path: the file.
        max_bytes: larger files are not read.

    Raises:
        UnsafeModelFile: the file uses a name that a head model has no use for; the message names it.
        ModelFileError: the file is no pickle, truncated, damaged by a text-mode copy, or too large.
    """
    content = read_bytes(path, max_bytes)
    _check_kind(path, content)
    names = _scan(path, content)
    unpickler = _RestrictedUnpickler(io.BytesIO(content), encoding="latin1")
    try:
        value = unpickler.load()
    except _Refused as error:
        raise _unsafe(path, str(error)) from None
    except RecursionError as error:
        raise ModelFileError(f"{path} is nested too deep to be a head model", path=path) from error
    except Exception as error:  # a damaged pickle can fail in any way that Python knows
        raise _damaged(path, content, f"{type(error).__name__}: {error}") from error
    return PickleContent(value, hashlib.sha256(content).hexdigest(), names)


def _check_kind(path: Path, content: bytes) -> None:
    """Refuse what begins like another kind of file, and say which."""
    start = content[:512].lstrip()
    kinds: tuple[tuple[Callable[[], bool], str, str], ...] = (
        (
            lambda: content[:4] in (b"PK\x03\x04", b"PK\x05\x06"),
            "a zip archive or a file saved by torch, not the publisher's pickle",
            "Unpack the archive and give the .pkl in it. A .pth or .pt file is not read: give the original .pkl.",
        ),
        (
            lambda: start[:9].lower() == b"<!doctype" or start[:5].lower() in (b"<html", b"<?xml"),
            "a web page, perhaps the publisher's login page",
            "Log in on the publisher's site, download the model there, and import that file.",
        ),
        (lambda: content[:2] == b"\x1f\x8b", "gzip-compressed", "Unpack it first: gunzip FILE"),
        (lambda: content[:8] == b"\x89HDF\r\n\x1a\n", "an HDF5 file", "Give the .pkl file of the model."),
        (lambda: content[257:262] == b"ustar", "a tar archive", "Unpack it first: tar -xf FILE"),
        (lambda: content[:6] == b"\x93NUMPY", "a single numpy array", "Give the .pkl or .npz file of the model."),
        (
            lambda: content[:40].startswith(b"version https://git-lfs"),
            "a pointer of Git LFS, not the file",
            "Fetch it: git lfs pull",
        ),
        (
            lambda: content[:3] == b"\xc2\x80\x02" or content[:3] == b"\xef\xbf\xbd",
            "re-encoded as text, so its bytes are lost",
            HINT_AGAIN,
        ),
    )
    for matches, what, hint in kinds:
        if matches():
            raise ModelFileError(f"{path} is {what}", hint=hint, path=path)


def _scan(path: Path, content: bytes) -> frozenset[str]:
    """Walk the instructions without carrying them out: sizes, memo slots, names."""
    names: set[str] = set()
    strings: list[str] = []
    opcodes = 0
    try:
        for opcode, argument, _ in _instructions(content):
            opcodes += 1
            if opcodes > MAX_OPCODES:
                raise ModelFileError(
                    f"{path} has more than {MAX_OPCODES:,} instructions; a head model has some thousand",
                    hint="Is this the right file? Nothing of it was carried out.",
                    path=path,
                )
            name = opcode.name
            if name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument) > MAX_MEMO:
                raise ModelFileError(
                    f"{path} asks for memory for {int(argument):,} objects: it is damaged, or made to do harm",
                    hint=HINT_AGAIN,
                    path=path,
                )
            if name in ("GLOBAL", "INST"):
                module, _, attribute = str(argument).partition(" ")
                _allow(path, module, attribute)
                names.add(f"{module}.{attribute}")
            elif name == "STACK_GLOBAL" and len(strings) >= 2:
                # The two newest strings are its usual arguments; the unpickler has the last word on all others.
                names.add(f"{strings[-2]}.{strings[-1]}")
            elif name in ("EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID", "NEXT_BUFFER"):
                raise _unsafe(path, f"the instruction {name}, a reference to something outside the file")
            if isinstance(argument, str) and name.endswith("UNICODE"):
                strings = [*strings[-1:], argument]
    except (ModelFileError, UnsafeModelFile):
        raise
    except Exception as error:  # pickletools raises ValueError, but also what decoding raises
        raise _damaged(path, content, str(error)) from error
    return frozenset(names)


def _instructions(content: bytes) -> Iterator[tuple[Any, Any, int | None]]:
    yield from pickletools.genops(io.BytesIO(content))


def _allow(path: Path, module: str, name: str) -> None:
    if (module, name) in ALLOWED:
        return
    if "\r" in module or "\r" in name:
        raise _text_mode(path)
    raise _unsafe(path, f"{module}.{name}")


def _unsafe(path: Path, what: str) -> UnsafeModelFile:
    return UnsafeModelFile(
        f"{path} asks for {what}, which a head model has no use for. It was refused; nothing of the file was run.",
        hint="Do not open this file with other software. Get the model from its publisher.",
        path=path,
    )


def _text_mode(path: Path) -> ModelFileError:
    return ModelFileError(
        f"{path} was saved or copied in text mode: its line ends were changed, which damages binary numbers",
        hint=HINT_AGAIN,
        path=path,
    )


def _damaged(path: Path, content: bytes, reason: str) -> ModelFileError:
    """The most likely story of a file that cannot be read."""
    ends, pairs = content.count(b"\n"), content.count(b"\r\n")
    binary = content[:1] == b"\x80"
    # In binary numbers one byte in 256 is a line feed, and one of 256 of those has a carriage return before it.
    if (ends >= 8 and pairs == ends) or (binary and ends > 8192 and pairs == 0):
        return _text_mode(path)
    if content[:1] not in (b"\x80", b"(", b"c", b"]", b"}"):
        return ModelFileError(f"{path} is no pickle", hint="Give the .pkl or .npz file of the model.", path=path)
    if "exhausted" in reason or "remain" in reason or not content.rstrip(b"\r\n").endswith(b"."):
        return ModelFileError(
            f"{path} ends in the middle of the data ({len(content):,} bytes): the download or copy was cut off",
            hint=HINT_AGAIN,
            path=path,
        )
    return ModelFileError(f"{path} is no readable pickle ({reason[:200]})", hint=HINT_AGAIN, path=path)
