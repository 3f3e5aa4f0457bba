from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from pipelines.faces.gaps import angles, fill_linear, fill_poses


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=40).filter(any), st.integers(0, 100))
def test_a_straight_line_is_restored_and_known_frames_are_untouched(flags, seed):
    valid = np.array(flags)
    slope, offset = np.random.default_rng(seed).normal(size=(2, 5))
    line = np.arange(len(valid))[:, None] * slope + offset
    broken = np.where(valid[:, None], line, np.nan)
    filled = fill_linear(broken, valid)
    known = np.flatnonzero(valid)
    inside = np.s_[known[0] : known[-1] + 1]
    assert np.allclose(filled[inside], line[inside])
    assert (filled[: known[0]] == line[known[0]]).all() and (filled[known[-1] :] == line[known[-1]]).all()
    assert (filled[valid] == line[valid]).all()


def test_nothing_to_fill_from():
    with pytest.raises(ValueError, match="no valid frame"):
        fill_linear(np.zeros((3, 2)), np.zeros(3, bool))


def pose(degrees: float, axis: str, scale: float = 1.0) -> np.ndarray:
    out = np.eye(4, dtype=np.float32)
    out[:3, :3] = scale * Rotation.from_euler(axis, degrees, degrees=True).as_matrix()
    out[:3, 3] = (degrees, 0, -30)
    return out


def test_poses_turn_evenly_through_a_gap():
    whole = np.stack([pose(10.0 * i, "y", 1.1) for i in range(7)])
    valid = np.array([True, True, False, False, False, True, True])
    broken = np.where(valid[:, None, None], whole, 0).astype(np.float32)
    assert np.allclose(fill_poses(broken, valid), whole, atol=1e-4)


def test_one_pose_is_held():
    whole = np.stack([pose(20.0, "x")] * 4)
    valid = np.array([False, True, False, False])
    assert np.allclose(fill_poses(np.where(valid[:, None, None], whole, 0), valid), whole)


def test_angles_have_the_signs_they_say():
    # y up, z to the viewer: a positive turn about y brings the nose to the image's right.
    yaw, pitch, roll = angles(np.stack([pose(25, "y"), pose(-15, "x"), pose(-10, "z", 1.2)]))
    assert np.allclose(yaw, [25, 0, 0], atol=1e-3)
    assert np.allclose(pitch, [0, 15, 0], atol=1e-3)
    assert np.allclose(roll, [0, 0, 10], atol=1e-3)
