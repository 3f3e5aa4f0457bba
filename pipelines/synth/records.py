"""The records that the rooms of the synthesiser hand to each other: speech, turns, motion."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

SAMPLE_RATE = 16_000
"""Samples a second of all audio in this package."""
FPS = 25
"""Frames a second of all motion in this package."""
SAMPLES_PER_FRAME = SAMPLE_RATE // FPS
PERSONS = ("A", "B")
"""From left to right in the frame."""

TurnKind = Literal["turn", "backchannel"]


def partner_of(person: str) -> str:
    """The other one of A and B."""
    return "B" if person == "A" else "A"


def rng_for(seed: int, *purpose: str | int) -> np.random.Generator:
    """A generator that depends on the seed and on what it is for, and on nothing that was drawn before.

    Rooms that draw from generators of their own cannot disturb each other: a change in how blinks are drawn leaves
    the words as they were.
    """
    text = "/".join(str(part) for part in (seed, *purpose))
    digest = hashlib.sha256(text.encode()).digest()
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(np.frombuffer(digest, np.uint32).tolist())))


@dataclass(frozen=True)
class Span:
    """Something that lasts: a phoneme (IPA), a word."""

    label: str
    """What it is."""
    start: float
    """Seconds."""
    end: float
    """Seconds, after ``start``."""

    def shifted(self, seconds: float) -> Span:
        """The same, later by ``seconds``."""
        return Span(self.label, self.start + seconds, self.end + seconds)


@dataclass(frozen=True)
class Utterance:
    """A stretch of speech of one person without a long pause, cut to its first and last sound."""

    audio: np.ndarray
    """(N,) float32 at ``SAMPLE_RATE``, in [-1, 1]."""
    text: str | None = None
    """What is said, where it is known."""
    words: tuple[Span, ...] | None = None
    """Words from the utterance's start, where they are known."""
    phonemes: tuple[Span, ...] | None = None
    """Phonemes from the utterance's start, where they are known."""

    @property
    def seconds(self) -> float:
        """Length."""
        return len(self.audio) / SAMPLE_RATE


@dataclass(frozen=True)
class Turn:
    """A span in which one person speaks."""

    person: str
    """A or B."""
    start: float
    """Seconds from the clip's start."""
    end: float
    """Seconds from the clip's start."""
    text: str | None = None
    """What is said, where it is known."""
    kind: TurnKind = "turn"
    """A turn holds the floor; a back-channel ("mm-hm") does not."""


@dataclass(frozen=True)
class Dialogue:
    """The speech of a clip: who says what when, and the sound of each person alone."""

    num_frames: int
    """T; the audio has exactly T * SAMPLES_PER_FRAME samples."""
    audio: dict[str, np.ndarray]
    """A and B -> (N,) float32: this person alone, silence elsewhere."""
    turns: tuple[Turn, ...]
    """By start; those of one person do not overlap."""
    words: dict[str, tuple[Span, ...] | None]
    """A and B -> words in clip time, or None where they are not known."""
    phonemes: dict[str, tuple[Span, ...] | None]
    """A and B -> phonemes in clip time, or None where they are not known."""
    source: str
    """Where the speech comes from, for the truth file."""
    isolation: Literal["channel", "gated"]
    """How each person's audio was separated: own channel, or a mixture gated by turns."""
    arranged: bool
    """Whether timing and loudness were made here (so the relation acts on them) or are the recording's own."""
    language: str | None = None
    """ISO 639-1 code where it is known."""
    voices: dict[str, str] = field(default_factory=dict)
    """A and B -> name of the voice."""
    noise: np.ndarray | None = None
    """(N,) float32 room noise that belongs to nobody; part of the mixture."""

    @property
    def seconds(self) -> float:
        """Length of the clip."""
        return self.num_frames / FPS

    def mixture(self) -> np.ndarray:
        """(N,) float32: what one microphone hears, scaled down only where it would clip."""
        total = self.audio["A"] + self.audio["B"]
        if self.noise is not None:
            total = total + self.noise
        peak = float(np.abs(total).max(initial=0.0))
        return total / peak * 0.99 if peak > 0.99 else total

    def speaking(self, person: str) -> np.ndarray:
        """(T,) bool: the middle of the frame lies in one of the person's turns, back-channels included."""
        return spans_to_frames([(t.start, t.end) for t in self.turns if t.person == person], self.num_frames)


def spans_to_frames(spans: list[tuple[float, float]], num_frames: int) -> np.ndarray:
    """(T,) bool: frames whose middle, (i + 0.5) / FPS, lies in one of the spans [start, end) in seconds."""
    middle = (np.arange(num_frames) + 0.5) / FPS
    result = np.zeros(num_frames, bool)
    for start, end in spans:
        result |= (middle >= start) & (middle < end)
    return result


@dataclass(frozen=True)
class Event:
    """A gesture that was acted, for the truth file and for counting."""

    person: str
    """Who."""
    kind: str
    """blink, nod, smile, brow_raise, gaze_away."""
    start: float
    """Seconds from the clip's start."""
    end: float
    """Seconds."""
    strength: float
    """1 is full strength of the expression; degrees for nods."""


@dataclass(frozen=True)
class Motion:
    """What a face does over a clip, before it is put on a head."""

    expression: np.ndarray
    """(T, 52) float32 in [0, 1], columns as ``ARKIT``."""
    jaw: np.ndarray
    """(T, 3) float32 axis-angle, radians; x opens."""
    gaze: np.ndarray
    """(T, 2) float32 radians: turn towards the subject's partner side, and down."""
    head: np.ndarray
    """(T, 3) float32 radians: pitch (down), yaw (towards the partner), roll (towards the partner's side)."""
    shift: np.ndarray
    """(T, 3) float32 metres: how far the head has moved, camera axes."""
    events: tuple[Event, ...] = ()
    """Gestures acted, by start."""


ARKIT = (
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight",
    "cheekPuff", "cheekSquintLeft", "cheekSquintRight",
    "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight",
    "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight", "eyeSquintLeft", "eyeSquintRight",
    "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper",
    "mouthSmileLeft", "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight",
    "mouthUpperUpLeft", "mouthUpperUpRight", "noseSneerLeft", "noseSneerRight", "tongueOut",
)  # fmt: skip
"""The 52 ARKit expression names, in the order of ``Motion.expression``."""
ARKIT_INDEX = {name: index for index, name in enumerate(ARKIT)}
