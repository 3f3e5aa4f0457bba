"""Pinhole camera in OpenCV's convention: x right, y down, z away from the camera; metres in, pixels out.

Image coordinates are continuous with (0, 0) at the top-left *corner* of the image, so the centre of the
first pixel lies at (0.5, 0.5). With that choice a crop is a shift and a resize is a scale of the intrinsics
and nothing else; OpenCV's own functions put (0, 0) at a pixel's centre and differ by half a pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch

    Array = TypeVar("Array", np.ndarray, torch.Tensor)

MIN_DEPTH = 1e-6
"""Depths (metres) nearer than this are clamped before the division, so projections stay finite."""


@dataclass(frozen=True)
class Camera:
    """Intrinsics of one pinhole camera without lens distortion; the principal point may lie anywhere."""

    fx: float
    """Focal length along x, pixels."""
    fy: float
    """Focal length along y, pixels."""
    cx: float
    """Principal point x, pixels from the left edge."""
    cy: float
    """Principal point y, pixels from the top edge."""
    width: int
    """Image width, pixels."""
    height: int
    """Image height, pixels."""

    def __post_init__(self) -> None:
        values = (self.fx, self.fy, self.cx, self.cy)
        if not all(math.isfinite(value) for value in values):
            raise ValueError(f"Camera intrinsics must be finite, got {values}")
        if self.fx <= 0 or self.fy <= 0:
            raise ValueError(f"Camera focal lengths must be positive, got fx={self.fx} fy={self.fy}")
        if self.width < 1 or self.height < 1:
            raise ValueError(f"Camera image must be at least 1x1 pixels, got {self.width}x{self.height}")

    @staticmethod
    def from_fov(fov_y_deg: float, width: int, height: int) -> Camera:
        """Square-pixel camera with its principal point in the middle.

        Args:
            fov_y_deg: vertical field of view, degrees, in (0, 180).
            width: image width, pixels.
            height: image height, pixels.
        """
        focal = 0.5 * height / math.tan(0.5 * math.radians(fov_y_deg))
        return Camera(focal, focal, 0.5 * width, 0.5 * height, int(width), int(height))

    def crop(self, x0: float, y0: float, width: int, height: int) -> Camera:
        """Camera of the window of ``width`` x ``height`` pixels whose top-left corner is (x0, y0)."""
        return Camera(self.fx, self.fy, self.cx - x0, self.cy - y0, int(width), int(height))

    def scaled(self, width: int, height: int) -> Camera:
        """Camera of the whole image resized to ``width`` x ``height`` pixels."""
        sx, sy = width / self.width, height / self.height
        return Camera(self.fx * sx, self.fy * sy, self.cx * sx, self.cy * sy, int(width), int(height))

    def crop_square(self, x0: float, y0: float, side: float, size: int) -> Camera:
        """Camera of the square window (x0, y0, side) in this image's pixels, resized to ``size`` x ``size``.

        A point at p in this image lies at (p - (x0, y0)) * size / side in the new one.
        """
        if not side > 0:
            raise ValueError(f"The side of a crop must be positive, got {side}")
        scale = size / side
        return Camera(
            self.fx * scale, self.fy * scale, (self.cx - x0) * scale, (self.cy - y0) * scale, int(size), int(size)
        )

    def matrix(self) -> np.ndarray:
        """The (3, 3) float64 intrinsic matrix for continuous image coordinates (corner origin)."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])


def project(points: Array, camera: Camera) -> Array:
    """Project camera-frame points to pixels.

    Args:
        points: (..., 3) metres, numpy array or torch tensor; differentiable for the latter.
        camera: the intrinsics.

    Returns:
        (..., 2) continuous pixel coordinates of the same kind and dtype. Points with z < ``MIN_DEPTH`` are
        divided by ``MIN_DEPTH``: finite, but meaningless; test z where that matters.
    """
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    if isinstance(points, np.ndarray):
        depth = np.maximum(z, MIN_DEPTH)
        return np.stack([camera.fx * x / depth + camera.cx, camera.fy * y / depth + camera.cy], axis=-1)
    import torch

    depth = z.clamp_min(MIN_DEPTH)
    return torch.stack([camera.fx * x / depth + camera.cx, camera.fy * y / depth + camera.cy], dim=-1)


def unproject(pixels: Array, depth: Array, camera: Camera) -> Array:
    """Camera-frame points (..., 3) in metres of pixels (..., 2) at the given depths (...), the inverse of project."""
    x = (pixels[..., 0] - camera.cx) / camera.fx * depth
    y = (pixels[..., 1] - camera.cy) / camera.fy * depth
    if isinstance(pixels, np.ndarray):
        return np.stack([x, y, depth + 0 * x], axis=-1)
    import torch

    return torch.stack([x, y, depth + 0 * x], dim=-1)
