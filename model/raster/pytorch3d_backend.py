"""Rasteriser by pytorch3d, where it is installed: which face a pixel shows, and nothing else.

Barycentrics, depths and gradients come from :mod:`model.raster.fragments` like those of every backend, so all backends
agree to rounding wherever they see the same face. pytorch3d works in float32 and leaves out pixels that lie exactly on
an edge; single pixels along edges may therefore differ from the other backends.

Its convention (for rasterize_meshes called with projected points): x grows to the left and y upwards, the shorter side
of the picture spans [-1, 1] with (0, 0) in the middle of the picture, z is the depth.
"""

from __future__ import annotations

from types import ModuleType

import torch

from model.camera import Camera
from model.raster.fragments import NEAR
from rsat_data.errors import MissingDependencyError
from rsat_data.optional import require


def _modules() -> tuple[ModuleType, ModuleType]:
    """What is used of pytorch3d.

    Raises:
        MissingDependencyError: it is not installed, or was built for another torch.
    """
    purpose = "The raster backend 'pytorch3d'"
    try:
        return (
            require("pytorch3d.structures", needed_for=purpose),
            require("pytorch3d.renderer.mesh", needed_for=purpose),
        )
    except MissingDependencyError as error:
        hint = "docs/gpu.md says how to install it; the backend 'torch' needs nothing and gives the same."
        raise MissingDependencyError(error.message, hint=hint) from error


@torch.no_grad()
def face_ids(vertices: torch.Tensor, faces: torch.Tensor, camera: Camera, near: float = NEAR) -> torch.Tensor:
    """The nearest face at every pixel; arguments and result as for :func:`model.raster.torch_backend.face_ids`.

    Raises:
        MissingDependencyError: pytorch3d is not installed.
    """
    structures, mesh = _modules()
    batch, count = vertices.shape[0], faces.shape[0]
    if batch == 0 or count == 0:
        return torch.full((batch, camera.height, camera.width), -1, dtype=torch.int32, device=vertices.device)
    # One vertex a corner, so that a face with a NaN can be moved behind the camera without its neighbours.
    corners = vertices.float()[:, faces]  # (B, F, 3, 3)
    whole = torch.isfinite(corners).all(dim=(2, 3), keepdim=True)
    behind = torch.tensor([0.0, 0.0, -1.0], device=vertices.device)
    points = normalised(torch.where(whole, corners, behind), camera).reshape(batch, 3 * count, 3)
    order = torch.arange(3 * count, device=vertices.device).reshape(1, count, 3).expand(batch, -1, -1)
    seen = mesh.rasterize_meshes(
        structures.Meshes(points, order),
        image_size=(camera.height, camera.width),
        blur_radius=0.0,
        faces_per_pixel=1,
        perspective_correct=True,
        cull_backfaces=False,
        z_clip_value=near,
        # By default faces beyond 10,000 in one bin are dropped: a small head in a large picture has more.
        max_faces_per_bin=count,
    )[0][..., 0]
    own = torch.arange(batch, device=vertices.device)[:, None, None] * count
    return torch.where(seen >= 0, seen - own, -1).to(torch.int32)


def normalised(points: torch.Tensor, camera: Camera) -> torch.Tensor:
    """Camera-frame points (..., 3) in pytorch3d's coordinates: x and y projected, z the depth in metres."""
    x, y, z = points.unbind(-1)
    # Points in the camera's plane have no projection; the clipping multiplies it by z again.
    depth = torch.where(z.abs() < 1e-6, torch.full_like(z, -1e-6), z)
    scale = 2.0 / min(camera.width, camera.height)
    across = (0.5 * camera.width - camera.cx - camera.fx * x / depth) * scale
    up = (0.5 * camera.height - camera.cy - camera.fy * y / depth) * scale
    return torch.stack([across, up, depth], dim=-1)
