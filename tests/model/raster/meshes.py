"""Made meshes for the rasteriser's tests."""

from __future__ import annotations

import numpy as np
import torch

from model.camera import Camera


def soup(
    seed: int, faces: int, batch: int = 1, spread: float = 0.3, depth: float = 0.9
) -> tuple[torch.Tensor, torch.Tensor]:
    """Random triangles: vertices (B, V, 3) float64 and faces (F, 3); some reach behind the camera if depth < spread."""
    rng = np.random.default_rng(seed)
    count = max(4, faces)
    vertices = rng.normal(size=(batch, count, 3)) * spread
    vertices[..., 2] += depth
    return torch.from_numpy(vertices), torch.from_numpy(rng.integers(0, count, size=(faces, 3)))


def sphere(rings: int = 12, radius: float = 0.1, distance: float = 0.6) -> tuple[torch.Tensor, torch.Tensor]:
    """A closed sphere: vertices (1, V, 3) float64, 2 * rings**2 faces (those at the poles degenerate)."""
    polar = np.linspace(0, np.pi, rings + 1)[:, None]
    azimuth = np.linspace(0, 2 * np.pi, rings + 1)[None]
    points = np.stack(
        [np.sin(polar) * np.cos(azimuth), np.cos(polar) + 0 * azimuth, np.sin(polar) * np.sin(azimuth)], axis=-1
    )
    corner = (np.arange(rings)[:, None] * (rings + 1) + np.arange(rings)).reshape(-1)
    quad = np.stack([corner, corner + 1, corner + rings + 2, corner, corner + rings + 2, corner + rings + 1], axis=-1)
    vertices = points.reshape(1, -1, 3) * radius + [0, 0, distance]
    return torch.from_numpy(vertices), torch.from_numpy(quad.reshape(-1, 3))


CAMERA = Camera(fx=61.0, fy=57.0, cx=20.3, cy=14.9, width=47, height=31)
"""Small, odd-sized, off-centre."""
