from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.motion.conversation import conversations, partner_of
from model.motion.layout import MotionLayout
from model.motion.speech import LogMel
from model.train.stages import Prepared
from model.train.windows import Windows, cut, order


@given(
    frames=st.lists(st.integers(1, 300), min_size=1, max_size=5),
    length=st.integers(4, 120),
    hop=st.integers(1, 90),
)
@settings(deadline=None)
def test_windows_cover_every_frame_of_both_people(frames: list[int], length: int, hop: int) -> None:
    windows = cut(frames, length, hop)
    assert len(set(windows)) == len(windows)
    for number, count in enumerate(frames):
        for person in (0, 1):
            seen = np.zeros(count, int)
            for window in windows:
                if (window.conversation, window.person) == (number, person):
                    assert 0 <= window.start < window.stop <= count
                    assert window.stop - window.start == min(length, count)
                    seen[window.start : window.stop] += 1
            assert (seen > 0).all() or hop > length


@given(seed=st.integers(0, 9), batch=st.integers(1, 9), count=st.integers(1, 20))
@settings(deadline=None)
def test_every_window_comes_once_a_round(seed: int, batch: int, count: int) -> None:
    steps = -(-3 * count // batch)
    numbers = np.concatenate([order(seed, step, batch, count) for step in range(steps)])[: 3 * count]
    for turn in numbers.reshape(3, count):
        assert sorted(turn.tolist()) == list(range(count))


def test_windows_are_their_own_frames_and_no_two_are_the_same(talks: Path, prepared: Prepared) -> None:
    """The loaders of two other projects keep one dictionary a file, so that all its windows are the last one."""
    windows = Windows(prepared.training, 40, 20, 1.0, training=True)
    layout, encoder = MotionLayout(prepared.facts.num_expression), LogMel()
    source = {talk.clip_id: talk for talk in conversations(talks, "train")}
    example = windows.example(range(len(windows)), np.random.default_rng(0))
    seen = set()
    for i, window in enumerate(windows.windows):
        entry = prepared.training.entries[window.conversation]
        talk, person = source[entry.clip_id], "AB"[window.person]
        other, at = partner_of(person), slice(window.start, window.stop)
        np.testing.assert_array_equal(example.target[i], layout.pack(talk.codes[person])[at])
        np.testing.assert_array_equal(example.inputs.motion[i], layout.pack(talk.codes[other])[at])
        for features, who in ((example.inputs.own, person), (example.inputs.partner, other)):
            whole = encoder.features(talk.audio(who)).reshape(talk.num_frames, 4, -1)[at].reshape(-1, 64)
            np.testing.assert_allclose(features[i], whole, atol=2e-3)
        np.testing.assert_array_equal(example.inputs.state[i] % 2, talk.speaking[person][at])
        np.testing.assert_array_equal(example.inputs.state[i] // 2, talk.speaking[other][at])
        assert tuple(example.inputs.relation[i].tolist()) == talk.relation.ids(person)
        np.testing.assert_array_equal(example.shape[i], talk.shape[person])
        seen.add(example.target[i].numpy().tobytes())
    assert len(seen) == len(windows) > 30
    # What comes out is a copy: changing it changes no later batch.
    example.target.zero_()
    assert windows.example([0]).target.abs().sum() > 0


def test_batches_share_no_memory(prepared: Prepared) -> None:
    """A batch that is kept stays what it was while later ones of the same size are made."""
    windows = Windows(prepared.training, 40, 20, 1.0, training=True)
    first = windows.example([0, 1])
    tensors = {**vars(first.inputs), "target": first.target, "mask": first.mask, "shape": first.shape}
    before = {name: value.clone() for name, value in tensors.items()}
    second = windows.example([2, 3])
    others = {**vars(second.inputs), "target": second.target, "mask": second.mask, "shape": second.shape}
    assert not torch.equal(first.target, second.target)
    for name, value in tensors.items():
        assert torch.equal(value, before[name]), name
        assert value.untyped_storage().data_ptr() != others[name].untyped_storage().data_ptr(), name
        assert not np.shares_memory(value.numpy(), prepared.training.motion), name


@pytest.mark.parametrize("training", [True, False])
def test_a_reference_is_never_also_what_is_predicted(prepared: Prepared, training: bool) -> None:
    windows = Windows(prepared.training, 40, 20, 1.0, training=training)
    store, rng = prepared.training, np.random.default_rng(0)
    for number, window in enumerate(windows.windows):
        span = windows._reference(window, rng)
        assert span.stop - span.start == 25 and 0 <= span.start and span.stop <= 100
        assert training or span.start == 0
        example = windows.example([number], np.random.default_rng(1))
        drawn = windows._reference(window, np.random.default_rng(1))
        inside = [frame for frame in range(window.start, window.stop) if drawn.start <= frame < drawn.stop]
        assert not example.mask[0, [frame - window.start for frame in inside]].any()
        first = store.entries[window.conversation].rows(window.person).start
        motion = store.motion[first + drawn.start : first + drawn.stop]
        np.testing.assert_allclose(example.inputs.reference[0, 0], motion.mean(axis=0), atol=1e-5)
        np.testing.assert_allclose(example.inputs.reference[0, 1], motion.std(axis=0), atol=1e-5)


def test_shorter_clips_are_padded_and_the_padding_is_masked(prepared: Prepared) -> None:
    windows = Windows(prepared.training, 400, 100, 1.0, training=True)
    example = windows.example([0, 1], np.random.default_rng(0))
    assert example.target.shape[1] == 100 and example.mask.sum(1).tolist() == [75, 75]
