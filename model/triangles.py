"""The frame of a triangle in space, also where the triangle has no area; differentiable in its corners."""

from __future__ import annotations

import torch
from torch import Tensor

MIN_EDGE = 1e-10
"""Base edges (metres) shorter than this have no direction; the triangle's frame is then completed with fixed axes."""
MIN_SINE = 1e-6
"""Triangles whose angle at v0 has a smaller sine have no normal that float32 could tell; likewise."""


def _unit(vector: Tensor, valid: Tensor, otherwise: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors and lengths of (..., 3); where not ``valid`` (...), constants and 0, without NaN in any gradient."""
    squared = torch.where(valid, (vector * vector).sum(-1), torch.ones_like(valid, dtype=vector.dtype))
    length = squared.sqrt()
    unit = torch.where(valid[..., None], vector / length[..., None], otherwise)
    return unit, torch.where(valid, length, torch.zeros_like(length))


def _across(axis: Tensor) -> Tensor:
    """Some unit vector at a right angle to each unit vector (..., 3), without history."""
    axis = axis.detach()
    least = torch.nn.functional.one_hot(axis.abs().argmin(-1), 3).to(axis.dtype)
    return torch.nn.functional.normalize(torch.linalg.cross(axis, least), dim=-1)


def frames(vertices: Tensor, faces: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rotations (B, F, 3, 3), centroids (B, F, 3) and scales (B, F) of triangles: R, T and k of ``model.gaussians``.

    Args:
        vertices: (B, V, 3) metres.
        faces: (F, 3) int64.
    """
    v0, v1, v2 = (vertices[:, faces[:, i]] for i in range(3))  # (B, F, 3)
    e0, e1 = v1 - v0, v2 - v0
    long = (e0 * e0).sum(-1) > MIN_EDGE**2
    a0, base = _unit(e0, long, e0.new_tensor([1.0, 0.0, 0.0]).expand_as(e0))
    normal = torch.linalg.cross(a0, e1)  # as long as the triangle is high
    wide = (normal * normal).sum(-1) > torch.clamp(MIN_SINE**2 * (e1 * e1).sum(-1), min=MIN_EDGE**2)
    a1, height = _unit(normal, wide, _across(a0))
    # A frame that had to be completed does not turn: half of it moving would leave the rotations.
    a0 = torch.where(wide[..., None], a0, a0.detach())
    a2 = torch.linalg.cross(a0, a1)
    return torch.stack([a0, a1, a2], dim=-1), (v0 + v1 + v2) / 3, 0.5 * (base + height)
