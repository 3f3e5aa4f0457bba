"""FLAME from the user's own file: read once without running anything of it, turned into our frame, saved as arrays.

FLAME (Li et al., "Learning a model of facial shape and expression from 4D scans", ACM ToG 36(6), 2017) is published by
its authors under their own licences, so the file stays the user's and nothing of it comes with this project. What the
importer changes: the axes (half a turn about x, docs/decisions/0001), the joint regressor (applied once to template and
blendshapes), and the 400 blendshapes, which are 300 of identity and 100 of expression.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.head.file import FORMAT
from model.head.load import JOINT_NAMES
from model.head.names import component_names
from model.head.restricted_pickle import MAX_BYTES, numbers, read_bytes, read_pickle
from rsat_data.errors import ModelFileError, UnsafeModelFile, UsageError

IMPORT_VERSION = "1"
NUM_IDENTITY, NUM_EXPRESSION = 300, 100
PARENTS = (-1, 0, 1, 1, 1)
TURN = np.array([1.0, -1.0, -1.0])
"""Half a turn about x: FLAME's axes (y up, face to +z) to ours (y down, face to -z)."""
NAMES = ("flame2020", "flame2023", "flame2023open")
KEYS: dict[str, tuple[str, ...]] = {
    "v_template": ("v_template",),
    "f": ("f", "faces"),
    "shapedirs": ("shapedirs",),
    "exprdirs": ("exprdirs", "expressiondirs"),
    "posedirs": ("posedirs",),
    "J_regressor": ("J_regressor",),
    "weights": ("weights", "lbs_weights"),
    "kintree_table": ("kintree_table",),
    "vt": ("vt",),
    "ft": ("ft",),
}
"""What is read, and the names it goes by."""
REQUIRED = ("v_template", "f", "shapedirs", "posedirs", "J_regressor", "weights")


@dataclass(frozen=True)
class FlameFile:
    """The arrays of a FLAME file as they are in it: y up, the face looks to +z, metres. V vertices, F triangles."""

    arrays: dict[str, np.ndarray]
    """By the names of ``KEYS``; ``exprdirs`` only where the file has it apart from ``shapedirs``."""
    sha256: str
    """Of the file, hexadecimal."""
    suggested: str | None
    """The version that file and content point to; None where they do not say."""


def read_flame(path: Path, max_bytes: int = MAX_BYTES) -> FlameFile:
    """Read a FLAME file: the publisher's pickle, or an npz of the same arrays.

    Args:
        path: the file.
        max_bytes: larger files are refused unread.

    Raises:
        UnsafeModelFile: the pickle asks for something other than arrays.
        ModelFileError: it is too large, damaged, another kind of file, or lacks arrays of a FLAME model.
    """
    content = read_bytes(path, max_bytes)
    digest = hashlib.sha256(content).hexdigest()
    chumpy = False
    if content[:4] == b"PK\x03\x04" and _is_npz(content):
        values: Mapping[str, Any] = _read_npz(path, content, max_bytes)
    else:
        held = read_pickle(path, max_bytes)
        if not isinstance(held.value, Mapping):
            kind = type(held.value).__name__
            raise ModelFileError(
                f"{path} holds one {kind}, not the named arrays of a FLAME model",
                hint="Give the model file itself, such as generic_model.pkl or flame2023.pkl.",
                path=path,
            )
        values = {str(key): value for key, value in held.value.items()}
        chumpy = any(name.startswith("chumpy") for name in held.names)
    arrays: dict[str, np.ndarray] = {}
    for key, spellings in KEYS.items():
        for spelling in spellings:
            if spelling in values and key not in arrays:
                try:
                    arrays[key] = (
                        numbers(values[spelling])
                        if not isinstance(values[spelling], np.ndarray)
                        else (values[spelling])
                    )
                except (ValueError, KeyError, TypeError, OverflowError) as error:
                    raise ModelFileError(
                        f"{path}: '{spelling}' cannot be used: {error}", hint="Is this a FLAME model?", path=path
                    ) from error
    missing = [key for key in REQUIRED if key not in arrays]
    if missing:
        raise ModelFileError(
            f"{path} is no whole FLAME model: it lacks {', '.join(missing)} (it has {_listed(values)})",
            hint="A part of FLAME (template, masks, texture, landmarks) cannot be posed. Give the model file itself, "
            "such as generic_model.pkl or flame2023.pkl.",
            path=path,
        )
    return FlameFile(arrays, digest, _suggest(path, chumpy))


