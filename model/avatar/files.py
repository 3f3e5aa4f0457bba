"""Avatars as files: ``avatar.ply`` in the layout of GaussianAvatars, ``avatar.json`` beside it, splats for viewers.

The .ply holds, in this order and all as float32::

    x y z nx ny nz f_dc_0..2 f_rest_0.. opacity scale_0..2 rot_0..3 binding_0

with local values as they are optimised: position in units of the triangle, logarithm of the scale, quaternion w x y z,
logit of the opacity. ``f_rest`` runs through the coefficients of red, then green, then blue; normals are zero;
``binding_0`` is the triangle. Local values do not know of axes, since they refer to the triangle's own. Spherical
harmonics above degree 0 do: they are the world's, and GaussianAvatars' world has y up (ours turned by half a turn about
x), so their signs are turned on the way out and back on the way in.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.avatar.avatar import Avatar
from model.avatar.ply import BadAvatarFile, commit, finite, read_table, replace_file, stage, table_bytes
from model.gaussians import BoundGaussians, placed, triangle_frames
from model.head import HeadModel, require_same_head
from model.quaternions import multiply

PLY, JSON, NPZ = "avatar.ply", "avatar.json", "avatar.npz"
FORMAT = "rsat-avatar-1.0"
MAX_JSON_BYTES = 16 << 20
MAX_LOG_SCALE = 30.0
"""Larger ones would overflow when they are taken to the power."""
_RESERVED = ("format", "head", "faces", "gaussians", "sh_degree", "shape", "layout", "files")
_LOCAL = ("x", "y", "z", "opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3")
_DC = ("f_dc_0", "f_dc_1", "f_dc_2")
HALF_TURN_SIGNS = (1, -1, -1, 1, -1, 1, 1, -1, 1, -1, 1, -1, -1, 1, -1, 1)
"""What half a turn about x, (x, y, z) -> (x, -y, -z), does to the 16 spherical harmonics."""


# The layout of GaussianAvatars --------------------------------------------------------------------------------------


def gaussians_bytes(gaussians: BoundGaussians, degree: int | None = None) -> bytes:
    """The Gaussians as a .ply of the layout above.

    Args:
        gaussians: N of them.
        degree: of the spherical harmonics in the file, filled with zeros or cut; None as they are. GaussianAvatars
            reads a file of the degree that it is started with (``--sh_degree``, 3 if it is not told).
    """
    local = gaussians.detach().to("cpu").with_degree(gaussians.degree if degree is None else degree)
    columns = _columns(local.mean, local.sh, local.opacity, local.log_scale, local.rotation, turned=True)
    columns["binding_0"] = local.face.numpy()
    return table_bytes(columns)


def _columns(mean: Tensor, sh: Tensor, opacity: Tensor, log_scale: Tensor, rotation: Tensor, *, turned: bool) -> dict:
    """Columns of a splat file, without the binding."""
    coefficients = sh.numpy()
    if turned:
        coefficients = coefficients * np.array(HALF_TURN_SIGNS[: sh.shape[1]], np.float32)[:, None]
    rest = coefficients[:, 1:].transpose(0, 2, 1).reshape(len(sh), 3 * (sh.shape[1] - 1))  # red's, green's, blue's
    zeros = np.zeros(len(mean), np.float32)
    columns = dict(zip("xyz", mean.numpy().T, strict=True)) | {"nx": zeros, "ny": zeros, "nz": zeros}
    columns |= dict(zip(_DC, coefficients[:, 0].T, strict=True))
    columns |= {f"f_rest_{i}": rest[:, i] for i in range(rest.shape[1])}
    columns["opacity"] = opacity.numpy()
    columns |= {f"scale_{i}": log_scale[:, i].numpy() for i in range(3)}
    columns |= {f"rot_{i}": rotation[:, i].numpy() for i in range(4)}
    return columns


def read_gaussians(path: Path, num_faces: int | None = None) -> BoundGaussians:
    """Gaussians of a .ply of the layout above; other fields are passed over.

    Args:
        path: the file.
        num_faces: F of the mesh they are bound to; None to believe the file.

    Raises:
        BadAvatarFile: see :func:`model.avatar.ply.read_table`; or a value that is not finite, a scale or quaternion
            that means nothing, harmonics of no degree, a binding that is no face of the mesh. Names field and row.
    """
    columns = read_table(path, (*_LOCAL[:3], *_DC, *_LOCAL[3:], "binding_0"))
    sh = _harmonics(path, columns)
    local = finite(path, columns, _LOCAL)
    scale, rotation = local[:, 4:7], local[:, 7:11]
    _refuse(path, np.abs(scale).max(1) > MAX_LOG_SCALE, f"scale_0..2 exceed {MAX_LOG_SCALE:g}; they are logarithms")
    _refuse(path, np.abs(rotation).max(1) < 1e-10, "rot_0..3 are all zero; they are a quaternion w x y z")
    face = _binding(path, columns["binding_0"], num_faces)
    return BoundGaussians(
        mean=torch.from_numpy(local[:, :3].copy()),
        log_scale=torch.from_numpy(scale.copy()),
        rotation=torch.from_numpy(rotation.copy()),
        opacity=torch.from_numpy(local[:, 3].copy()),
        sh=sh,
        face=torch.from_numpy(face),
    )


def _harmonics(path: Path, columns: Mapping[str, np.ndarray]) -> Tensor:
    count = sum(name.startswith("f_rest_") for name in columns)
    names = [f"f_rest_{i}" for i in range(count)]
    if count not in (0, 9, 24, 45) or any(name not in columns for name in names):
        raise BadAvatarFile(
            f"{path} has {count} fields f_rest_*; degrees 0 to 3 have f_rest_0 up to 0, 9, 24 or 45 of them.",
            hint="Write the file again with all coefficients of one degree.",
            path=path,
        )
    first = finite(path, columns, _DC)[:, None]
    rest = finite(path, columns, names).reshape(len(first), 3, count // 3).transpose(0, 2, 1)
    signs = np.array(HALF_TURN_SIGNS[: 1 + count // 3], np.float32)[:, None]
    return torch.from_numpy(np.ascontiguousarray(np.concatenate([first, rest], axis=1) * signs))


def _binding(path: Path, values: np.ndarray, num_faces: int | None) -> np.ndarray:
    """(N,) int64; float32, as published, holds faces up to 2^24 exactly."""
    numbers = finite(path, {"binding_0": values}, ["binding_0"])[:, 0]
    _refuse(path, numbers != np.round(numbers), "binding_0 is not a whole number")
    limit = 1 << 24 if num_faces is None else num_faces
    wrong = (numbers < 0) | (numbers >= limit)
    _refuse(
        path,
        wrong,
        f"binding_0 is not a face of the mesh, which has {limit}: the avatar belongs to another head",
        "Name the head that it was made with; meshes that differ by a single face do not go together.",
    )
    return numbers.astype(np.int64)


def _refuse(path: Path, wrong: np.ndarray, what: str, hint: str = "Remove those Gaussians, or fit again.") -> None:
    if wrong.any():
        raise BadAvatarFile(
            f"{path}: {what} (first in row {int(wrong.argmax())}, {int(wrong.sum())} of {len(wrong)} rows).",
            hint=hint,
            path=path,
        )


# A folder with an avatar --------------------------------------------------------------------------------------------


def save_avatar(avatar: Avatar, folder: Path) -> Path:
    """Write ``avatar.ply``, ``avatar.json`` and, where there are any, offsets and extras in ``avatar.npz``.

    The arrays in there are ``static_offset`` (V, 3), named as in GaussianAvatars, and ``extra.<name>``.

    All are written aside and moved into place when whole; the JSON comes last and holds the hashes of the others.
    Numbers in ``about`` that are not finite become null.

    Returns:
        The folder.

    Raises:
        DiskFullError: no space is left; what was there before is untouched.
        DatasetError: the folder cannot be written.
        ValueError: ``about`` holds a key that the file has already, or what JSON cannot hold.
    """
    clash = sorted(set(_RESERVED) & set(avatar.about))
    if clash:
        raise ValueError(f"avatar.json has keys of its own called {', '.join(clash)}")
    contents = {PLY: gaussians_bytes(avatar.gaussians)}
    arrays: dict[str, Any] = {f"extra.{name}": value for name, value in avatar.extras.items()}
    if avatar.offsets is not None:
        arrays["static_offset"] = avatar.offsets
    if arrays:
        buffer = io.BytesIO()
        np.savez(buffer, **{name: value.detach().cpu().numpy().astype(np.float32) for name, value in arrays.items()})
        contents[NPZ] = buffer.getvalue()
    record = {
        "format": FORMAT,
        "head": avatar.head,
        "faces": avatar.num_faces,
        "gaussians": len(avatar.gaussians),
        "sh_degree": avatar.gaussians.degree,
        "layout": "GaussianAvatars: local values, binding_0 is the face; harmonics in axes with y up",
        **_plain(avatar.about),
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
        "shape": [float(value) for value in avatar.shape.detach().cpu()],
    }
    contents[JSON] = (json.dumps(record, indent=1, allow_nan=False) + "\n").encode()
    folder = Path(folder)
    commit(stage({folder / name: _writer(content) for name, content in contents.items()}))
    if not arrays:
        (folder / NPZ).unlink(missing_ok=True)
    return folder


def _writer(content: bytes) -> Any:
    return lambda stream: stream.write(content)


def _plain(value: Any) -> Any:
    """Numbers that JSON has no word for become null; numpy's become Python's."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def load_avatar(folder: Path, head: HeadModel | None = None) -> Avatar:
    """Read what :func:`save_avatar` wrote.

    Args:
        folder: with the files; or the .ply or .json in it.
        head: the head it must belong to; None to go by the files alone.

    Raises:
        BadAvatarFile: a file is missing, damaged, or not of the same avatar as the others.
        HeadMismatch: it belongs to another head.
    """
    folder = Path(folder)
    folder = folder.parent if folder.suffix in (".ply", ".json") else folder
    record = _record(folder / JSON)
    if head is not None:
        require_same_head(record["head"], head, "avatar and head")
    path = folder / PLY
    _same_bytes(path, record["files"].get(PLY))
    gaussians = read_gaussians(path, record["faces"])
    offsets, extras = None, dict[str, Tensor]()
    if NPZ in record["files"]:
        _same_bytes(folder / NPZ, record["files"][NPZ])
        arrays = {name: torch.from_numpy(value) for name, value in read_arrays(folder / NPZ).items()}
        offsets = arrays.pop("static_offset", None)
        extras = {name.removeprefix("extra."): value for name, value in arrays.items()}
        if offsets is not None and (offsets.ndim != 2 or offsets.shape[1] != 3):
            raise BadAvatarFile(f"{folder / NPZ}: static_offset is {tuple(offsets.shape)}.", hint="Fit again.")
    about = {key: value for key, value in record.items() if key not in _RESERVED}
    shape = torch.tensor(record["shape"], dtype=torch.float32)
    avatar = Avatar(gaussians, record["head"], record["faces"], shape, offsets, extras, about)
    if head is not None:
        for name, have, need in (
            ("faces", avatar.num_faces, len(head.faces)),
            ("shape codes", len(shape), head.num_shape),
            ("offsets", head.num_vertices if offsets is None else len(offsets), head.num_vertices),
        ):
            if have != need:
                raise BadAvatarFile(f"{folder} has {have} {name}, its head {need}.", hint="Fit it again.", path=folder)
    return avatar


