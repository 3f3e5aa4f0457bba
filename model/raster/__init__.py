"""Mesh rasterisers with one interface: triangles to (face id, perspective-correct barycentrics, depth).

    fragments = rasterize(vertices, faces, camera)
    colours = interpolate(fragments, faces, vertex_colours)

Backends: ``numba`` (CPU, multi-core), ``torch`` (any device), ``pytorch3d`` (where it is installed), ``reference``
(slow and obvious, for tests). ``auto`` takes numba for tensors on the CPU, pytorch3d on CUDA where it is installed, and
torch elsewhere. Gradients reach vertices and attributes; where silhouettes
move, a pixel jumps from one face to another, and that jump has none.
"""

from __future__ import annotations

from typing import Literal

import torch

from model.camera import Camera
from model.raster.autograd import Surface
from model.raster.fragments import NEAR, Fragments, fragments_from_faces
from model.raster.interpolate import interpolate
from model.raster.shading import face_normals, shade_lambert, vertex_normals
from rsat_data.optional import is_installed

__all__ = [
    "NEAR",
    "Backend",
    "Fragments",
    "chosen_backend",
    "face_normals",
    "interpolate",
    "rasterize",
    "shade_lambert",
    "vertex_normals",
]

Backend = Literal["auto", "numba", "torch", "pytorch3d", "reference"]


def chosen_backend(device: torch.device) -> Backend:
    """What ``auto`` takes for tensors on a device."""
    if device.type == "cpu":
        return "numba"
    return "pytorch3d" if device.type == "cuda" and is_installed("pytorch3d") else "torch"


def rasterize(
    vertices: torch.Tensor,
    faces: torch.Tensor,
    camera: Camera,
    backend: Backend = "auto",
    *,
    near: float = NEAR,
    threads: int | None = None,
) -> Fragments:
    """Find the nearest face behind every pixel of a batch of poses of one mesh.

    Args:
        vertices: (B, V, 3) float32 or float64, camera frame of OpenCV, metres.
        faces: (F, 3) int64. Both sides of a face are drawn. F may be 0.
        camera: intrinsics and image size; the principal point may lie anywhere.
        backend: see the module's docstring.
        near: surfaces nearer than this (metres) are cut away, exactly: a triangle that reaches behind the camera is
            drawn where it lies beyond the plane. Degenerate triangles and those with a NaN are skipped.
        threads: threads of the numba backend; None for torch's setting. The result does not depend on it.

    Returns:
        Fragments on the device of ``vertices``. Where two faces are equally near the lower id wins.

    Raises:
        ValueError: wrong shapes, dtypes or indices, or tensors on different devices.
        MissingDependencyError: the backend needs a package that is not installed.
    """
    _check(vertices, faces, near)
    if backend == "auto":
        backend = chosen_backend(vertices.device)
    if backend == "torch" or backend == "pytorch3d":
        if backend == "torch":
            from model.raster import torch_backend as ids_of
        else:
            from model.raster import pytorch3d_backend as ids_of  # type: ignore[no-redef]
        return fragments_from_faces(ids_of.face_ids(vertices, faces, camera, near), vertices, faces, camera)
    if backend == "numba":
        from model.raster import numba_backend as arrays
    elif backend == "reference":
        from model.raster import reference as arrays  # type: ignore[no-redef]
    else:
        raise ValueError(f"Unknown raster backend {backend!r}: choose auto, numba, torch, pytorch3d or reference")
    points, triangles = vertices.detach().cpu().numpy(), faces.detach().cpu().numpy()
    face_id, bary, depth = arrays.rasterize_arrays(points, triangles, camera, near, threads)
    ids = torch.from_numpy(face_id).to(vertices.device)
    if vertices.requires_grad and torch.is_grad_enabled():
        if vertices.device.type != "cpu":
            return fragments_from_faces(ids, vertices, faces, camera)
        images = Surface.apply(vertices, faces, ids, torch.from_numpy(bary), torch.from_numpy(depth), camera)
        return Fragments(ids, *images)
    return Fragments(ids, torch.from_numpy(bary).to(vertices.device), torch.from_numpy(depth).to(vertices.device))


def _check(vertices: torch.Tensor, faces: torch.Tensor, near: float) -> None:
    if vertices.ndim != 3 or vertices.shape[-1] != 3:
        raise ValueError(f"vertices should have shape (B, V, 3), got {tuple(vertices.shape)}")
    if vertices.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"vertices should be float32 or float64, got {vertices.dtype}")
    if faces.ndim != 2 or faces.shape[-1] != 3 or faces.dtype != torch.int64:
        raise ValueError(f"faces should be int64 of shape (F, 3), got {faces.dtype} {tuple(faces.shape)}")
    if faces.device != vertices.device:
        raise ValueError(f"faces lie on {faces.device}, vertices on {vertices.device}; move one of them")
    if faces.numel():
        least, most = torch.stack(torch.aminmax(faces)).tolist()  # one wait for the device, not four
        if least < 0 or most >= vertices.shape[1]:
            raise ValueError(f"faces name vertices {least}..{most}, there are {vertices.shape[1]}")
    if not near > 0:
        raise ValueError(f"near must be positive, got {near}")
