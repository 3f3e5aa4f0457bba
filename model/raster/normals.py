"""Normals of vertices as a numba kernel, for kernels that shade; :mod:`model.raster.shading` has them for tensors."""

from __future__ import annotations

import math

from model.raster.jit import kernel


@kernel
def vertex_normals(vertices, faces, out):  # type: ignore[no-untyped-def]
    """Area-weighted unit normals of vertices (V, 3) into ``out`` (V, 3); zero for vertices of no face."""
    out[:] = 0.0
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ux, uy, uz = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
        wx, wy, wz = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
        nx, ny, nz = uy * wz - uz * wy, uz * wx - ux * wz, ux * wy - uy * wx
        for v in (a, b, c):
            out[v, 0] += nx
            out[v, 1] += ny
            out[v, 2] += nz
    for v in range(out.shape[0]):
        length = math.sqrt(out[v, 0] ** 2 + out[v, 1] ** 2 + out[v, 2] ** 2)
        if length > 0:
            for k in range(3):
                out[v, k] /= length
