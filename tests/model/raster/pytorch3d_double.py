"""What the backend uses of pytorch3d, slow and by its documented conventions; pytorch3d itself is not installed here.

x to the left, y up, the shorter side of the picture spans [-1, 1], x and y projected, z the depth; faces of a batch are
numbered through, -1 where there is none. The backend was compared once with the rasteriser in Python that pytorch3d
0.7.9 ships to test its own kernels: the same face in every pixel.
"""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from rsat_data import optional


class Meshes:
    def __init__(self, verts: torch.Tensor, faces: torch.Tensor) -> None:
        assert verts.dtype == torch.float32 and faces.dtype == torch.int64 and len(verts) == len(faces)
        self.verts, self.faces = verts, faces


def rasterize_meshes(
    meshes: Meshes,
    image_size: tuple[int, int],
    blur_radius: float,
    faces_per_pixel: int,
    perspective_correct: bool,
    cull_backfaces: bool,
    z_clip_value: float,
    max_faces_per_bin: int,
) -> tuple[torch.Tensor, ...]:
    assert blur_radius == 0 and faces_per_pixel == 1 and perspective_correct and not cull_backfaces
    count = meshes.faces.shape[1]
    assert max_faces_per_bin >= count
    height, width = image_size
    short = min(height, width)
    x = (width - 1 - 2 * np.arange(width)) / short
    y = (height - 1 - 2 * np.arange(height)) / short
    rays = np.stack([*np.meshgrid(x, y), np.ones((height, width))], axis=-1)
    seen = np.full((len(meshes.verts), height, width, 1), -1, np.int64)
    for item, (points, faces) in enumerate(zip(meshes.verts.double().numpy(), meshes.faces.numpy(), strict=True)):
        assert np.isfinite(points).all(), "pytorch3d does not say what it does with NaN"
        space = np.concatenate([points[:, :2] * points[:, 2:], points[:, 2:]], axis=1)  # back before the projection
        nearest = np.full((height, width), np.inf)
        for number, face in enumerate(faces):
            a, b, c = space[face]
            edges = np.stack([rays @ np.cross(b, c), rays @ np.cross(c, a), rays @ np.cross(a, b)], axis=-1)
            volume, total = a @ np.cross(b, c), edges.sum(axis=-1)
            if abs(volume) < 1e-12:
                continue
            with np.errstate(divide="ignore", invalid="ignore"):
                depth = volume / total
                hit = (edges / total[..., None] > 0).all(axis=-1) & (depth >= z_clip_value) & (depth < nearest)
            nearest[hit] = depth[hit]
            seen[item, ..., 0][hit] = item * count + number
    return torch.from_numpy(seen), torch.empty(0), torch.empty(0), torch.empty(0)


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for the modules that the backend imports."""
    names = ("pytorch3d", "pytorch3d.structures", "pytorch3d.renderer", "pytorch3d.renderer.mesh")
    for name in names:
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["pytorch3d.structures"].Meshes = Meshes  # type: ignore[attr-defined]
    sys.modules["pytorch3d.renderer.mesh"].rasterize_meshes = rasterize_meshes  # type: ignore[attr-defined]
    optional.is_installed.cache_clear()
