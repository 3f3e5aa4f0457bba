"""The photometric term of a window of frames: what the landmark fit's solver takes as a further cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.camera import Camera
from model.fitting import rotations
from model.fitting.landmark_model import LandmarkModel, Part
from model.photometric import kernels
from model.raster.jit import run_jobs

_BLOCK = 4
"""Frames of one job."""


def blocks(num: int) -> list[tuple[int, int]]:
    """Spans of frames, each worked on by one thread."""
    return [(first, min(first + _BLOCK, num)) for first in range(0, num, _BLOCK)]


def intrinsics(camera: Camera) -> np.ndarray:
    """(4,) float32 fx, fy, cx, cy."""
    return np.array([camera.fx, camera.fy, camera.cx, camera.cy], np.float32)


def _single(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, dtype=np.float32)


@dataclass(frozen=True)
class PhotometricTerm:
    """Robust distance of the colours under K points of the face from those expected, as a function of the codes."""

    points: LandmarkModel
    """Of one subject (``with_shape``), or with shape codes among the linear codes."""
    image: np.ndarray
    """(T, H, W, 4) uint8: RGB and matte."""
    camera: Camera
    """Of these pictures."""
    target: np.ndarray
    """(T, K, 3) float32 expected colours in [0, 1]."""
    weight: np.ndarray
    """(T, K) float32; 0 where hidden."""
    noise: float
    """Standard deviation of a channel."""
    cauchy: float
    """Scale of the loss in units of ``noise``."""
    matte_weight: float
    """Weight of the silhouette."""
    threads: int = 1
    """Jobs at a time; changes nothing in the result."""

    def __call__(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cost (T,), gradient (T, P) and Gauss-Newton matrix (T, P, P) at codes (T, P)."""
        num, p = codes.shape
        c = self.points.num_linear
        angles = np.stack([codes[:, c + 3 * a : c + 3 * a + 3] for a in range(4)], axis=1)
        cost = np.zeros(num)
        gradient, hessian = np.zeros((num, p), np.float32), np.zeros((num, p, p), np.float32)

        def arrays(part: Part) -> tuple[np.ndarray, ...]:
            return part.rest, part.across, part.linear, part.corrective, part.entries, part.bends

        points = self.points
        fixed = (
            _single(codes[:, :c]), _single(rotations.exp(angles)), _single(rotations.left_jacobian(angles)),
            _single(codes[:, c + 12 :]), self.image, self.target, self.weight,
            np.float32(1.0 / self.noise), np.float32(self.cauchy), np.float32(self.matte_weight),
            intrinsics(self.camera),
            *arrays(points.root), points.jaw.index, *arrays(points.jaw),
            points.eye.index, points.eye_side, *arrays(points.eye),
            cost, gradient, hessian,
        )  # fmt: skip
        run_jobs(kernels.data_term, [(first, last, *fixed) for first, last in blocks(num)], self.threads)
        return cost, gradient.astype(np.float64), hessian
