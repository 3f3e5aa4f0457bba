"""A stream of sound gives what the whole of it gives."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch

from model.motion.config import NetworkConfig
from model.motion.conversation import PERSONS, SAMPLES_PER_FRAME, Conversation, Relation
from model.motion.layout import MotionLayout
from model.motion.network import MotionNetwork
from model.motion.run import Run
from model.motion.speech import LogMel
from model.motion.stream import Stream
from model.motion.voice import VoiceActivity
from rsat_data.errors import DatasetError, RunError

FRAMES, RELATION = 60, Relation("blood", "unequal", "B")


def make_run(causal: bool = True) -> Run:
    torch.manual_seed(3)
    layout, ear = MotionLayout(5), LogMel()
    config = NetworkConfig(width=16, layers=2, heads=2, reach=8, queries=2, causal=causal)
    network = MotionNetwork(config, ear.channels, ear.per_frame, layout.size, social=True).eval()
    with torch.no_grad():
        for parameter in network.parameters():  # those that start at zero too
            parameter += 0.1 * torch.randn_like(parameter)
        # A head that forgets, as trained ones do: otherwise what sums round differently would grow.
        network.draw.stay.fill_(0.5)
        network.draw.go_on.fill_(0.2)
    return Run(network, ear, layout, None, "", "head", 3, True, torch.device("cpu"))


def sound(seed: int) -> np.ndarray:
    loud = np.repeat(np.random.default_rng(seed).uniform(size=FRAMES // 10) > 0.5, 10 * SAMPLES_PER_FRAME)
    noise = np.random.default_rng(seed + 9).normal(0, 0.1, FRAMES * SAMPLES_PER_FRAME)
    return (noise * (loud + 0.001)).astype(np.float32)


AUDIO = {"A": sound(0), "B": sound(1)}
SPEAKING = {person: VoiceActivity().push(AUDIO[person]) for person in PERSONS}


def codes(layout: MotionLayout, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(0, 0.1, (30, width)).astype(np.float32) for name, width in layout.widths.items()}


def whole(run: Run, draw: int | None, references: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    widths = {"expression": 5, "jaw": 3, "rotation": 3, "eyes": 6, "neck": 3, "translation": 3}
    nothing = {name: np.zeros((FRAMES, width), np.float32) for name, width in widths.items()}
    talk = Conversation(
        "c", "d", "s", "test", {"A": "a", "B": "b"}, "head", FRAMES, {"A": nothing, "B": nothing},
        {"A": np.zeros(0), "B": np.zeros(0)}, {p: np.zeros(FRAMES, bool) for p in PERSONS}, SPEAKING,
    )  # fmt: skip
    return {
        person: run.layout.pack(run.predict(
            talk, person, relation=RELATION, partner_motion=False, reference=references.get(person), audio=AUDIO,
            draw=draw,
        ))
        for person in PERSONS
    }  # fmt: skip


def streamed(stream: Stream, cuts: list[int], *, told: bool = False) -> dict[str, np.ndarray]:
    parts, start = [], 0
    for count in cuts:
        samples = slice(start * SAMPLES_PER_FRAME, (start + count) * SAMPLES_PER_FRAME)
        says = {p: SPEAKING[p][start : start + count] for p in PERSONS} if told else None
        parts.append(stream.push({p: AUDIO[p][samples] for p in PERSONS}, says))
        start += count
    assert stream.frames == start
    pack = stream.run.layout.pack
    return {person: np.concatenate([pack(part[person]) for part in parts]) for person in PERSONS}


@pytest.mark.parametrize("draw", [None, 4])
@pytest.mark.parametrize("cuts", [[1] * FRAMES, [7, 0, 1, 32, 20], [FRAMES]])
def test_a_stream_equals_the_whole(cuts: list[int], draw: int | None) -> None:
    run = make_run()
    references = {"A": codes(run.layout, 5)}  # nothing is known of B
    expected = whole(run, draw, references)
    found = streamed(Stream(run, RELATION, references, draw), cuts)
    for person in PERSONS:
        assert expected[person].std() > 0.05
        np.testing.assert_allclose(found[person], expected[person], atol=1e-5 if draw is None else 1e-3, rtol=1e-4)
    if draw is not None:
        other = streamed(Stream(run, RELATION, references, draw + 1), cuts)
        assert np.abs(other["A"] - found["A"]).max() > 1e-3


def test_told_or_heard_is_the_same() -> None:
    run = make_run()
    heard, told = streamed(Stream(run), [30, 30]), streamed(Stream(run), [30, 30], told=True)
    assert all(np.array_equal(heard[person], told[person]) for person in PERSONS)


def test_the_partners_last_motion_is_seen_frame_by_frame() -> None:
    run = make_run()
    once = streamed(Stream(run, seed=1, partner="predicted"), [FRAMES])
    pieces = streamed(Stream(run, seed=1, partner="predicted"), [1] * 20 + [40])
    blind = streamed(Stream(run, seed=1), [FRAMES])
    for person in PERSONS:
        np.testing.assert_allclose(once[person], pieces[person], atol=1e-5, rtol=1e-4)
        np.testing.assert_allclose(once[person][:1], blind[person][:1], atol=1e-5, rtol=1e-4)
        assert np.abs(once[person] - blind[person]).max() > 1e-3


def test_runs_that_look_ahead_and_broken_pieces_are_refused() -> None:
    with pytest.raises(RunError, match="looks ahead") as raised:
        Stream(make_run(causal=False))
    assert "network.causal=true" in raised.value.hint
    stream = Stream(make_run())
    with pytest.raises(DatasetError, match="640"):
        stream.push({"A": np.zeros(640, np.float32), "B": np.zeros(1280, np.float32)})
    with pytest.raises(DatasetError, match="640"):
        stream.push({"A": np.zeros(100, np.float32), "B": np.zeros(100, np.float32)})


def test_voice_activity_hears_bursts_over_a_background() -> None:
    rng = np.random.default_rng(0)
    loud = np.zeros(200, bool)
    loud[20:60] = loud[100:180] = True
    gain = np.where(np.repeat(loud, SAMPLES_PER_FRAME), 0.1, 0.003)
    samples = (rng.normal(size=len(gain)) * gain).astype(np.float32)
    found = VoiceActivity().push(samples)
    assert found[loud].all() and found[:20].sum() == 0
    assert found[~loud].mean() < 0.15  # the hang after each burst
    pieces = VoiceActivity()
    cuts = np.split(samples, np.cumsum([1, 30, 100]) * SAMPLES_PER_FRAME)
    assert np.array_equal(np.concatenate([pieces.push(cut) for cut in cuts]), found)
    assert not VoiceActivity().push(np.zeros(50 * SAMPLES_PER_FRAME, np.float32)).any()
