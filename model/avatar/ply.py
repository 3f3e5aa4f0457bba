"""Tables of numbers in PLY files: one element ``vertex`` of scalar properties, binary, little endian.

That is all that Gaussian splats need of the format, and all that is read of it. A reader of files from anywhere must
not believe a header: nothing is allocated from a claimed size, the file's true length has to agree with it first.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from rsat_data.errors import DatasetError, DiskFullError

MAX_HEADER = 64 << 10
"""Bytes in which a header has to end."""
_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
    "double": "f8", "float64": "f8",
}  # fmt: skip


class BadAvatarFile(DatasetError):
    """A file of an avatar lacks what its format promises, or holds what it must not."""


def read_table(path: Path, required: Sequence[str]) -> dict[str, np.ndarray]:
    """All columns of the element ``vertex`` of a PLY file.

    Args:
        path: the file.
        required: names that must be among the columns.

    Returns:
        Column -> (N,) array of the file's own type, in the file's order.

    Raises:
        BadAvatarFile: not a PLY file, of a kind that is not read (text, big endian, lists), shorter or longer than its
            header claims, or without a required column. Nothing larger than the file itself is allocated.
    """
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            lines, start = _header(path, stream)
            count, fields, only = _layout(path, lines)
            _require(path, required, [name for name, _ in fields])
            row = np.dtype([(name, "<" + kind) for name, kind in fields])
            claimed, there = count * row.itemsize, size - start
            if claimed > there:
                raise BadAvatarFile(
                    f"{path} claims {count} vertices of {row.itemsize} bytes, {claimed} bytes, "
                    f"but only {there} follow its header: it is cut off, or its header is wrong.",
                    hint="Copy or write the file again.",
                    path=path,
                )
            if only and claimed < there:
                raise BadAvatarFile(
                    f"{path}: {there - claimed} bytes follow the {count} vertices that its header claims.",
                    hint="Write the file again: its header and its contents do not belong together.",
                    path=path,
                )
            table = np.frombuffer(stream.read(claimed), dtype=row)
    except OSError as error:
        raise BadAvatarFile(
            f"{path} cannot be read: {error.strerror or error}.", hint="Check the path and its permissions.", path=path
        ) from error
    return {name: table[name] for name, _ in fields}


def _header(path: Path, stream: BinaryIO) -> tuple[list[str], int]:
    """Lines of the header after ``ply``, and where the contents start."""
    head = stream.read(MAX_HEADER)
    if not head.startswith(b"ply"):
        found = "is empty (0 bytes)" if not head else "does not start with 'ply'"
        raise BadAvatarFile(f"{path} is not a PLY file: it {found}.", hint="Name an avatar's .ply file.", path=path)
    # The marker must be a line of its own: a comment may hold the word.
    end = head.find(b"\nend_header")
    while end >= 0 and head[end + 11 : end + 12] not in (b"\n", b"\r"):
        end = head.find(b"\nend_header", end + 1)
    if end < 0:
        raise BadAvatarFile(
            f"{path}: the header does not end ('end_header' is not among the first {len(head)} bytes).",
            hint="Copy or write the file again.",
            path=path,
        )
    start = end + 12 + (head[end + 11 : end + 13] == b"\r\n")
    lines = head[:end].decode("ascii", errors="replace").splitlines()
    stream.seek(start)
    return [line.strip() for line in lines[1:]], start


def _layout(path: Path, lines: Sequence[str]) -> tuple[int, list[tuple[str, str]], bool]:
    """Rows, columns (name, type) and whether nothing else follows."""

    def bad(what: str, hint: str = "Write it as binary_little_endian with scalar properties only.") -> BadAvatarFile:
        return BadAvatarFile(f"{path}: {what}.", hint=hint, path=path)

    encoding, count, fields, elements = "", -1, list[tuple[str, str]](), list[str]()
    for line in lines:
        words = line.split()
        if not words or words[0] in ("comment", "obj_info"):
            continue
        if words[0] == "format" and len(words) == 3:
            encoding = words[1]
        elif words[0] == "element" and len(words) == 3:
            if not words[2].isdecimal() or len(words[2]) > 18:
                raise bad(f"element {words[1]} has the count {words[2]!r}, expected a whole number")
            if not elements:
                if words[1] != "vertex":
                    raise bad(f"the first element is {words[1]!r}, expected 'vertex'")
                count = int(words[2])
            elements.append(words[1])
        elif words[0] == "property" and len(elements) == 1:
            if words[1:2] == ["list"]:
                raise bad(f"property {words[-1]!r} is a list; a Gaussian has numbers only")
            if len(words) != 3 or words[1] not in _TYPES:
                raise bad(f"property line {line!r} is not 'property TYPE NAME'")
            fields.append((words[2], _TYPES[words[1]]))
        elif words[0] != "property":
            raise bad(f"header line {line[:80]!r} is not of this format")
    if encoding != "binary_little_endian":
        raise bad(f"its format is {encoding or 'not said'}; only binary_little_endian is read")
    if count < 0:
        raise bad("it has no element 'vertex'")
    names = [name for name, _ in fields]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise bad(f"property {twice!r} is there twice")
    return count, fields, len(elements) == 1


def _require(path: Path, required: Sequence[str], names: Sequence[str]) -> None:
    missing = [name for name in required if name not in names]
    if missing:
        raise BadAvatarFile(
            f"{path} lacks the field{'s' * (len(missing) > 1)} {', '.join(missing)}; "
            f"it has {', '.join(names) or 'none'}.",
            hint="Write it with the fields of the layout: see docs/avatar_files.md.",
            path=path,
        )


def finite(path: Path, columns: Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
    """The named columns side by side as (N, len(names)) float32.

    Raises:
        BadAvatarFile: a value is not finite, or too large for float32; names field and row.
    """
    stacked = np.empty((len(next(iter(columns.values()))), len(names)), np.float32)
    for i, name in enumerate(names):
        with np.errstate(over="ignore"):
            stacked[:, i] = columns[name]
        broken = ~np.isfinite(stacked[:, i])
        if broken.any():
            row = int(broken.argmax())
            raise BadAvatarFile(
                f"{path}: field {name} is {columns[name][row]} in row {row} "
                f"({int(broken.sum())} of {len(broken)} rows are not finite).",
                hint="Remove those Gaussians, or fit the avatar again.",
                path=path,
            )
    return stacked


def table_bytes(columns: Mapping[str, np.ndarray], comments: Sequence[str] = ()) -> bytes:
    """A PLY file of equally long columns (N,), each stored as float32; ``comments`` are single lines of ASCII."""
    arrays = {name: np.asarray(values, dtype="<f4") for name, values in columns.items()}
    count = len(next(iter(arrays.values())))
    header = ["ply", "format binary_little_endian 1.0", *(f"comment {text}" for text in comments)]
    header += [f"element vertex {count}", *(f"property float {name}" for name in arrays), "end_header"]
    table = np.empty((count, len(arrays)), "<f4")
    for i, values in enumerate(arrays.values()):
        table[:, i] = values
    return ("\n".join(header) + "\n").encode("ascii") + table.tobytes()


def replace_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file beside its place and move it there when it is whole; what was there stays until then.

    Raises:
        DiskFullError: no space is left.
        DatasetError: it cannot be written for another reason.
    """
    commit(stage({path: write}))