def _record(path: Path) -> dict[str, Any]:
    def bad(what: str) -> BadAvatarFile:
        return BadAvatarFile(f"{path}: {what}.", hint="Fit the avatar again, or copy its whole folder.", path=path)

    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise bad(f"it is larger than {MAX_JSON_BYTES >> 20} MiB")
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise bad(f"it cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise bad(f"it is not valid JSON ({error})") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        found = record.get("format") if isinstance(record, dict) else None
        raise bad(f"its format is {found!r}, expected {FORMAT!r}")
    shape, faces, files = (record.get(key) for key in ("shape", "faces", "files"))
    if not isinstance(shape, list) or not all(type(x) in (int, float) and math.isfinite(x) for x in shape):
        raise bad("'shape' is not a list of finite numbers")
    if type(faces) is not int or not 0 < faces < 1 << 24 or not isinstance(record.get("head"), str):
        raise bad("'faces' is not a count of faces, or 'head' no name")
    if not isinstance(files, dict) or not all(isinstance(value, str) for value in files.values()):
        raise bad("'files' does not name the other files")
    return record


def _same_bytes(path: Path, sha256: str | None) -> None:
    try:
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise BadAvatarFile(
            f"{path} cannot be read ({error.strerror or error}).", hint="Copy the whole folder again.", path=path
        ) from error
    if found != sha256:
        raise BadAvatarFile(
            f"{path} is not the file that {JSON} was written with (another hash): saving was interrupted, or one of "
            "them was replaced.",
            hint="Fit the avatar again, or copy the whole folder.",
            path=path,
        )


def read_arrays(
    path: Path, wanted: Mapping[str, tuple[int | None, ...]] | None = None, max_bytes: int = 2 << 30
) -> dict[str, np.ndarray]:
    """Float32 arrays of an ``.npz``; never unpickled.

    Args:
        path: the file.
        wanted: names to read where they are there, and their sizes, None for any; None for all arrays as they are.
        max_bytes: refuse a file that unpacks to more.

    Raises:
        BadAvatarFile: damaged, too large, objects, another shape, not numbers or not finite.
    """

    def bad(what: str) -> BadAvatarFile:
        return BadAvatarFile(f"{path}: {what}.", hint="Write it again with np.savez of plain float arrays.", path=path)

    result: dict[str, np.ndarray] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(info.file_size for info in archive.infolist()) > max_bytes:
                raise bad(f"it unpacks to more than {max_bytes >> 20} MiB")
        with np.load(path, allow_pickle=False) as stored:
            for name in stored.files if wanted is None else wanted:
                if name in stored.files:
                    result[name] = stored[name]
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise bad(f"it is not a readable array file ({error})") from error
    for name, value in result.items():
        sizes = value.shape if wanted is None else wanted[name]
        fits = value.ndim == len(sizes) and all(
            size is None or size == have for have, size in zip(value.shape, sizes, strict=True)
        )
        if value.dtype.kind not in "fiu" or not fits or not np.isfinite(value).all():
            raise bad(f"'{name}' holds {value.dtype} {value.shape}, expected finite numbers of shape {sizes}")
        result[name] = value.astype(np.float32)
    return result


# Splats for viewers -------------------------------------------------------------------------------------------------


def export_static(
    gaussians: BoundGaussians, vertices: Tensor, faces: Tensor, path: Path, *, y_up: bool = False
) -> None:
    """One pose as an ordinary .ply of 3D Gaussian splatting, which splat viewers open.

    The fields are those of the layout above without the binding; positions and scales (logarithm) in metres, the
    quaternion w x y z of unit length, the logit of the opacity.

    Args:
        gaussians: of the avatar.
        vertices: (V, 3) or (1, V, 3) of the posed head, metres.
        faces: (F, 3) of the head.
        path: the file.
        y_up: turn everything by half a turn about x. Scenes of 3D Gaussian splatting have y down, as ours, and most
            viewers expect that.

    Raises:
        DiskFullError, DatasetError: it cannot be written.
    """
    with torch.no_grad():
        posed = vertices if vertices.ndim == 3 else vertices[None]
        local = gaussians.detach()
        means, quats, scales = (value[0].cpu() for value in placed(local, triangle_frames(posed.detach(), faces)))
        if y_up:
            means = means * means.new_tensor([1.0, -1.0, -1.0])
            quats = multiply(quats.new_tensor([0.0, 1.0, 0.0, 0.0]).expand_as(quats), quats)
        # A triangle that has collapsed has scale 0, whose logarithm no viewer takes.
        log_scale = scales.clamp_min(1e-12).log()
        columns = _columns(means, local.sh.cpu(), local.opacity.cpu(), log_scale, quats, turned=y_up)
    replace_file(Path(path), _writer(table_bytes(columns)))
