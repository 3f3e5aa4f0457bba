"""Conversations as flat arrays on disk: read once from Parquet, then mapped, so that windows cost a copy each.

A store holds one split: motion, features of speech, validity and speaking of every person, end to end. It lies in the
run's folder, named after everything that decides it, and appears there by one rename.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.motion.conversation import PERSONS, Conversation, Conversations, Relation
from model.motion.layout import FAMILIES, MotionLayout
from model.motion.speech import SpeechEncoder
from rsat_data.content import content_hash
from rsat_data.errors import DatasetError, HeadMismatch

_FILES = ("motion", "speech", "valid", "speaking", "shape")
_VERSION = "1"


@dataclass(frozen=True)
class Entry:
    """Where a conversation lies: frames start to start + frames are A's, as many more are B's."""

    clip_id: str
    """Name of the clip."""
    dyad_id: str
    """Name of the pair."""
    start: int
    """First frame of A."""
    frames: int
    """T."""
    subjects: tuple[str, str]
    """Subject ids of A and B."""
    relation: tuple[str, str, str]
    """kinship, status, senior."""

    def rows(self, person: int) -> slice:
        """Frames of A (0) or B (1)."""
        first = self.start + person * self.frames
        return slice(first, first + self.frames)


@dataclass(frozen=True, eq=False)
class Store:
    """Mapped arrays of one split; N is the number of frames of all people."""

    entries: tuple[Entry, ...]
    """Conversations."""
    per_frame: int
    """Feature vectors of speech a frame."""
    motion: np.ndarray
    """(N, D) float32."""
    speech: np.ndarray
    """(N * per_frame, C) float16."""
    valid: np.ndarray
    """(N,) bool."""
    speaking: np.ndarray
    """(N,) bool."""
    shape: np.ndarray
    """(2 * conversations, S) float32, A then B."""

    def relation_ids(self, entry: Entry, person: int) -> tuple[int, int, int]:
        """Numbers of kinship, status, senior as A (0) or B (1) sees them."""
        return Relation(*entry.relation).ids(PERSONS[person])


def open_store(
    talks: Conversations,
    encoder: SpeechEncoder,
    layout: MotionLayout,
    folder: Path,
    identity: str,
    done: Callable[[int], None] = lambda conversations: None,
) -> Store:
    """The store of ``talks`` below ``folder``, made if it is not there.

    Args:
        talks: conversations of one split.
        encoder: of speech.
        layout: of motion.
        folder: for stores.
        identity: hash of the dataset and its labels.
        done: called with 1 for every conversation read.

    Raises:
        DatasetError: a conversation breaks the format.
        HeadMismatch: codes are another head's.
    """
    key = content_hash([_VERSION, identity, talks.split, encoder.key, layout.num_expression], length=16)
    place = folder / f"{talks.split or 'all'}-{key}"
    try:
        return _opened(place, encoder.per_frame)
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not there, or damaged: it is made from the dataset again, whatever was wrong with it
    _build(talks, encoder, layout, place, done)
    return _opened(place, encoder.per_frame)


def _opened(place: Path, per_frame: int) -> Store:
    index = json.loads((place / "index.json").read_text(encoding="utf-8"))
    arrays = {name: _mapped(place / f"{name}.npy") for name in _FILES}
    entries = tuple(
        Entry(e["clip_id"], e["dyad_id"], e["start"], e["frames"], tuple(e["subjects"]), tuple(e["relation"]))
        for e in index
    )
    return Store(entries=entries, per_frame=per_frame, **arrays)


def _mapped(path: Path) -> np.ndarray:
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _build(
    talks: Conversations, encoder: SpeechEncoder, layout: MotionLayout, place: Path, done: Callable[[int], None]
) -> None:
    for left in place.parent.glob(f"{place.name}.*.tmp"):  # of a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    temporary = place.with_name(f"{place.name}.{os.getpid()}.tmp")
    temporary.mkdir(parents=True)
    total = 2 * sum(talks.frames)
    sizes = {
        "motion": ((total, layout.size), np.float32),
        "speech": ((total * encoder.per_frame, encoder.channels), np.float16),
        "valid": ((total,), np.bool_),
        "speaking": ((total,), np.bool_),
    }
    try:
        arrays = {
            name: np.lib.format.open_memmap(temporary / f"{name}.npy", "w+", np.dtype(kind), shape)
            for name, (shape, kind) in sizes.items()
        }
        entries, shapes, start = [], [], 0
        for talk in talks:
            _put(talk, encoder, layout, arrays, start)
            shapes += [talk.shape[p] for p in PERSONS]
            entries.append(
                {
                    "clip_id": talk.clip_id,
                    "dyad_id": talk.dyad_id,
                    "start": start,
                    "frames": talk.num_frames,
                    "subjects": [talk.subject_id[p] for p in PERSONS],
                    "relation": [talk.relation.kinship, talk.relation.status, talk.relation.senior],
                }
            )
            start += 2 * talk.num_frames
            done(1)
        if len({len(shape) for shape in shapes}) > 1:
            raise HeadMismatch(f"{talks.path} holds shape codes of different lengths.")
        for array in arrays.values():
            array.flush()  # type: ignore[attr-defined]
        np.save(temporary / "shape.npy", np.stack(shapes), allow_pickle=False)
        (temporary / "index.json").write_text(json.dumps(entries), encoding="utf-8")
        shutil.rmtree(place, ignore_errors=True)
        os.replace(temporary, place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _put(
    talk: Conversation, encoder: SpeechEncoder, layout: MotionLayout, arrays: dict[str, np.ndarray], start: int
) -> None:
    for person in PERSONS:
        stop = start + talk.num_frames
        arrays["motion"][start:stop] = layout.pack(talk.codes[person])
        features = encoder.features(talk.audio(person))
        if features.shape != (talk.num_frames * encoder.per_frame, encoder.channels):
            raise DatasetError(f"{encoder.key} gave features {features.shape} for {talk.num_frames} frames.")
        arrays["speech"][start * encoder.per_frame : stop * encoder.per_frame] = features
        arrays["valid"][start:stop] = talk.valid[person]
        arrays["speaking"][start:stop] = talk.speaking[person]
        start = stop


def statistics(store: Store, layout: MotionLayout, reference_s: float) -> dict[str, np.ndarray]:
    """What the network's units are made of, over valid frames.

    Returns:
        (D,) float32 each: ``mean``; ``scale``, the spread within a clip, at least a fifth of its group's (columns that
        never move would count without end); ``speed``, that of differences between frames, likewise; ``trust``, how
        far a reference's mean tells the mean of the rest of its clip (slope of a regression, in [0, 1]); ``axes``
        (D, D), principal axes of motion within a clip in units of ``scale``, of each family of columns for itself, a
        row each, the widest first, ``spread`` along them, and the ``family`` of each (its number in ``FAMILIES``).
    """
    from model.motion.reference import MIN_FRAMES, reference_frames

    size = layout.size
    total, count = np.zeros(size), 0
    within, moved, steps = np.zeros((size, size)), np.zeros(size), 0
    references, rests = [], []
    for entry in store.entries:
        for person in (0, 1):
            rows = entry.rows(person)
            motion, valid = store.motion[rows].astype(np.float64), store.valid[rows]
            if valid.sum() < MIN_FRAMES:
                continue
            mean = motion[valid].mean(axis=0)
            total += motion[valid].sum(axis=0)
            within += (motion[valid] - mean).T @ (motion[valid] - mean)
            count += int(valid.sum())
            pairs = valid[1:] & valid[:-1]
            moved += (np.diff(motion, axis=0)[pairs] ** 2).sum(axis=0)
            steps += int(pairs.sum())
            first = np.arange(entry.frames) < reference_frames(entry.frames, reference_s)
            if (valid & first).sum() >= MIN_FRAMES and (valid & ~first).sum() >= MIN_FRAMES:
                references.append(motion[valid & first].mean(axis=0))
                rests.append(motion[valid & ~first].mean(axis=0))
    if not count or not steps:
        raise DatasetError("No conversation of the training split has valid frames.", hint="Look at the column valid.")
    mean = total / count
    trust = np.full(size, 0.5)
    if len(references) > 2:
        x, y = np.stack(references) - mean, np.stack(rests) - mean
        trust = np.clip((x * y).sum(axis=0) / np.maximum((x * x).sum(axis=0), 1e-12), 0.0, 1.0)
    found = {"mean": mean, "trust": trust}
    for name, variance in (("scale", np.diag(within) / count), ("speed", moved / steps)):
        spread = np.sqrt(variance)
        for _, where in layout.slices():
            least = max(0.2 * float(np.sqrt(variance[where].mean())), 1e-4)
            spread[where] = np.maximum(spread[where], least)
        found[name] = spread
    found |= _principal(within / count / np.outer(found["scale"], found["scale"]), layout)
    return {name: value.astype(np.float32) for name, value in found.items()}


def _principal(covariance: np.ndarray, layout: MotionLayout) -> dict[str, np.ndarray]:
    """``axes``, ``spread`` and ``family`` of :func:`statistics`."""
    columns = {name: range(layout.size)[where] for name, where in layout.slices()}
    axes, variances = np.zeros_like(covariance), np.zeros(layout.size)
    family = np.zeros(layout.size)
    start = 0
    for number, groups in enumerate(FAMILIES):
        own = [column for group in groups for column in columns[group]]
        rows = slice(start, start + len(own))
        variances[rows], found = np.linalg.eigh(covariance[np.ix_(own, own)])
        axes[rows, own] = found.T
        family[rows] = number
        start += len(own)
    # An axis may point either way; the sign of its largest number settles it.
    axes *= np.sign(np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1))
    order = np.argsort(-variances, kind="stable")
    return {"axes": axes[order], "spread": np.sqrt(np.maximum(variances[order], 0.0)), "family": family[order]}
