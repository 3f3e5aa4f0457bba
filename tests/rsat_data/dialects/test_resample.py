"""Codes to 25 frames a second: exact where they are, rotations on the sphere, gaps marked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.fitting.rotations import exp
from rsat_data.dialects.resample import grid_of, resampled
from rsat_data.dialects.track import FRAME_CODES, WIDTHS, Track, make_track
from rsat_data.errors import UnsupportedSource


def track(frames: int, fps: float, steps: np.ndarray | None = None) -> Track:
    """A head that turns about a fixed axis at a constant rate, 1.2 radians a second, and moves 0.3 m a second."""
    time = (np.arange(frames) if steps is None else steps)[:, None] / fps
    codes = {name: np.zeros((frames, width), np.float32) for name, width in WIDTHS.items()}
    codes["rotation"] = (1.2 * time * np.array([[0.6, 0.0, 0.8]])).astype(np.float32)
    codes["translation"] = (0.3 * time * np.ones(3)).astype(np.float32)
    codes |= {"expression": np.sin(time).astype(np.float32).repeat(4, 1), "shape": np.ones(3, np.float32)}
    return make_track(codes, head="flame2020", fps=fps, steps=steps)


@settings(max_examples=40, deadline=None)
@given(st.integers(3, 60), st.sampled_from([23.976, 24.0, 29.97, 30.0, 50.0, 60.0]))
def test_a_steady_motion_stays_steady(frames: int, fps: float) -> None:
    given_track = track(frames, fps)
    grid = grid_of(given_track)
    found = resampled(given_track, grid)
    assert found.num_frames == int(frames / fps * 25 + 1e-6) and found.fps == 25 and found.steps is None
    time = np.minimum(np.arange(found.num_frames) / 25, (frames - 1) / fps)[:, None]  # held after the last
    np.testing.assert_allclose(found.translation, 0.3 * time * np.ones(3), atol=1e-5)
    np.testing.assert_allclose(exp(found.rotation), exp(1.2 * time * np.array([[0.6, 0, 0.8]])), atol=1e-5)
    assert found.valid is not None and found.valid.all()


@pytest.mark.parametrize("fps", [25.0, 50.0, 100.0])
def test_frames_that_are_there_are_taken_bit_for_bit(fps: float) -> None:
    given_track = track(40, fps)
    found = resampled(given_track, grid_of(given_track))
    for name in FRAME_CODES:
        np.testing.assert_array_equal(getattr(found, name), getattr(given_track, name)[:: int(fps // 25)])


def test_gaps_are_bridged_and_marked() -> None:
    steps = np.array([0, 1, 2, 6, 7])
    found = resampled(track(5, 25.0, steps), grid_of(track(5, 25.0, steps)))
    assert found.valid is not None and found.valid.tolist() == [True, True, True, False, False, False, True, True]
    np.testing.assert_allclose(found.translation[:, 0], 0.3 * np.arange(8) / 25, atol=1e-6)


def test_a_frame_that_is_not_valid_spoils_its_neighbours() -> None:
    given_track = track(30, 30.0).replace(valid=np.arange(30) != 10)
    found = resampled(given_track, grid_of(given_track))
    bad = np.flatnonzero(~found.valid) / 25  # type: ignore[operator]
    assert len(bad) and np.all(np.abs(bad - 10 / 30) < 1 / 30)


def test_rates_and_spans_that_cannot_be() -> None:
    with pytest.raises(UnsupportedSource, match="frames a second"):
        grid_of(track(5, 0.5))
    with pytest.raises(UnsupportedSource, match="shorter than one frame"):
        grid_of(track(2, 60.0))
    with pytest.raises(UnsupportedSource, match="cannot be right"):
        grid_of(track(2, 25.0, np.array([0, 10**9])))
