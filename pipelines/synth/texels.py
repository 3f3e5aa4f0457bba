"""Colours stored per triangle (mesh colours): every face has its own triangular grid of texels, no uv map needed.

A face of resolution R has texels at barycentrics (i, j, R - i - j) / R for i, j >= 0, i + j <= R; texel (i, j) is
number i (2 R + 3 - i) / 2 + j of its face. Neighbouring faces of unequal R may differ by less than a texel at their
edge.
(Yuksel, Keyser and House, "Mesh colors", ACM Transactions on Graphics 29(2), 2010.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TexelGrid:
    """Where the texels of a mesh lie."""

    resolution: np.ndarray
    """(F,) int32, R of each face."""
    offset: np.ndarray
    """(F,) int64, number of each face's first texel."""
    face: np.ndarray
    """(N,) int32, the face of each texel."""
    bary: np.ndarray
    """(N, 3) float32, barycentrics of each texel in its face."""

    @property
    def count(self) -> int:
        """Number of texels N."""
        return len(self.face)

    def interpolate(self, faces: np.ndarray, attributes: np.ndarray) -> np.ndarray:
        """Vertex attributes (V, C) or (V,) at the texels: (N, C) or (N,) float32."""
        corners = attributes.astype(np.float32)[faces[self.face]]
        return np.einsum("nk...,nk->n...", corners, self.bary)


def make_grid(vertices: np.ndarray, faces: np.ndarray, spacing_m: float | np.ndarray, largest: int = 40) -> TexelGrid:
    """A grid with texels at most ``spacing_m`` (a number, or one a face) apart on a mesh (V, 3); 2 <= R <= largest."""
    edges = vertices[faces] - vertices[np.roll(faces, 1, axis=1)]
    longest = np.linalg.norm(edges, axis=2).max(axis=1)
    resolution = np.clip(np.ceil(longest / spacing_m), 2, largest).astype(np.int32)
    counts = (resolution.astype(np.int64) + 1) * (resolution + 2) // 2
    offset = np.concatenate([[0], np.cumsum(counts)[:-1]])
    face = np.repeat(np.arange(len(faces), dtype=np.int32), counts)
    bary = np.empty((len(face), 3), np.float32)
    for value in np.unique(resolution):
        i, j = np.array([(i, j) for i in range(value + 1) for j in range(value + 1 - i)], np.float32).T
        pattern = np.stack([i, j, value - i - j], axis=1) / np.float32(value)
        members = np.flatnonzero(resolution == value)
        places = offset[members][:, None] + np.arange(len(pattern))
        bary[places.reshape(-1)] = np.tile(pattern, (len(members), 1))
    return TexelGrid(resolution, offset, face, bary)


def join(grids: list[TexelGrid]) -> TexelGrid:
    """The grid of several meshes drawn as one, their faces one after the other."""
    texels, faces = 0, 0
    offsets, owners = [], []
    for grid in grids:
        offsets.append(grid.offset + texels)
        owners.append(grid.face + np.int32(faces))
        texels += grid.count
        faces += len(grid.resolution)
    return TexelGrid(
        np.concatenate([grid.resolution for grid in grids]),
        np.concatenate(offsets),
        np.concatenate(owners),
        np.concatenate([grid.bary for grid in grids]),
    )
