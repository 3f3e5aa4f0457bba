"""Mouth movement as evidence of talking, and the agreement of lips and sound."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.speech.mouth import MAX_LOG_ODDS, envelope, lip_sync, measure_mouth, smooth
from tests.pipelines.speech.conftest import talking_mouth


def test_a_talking_mouth_and_a_closed_one() -> None:
    speaking = np.zeros(200, dtype=bool)
    speaking[80:140] = True
    mouth = measure_mouth(talking_mouth(speaking, 1), np.ones(200, dtype=bool))
    assert (mouth.log_odds[85:135] > 1.0).all()
    assert (np.delete(mouth.log_odds, range(65, 155)) < -1.0).all()


@given(st.floats(0.2, 5.0), st.floats(-3.1, 3.1), st.floats(-500, 500))
@settings(max_examples=8, deadline=None)
def test_size_place_and_tilt_of_the_face_do_not_matter(scale: float, angle: float, shift: float) -> None:
    speaking = np.arange(80) % 40 < 20
    points = talking_mouth(speaking, 2)
    c, s = np.cos(angle), np.sin(angle)
    moved = points @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]).T * scale + shift
    seen = np.ones(80, dtype=bool)
    before, after = measure_mouth(points, seen), measure_mouth(moved, seen)
    np.testing.assert_allclose(after.opening, before.opening, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(after.log_odds, before.log_odds, atol=0.02)


def test_unseen_frames_say_nothing() -> None:
    speaking = np.ones(60, dtype=bool)
    points = talking_mouth(speaking, 3)
    valid = np.ones(60, dtype=bool)
    valid[20:40] = False
    points[20:40] = np.nan
    mouth = measure_mouth(points, valid)
    assert not mouth.log_odds[20:40].any() and np.isnan(mouth.opening[20:40]).all()
    assert np.isfinite(mouth.log_odds).all() and (np.abs(mouth.log_odds) <= MAX_LOG_ODDS).all()
    nothing = measure_mouth(np.zeros((30, 478, 3)), np.zeros(30, dtype=bool))
    assert not nothing.log_odds.any()
    assert measure_mouth(points[:1], valid[:1]).log_odds.shape == (1,)


@given(st.integers(-9, 9), st.integers(0, 1000))
@settings(max_examples=12, deadline=None)
def test_a_known_lag_is_found(lag: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    syllables = smooth(generator.uniform(0, 1, 300), sigma=1.2)
    opening = 0.3 * syllables
    loudness = 0.1 * 10 ** (2.0 * (np.roll(syllables, lag) - 0.5))
    score, offset = lip_sync(opening, loudness, np.ones(300, dtype=bool))
    assert score > 0.85
    assert offset == pytest.approx(lag * 40.0, abs=25.0)


def test_unrelated_sound_scores_low_and_little_speech_is_not_judged() -> None:
    generator = np.random.default_rng(0)
    lips, sound = (smooth(generator.uniform(0, 1, 500), sigma=1.2) for _ in range(2))
    score, _ = lip_sync(lips, np.exp(sound), np.ones(500, dtype=bool))
    assert score < 0.4
    few = np.zeros(500, dtype=bool)
    few[:20] = True
    assert np.isnan(lip_sync(lips, np.exp(sound), few)).all()
    assert np.isnan(lip_sync(np.zeros(100), np.ones(100), np.ones(100, dtype=bool))).all()


def test_envelope_is_the_level_of_each_frame() -> None:
    samples = np.concatenate([np.zeros(640), np.full(640, 0.5), np.full(320, 1.0)]).astype(np.float32)
    np.testing.assert_allclose(envelope(samples, 4), [0.0, 0.5, np.sqrt(0.5), 0.0], atol=1e-6)
