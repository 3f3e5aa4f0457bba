"""Reading foreign files with suspicion: no pickle, no paths that lead out, no NaN, no shape that was not promised."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rsat_data.dialects.track import BadDialectFile
from rsat_data.errors import UnreadableSource, UnsafeSource

MAX_BYTES = 4 << 30
"""An array file that unpacks to more than this is refused before it is unpacked."""
MAX_JSON_BYTES = 256 << 20


def read_npz(path: Path, wanted: Iterable[str] | None = None) -> dict[str, np.ndarray]:
    """Arrays of an ``.npz``, or of a single ``.npy`` under the name ``array``; never unpickled.

    Args:
        path: the file.
        wanted: names to read, those that are there; None for all.

    Raises:
        UnreadableSource: not such a file, or damaged.
        UnsafeSource: it holds Python objects, or unpacks to too much.
    """
    try:
        if path.stat().st_size == 0:
            raise UnreadableSource(f"{path} is empty (0 bytes).", path=path)
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                check_size(path, sum(info.file_size for info in archive.infolist()))
        with path.open("rb") as stream:
            loaded = np.load(stream, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {"array": loaded}
            names = loaded.files if wanted is None else [name for name in wanted if name in loaded.files]
            return {name: loaded[name] for name in names}
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, KeyError) as error:
        if "allow_pickle" in str(error) or "Object arrays" in str(error):
            raise UnsafeSource(
                f"{path} holds Python objects, which can run code when they are read; they are not read.",
                hint="Save plain number arrays: np.savez(file, name=np.asarray(values, dtype=np.float32)).",
                path=path,
            ) from error
        raise UnreadableSource(f"{path} is not a readable array file ({error}).", path=path) from error


def save_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an ``.npz``; equal arrays give equal bytes."""
    values: dict[str, Any] = dict(arrays)
    np.savez(path, **values)


def check_size(path: Path, size: int) -> None:
    """Refuse a file that unpacks to more than :data:`MAX_BYTES`."""
    if size > MAX_BYTES:
        raise UnsafeSource(
            f"{path} would unpack to {size / 1e9:.1f} GB, more than {MAX_BYTES / 1e9:.1f} GB are not read.", path=path
        )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        UnreadableSource, BadDialectFile: it cannot be read, or is no JSON object.
    """
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise BadDialectFile(f"{path} is larger than {MAX_JSON_BYTES >> 20} MiB.", path=path)
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnreadableSource(f"{path} cannot be read: {error.strerror or error}.", path=path) from error
    except (ValueError, RecursionError) as error:
        raise BadDialectFile(f"{path} is not valid JSON ({error}).", path=path) from error
    if not isinstance(value, dict):
        raise BadDialectFile(f"{path} does not hold a JSON object.", path=path)
    return value


def numbers(arrays: Mapping[str, Any], name: str, path: Path, shape: Sequence[int | None]) -> np.ndarray:
    """One array as float32, of a given shape, finite.

    Args:
        arrays: what was read.
        name: key.
        path: for messages.
        shape: expected sizes; None for any.

    Raises:
        BadDialectFile: missing, no numbers, another shape, or not finite.
    """
    if name not in arrays:
        raise BadDialectFile(
            f"{path} lacks the array '{name}'; it holds {', '.join(sorted(map(str, arrays))) or 'nothing'}.", path=path
        )
    value = np.asarray(arrays[name])
    if value.dtype.kind not in "fiu":
        raise BadDialectFile(f"{path}: '{name}' holds {value.dtype}, expected numbers.", path=path)
    expected = "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"
    if value.ndim != len(shape) or any(
        size is not None and size != have for have, size in zip(value.shape, shape, strict=True)
    ):
        raise BadDialectFile(f"{path}: '{name}' has shape {value.shape}, expected {expected}.", path=path)
    if not np.isfinite(value).all():
        bad = np.argwhere(~np.isfinite(value))[0]
        raise BadDialectFile(
            f"{path}: '{name}' holds values that are not finite (first at {tuple(int(i) for i in bad)}).",
            hint="Track that frame again, or leave it out.",
            path=path,
        )
    with np.errstate(over="ignore"):
        result = value.astype(np.float32)
    if not np.isfinite(result).all():
        raise BadDialectFile(f"{path}: '{name}' holds values too large to be codes.", path=path)
    return result


def same_length(arrays: Mapping[str, np.ndarray], path: Path) -> int:
    """The common first size T of several arrays.

    Raises:
        BadDialectFile: they differ, or T is 0; all are named.
    """
    lengths = {name: len(value) for name, value in arrays.items()}
    if len(set(lengths.values())) != 1:
        listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise BadDialectFile(f"{path}: the arrays differ in their number of frames: {listed}.", path=path)
    frames = next(iter(lengths.values()))
    if frames == 0:
        raise BadDialectFile(f"{path} holds no frame.", path=path)
    return frames


def inside(text: object, root: Path, where: Path) -> Path:
    """A file named in another file, resolved below ``root``.

    Raises:
        UnsafeSource: an absolute path, one with ``..`` that leaves the folder, or a symbolic link out of it.
    """
    if not isinstance(text, str) or not text or "\0" in text:
        raise BadDialectFile(f"{where} names no file where it should: {text!r}.", path=where)
    given = text.replace("\\", "/")
    base = root.resolve()
    real = (base / given).resolve()
    if given.startswith("/") or re.match(r"[A-Za-z]:", given) or not real.is_relative_to(base):
        raise UnsafeSource(
            f"{where} names the file {text!r}, which lies outside its folder.",
            hint="Put the files into the folder and name them relative to it; links out of it are not followed.",
            path=where,
        )
    return real


def own_file(path: Path, root: Path) -> Path:
    """A file found below ``root``, which must not be a link that leads out of it."""
    real = path.resolve()
    if not real.is_relative_to(root.resolve()):
        raise UnsafeSource(
            f"{path} is a symbolic link that leads out of the folder.", hint="Copy the file into it.", path=path
        )
    return real


def natural(path: Path) -> tuple[object, ...]:
    """Sort key: numbers in names count as numbers."""
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", path.as_posix()))


def step_of(name: str, path: Path) -> int:
    """The time step that a file's name ends with, such as 00012 or frame_12.

    Raises:
        BadDialectFile: the name holds no number.
    """
    found = re.findall(r"\d+", name)
    if not found:
        raise BadDialectFile(f"{path}: the name holds no frame number.", path=path)
    return int(found[-1])


def ascending(steps: Sequence[int], path: Path) -> np.ndarray:
    """Time steps (T,) int64, which must not repeat.

    Raises:
        BadDialectFile: one is there twice.
    """
    values = np.asarray(steps, dtype=np.int64)
    unique, counts = np.unique(values, return_counts=True)
    if (counts > 1).any():
        raise BadDialectFile(
            f"{path}: time step {int(unique[counts > 1][0])} is there {int(counts.max())} times.",
            hint="Keep one frame a time step and camera.",
            path=path,
        )
    return values


def walk(path: Path, pattern: str) -> list[Path]:
    """Files that match, below a folder, in natural order, hidden ones left out; or the file that ``path`` is."""
    if path.is_file():
        return [path]
    found = [
        each
        for each in path.rglob(pattern)
        if each.is_file() and not any(part.startswith(".") for part in each.relative_to(path).parts)
    ]
    return sorted(found, key=natural)


def text_of(value: Any) -> str:
    """A string array of one entry as text."""
    array = np.asarray(value)
    return str(array.reshape(-1)[0]) if array.dtype.kind in "US" and array.size == 1 else ""
