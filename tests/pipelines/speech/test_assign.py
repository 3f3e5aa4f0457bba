"""Voices and faces put together, on signals whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.speech.assign import (
    decode_activity,
    forward_backward,
    match_voices,
    states_of,
    to_frames,
    viterbi,
)
from pipelines.speech.mouth import measure_mouth
from tests.pipelines.speech.conftest import talking_mouth


def conversation(seed: int, frames: int = 400) -> np.ndarray:
    """(T, 2) bool: turns of 1-3 s with overlap and pauses."""
    generator = np.random.default_rng(seed)
    truth = np.zeros((frames, 2), dtype=bool)
    t, who = int(generator.integers(0, 20)), int(generator.integers(2))
    while t < frames:
        length = int(generator.integers(25, 75))
        truth[t : t + length, who] = True
        t += length + int(generator.integers(-12, 18))
        who = 1 - who
    return truth


def heard(truth: np.ndarray, seed: int, order: tuple[int, int] = (0, 1)) -> tuple[np.ndarray, np.ndarray]:
    """Posteriors of voices in a given order, and of any voice."""
    generator = np.random.default_rng(seed + 1)
    voices = np.clip(truth[:, order] * 0.85 + 0.07 + generator.normal(0, 0.06, truth.shape), 0.01, 0.99)
    return voices, voices.max(axis=1)


def lips_of(truth: np.ndarray, seed: int) -> np.ndarray:
    seen = np.ones(len(truth), dtype=bool)
    return np.stack(
        [measure_mouth(talking_mouth(truth[:, k], seed + k), seen).log_odds for k in range(truth.shape[1])], axis=1
    )


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), swapped=st.booleans())
def test_voices_find_their_faces(seed: int, swapped: bool) -> None:
    truth = conversation(seed)
    order = (1, 0) if swapped else (0, 1)
    voices, voice = heard(truth, seed, order)
    lips = lips_of(truth, seed)
    match = match_voices(voices, lips)
    assert match.voice_of == order
    assert match.confidence > 0.5
    found = decode_activity(voices, voice, lips, match)
    assert (found.speaking == truth).mean() > 0.93
    assert ((found.posterior >= 0) & (found.posterior <= 1 + 1e-9)).all()


def test_one_voice_for_two_people_leaves_it_to_the_lips() -> None:
    """Two alike voices: the network hears one person who never stops."""
    truth = conversation(7)
    voice = np.clip(truth.any(axis=1) * 0.9 + 0.05, 0, 1)
    voices = np.stack([voice, np.full(len(voice), 0.02)], axis=1)
    lips = lips_of(truth, 7)
    match = match_voices(voices, lips)
    assert match.confidence < 0.6
    found = decode_activity(voices, voice, lips, match)
    alone = truth.sum(axis=1) == 1
    assert (found.speaking[alone] == truth[alone]).mean() > 0.85


def test_voices_swapped_half_way_are_put_right_by_the_lips() -> None:
    truth = conversation(11, frames=600)
    voices, voice = heard(truth, 11)
    voices[400:] = voices[400:, ::-1]
    lips = lips_of(truth, 11)
    found = decode_activity(voices, voice, lips, match_voices(voices, lips))
    assert (found.speaking[410:] == truth[410:]).mean() > 0.85


def test_unseen_faces_leave_it_to_the_voices() -> None:
    truth = conversation(13, frames=500)
    voices, voice = heard(truth, 13)
    lips = lips_of(truth, 13)
    lips[250:] = 0.0
    found = decode_activity(voices, voice, lips, match_voices(voices, lips))
    assert (found.speaking[260:] == truth[260:]).mean() > 0.9


def test_a_voice_out_of_sight_is_nobodys() -> None:
    truth = conversation(17, frames=500)
    voices, voice = heard(truth, 17)
    lips = lips_of(truth, 17)[:, :1]  # only the first person is in the picture
    match = match_voices(voices, lips)
    assert match.voice_of == (0,)
    found = decode_activity(voices, voice, lips, match)
    assert (found.speaking[:, 0] == truth[:, 0]).mean() > 0.88
    other = truth[:, 1] & ~truth[:, 0]
    assert (found.hidden[other] > 0.5).mean() > 0.75


def test_silence_is_silence_however_the_lips_move() -> None:
    truth = conversation(19)
    lips = lips_of(truth, 19)
    voices = np.zeros(truth.shape)
    found = decode_activity(voices, voices.max(axis=1), lips, match_voices(voices, lips))
    assert not found.speaking.any()
    assert found.posterior.max() < 1e-6


def test_no_frames_at_all() -> None:
    empty = np.zeros((0, 2))
    found = decode_activity(empty, np.zeros(0), empty, match_voices(empty, empty))
    assert found.speaking.shape == (0, 2)


@given(st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_viterbi_and_forward_backward_against_all_paths(seed: int) -> None:
    from itertools import product

    generator = np.random.default_rng(seed)
    evidence, transition = generator.normal(size=(5, 3)), generator.normal(size=(3, 3))
    scores = {
        path: sum(evidence[t, s] for t, s in enumerate(path))
        + sum(transition[a, b] for a, b in zip(path, path[1:], strict=False))
        for path in product(range(3), repeat=5)
    }
    assert tuple(viterbi(evidence, transition)) == max(scores, key=lambda path: scores[path])
    weights = {path: np.exp(score) for path, score in scores.items()}
    expected = np.zeros((5, 3))
    for path, weight in weights.items():
        for t, s in enumerate(path):
            expected[t, s] += weight
    np.testing.assert_allclose(forward_backward(evidence, transition), expected / sum(weights.values()), atol=1e-9)


def test_states_and_frames() -> None:
    assert states_of(2).tolist() == [
        [False, False, False], [True, False, False], [False, True, False], [True, True, False], [False, False, True],
    ]  # fmt: skip
    assert states_of(1).tolist() == [[False, False], [True, False], [False, True], [True, True]]
    grid = np.arange(6.0)[:, None]
    np.testing.assert_allclose(to_frames(grid, 4)[:, 0], [0.5, 2.5, 4.5, 5.0])


@pytest.mark.parametrize("faces", [1, 2])
def test_matching_is_the_same_whatever_the_order_of_voices(faces: int) -> None:
    truth = conversation(23)
    voices, _ = heard(truth, 23)
    lips = lips_of(truth, 23)[:, :faces]
    one, two = match_voices(voices, lips), match_voices(voices[:, ::-1], lips)
    assert [1 - v for v in one.voice_of if v is not None] == list(two.voice_of)
    assert one.confidence == pytest.approx(two.confidence)
