"""Avatars of GaussianAvatars: ``point_cloud.ply`` with ``flame_param.npz`` beside it, in and out.

Their mesh is FLAME with teeth: after FLAME's own 5,023 vertices and 9,976 faces come 120 vertices and 168 faces that
our FLAME heads do not have. Gaussians bound to those are left out on the way in, and counted in ``about``. The file of
parameters holds shape (S,), expr (T, E), rotation, neck_pose, jaw_pose (T, 3), eyes_pose (T, 6), translation (T, 3),
static_offset (1, V, 3) and dynamic_offset (T, V, 3), in FLAME's axes, which are ours turned by half a turn about x.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model.avatar.avatar import Avatar
from model.avatar.files import gaussians_bytes, read_arrays, read_gaussians
from model.avatar.ply import BadAvatarFile, commit, stage
from model.axes import flip
from model.head import HeadModel

PLY, NPZ = "point_cloud.ply", "flame_param.npz"
TEETH_FACES, TEETH_VERTICES = 168, 120
CODES = {
    "rotation": ("rotation", 3), "neck": ("neck_pose", 3), "jaw": ("jaw_pose", 3), "eyes": ("eyes_pose", 6),
    "translation": ("translation", 3),
}  # fmt: skip
"""Our code -> their array and its width."""


def import_gaussian_avatars(path: Path, head: HeadModel) -> tuple[Avatar, dict[str, Tensor]]:
    """Read an avatar of GaussianAvatars.

    Args:
        path: the .ply, or the folder with ``point_cloud.ply``; ``flame_param.npz`` is looked for beside it.
        head: the FLAME that it was made with. Which one that was (2020, 2023) the files do not say: with another one
            of the same topology the Gaussians sit right and the codes mean something else.

    Returns:
        The avatar, and the codes of its frames, each (T, ...) float32, in our axes; empty without a flame_param.npz.

    Raises:
        BadAvatarFile: see :func:`model.avatar.files.read_gaussians`; or parameters that do not fit the head.
    """
    ply = path / PLY if path.is_dir() else path
    faces = len(head.faces)
    gaussians = read_gaussians(ply, faces + TEETH_FACES)
    on_head = gaussians.face < faces
    dropped = int((~on_head).sum())
    about = {"source": ply.name, "imported_from": "GaussianAvatars", "dropped_teeth_gaussians": dropped}
    shape, offsets, codes = torch.zeros(head.num_shape), None, dict[str, Tensor]()
    params = ply.with_name(NPZ)
    if params.is_file():
        shape, offsets, codes = _parameters(params, head)
    return Avatar(gaussians.select(on_head), head.id, faces, shape, offsets, about=about), codes


def _parameters(path: Path, head: HeadModel) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
    arrays = read_arrays(path)

    def bad(what: str, hint: str = "Take the file that belongs to the .ply.") -> BadAvatarFile:
        return BadAvatarFile(f"{path}: {what}.", hint=hint, path=path)

    def array(name: str, width: int) -> np.ndarray:
        value = arrays.get(name)
        if value is None or value.ndim != 2 or value.shape[1] != width:
            raise bad(f"'{name}' is {'missing' if value is None else value.shape}, expected (T, {width})")
        return value

    codes = {ours: flip(array(theirs, width)) for ours, (theirs, width) in CODES.items()}
    codes["expression"] = _filled(array("expr", arrays.get("expr", np.zeros((0, 0))).shape[-1]), head.num_expression)
    if len({len(value) for value in codes.values()}) != 1:
        raise bad("its arrays differ in their number of frames")
    identity = arrays.get("shape", np.zeros(0)).reshape(-1)
    offsets = None
    static = arrays.get("static_offset")
    if static is not None and static.any():
        if static.ndim not in (2, 3) or static.shape[-1] != 3 or static.size // 3 < head.num_vertices:
            raise bad(f"'static_offset' is {static.shape}, the head has {head.num_vertices} vertices")
        offsets = torch.from_numpy(flip(static.reshape(-1, 3)[: head.num_vertices]))
    for name, value, size in (("shape", identity, head.num_shape), ("expr", arrays["expr"], head.num_expression)):
        if value.shape[-1] > size and value[..., size:].any():
            raise bad(
                f"'{name}' has {value.shape[-1]} codes in use, the head {head.id} knows {size}",
                "Import the FLAME that the avatar was made with: rsat-data models import-flame FILE.",
            )
    shape = torch.from_numpy(_filled(identity[None], head.num_shape)[0])
    return shape, offsets, {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in codes.items()}


def _filled(values: np.ndarray, size: int) -> np.ndarray:
    """(T, size) float32: cut, or filled with zeros."""
    result = np.zeros((len(values), size), np.float32)
    result[:, : values.shape[1]] = values[:, :size]
    return result


def export_gaussian_avatars(
    avatar: Avatar, codes: Mapping[str, Tensor], folder: Path, *, degree: int = 3, num_vertices: int
) -> None:
    """Write ``point_cloud.ply`` and ``flame_param.npz`` as their viewer and their ``--motion_path`` read them.

    Faces and vertices keep their numbers, so the avatar must belong to a head of FLAME's topology. For another head the
    .ply is as valid, but their program has only FLAME to carry it.

    Args:
        avatar: of a FLAME head.
        codes: T frames, each (T, ...), as for :meth:`model.head.HeadModel.pose`.
        folder: where to.
        degree: of the spherical harmonics that their program is started with (``--sh_degree``).
        num_vertices: V of the head, without teeth.

    Raises:
        DiskFullError, DatasetError: the folder cannot be written.
    """
    frames = max((len(value) for value in codes.values()), default=1)
    offset = np.zeros((1, num_vertices + TEETH_VERTICES, 3), np.float32)
    if avatar.offsets is not None:
        offset[0, :num_vertices] = flip(avatar.offsets.cpu().numpy())
    arrays = {
        "shape": avatar.shape.cpu().numpy().astype(np.float32),
        "expr": codes["expression"].cpu().numpy().astype(np.float32),
        "static_offset": offset,
        "dynamic_offset": np.zeros((frames, num_vertices + TEETH_VERTICES, 3), np.float32),
    }
    for ours, (theirs, width) in CODES.items():
        given = codes.get(ours)
        values = np.zeros((frames, width), np.float32) if given is None else given.cpu().numpy().astype(np.float32)
        arrays[theirs] = flip(values)
    content = gaussians_bytes(avatar.gaussians, degree)
    # Zeros of every vertex in every frame are what their loader asks for; compressed they are nothing.
    commit(
        stage(
            {
                folder / PLY: lambda stream: stream.write(content),
                folder / NPZ: lambda stream: np.savez_compressed(stream, **arrays),  # type: ignore[arg-type]
            }
        )
    )