def choose_name(flame: FlameFile, path: Path, given: str | None) -> str:
    """The name to import under.

    Raises:
        UsageError: neither the user nor the file says which FLAME this is.
    """
    if given is not None:
        return given
    if flame.suggested is None:
        raise UsageError(
            f"{path} does not say whether it is FLAME 2020 or 2023, and their codes are not interchangeable.",
            hint=f"Say it: --name {' | '.join(NAMES)}",
        )
    return flame.suggested


def _suggest(path: Path, chumpy: bool) -> str | None:
    """The version: by the publisher's file names, and by chumpy, which only the releases before 2023 use."""
    stem = path.stem.lower().replace("-", "").replace("_", "").replace(" ", "")
    if "2023" in stem:
        return "flame2023open" if "open" in stem else "flame2023"
    if chumpy or "2020" in stem:
        return "flame2020"
    return None


def _is_npz(content: bytes) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return True  # begins as a zip and cannot be read: _read_npz says so
    return bool(names) and all(name.endswith(".npy") for name in names)


def _read_npz(path: Path, content: bytes, max_bytes: int) -> dict[str, np.ndarray]:
    """All arrays of an npz file, never objects.

    Raises:
        ModelFileError: it is damaged, unpacks to too much, or holds objects.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > max_bytes:
            raise ModelFileError(f"{path} unpacks to {unpacked / 1e6:.0f} MB, too much for a head model", path=path)
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except ModelFileError:
        raise
    except ValueError as error:
        if "allow_pickle" in str(error) or "Object arrays" in str(error):
            raise UnsafeModelFile(
                f"{path} holds arrays of Python objects, which are programs: refused, nothing was run",
                hint="Save plain number arrays: np.savez(file, v_template=np.asarray(v_template, float), ...).",
                path=path,
            ) from error
        raise ModelFileError(f"{path} is a damaged npz file ({error})", hint="Copy it again.", path=path) from error
    except (zipfile.BadZipFile, OSError, EOFError, KeyError) as error:
        raise ModelFileError(
            f"{path} is a damaged or truncated npz file ({error})", hint="Copy or download it again.", path=path
        ) from error


def _listed(values: Mapping[str, Any]) -> str:
    names = sorted(str(name) for name in values)
    return ", ".join(names[:12]) + ("..." if len(names) > 12 else "") if names else "nothing"


def convert(flame: FlameFile, name: str, path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Tensors and metadata of a head file, without groups and landmarks.

    Args:
        flame: the file's arrays.
        name: what the head is called: flame2020, flame2023...
        path: the file, for messages.

    Raises:
        ModelFileError: an array has the wrong shape, is not finite, or contradicts another.
    """
    raw = flame.arrays

    def wrong(what: str) -> ModelFileError:
        return ModelFileError(
            f"{path} is not a FLAME model: {what}", hint="Give the unchanged model file of the publisher.", path=path
        )

    def shaped(key: str, *shape: int | None) -> np.ndarray:
        array = raw[key]
        fits = array.ndim == len(shape) and all(want is None or n == want for n, want in zip(array.shape, shape))  # noqa: B905
        if not fits:
            wanted = ", ".join("any" if n is None else str(n) for n in shape)
            raise wrong(f"'{key}' has shape {tuple(array.shape)}, it must be ({wanted})")
        if array.dtype.kind not in "fiub" or not np.isfinite(array).all():
            raise wrong(f"'{key}' has values that are not finite numbers")
        return array.astype(np.float64) if array.dtype.kind == "f" else array

    template = shaped("v_template", None, 3).astype(np.float64)
    v = len(template)
    faces = shaped("f", None, 3).astype(np.int64)
    if v < 100 or not len(faces) or faces.min() < 0 or faces.max() >= v:
        raise wrong(f"'f' names vertices outside the {v} of 'v_template'")
    if np.ptp(template, axis=0).max() > 3 or np.ptp(template, axis=0).max() < 0.05:
        raise wrong(f"the template is {np.ptp(template, axis=0).max():.3g} long; a head in metres is about 0.3")
    dirs = shaped("shapedirs", v, 3, None)
    if "exprdirs" in raw:
        identity, expression = dirs, shaped("exprdirs", v, 3, None)
    elif dirs.shape[2] == NUM_IDENTITY + NUM_EXPRESSION:
        identity, expression = dirs[..., :NUM_IDENTITY], dirs[..., NUM_IDENTITY:]
    else:
        raise wrong(f"'shapedirs' has {dirs.shape[2]} components, it must have 400: 300 of identity, 100 of expression")
    posedirs = shaped("posedirs", *((v, 3, 36) if raw["posedirs"].ndim == 3 else (36, 3 * v)))
    if posedirs.ndim == 2:
        posedirs = posedirs.T.reshape(v, 3, 36)
    regressor = shaped("J_regressor", 5, v)
    if np.abs(regressor.sum(1) - 1).max() > 1e-3:
        raise wrong("the rows of 'J_regressor' do not sum to 1")
    weights = shaped("weights", v, 5)
    if weights.min() < -1e-6 or np.abs(weights.sum(1) - 1).max() > 1e-3:
        raise wrong("the rows of 'weights' are negative or do not sum to 1")
    if "kintree_table" in raw:
        parents = raw["kintree_table"].astype(np.int64)[0].astype(np.uint32).astype(np.int32)
        if tuple(parents.tolist()) != PARENTS:
            raise wrong(f"its joints hang together as {parents.tolist()}, FLAME's as {list(PARENTS)}")
    # Under x' = C x with C = diag(TURN), R becomes C R C: entry (i, j) of R - I is multiplied by TURN_i TURN_j.
    entry = np.tile(np.outer(TURN, TURN).reshape(-1), 4)
    tensors = {
        "v_template": (template * TURN).astype(np.float32),
        "faces": faces.astype(np.int32),
        "shapedirs": (identity * TURN[:, None]).astype(np.float32),
        "exprdirs": (expression * TURN[:, None]).astype(np.float32),
        "posedirs": (posedirs * TURN[:, None] * entry).astype(np.float32),
        "J_template": ((regressor @ template) * TURN).astype(np.float32),
        "J_shapedirs": (np.einsum("jv,vcs->jcs", regressor, identity) * TURN[:, None]).astype(np.float32),
        "J_exprdirs": (np.einsum("jv,vcs->jcs", regressor, expression) * TURN[:, None]).astype(np.float32),
        "weights": weights.astype(np.float32),
        "parents": np.array(PARENTS, dtype=np.int16),
    }
    if "vt" in raw and "ft" in raw:
        uv, uv_faces = shaped("vt", None, 2), shaped("ft", len(faces), 3).astype(np.int64)
        if uv_faces.min() < 0 or uv_faces.max() >= len(uv):
            raise wrong("'ft' names texture coordinates that 'vt' does not have")
        tensors["uv"] = np.stack([uv[:, 0], 1 - uv[:, 1]], axis=1).clip(0, 1).astype(np.float32)
        tensors["uv_faces"] = uv_faces.astype(np.int32)
    metadata = {
        "format": FORMAT,
        "name": name,
        "version": f"{flame.sha256[:8]}",
        "joint_names": json.dumps(JOINT_NAMES),
        "expression_names": json.dumps(component_names(expression.shape[2])),
        "source": "FLAME, from the user's file; its licence applies and forbids passing it on unless it says otherwise",
        "source_sha256": flame.sha256,
        "script": "model/head/import_flame.py",
        "script_version": IMPORT_VERSION,
        "frame": "OpenCV: x right in the image (the subject's left), y down, z away from the camera; metres",
    }
    return tensors, metadata
