"""Where the sound lies: planted shifts of sound whose syllables open a mouth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.metrics.sync_offset import CLEAR, band_levels, sync_offset


def talk(seconds: float, lag_s: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A mouth at 25 frames a second, and noise whose loudness follows it ``lag_s`` later at 16 kHz."""
    rng = np.random.default_rng(seed)
    fine = np.arange(int(seconds * 1000)) / 1000
    onsets = np.cumsum(rng.uniform(0.14, 0.4, int(seconds * 6)))
    sizes = rng.uniform(0.4, 1, len(onsets))
    mouth = (sizes * np.exp(-0.5 * ((fine[:, None] - onsets) / 0.05) ** 2)).sum(axis=1)
    opening = np.interp(np.arange(int(seconds * 25)) / 25, fine, mouth)
    t = np.arange(int(seconds * 16000)) / 16000
    sound = rng.normal(0, 0.1, len(t)) * (np.interp(t - lag_s, fine, mouth) + 0.01)
    return opening + rng.normal(0, 0.01, len(opening)), sound.astype(np.float32)


@settings(max_examples=15, deadline=None)
@given(lag_ms=st.integers(-400, 400), seed=st.integers(0, 1000))
def test_a_planted_shift_is_found(lag_ms: int, seed: int) -> None:
    opening, sound = talk(8.0, lag_ms / 1000, seed)
    found = sync_offset(opening, sound, np.ones(len(opening), bool))
    assert found.lag_ms == pytest.approx(lag_ms, abs=15)
    assert found.clearness > CLEAR and found.score > 0.5


def test_a_steady_sound_has_no_clear_offset_and_little_speech_has_none() -> None:
    opening, _ = talk(6.0, 0.0, 1)
    noise = np.random.default_rng(0).normal(0, 0.1, 6 * 16000).astype(np.float32)
    everywhere = np.ones(len(opening), bool)
    assert sync_offset(opening, noise, everywhere).score < 0.4
    assert np.isnan(sync_offset(opening, noise, np.arange(len(opening)) < 20).lag_ms)
    assert np.isnan(sync_offset(np.full(len(opening), np.nan), noise, everywhere).lag_ms)


def test_an_unseen_mouth_is_left_out() -> None:
    opening, sound = talk(10.0, 0.12, 5)
    opening[100:130] = np.nan
    assert sync_offset(opening, sound, np.ones(len(opening), bool)).lag_ms == pytest.approx(120, abs=15)


def test_levels_stand_where_the_sound_is() -> None:
    sound = np.zeros(16000, np.float32)
    sound[8000:8160] = 0.5 * np.sin(2 * np.pi * 500 * np.arange(160) / 16000)
    level = band_levels(sound, 100)
    assert level.shape == (100, 5) and abs(int(level[:, 1].argmax()) - 50) <= 1
