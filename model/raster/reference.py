"""The slow, obvious rasteriser that the fast ones are tested against: every face against every pixel."""

from __future__ import annotations

import numpy as np

from model.camera import Camera
from model.raster.fragments import DEGENERATE, NEAR


def rasterize_arrays(
    vertices: np.ndarray, faces: np.ndarray, camera: Camera, near: float = NEAR, threads: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Same contract as :func:`model.raster.numba_backend.rasterize_arrays`; ``threads`` is ignored.

    For each face, t d = V b is solved for b / t by matrix inversion, with the vertices as the columns of V.
    """
    del threads
    batch, height, width = vertices.shape[0], camera.height, camera.width
    y, x = np.mgrid[0:height, 0:width] + 0.5
    rays = np.stack([(x - camera.cx) / camera.fx, (y - camera.cy) / camera.fy, np.ones_like(x)], axis=-1)
    face_id = np.full((batch, height, width), -1, np.int32)
    bary = np.zeros((batch, height, width, 3))
    depth = np.full((batch, height, width), np.inf)
    for item in range(batch):
        for index, face in enumerate(faces):
            corners = vertices[item, face].astype(np.float64)
            volume = np.linalg.det(corners)
            if not abs(volume) > DEGENERATE * np.linalg.norm(corners, axis=1).prod():
                continue
            scaled = rays @ np.linalg.inv(corners)  # b / t
            with np.errstate(divide="ignore", invalid="ignore"):
                distance = 1.0 / scaled.sum(-1)
                weights = scaled * distance[..., None]
            seen = (scaled >= 0).all(-1) & (distance >= near) & (distance < depth[item])
            face_id[item][seen] = index
            bary[item][seen] = weights[seen]
            depth[item][seen] = distance[seen]
    depth[face_id < 0] = 0.0
    return face_id, bary.astype(vertices.dtype), depth.astype(vertices.dtype)
