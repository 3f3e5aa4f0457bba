"""Pictures of a fit: the posed mesh over the frame it was fitted to."""

from __future__ import annotations

import numpy as np
import torch

from model.camera import Camera
from model.raster import rasterize


def overlay(
    frame: np.ndarray,
    vertices: np.ndarray | torch.Tensor,
    faces: np.ndarray | torch.Tensor,
    camera: Camera,
    *,
    opacity: float = 0.55,
    colour: tuple[float, float, float] = (0.55, 0.75, 1.0),
) -> np.ndarray:
    """Draw a shaded mesh over a picture.

    Args:
        frame: (H, W, 3) uint8 RGB, the size of the camera's image.
        vertices: (V, 3) metres, camera frame.
        faces: (F, 3) int64.
        camera: camera of the picture.
        opacity: 0 shows the picture alone, 1 the mesh alone.
        colour: of the mesh in full light, RGB in [0, 1].

    Returns:
        (H, W, 3) uint8 RGB.
    """
    if frame.shape[:2] != (camera.height, camera.width):
        raise ValueError(f"The frame is {frame.shape[1]}x{frame.shape[0]}, its camera {camera.width}x{camera.height}")
    points = torch.as_tensor(vertices, dtype=torch.float32)
    triangles = torch.as_tensor(faces, dtype=torch.int64)
    face_id = rasterize(points[None], triangles, camera).face_id[0].numpy()
    corners = points.numpy()[triangles.numpy()]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    # Both sides are lit alike, from the camera's left shoulder.
    light = np.array([-0.35, -0.45, -0.82])
    shade = 0.25 + 0.75 * np.abs(normals @ light)
    covered = face_id >= 0
    mesh = shade[np.maximum(face_id, 0), None] * np.asarray(colour) * 255.0
    mixed = (1 - opacity) * frame + opacity * mesh
    return np.where(covered[..., None], np.clip(mixed, 0, 255), frame).astype(np.uint8)