def stage(files: Mapping[Path, Callable[[BinaryIO], object]]) -> dict[Path, Path]:
    """Write files beside their places: place -> temporary file. If one fails, none is left. Raises as replace_file."""
    staged: dict[Path, Path] = {}
    place = next(iter(files), Path())
    try:
        for place, write in files.items():
            place.parent.mkdir(parents=True, exist_ok=True)
            staged[place] = place.with_name(f".{place.name}.{os.getpid()}.tmp")
            with staged[place].open("wb") as stream:
                write(stream)
                stream.flush()
                os.fsync(stream.fileno())
    except BaseException as error:
        for temporary in staged.values():
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise write_error(error, place) from error
        raise
    return staged


def commit(staged: Mapping[Path, Path]) -> None:
    """Move staged files to their places, in order."""
    for place, temporary in staged.items():
        try:
            os.replace(temporary, place)
        except OSError as error:
            for left in staged.values():
                left.unlink(missing_ok=True)
            raise write_error(error, place) from error


def write_error(error: OSError, path: Path) -> DatasetError | DiskFullError:
    """What a user is told when ``path`` could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(
            f"No space is left to write {path}.",
            hint="Free some space and save again: what was there before is untouched.",
            path=path,
        )
    return DatasetError(
        f"{path} cannot be written: {error.strerror or error}.", hint="Check the folder and its permissions.", path=path
    )
