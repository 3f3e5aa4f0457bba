from __future__ import annotations

import cv2
import numpy as np
import pytest

from model.avatar.alignment import Body, Level, cost, refine, sample
from model.camera import Camera, project, unproject

CAMERA = Camera(160.0, 160.0, 30.0, 36.0, 64, 64)
SIGMA = np.array([0.1, 0.1, 0.1, 0.03, 0.03, 0.03])


def texture(seed: int = 0) -> np.ndarray:
    """(64, 64, 3) smooth pattern in [0, 1]."""
    noise = np.random.default_rng(seed).random((64, 64, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    return (smooth - smooth.min()) / np.ptp(smooth)


def body_of(picture: np.ndarray, step: int = 1) -> Body:
    """A curved surface, half a metre away, that covers the middle of the picture."""
    ys, xs = (grid.ravel() for grid in np.mgrid[12:52:step, 12:52:step])
    pixels = np.stack([xs + 0.5, ys + 0.5], axis=1)
    depth = 0.5 + 0.04 * np.square((xs - 32) / 20)
    points = unproject(pixels, depth, CAMERA)
    level = Level(CAMERA, points, sample(picture, pixels))
    return Body(np.array([0.0, 0.05, 0.5]), np.array([0.1, -0.2, 0.05]), [level], SIGMA)


def seen(body: Body, picture: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """The picture after the body has moved: every pixel takes the value of the nearest moved points, smoothly."""
    from scipy.interpolate import RBFInterpolator

    level = body.levels[0]
    turn = cv2.Rodrigues(body.rotation + pose[:3])[0] @ cv2.Rodrigues(body.rotation)[0].T
    moved = project((level.points - body.pivot) @ turn.T + body.pivot + pose[3:], CAMERA)
    ys, xs = np.mgrid[:64, :64]
    grid = np.stack([xs.ravel() + 0.5, ys.ravel() + 0.5], axis=1)
    back = RBFInterpolator(moved, project(level.points, CAMERA), neighbors=12, kernel="thin_plate_spline")(grid)
    return sample(picture, back).reshape(64, 64, 3)


@pytest.mark.parametrize("covered", [False, True])
def test_a_rigid_motion_is_found_also_behind_a_hand(covered: bool) -> None:
    picture = texture()
    body = body_of(picture, 2)
    truth = np.array([0.06, -0.05, 0.08, 0.004, -0.005, 0.012])
    other = seen(body, picture, truth)
    if covered:
        other[28:48, 14:30] = (0.9, 0.1, 0.1)
    level = body.levels[0]
    found = refine(body, level, other, np.zeros(6), 20)
    turn = cv2.Rodrigues(body.rotation + truth[:3])[0] @ cv2.Rodrigues(body.rotation)[0].T
    again = cv2.Rodrigues(body.rotation + found[:3])[0] @ cv2.Rodrigues(body.rotation)[0].T

    def at(rotation: np.ndarray, shift: np.ndarray) -> np.ndarray:
        return project((level.points - body.pivot) @ rotation.T + body.pivot + shift, CAMERA)

    left = at(again, found[3:]) - at(turn, truth[3:])
    start = at(np.eye(3), np.zeros(3)) - at(turn, truth[3:])
    assert np.abs(start).max() > 3
    assert np.sqrt(np.square(left).mean()) < (0.4 if covered else 0.15)
    assert cost(body, level, other, found) < 0.5 * cost(body, level, other, np.zeros(6))


def test_what_the_picture_does_not_show_stays() -> None:
    body = body_of(np.full((64, 64, 3), 0.5, np.float32), 4)
    flat = np.full((64, 64, 3), 0.5, np.float32)
    start = np.array([0.05, 0.0, 0.0, 0.01, 0.0, 0.02])
    assert np.abs(refine(body, body.levels[0], flat, start, 3)).max() < 1e-4
    away = np.array([0.0, 0.0, 0.0, 10.0, 0.0, 0.0])
    assert cost(body, body.levels[0], flat, away) == 1.0
    assert np.array_equal(refine(body, body.levels[0], flat, away), away)
