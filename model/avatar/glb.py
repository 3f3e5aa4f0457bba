"""Binary glTF (GLB), as much of it as a rigged head needs, read with nothing but struct and JSON.

Nothing that the file claims is believed before it is compared with the bytes that are there: lengths, offsets, counts
and indices. No address in the file is followed.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.avatar.ply import BadAvatarFile

_COMPONENTS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_SIZES = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
_JSON, _BINARY = 0x4E4F534A, 0x004E4942


@dataclass(frozen=True, eq=False)
class Glb:
    """A file that was taken apart."""

    path: Path
    """For messages."""
    document: dict[str, Any]
    """The JSON part."""
    binary: bytes
    """The first buffer."""

    def bad(self, what: str) -> BadAvatarFile:
        """An error about this file."""
        return BadAvatarFile(f"{self.path}: {what}.", hint="Export the model again as glTF binary.", path=self.path)

    def entry(self, kind: str, index: object) -> dict[str, Any]:
        """One object of a list of the document.

        Raises:
            BadAvatarFile: there is none of that index.
        """
        entries = self.document.get(kind)
        if type(index) is not int or not isinstance(entries, list) or not 0 <= index < len(entries):
            raise self.bad(f"it names {kind}[{index!r}], which is not there")
        if not isinstance(entries[index], dict):
            raise self.bad(f"{kind}[{index}] is not an object")
        return entries[index]

    def accessor(self, index: object, kind: str, count: int | None = None) -> np.ndarray:
        """Values of an accessor, (N, size) of the file's own number type, or (N,) for scalars.

        Args:
            index: of the accessor.
            kind: SCALAR, VEC3, VEC4 or MAT4, which it must be.
            count: N that it must have; needed for sparse ones without a base, which claim zeros of any number.

        Raises:
            BadAvatarFile: not as promised, or beyond the buffer; names the accessor.
        """
        entry = self.entry("accessors", index)
        name, size = f"accessor {index}", _SIZES[kind]
        number = _COMPONENTS.get(entry.get("componentType", 0))
        claimed = entry.get("count")
        if entry.get("type") != kind or number is None or type(claimed) is not int or claimed < 0:
            raise self.bad(f"{name} is {entry.get('type')} of {entry.get('componentType')}, expected {kind} numbers")
        if count is not None and claimed != count:
            raise self.bad(f"{name} has {claimed} entries, expected {count}")
        if "bufferView" in entry:
            values = self._view(entry["bufferView"], entry.get("byteOffset", 0), number, claimed, size, name)
        elif count is None:
            raise self.bad(f"{name} has no data")
        else:
            values = np.zeros((claimed, size), number)
        if "sparse" in entry:
            values = values.copy()
            rows, changed = self._sparse(entry["sparse"], number, size, name)
            if len(rows) and int(rows.max()) >= claimed:
                raise self.bad(f"{name} changes entry {int(rows.max())} of {claimed}")
            values[rows] = changed
        if number == "<f4" and not np.isfinite(values).all():
            raise self.bad(f"{name} holds values that are not finite")
        return values[:, 0] if kind == "SCALAR" else values

    def _sparse(self, sparse: Any, number: str, size: int, name: str) -> tuple[np.ndarray, np.ndarray]:
        try:
            count, places, values = sparse["count"], sparse["indices"], sparse["values"]
            kind = _COMPONENTS[places["componentType"]]
            views = (places["bufferView"], values["bufferView"])
            starts = (places.get("byteOffset", 0), values.get("byteOffset", 0))
        except (KeyError, TypeError, AttributeError) as error:
            raise self.bad(f"{name} is sparse in a way that is not of the format") from error
        if type(count) is not int or count < 0 or kind not in ("u1", "<u2", "<u4"):
            raise self.bad(f"{name} is sparse with {count!r} entries of kind {kind}")
        rows = self._view(views[0], starts[0], kind, count, 1, name)[:, 0]
        return rows, self._view(views[1], starts[1], number, count, size, name)

    def _view(self, index: object, start: Any, number: str, count: int, size: int, name: str) -> np.ndarray:
        view = self.entry("bufferViews", index)
        offset: Any = view.get("byteOffset", 0)
        length: Any = view.get("byteLength")
        if view.get("buffer", 0) != 0 or not (_is_count(offset) and _is_count(length) and _is_count(start)):
            raise self.bad(f"{name}: bufferViews[{index}] does not lie in the file's own buffer")
        if view.get("byteStride", 0) not in (0, size * np.dtype(number).itemsize):
            raise self.bad(f"{name}: its values are interleaved with others, which is not read")
        wanted = count * size * np.dtype(number).itemsize
        if start + wanted > length or offset + length > len(self.binary):
            raise self.bad(f"{name} claims {wanted} bytes that are not there: the file is cut off, or wrong")
        return np.frombuffer(self.binary, number, count * size, offset + start).reshape(count, size)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def read_glb(content: bytes, path: Path) -> Glb:
    """Take a GLB file apart.

    Raises:
        BadAvatarFile: not a GLB file of version 2, cut off, or its JSON is none.
    """

    def bad(what: str) -> BadAvatarFile:
        return BadAvatarFile(f"{path}: {what}.", hint="Export the model again as glTF binary.", path=path)

    if len(content) < 20 or content[:4] != b"glTF":
        raise bad("it is not a binary glTF file (it does not start with 'glTF')")
    version, length = struct.unpack_from("<II", content, 4)
    if version != 2 or length != len(content):
        raise bad(f"it claims version {version} and {length} bytes, expected version 2 and {len(content)} bytes")
    chunks: dict[int, bytes] = {}
    start = 12
    while start + 8 <= length:
        size, kind = struct.unpack_from("<II", content, start)
        if start + 8 + size > length:
            raise bad(f"a part of it claims {size} bytes, {length - start - 8} are there")
        chunks.setdefault(kind, content[start + 8 : start + 8 + size])
        start += 8 + size
    try:
        document = json.loads(chunks[_JSON].decode("utf-8"))
    except (KeyError, ValueError, RecursionError) as error:
        raise bad(f"its JSON part cannot be read ({error})") from error
    if not isinstance(document, dict):
        raise bad("its JSON part is not an object")
    return Glb(path, document, chunks.get(_BINARY, b""))
