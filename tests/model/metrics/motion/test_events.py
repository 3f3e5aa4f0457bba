from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.metrics.motion import events
from model.metrics.motion.figures import NoFigure

ALL = np.ones(200, bool)


def gap_of(*closures: tuple[int, int]) -> np.ndarray:
    """A mouth 10 mm open, shut in frames start to stop."""
    gap = np.full(200, 10.0)
    for start, stop in closures:
        gap[start:stop] = 0.5
    return gap


def test_closures_are_short_and_whole() -> None:
    gap = gap_of((20, 24), (50, 51), (80, 95), (196, 200))
    low, high = events.gap_range(gap, ALL)
    assert (low, high) == pytest.approx((0.5, 10))
    # The third is a pause, the last runs out of the clip.
    assert events.lip_closures(gap, low, high, ALL).tolist() == [21, 50]
    silent = ALL.copy()
    silent[22] = False
    assert events.lip_closures(gap, low, high, silent).tolist() == [50]


def test_a_mouth_that_stays_shut_has_no_range() -> None:
    with pytest.raises(NoFigure, match="varies by 0.5 mm"):
        events.gap_range(np.linspace(0, 0.54, 100), np.ones(100, bool))


def test_f1_by_hand() -> None:
    found, truth = np.array([10, 21, 60]), np.array([11, 19, 40, 90])
    assert events.f1(found, truth, 2) == (pytest.approx(2 * 2 / 7), 7)
    assert events.timing(found, truth, 2) == (pytest.approx(1.5 / 25), 2)
    assert events.f1(found, np.zeros(0, int), 2) == (0.0, 3)
    with pytest.raises(NoFigure):
        events.f1(np.zeros(0, int), np.zeros(0, int), 2)


@settings(max_examples=40, deadline=None)
@given(
    found=st.sets(st.integers(0, 30), max_size=5),
    truth=st.sets(st.integers(0, 30), max_size=5),
    reach=st.integers(0, 6),
)
def test_as_many_events_as_possible_are_matched(found: set[int], truth: set[int], reach: int) -> None:
    a, b = np.array(sorted(found), int), np.array(sorted(truth), int)
    best = 0
    small, large = sorted((a, b), key=len)
    for picked in itertools.permutations(range(len(large)), len(small)):
        best = max(best, sum(abs(int(s) - int(large[i])) <= reach for s, i in zip(small, picked, strict=True)))
    pairs = events.matched(a, b, reach)
    assert len(pairs) == best
    assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
    assert all(abs(int(a[i]) - int(b[j])) <= reach for i, j in pairs)


def nod(start: int, degrees: float, frames: int = 12) -> np.ndarray:
    pitch = np.zeros(200)
    pitch[start : start + frames] = np.deg2rad(degrees) * 0.5 * (1 - np.cos(2 * np.pi * np.arange(frames) / frames))
    return pitch


def test_nods_are_quick_and_downward() -> None:
    slow = np.deg2rad(12) * np.sin(np.linspace(0, 2 * np.pi, 200))
    assert events.nods(slow, ALL).tolist() == []
    assert events.nods(slow + nod(60, 6), ALL) == pytest.approx([66], abs=2)
    assert events.nods(nod(60, 1), ALL).tolist() == []
    # Two dips in quick succession are one nod; a second later another begins.
    found = events.nods(nod(60, 6, 10) + nod(70, 5, 10) + nod(100, 6, 10), ALL)
    assert found == pytest.approx([65, 105], abs=2)
    noise = np.deg2rad(0.2) * np.random.default_rng(0).normal(size=200)
    assert events.nods(noise, ALL).tolist() == []


def test_invalid_frames_are_bridged() -> None:
    pitch = nod(60, 6)
    pitch[100:105] = 1.0  # a tracker's slip
    valid = ALL.copy()
    valid[100:105] = False
    assert events.nods(pitch, valid) == pytest.approx([66], abs=2)
    assert events.nods(pitch, np.zeros(200, bool)).tolist() == []


def test_smiles_begin_once() -> None:
    strength = np.full(200, 0.05)
    strength[50:90] += 0.5
    strength[70] -= 0.33  # a flicker above the lower threshold
    strength[120:124] += 0.5  # too short
    assert events.smiles(strength, ALL, 0.05).tolist() == [50]
    assert events.smiles(strength, ALL, 0.6).tolist() == []


def test_speech_events_and_answers_by_hand() -> None:
    speaking = np.zeros(200, bool)
    speaking[40:80] = True
    speaking[60:63] = False  # a breath
    assert events.speech_events(speaking).tolist() == [40, 80]
    # Answered: 40 by 70; 80 by nothing within 50 frames. 190 could not be: the clip ends.
    assert events.answers(np.array([40, 80, 190]), np.array([70, 140]), ALL) == (1, 2)
    listening = ALL.copy()
    listening[60:] = False  # most of the window after 40 does not count
    assert events.answers(np.array([40]), np.array([50]), listening) == (0, 0)
