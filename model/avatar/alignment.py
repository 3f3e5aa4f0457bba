"""Rigid motion of known points between two pictures: robust Gauss-Newton on brightness, coarse to fine.

Points X (P, 3) of a template picture move as a body about a pivot c::

    X' = R(r0 + dr) R(r0)^T (X - c) + c + dt,      parameters p = (dr, dt)

and p minimises mean_i rho(I(project(X'_i)) - T_i) + w sum_k (p_k / sigma_k)^2, rho(e) = e^2 / (s^2 + e^2) the function
of Geman and McClure, which takes what covers a part of the body (a hand, a chin) for what it is: something else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from model.camera import Camera, project

_PRIOR = 2e-4
"""Weight of the prior against the mean of rho."""
_ENOUGH = 1e-3
"""Last step, in usual sizes."""
_LEAST_POINTS = 10
_KERNEL = np.array([[-0.5, 0.0, 0.5]], np.float32)


@dataclass(frozen=True, eq=False)
class Level:
    """The template at one size."""

    camera: Camera
    points: np.ndarray
    """(P, 3) in the camera frame, metres."""
    values: np.ndarray
    """(P, 3) float32 in [0, 1]."""


@dataclass(frozen=True, eq=False)
class Body:
    """What moves, and how it looked."""

    pivot: np.ndarray
    """(3,) that it turns about, metres."""
    rotation: np.ndarray
    """(3,) axis-angle r0 that turns are added to."""
    levels: Sequence[Level]
    """Coarse to fine."""
    sigma: np.ndarray
    """(6,) usual size of each parameter, radians and metres: what holds back those that the picture does not show."""
    noise: float = 0.1
    """Difference of values from which a point counts as something else."""


def _matrix(rotation: np.ndarray) -> np.ndarray:
    return cv2.Rodrigues(np.asarray(rotation, np.float64))[0]


def sample(image: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Values (P, 3) of a picture (H, W, 3) at pixels (P, 2), between pixel centres linearly."""
    flat = (pixels - 0.5).astype(np.float32)
    return cv2.remap(image, flat[:, None, 0], flat[:, None, 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0]


def _placed(body: Body, level: Level, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points moved (P', 3), of those that the picture then shows, and which (P,) those are."""
    turn = _matrix(body.rotation + pose[:3]) @ _matrix(body.rotation).T
    moved = (level.points - body.pivot) @ turn.T + body.pivot + pose[3:]
    pixels = project(moved, level.camera)
    inside = ((pixels > 0) & (pixels < [level.camera.width, level.camera.height])).all(1) & (moved[:, 2] > 0)
    return moved[inside], inside


def cost(body: Body, level: Level, image: np.ndarray, pose: np.ndarray) -> float:
    """What a pose (6,) leaves: the mean of rho, in [0, 1], over the points that are seen, and the prior's part."""
    moved, inside = _placed(body, level, pose)
    if not inside.any():
        return 1.0
    left = np.square(sample(image, project(moved, level.camera)) - level.values[inside]).mean(1) / body.noise**2
    return float((left / (1 + left)).mean() + _PRIOR * np.square(pose / body.sigma).sum())


def refine(body: Body, level: Level, image: np.ndarray, pose: np.ndarray, iterations: int = 6) -> np.ndarray:
    """The pose after some steps at one level.

    Args:
        body: what moves.
        level: which of its levels.
        image: (H, W, 3) float32 picture of that size.
        pose: (6,) to start from.
        iterations: at most.
    """
    camera = level.camera
    slopes = [cv2.filter2D(image, -1, kernel) for kernel in (_KERNEL, _KERNEL.T)]
    pose = np.array(pose, np.float64)
    for _ in range(iterations):
        moved, inside = _placed(body, level, pose)
        if len(moved) < _LEAST_POINTS:
            break
        pixels = project(moved, camera)
        here, by_x, by_y = (sample(picture, pixels) for picture in (image, *slopes))
        left = here - level.values[inside]
        weight = 1 / np.square(1 + np.square(left).mean(1) / body.noise**2)
        slope = np.zeros((len(moved), 6, 3))
        x, y, z = (moved - body.pivot - pose[3:]).T
        # d(R X)/dr as the cross product with the turned arm: exact for small r, and near enough to descend by.
        slope[:, 0, 1], slope[:, 0, 2], slope[:, 1, 2] = -z, y, -x
        slope[:, 1, 0], slope[:, 2, 0], slope[:, 2, 1] = z, -y, x
        slope[:, 3:] = np.eye(3)
        slope = slope * body.sigma[:, None] / moved[:, None, 2:]
        across = camera.fx * (slope[..., 0] - (moved[:, :1] / moved[:, 2:]) * slope[..., 2])
        down = camera.fy * (slope[..., 1] - (moved[:, 1:2] / moved[:, 2:]) * slope[..., 2])
        jacobian = (by_x[:, :, None] * across[:, None] + by_y[:, :, None] * down[:, None]).reshape(-1, 6)
        weighted = jacobian * (np.repeat(weight, 3) / (left.size * body.noise**2))[:, None]
        step = np.linalg.solve(
            weighted.T @ jacobian + _PRIOR * np.eye(6), weighted.T @ left.reshape(-1) + _PRIOR * pose / body.sigma
        )
        pose -= step * body.sigma
        if np.abs(step).max() < _ENOUGH:
            break
    return pose
