from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.faces.crop import Window, cut, extents, fixed_window, union


def face(cx: float, cy: float, size: float, num: int = 40, drift: float = 0.0, seed: int = 0) -> np.ndarray:
    """Landmarks (num, 478, 3) that fill a rectangle of size x 1.2 size and wander by ``drift`` px."""
    rng = np.random.default_rng(seed)
    shape = rng.uniform(-0.5, 0.5, (478, 3)) * (size, 1.2 * size, size)
    shape[:2] = [(-0.5 * size, -0.6 * size, 0), (0.5 * size, 0.6 * size, 0)]
    walk = rng.uniform(-drift, drift, (num, 1, 3)) * (1, 1, 0)
    return shape + walk + (cx, cy, 0)


def edges(window: Window) -> tuple[int, int, int, int]:
    return window.x0, window.y0, window.x0 + window.side, window.y0 + window.side


def test_the_head_fits_with_room_for_hair():
    landmarks = face(400, 300, 150, drift=20)
    window = fixed_window(landmarks, 1280, 720)
    left, top, right, bottom = edges(window)
    tight = union(extents(landmarks))
    assert left < tight[0] - 20 and right > tight[2] + 20 and bottom > tight[3] + 30 and top < tight[1] - 70
    assert window.side < 3 * 150
    assert left >= 0 and top >= 0 and right <= 1280 and bottom <= 720


@settings(deadline=None)
@given(
    cx=st.floats(60, 1220),
    cy=st.floats(60, 660),
    size=st.floats(20, 500),
    drift=st.floats(0, 60),
    seed=st.integers(0, 9),
)
def test_a_face_is_never_cut(cx, cy, size, drift, seed):
    landmarks = face(cx, cy, size, drift=drift, seed=seed)
    window = fixed_window(landmarks, 1280, 720)
    tight = union(extents(landmarks))
    left, top, right, bottom = edges(window)
    visible = np.array([max(tight[0], 0), max(tight[1], 0), min(tight[2], 1280), min(tight[3], 720)])
    assert left <= visible[0] + 1 and top <= visible[1] + 1
    assert right >= visible[2] - 1 and bottom >= visible[3] - 1


def test_one_lost_frame_does_not_widen_the_window():
    landmarks = face(400, 300, 150, num=200)
    wild = landmarks.copy()
    wild[77] += (500, 100, 0)
    assert fixed_window(wild, 1280, 720).side <= fixed_window(landmarks, 1280, 720).side + 4


@pytest.mark.parametrize("distance", [190, 230, 300])
def test_a_neighbours_face_is_kept_out(distance):
    left, right = face(500, 300, 160, drift=5), face(500 + distance, 300, 160, drift=5, seed=1)
    mine, theirs = fixed_window(left, 1280, 720, [right]), fixed_window(right, 1280, 720, [left])
    assert edges(mine)[2] <= union(extents(right))[0] + 1
    assert edges(theirs)[0] >= union(extents(left))[2] - 1
    for window, landmarks in ((mine, left), (theirs, right)):
        tight = union(extents(landmarks))
        assert edges(window)[0] <= tight[0] and edges(window)[2] >= tight[2]


def test_a_face_that_fills_the_picture_gets_all_of_it():
    assert fixed_window(face(256, 256, 300, drift=10), 512, 512) == Window(0, 0, 512)


def test_points_and_pixels_follow_the_same_map():
    picture = np.zeros((400, 600, 3), np.uint8)
    picture[200:210, 300:310] = 255  # pixels whose middle is at (305, 205)
    window = Window(250, 150, 128)
    crop = cut(picture, window, 512)
    ys, xs = np.nonzero(crop[..., 0] > 127)
    middle = np.array([xs.mean() + 0.5, ys.mean() + 0.5])
    assert np.allclose(middle, window.to_crop(np.array([305.0, 205.0]), 512), atol=0.3)
    assert np.allclose(window.to_crop(np.array([250.0, 150.0, 8.0]), 512), [0, 0, 32])


def test_shrinking_averages():
    picture = np.indices((300, 300)).sum(axis=0)[..., None].repeat(3, axis=2) % 2 * 255
    crop = cut(picture.astype(np.uint8), Window(0, 0, 256), 128)
    assert np.abs(crop.astype(int) - 127).max() <= 1
