"""Lip sync by the clip's own sound."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.evaluate.intervals import Bootstrap
from model.evaluate.lips import judge_lips
from model.evaluate.predictors import Predictor, truth_of
from model.head import load_head
from model.metrics.lip_sync import envelope, lip_sync, opening_of
from model.motion.conversation import Conversation
from tests.model.evaluate.talks import talk


def speaking_talk(number: int) -> Conversation:
    """A conversation whose jaws open with the loudness of the voices."""
    head = load_head()
    one = talk(number, frames=175, num_expression=head.num_expression, head_model=head.id)
    rng = np.random.default_rng(number)
    codes, sound = {}, {}
    for person in ("A", "B"):
        time = np.arange(175) / 25
        loud = 0.5 + 0.5 * np.sin(2 * np.pi * (rng.uniform(1.2, 3.0) * time + rng.uniform(0, 1, 175).cumsum() * 0.15))
        jaw = np.zeros((175, 3), np.float32)
        jaw[:, 0] = 0.2 * loud
        codes[person] = {**one.codes[person], "jaw": jaw, "expression": np.zeros_like(one.codes[person]["expression"])}
        samples = (np.repeat(0.01 + loud, 640) * rng.normal(0, 0.1, 640 * 175)).astype(np.float32)
        sound[person] = lambda samples=samples: samples
    return replace(one, codes=codes, sound=sound, speaking={p: np.ones(175, bool) for p in ("A", "B")})


def hears(conversation: Conversation, person: str) -> dict[str, np.ndarray]:
    """A model that opens the jaw with the sound it is given, two frames late."""
    loud = envelope(conversation.audio(person), conversation.num_frames)
    jaw = np.zeros((conversation.num_frames, 3), np.float32)
    jaw[:, 0] = np.roll(loud, 2)
    codes = truth_of(conversation, person)
    return {**codes, "jaw": jaw, "expression": np.zeros_like(codes["expression"])}


def test_own_sound_scores_above_someone_elses() -> None:
    talks = [speaking_talk(number) for number in range(4)]
    model = Predictor("model", "m", "model", hears)
    found = judge_lips("test", talks, [model], load_head(), 1.0, Bootstrap(rounds=200))
    scores = {one.name: one.score.value for one in found.scores}
    assert list(scores) == ["truth", "model", "model:shuffled_audio", "chance"] and not found.note
    assert all(value is not None for value in scores.values())
    assert scores["truth"] > 0.85 and scores["truth"] > scores["chance"] + 0.3
    assert scores["model"] > scores["model:shuffled_audio"] + 0.3
    gain = found.gains["model"]
    assert gain.low is not None and gain.low > 0
    offsets = {one.name: one.offset_ms.value for one in found.scores}
    assert offsets["truth"] == pytest.approx(0, abs=8)
    assert offsets["model"] == pytest.approx(-80, abs=8)  # lips late: the sound comes before them


def test_it_says_why_there_is_none() -> None:
    mute = replace(speaking_talk(0), speaking={p: np.zeros(175, bool) for p in ("A", "B")})
    found = judge_lips("test", [mute], [], load_head(), 1.0, Bootstrap(rounds=200))
    assert "speaks" in found.note and found.scores[0].score.value is None
    assert "landmarks" in judge_lips("test", [mute], [], replace(load_head(), landmarks=None), 1.0, Bootstrap(200)).note


def test_the_score_is_a_correlation_at_the_best_lag() -> None:
    rng = np.random.default_rng(1)
    loud = np.exp(rng.normal(0, 1, 200))
    every = np.ones(200, bool)
    score, lag = lip_sync(np.log10(loud), loud, every)
    assert score == pytest.approx(1.0) and lag == pytest.approx(0, abs=2)
    score, lag = lip_sync(np.roll(np.log10(loud), -3), loud, every)
    assert score > 0.95 and lag == pytest.approx(120, abs=4)
    points = rng.normal(size=(5, 478, 3))
    assert np.allclose(opening_of(points), opening_of(7.5 * points))
    points[2, 33] = points[2, 263]
    assert np.isnan(opening_of(points)[2]) and np.isfinite(opening_of(points)[[0, 1, 3, 4]]).all()
