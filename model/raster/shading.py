"""Normals and diffuse shading in torch, differentiable in vertices, colours and light."""

from __future__ import annotations

import torch

from model.raster.fragments import Fragments
from model.raster.interpolate import interpolate
from model.raster.spherical_harmonics import irradiance


def face_normals(vertices: torch.Tensor, faces: torch.Tensor, unit: bool = True) -> torch.Tensor:
    """Normals (B, F, 3) of vertices (B, V, 3), towards where corners run counter-clockwise; not unit: 2 x area."""
    a, b, c = vertices[:, faces].unbind(2)
    normals = torch.linalg.cross(b - a, c - a)
    return torch.nn.functional.normalize(normals, dim=-1) if unit else normals


def vertex_normals(vertices: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
    """Unit normals (B, V, 3): the mean of the faces round a vertex, weighted by area; 0 for vertices of no face."""
    weighted = face_normals(vertices, faces, unit=False)
    total = torch.zeros_like(vertices)
    for corner in range(3):
        total = total.index_add(1, faces[:, corner], weighted)
    return torch.nn.functional.normalize(total, dim=-1)


def shade_lambert(
    fragments: Fragments,
    faces: torch.Tensor,
    vertices: torch.Tensor,
    albedo: torch.Tensor,
    light: torch.Tensor,
    background: torch.Tensor | float = 0.0,
) -> torch.Tensor:
    """Smooth-shaded diffuse image.

    Args:
        fragments: of ``vertices`` and ``faces``.
        faces: (F, 3) int64.
        vertices: (B, V, 3) camera frame.
        albedo: (B or 1, V, 3) linear colours in [0, 1].
        light: (9, 3) or (B, 9, 3) spherical harmonics of the incoming light, see
            :mod:`model.raster.spherical_harmonics`.
        background: broadcast to (B, H, W, 3) where nothing is seen.

    Returns:
        (B, H, W, 3) linear radiance.
    """
    normals = torch.nn.functional.normalize(interpolate(fragments, faces, vertex_normals(vertices, faces)), dim=-1)
    lit = interpolate(fragments, faces, albedo) * irradiance(normals, light).clamp_min(0)
    return torch.where(fragments.mask[..., None], lit, torch.as_tensor(background, dtype=lit.dtype, device=lit.device))
