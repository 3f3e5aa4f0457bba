"""Windows of both people, cut once, each its own copy of its own frames; batches of them in an order from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.motion.network import Batch
from model.motion.reference import describe, reference_frames
from model.train.store import Store


@dataclass(frozen=True)
class Window:
    """A span of a person in a conversation."""

    conversation: int
    """Number in the store."""
    person: int
    """0 for A, 1 for B: the target."""
    start: int
    """First frame, from the clip's start."""
    stop: int
    """One past the last."""


@dataclass
class Example:
    """A batch and what it should become."""

    inputs: Batch
    """What the network is given."""
    target: Tensor
    """(B, T, D) motion of the targets."""
    mask: Tensor
    """(B, T) bool: valid, inside the window, and not part of the reference."""
    shape: Tensor
    """(B, S) shape codes of the targets."""

    def to(self, device: torch.device | str) -> Example:
        """The same on another device."""
        return Example(self.inputs.to(device), self.target.to(device), self.mask.to(device), self.shape.to(device))


def cut(frames: Sequence[int], length: int, hop: int, *, first: Sequence[int] | None = None) -> list[Window]:
    """Windows of both people that cover every frame; the last one of a clip ends with it.

    Args:
        frames: T of every conversation.
        length: frames a window; a shorter clip is one window.
        hop: frames between beginnings.
        first: frame of every conversation from which on windows are cut; 0 by default.
    """
    windows = []
    for number, count in enumerate(frames):
        begin = 0 if first is None else first[number]
        last = max(count - length, begin)
        starts = sorted({*range(begin, last, hop), last})
        for person in (0, 1):
            windows += [Window(number, person, s, min(s + length, count)) for s in starts]
    return windows


def order(seed: int, step: int, batch: int, count: int) -> np.ndarray:
    """(batch,) numbers of the windows of a step: an endless row of shuffles of all windows, cut into batches."""
    places = np.arange(step * batch, (step + 1) * batch)
    shuffles = {int(e): np.random.default_rng([seed, 11, int(e)]).permutation(count) for e in set(places // count)}
    return np.array([shuffles[int(place // count)][place % count] for place in places])


class Windows:
    """Examples of a store.

    Args:
        store: of a split.
        length: frames a window.
        hop: frames between beginnings.
        reference_s: seconds of a reference.
        training: references are drawn anywhere outside the window; otherwise they are the clip's beginning, and
            windows begin behind it.
    """

    def __init__(self, store: Store, length: int, hop: int, reference_s: float, *, training: bool) -> None:
        self.store, self.reference_s, self.training = store, reference_s, training
        frames = [entry.frames for entry in store.entries]
        # The frames before the last reference frame show nothing that counts.
        first = None if training else [reference_frames(count, reference_s) for count in frames]
        windows = cut(frames, length, hop, first=first)
        self.windows = [w for w in windows if store.valid[self._rows(w)].any()]

    def __len__(self) -> int:
        return len(self.windows)

    def _rows(self, window: Window) -> slice:
        start = self.store.entries[window.conversation].rows(window.person).start
        return slice(start + window.start, start + window.stop)

    def example(self, numbers: Sequence[int] | np.ndarray, rng: np.random.Generator | None = None) -> Example:
        """Windows of these numbers as a batch, padded to the longest. ``rng`` draws references (training)."""
        chosen = [self.windows[int(n)] for n in numbers]
        store, size = self.store, self.store.motion.shape[1]
        length, count = max(w.stop - w.start for w in chosen), len(chosen)
        channels, per = store.speech.shape[1], store.per_frame
        own = np.zeros((count, length * per, channels), np.float32)
        partner = np.zeros_like(own)
        state = np.zeros((count, length), np.int64)
        target, motion = (np.zeros((count, length, size), np.float32) for _ in range(2))
        mask, known = (np.zeros((count, length), bool) for _ in range(2))
        reference, has = np.zeros((count, 2, size), np.float32), np.zeros(count, bool)
        relation = np.zeros((count, 3), np.int64)
        shape = np.zeros((count, store.shape.shape[1]), np.float32)
        for i, window in enumerate(chosen):
            entry = store.entries[window.conversation]
            mine = self._rows(window)
            theirs = self._rows(Window(window.conversation, 1 - window.person, window.start, window.stop))
            n = window.stop - window.start
            own[i, : n * per] = store.speech[mine.start * per : mine.stop * per]
            partner[i, : n * per] = store.speech[theirs.start * per : theirs.stop * per]
            state[i, :n] = store.speaking[mine] + 2 * store.speaking[theirs].astype(np.int64)
            target[i, :n], motion[i, :n] = store.motion[mine], store.motion[theirs]
            mask[i, :n], known[i, :n] = store.valid[mine], store.valid[theirs]
            span = self._reference(window, rng)
            whole = entry.rows(window.person).start
            at = slice(whole + span.start, whole + span.stop)
            reference[i], has[i] = describe(store.motion[at], store.valid[at])
            # Frames of the reference are given away, not predicted.
            inside = slice(max(span.start - window.start, 0), max(span.stop - window.start, 0))
            mask[i, inside] = False
            relation[i] = store.relation_ids(entry, window.person)
            shape[i] = store.shape[2 * window.conversation + window.person]
        tensors = {
            "own": own, "partner": partner, "state": state, "motion": motion, "motion_known": known,
            "reference": reference, "reference_known": has, "relation": relation,
        }  # fmt: skip
        inputs = Batch(**{name: torch.from_numpy(value) for name, value in tensors.items()})
        return Example(inputs, torch.from_numpy(target), torch.from_numpy(mask), torch.from_numpy(shape))

    def _reference(self, window: Window, rng: np.random.Generator | None) -> slice:
        frames = self.store.entries[window.conversation].frames
        wanted = reference_frames(frames, self.reference_s)
        if not self.training or rng is None:
            return slice(0, wanted)
        # All beginnings of spans that do not touch the window, before it and after it.
        before, after = max(window.start - wanted + 1, 0), max(frames - window.stop - wanted + 1, 0)
        if before + after == 0:
            return slice(0, wanted)
        place = int(rng.integers(before + after))
        start = place if place < before else window.stop + place - before
        return slice(start, start + wanted)
