"""Who is judged: models, the floors that any model has to beat, and controls that take a model's input away.

All go through one door: ``predict(conversation, person)`` gives codes of each group for every frame of the clip.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from model.metrics.motion import GROUPS
from model.motion.conversation import SAMPLES_PER_FRAME, Conversation, partner_of
from model.motion.layout import CODE_OF_GROUP
from model.motion.reference import reference_frames

Codes = Mapping[str, np.ndarray]
"""Group (expression, jaw, pose, eyes) -> (T, d)."""
Predict = Callable[[Conversation, str], Codes]
Kind = Literal["model", "control", "floor", "truth"]
Frames = Callable[[Conversation, str, np.ndarray], np.ndarray]
"""From a conversation, a person and the frames that count (T,) to those that count for one predictor."""


@dataclass(frozen=True)
class Predictor:
    """One row of the table."""

    name: str
    """Key in the report."""
    title: str
    """What people read."""
    kind: Kind
    """model; control: the model with an input taken away; floor: no model at all; truth."""
    predict: Predict
    """Codes for every frame of a person in a conversation."""
    frames: Frames | None = None
    """Which of the frames that count it is judged on; None for all."""
    note: str = ""
    """What it is, in a sentence."""
    more: tuple[Predict, ...] = ()
    """Further samples of one that draws: its figures are the mean of each sample's own."""
    controlled: bool = True
    """Of a model: whether it is judged with its inputs shuffled too."""


def truth_of(conversation: Conversation, person: str) -> dict[str, np.ndarray]:
    """Tracked codes of a person, by group."""
    codes = conversation.codes[person]
    return {group: codes[CODE_OF_GROUP[group]] for group in GROUPS}


def counted(conversation: Conversation, person: str, reference_s: float) -> np.ndarray:
    """(T,) frames that count: valid, and after the reference at the clip's start, which predictors are given."""
    frames = np.array(conversation.valid[person], bool)
    frames[: reference_frames(conversation.num_frames, reference_s)] = False
    return frames


class Others:
    """For every conversation another one, of other people: the next in order, the last going on with the first."""

    def __init__(self, conversations: Sequence[Conversation], dyads: Sequence[tuple[str, str]]) -> None:
        """Of conversations and their (clip_id, dyad_id)."""
        self._conversations = conversations
        self._next: dict[str, int] = {}
        count = len(dyads)
        for index, (clip, dyad) in enumerate(dyads):
            for step in range(1, count):
                other = (index + step) % count
                if dyads[other][1] != dyad:
                    self._next[clip] = other
                    break

    @property
    def complete(self) -> bool:
        """Whether there is another dyad at all."""
        return bool(self._next)

    def __call__(self, conversation: Conversation) -> Conversation:
        """Another conversation, of other people."""
        return self._conversations[self._next[conversation.clip_id]]


def floors(others: Others, reference_s: float) -> list[Predictor]:
    """What needs no model. ``someone_else`` is there only where there are at least two dyads."""

    def zero(conversation: Conversation, person: str) -> Codes:
        return {group: np.zeros_like(codes) for group, codes in truth_of(conversation, person).items()}

    def reference_mean(conversation: Conversation, person: str) -> Codes:
        stop = reference_frames(conversation.num_frames, reference_s)
        known = conversation.valid[person][:stop]
        if not known.any():  # the reference shows nothing: nothing is known
            return zero(conversation, person)
        truth = truth_of(conversation, person)
        return {group: _still(codes[:stop][known].mean(0), codes) for group, codes in truth.items()}

    def own_mean(conversation: Conversation, person: str) -> Codes:
        frames = counted(conversation, person, reference_s)
        if not frames.any():
            return zero(conversation, person)
        return {group: _still(codes[frames].mean(0), codes) for group, codes in truth_of(conversation, person).items()}

    def copy_partner(conversation: Conversation, person: str) -> Codes:
        return truth_of(conversation, partner_of(person))

    def someone_else(conversation: Conversation, person: str) -> Codes:
        theirs = truth_of(others(conversation), person)
        return {group: _fitted(codes, conversation.num_frames) for group, codes in theirs.items()}

    # What stands in for a prediction has to be valid itself: codes at rest of a person nobody saw are no motion.
    def partner_seen(conversation: Conversation, person: str, frames: np.ndarray) -> np.ndarray:
        return frames & conversation.valid[partner_of(person)]

    def other_seen(conversation: Conversation, person: str, frames: np.ndarray) -> np.ndarray:
        return frames & _fitted(others(conversation).valid[person], conversation.num_frames)

    found = [
        Predictor("zero", "zero", "floor", zero, note="every code is 0: the head at rest"),
        Predictor("static_mean", "static mean", "floor", reference_mean, note="the mean of the person's reference"),
        Predictor(
            "own_mean",
            "own mean (oracle)",
            "floor",
            own_mean,
            note="the mean of the very frames that are judged, which no predictor knows",
        ),
        Predictor(
            "copy_partner",
            "copy partner",
            "floor",
            copy_partner,
            partner_seen,
            "the partner's codes, frame by frame, where they are valid",
        ),
    ]
    if others.complete:
        found.append(
            Predictor(
                "someone_else",
                "someone else",
                "floor",
                someone_else,
                other_seen,
                "true motion of another dyad's person",
            )
        )
    found.append(
        Predictor(
            "half_split",
            "half against half",
            "floor",
            _swap_halves(reference_s),
            _first_half,
            "the truth's second half as the prediction of its first: how far apart halves of one clip are",
        )
    )
    return found


