"""Stitching windows of local speakers into speakers of the clip."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.speech.diarise import best_order, diarisation_error, fold_speakers, speech_probability, stitch
from pipelines.speech.segmentation import Windows, segment, window_starts


def cut_windows(truth: np.ndarray, *, width: int = 250, hop: int = 25, seed: int = 0, noise: float = 0.05) -> Windows:
    """Windows of a known truth (G, K), each with its speakers in another order and a third that is never heard."""
    generator = np.random.default_rng(seed)
    starts = window_starts(len(truth), width, hop)
    full = np.full((len(starts), width, 3), np.nan)
    for index, start in enumerate(starts):
        part = truth[start : start + width]
        local = np.zeros((len(part), 3))
        local[:, : truth.shape[1]] = part * 0.9 + 0.05
        local = np.clip(local + generator.normal(0, noise, local.shape), 0, 1)
        full[index, : len(part)] = local[:, generator.permutation(3)]
    return Windows(posteriors=full, starts=np.array(starts), num_steps=len(truth))


def turns_of(seed: int, steps: int) -> np.ndarray:
    """Random turns of two speakers, with overlap and pauses, both heard within every 4 s."""
    generator = np.random.default_rng(seed)
    truth = np.zeros((steps, 2), dtype=bool)
    t, who = 0, int(generator.integers(2))
    while t < steps:
        length = int(generator.integers(30, 110))
        truth[t : t + length, who] = True
        t += length + int(generator.integers(-15, 20))
        who = 1 - who
    return truth


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), steps=st.integers(60, 900))
def test_stitching_undoes_any_order_of_local_speakers(seed: int, steps: int) -> None:
    truth = turns_of(seed, steps)
    found = stitch(cut_windows(truth, seed=seed), speakers=2)
    assert found.shape == (steps, 2)
    assert ((found >= 0) & (found <= 1)).all()
    assert diarisation_error(truth, found > 0.5) < 0.02


def test_identity_survives_a_monologue_longer_than_a_window() -> None:
    truth = np.zeros((1600, 2), dtype=bool)
    truth[:300, 0] = truth[280:1200, 1] = truth[1190:1600, 0] = True
    assert diarisation_error(truth, stitch(cut_windows(truth, seed=3)) > 0.5) < 0.02


def test_overlap_is_kept() -> None:
    truth = np.zeros((500, 2), dtype=bool)
    truth[50:300, 0] = truth[200:450, 1] = True
    found = stitch(cut_windows(truth, seed=1)) > 0.5
    assert abs(int(found.all(axis=1).sum()) - 100) <= 4


def test_the_least_heard_speakers_are_folded_away() -> None:
    window = np.stack([np.full(10, 0.2), np.full(10, 0.9), np.full(10, 0.6)], axis=1)
    np.testing.assert_array_equal(fold_speakers(window, 2), window[:, [1, 2]])
    assert fold_speakers(window[:, :1], 2).shape == (10, 2)


def test_speech_probability_ignores_who() -> None:
    truth = turns_of(5, 700)
    found = speech_probability(cut_windows(truth, seed=9, noise=0.02)) > 0.5
    assert (found == truth.any(axis=1)).mean() > 0.99


@given(st.integers(1, 3), st.randoms(use_true_random=False))
def test_best_order_is_the_best(size: int, random: object) -> None:
    from itertools import permutations

    scores = np.random.default_rng(random.randrange(10**6)).normal(size=(size, size))  # type: ignore[attr-defined]
    totals = {p: sum(scores[k, p[k]] for k in range(size)) for p in permutations(range(size))}
    assert totals[best_order(scores)] == pytest.approx(max(totals.values()))


@pytest.mark.parametrize("samples", [1, 991, 79999, 80000, 80001, 100000, 203840])
def test_windows_cover_everything(samples: int) -> None:
    starts = window_starts(samples, 80000, 8000)
    covered = np.zeros(samples, dtype=bool)
    for start in starts:
        assert start >= 0
        covered[start : start + 80000] = True
    assert covered.all()
    assert starts == sorted(set(starts))


def test_error_rate_counts_misses_false_alarms_and_confusion() -> None:
    truth = np.zeros((10, 2), dtype=bool)
    truth[:5, 0] = truth[5:, 1] = True
    assert diarisation_error(truth, truth[:, ::-1]) == 0.0
    assert diarisation_error(truth, np.zeros((10, 2), dtype=bool)) == 1.0
    one = np.ones((10, 1), dtype=bool)
    assert diarisation_error(truth, one) == 0.5
    both = np.ones((10, 2), dtype=bool)
    assert diarisation_error(truth, both) == 1.0


def test_a_real_call_is_told_apart(network, telephone_call) -> None:
    samples, truth = telephone_call
    found = np.repeat(stitch(segment(network, samples, hop_s=1.0)) > 0.5, 2, axis=0)
    assert diarisation_error(truth, found) < 0.12  # seen: 0.071 with a hop of 0.5 s


@pytest.mark.parametrize("seconds", [0.04, 1.0, 3.0])
def test_clips_shorter_than_a_window(network, telephone_call, seconds: float) -> None:
    samples = telephone_call[0][11 * 16000 :][: round(seconds * 16000)]
    windows = segment(network, samples)
    found = stitch(windows)
    assert found.shape == (round(seconds * 50), 2)
    assert np.isfinite(found).all()
    if seconds >= 1.0:
        assert speech_probability(windows).mean() > 0.7