def truth() -> Predictor:
    """The truth itself: 0 in errors, and the figure to come close to in measures of the prediction alone."""
    return Predictor("truth", "truth", "truth", truth_of, note="the tracked motion")


def _still(mean: np.ndarray, like: np.ndarray) -> np.ndarray:
    return np.broadcast_to(mean.astype(like.dtype), like.shape)


def _fitted(codes: np.ndarray, frames: int) -> np.ndarray:
    """Codes of another clip, from its start again where it is shorter."""
    return codes[np.arange(frames) % len(codes)]


def _halves(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frames (n,) of the first half of those that count, and of the second."""
    where = np.flatnonzero(frames)
    half = len(where) // 2
    return where[:half], where[half : 2 * half]


def _first_half(conversation: Conversation, person: str, frames: np.ndarray) -> np.ndarray:
    kept = np.zeros_like(frames)
    kept[_halves(frames)[0]] = True
    return kept


def _swap_halves(reference_s: float) -> Predict:
    def predict(conversation: Conversation, person: str) -> Codes:
        first, second = _halves(counted(conversation, person, reference_s))
        swapped = {}
        for group, codes in truth_of(conversation, person).items():
            swapped[group] = np.array(codes)
            swapped[group][first] = codes[second]
        return swapped

    return predict


def with_audio_of(conversation: Conversation, person: str, other: Conversation) -> Conversation:
    """The conversation with ``person``'s speech taken from the same seat of another one, under a clip_id of its own.

    Its own, because what is computed from a clip's sound may be remembered by clip_id.
    """
    sound = {**conversation.sound, person: lambda: _sound_of(other, person, conversation.num_frames)}
    speaking = {**conversation.speaking, person: _fitted(other.speaking[person], conversation.num_frames)}
    clip_id = f"{conversation.clip_id}~{person}~{other.clip_id}"
    return replace(conversation, clip_id=clip_id, sound=sound, speaking=speaking)


def with_partner_of(conversation: Conversation, person: str, other: Conversation) -> Conversation:
    """The conversation with everything of ``person``'s partner taken from the same seat of another one."""
    partner, frames = partner_of(person), conversation.num_frames
    swapped = with_audio_of(conversation, partner, other)
    codes = {name: _fitted(values, frames) for name, values in other.codes[partner].items()}
    return replace(
        swapped,
        codes={**conversation.codes, partner: codes},
        shape={**conversation.shape, partner: other.shape[partner]},
        valid={**conversation.valid, partner: _fitted(other.valid[partner], frames)},
    )


def _sound_of(other: Conversation, person: str, frames: int) -> np.ndarray:
    return _fitted(other.audio(person), frames * SAMPLES_PER_FRAME)


def controls(model: Predictor, others: Others) -> list[Predictor]:
    """The model with other people's speech, and with another partner; none where there is one dyad only."""
    if not others.complete or not model.controlled:
        return []

    def audio(conversation: Conversation, person: str) -> Codes:
        return model.predict(with_audio_of(conversation, person, others(conversation)), person)

    def partner(conversation: Conversation, person: str) -> Codes:
        return model.predict(with_partner_of(conversation, person, others(conversation)), person)

    return [
        Predictor(
            f"{model.name}:shuffled_audio",
            f"{model.title}, shuffled audio",
            "control",
            audio,
            model.frames,
            "the same model with the speech of a person of another dyad",
        ),
        Predictor(
            f"{model.name}:shuffled_partner",
            f"{model.title}, shuffled partner",
            "control",
            partner,
            model.frames,
            "the same model with motion and speech of another dyad's partner",
        ),
    ]
