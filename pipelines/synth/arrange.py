"""Turn-taking: utterances of two people to a dialogue with gaps, overlap and back-channels.

Turn gaps follow the shape known from telephone corpora: mostly 0 to 0.5 s, with a share of overlapped starts. How often
people overlap, who holds the floor, and how loud they speak depend on the relation (``relations.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from pipelines.synth.records import (
    PERSONS,
    SAMPLE_RATE,
    SAMPLES_PER_FRAME,
    Dialogue,
    Span,
    Turn,
    TurnKind,
    Utterance,
    partner_of,
)
from pipelines.synth.relations import Rates

SPEECH_LEVEL_DB = -24.0
"""RMS of active speech, dB of full scale, before the relation's loudness."""
NOISE_LEVEL_DB = -66.0
"""RMS of the room noise, dB of full scale."""
_FADE_S = 0.008
_SHORTEST_TURN_S = 0.2
"""A turn that the clip's end would cut shorter than this is left out."""


class Voices(Protocol):
    """Where utterances come from: a recording, or a synthesiser."""

    @property
    def source(self) -> str:
        """Name, for the truth file."""

    @property
    def isolation(self) -> Literal["channel", "gated"]:
        """How each person's audio was separated."""

    @property
    def language(self) -> str | None:
        """ISO 639-1 code where it is known."""

    @property
    def names(self) -> dict[str, str]:
        """A and B -> name of the voice."""

    def conversation(self, rates: dict[str, Rates], rng: np.random.Generator) -> Iterator[tuple[str, Utterance]]:
        """Endless (person, utterance). Who holds the floor goes on with ``Rates.hold_probability``."""

    def backchannel(self, person: str, rng: np.random.Generator) -> Utterance | None:
        """Something short that does not take the floor, if this voice has it."""


@dataclass(frozen=True)
class _Placed:
    turn: Turn
    utterance: Utterance
    gain: float


def arrange(voices: Voices, num_frames: int, rates: dict[str, Rates], rng: np.random.Generator) -> Dialogue:
    """Lay utterances on a timeline until the clip is full.

    Args:
        voices: where they come from.
        num_frames: T.
        rates: A and B -> behaviour rates under the clip's relation.
        rng: draws gaps, overlaps, loudness, back-channels.

    Returns:
        The dialogue; the last turn may be cut by the clip's end, as in any clip cut out of a conversation.
    """
    seconds = num_frames * SAMPLES_PER_FRAME / SAMPLE_RATE
    gain = {p: rates[p].loudness_db + rng.normal(0.0, 0.7) for p in PERSONS}
    placed: list[_Placed] = []
    ends = {p: 0.0 for p in PERSONS}
    clock, speaker = float(rng.uniform(0.1, 0.5)), ""
    for person, utterance in voices.conversation(rates, rng):
        if not speaker:
            start = clock
        elif person == speaker:
            start = clock + float(rng.uniform(0.25, 0.6))
        elif rng.random() < rates[person].overlap_probability:
            last = placed[-1].turn
            start = clock - float(rng.uniform(0.15, min(0.8, max(0.2, 0.4 * (last.end - last.start)))))
        else:
            start = clock + float(np.clip(rng.lognormal(np.log(0.2), 0.6), 0.04, 1.2))
        start = max(start, ends[person] + 0.12)
        if start > seconds - _SHORTEST_TURN_S:
            break
        turn, utterance = _place(person, start, utterance, seconds, "turn")
        placed.append(_Placed(turn, utterance, gain[person]))
        ends[person], speaker = turn.end, person
        clock = max(clock, turn.end)
    placed += _backchannels(placed, voices, seconds, rates, gain, rng)
    placed.sort(key=lambda item: (item.turn.start, item.turn.person))
    return _dialogue(placed, voices, num_frames, rng)


def _backchannels(
    placed: list[_Placed],
    voices: Voices,
    seconds: float,
    rates: dict[str, Rates],
    gain: dict[str, float],
    rng: np.random.Generator,
) -> list[_Placed]:
    """Short sounds of the listener inside long turns, clear of the listener's own turns."""
    result: list[_Placed] = []
    for item in placed:
        listener = partner_of(item.turn.person)
        clock = item.turn.start + 0.8
        while True:
            clock += float(rng.exponential(1.0 / max(rates[listener].backchannel_hz, 1e-3)))
            sound = voices.backchannel(listener, rng)
            if sound is None or clock + sound.seconds > min(item.turn.end, seconds - 0.05):
                break
            own = [p.turn for p in (*placed, *result) if p.turn.person == listener]
            if all(clock > t.end + 0.3 or clock + sound.seconds < t.start - 0.3 for t in own):
                turn, sound = _place(listener, clock, sound, seconds, "backchannel")
                result.append(_Placed(turn, sound, gain[listener] - 4.0))
            clock += sound.seconds + 0.5
    return result


def _place(person: str, start: float, utterance: Utterance, seconds: float, kind: TurnKind) -> tuple[Turn, Utterance]:
    """Put an utterance at a start (moved to the sample grid) and cut it at the clip's end."""
    first = round(start * SAMPLE_RATE)
    keep = min(len(utterance.audio), round(seconds * SAMPLE_RATE) - first)
    text = utterance.text
    if keep < len(utterance.audio):
        limit = keep / SAMPLE_RATE
        words = utterance.words
        if words is not None:
            words = tuple(w for w in words if w.end <= limit)
            text = " ".join(w.label for w in words) or None
        phonemes = utterance.phonemes
        if phonemes is not None:
            phonemes = tuple(Span(p.label, p.start, min(p.end, limit)) for p in phonemes if p.start < limit)
        utterance = Utterance(utterance.audio[:keep], text, words, phonemes)
    end = (first + keep) / SAMPLE_RATE
    return Turn(person, first / SAMPLE_RATE, end, text, kind), utterance


def _dialogue(placed: list[_Placed], voices: Voices, num_frames: int, rng: np.random.Generator) -> Dialogue:
    total = num_frames * SAMPLES_PER_FRAME
    audio = {p: np.zeros(total, np.float32) for p in PERSONS}
    for item in placed:
        first = round(item.turn.start * SAMPLE_RATE)
        sound = faded(at_level(item.utterance.audio, SPEECH_LEVEL_DB + item.gain))
        audio[item.turn.person][first : first + len(sound)] += sound
    noise = rng.standard_normal(total).astype(np.float32) * np.float32(10 ** (NOISE_LEVEL_DB / 20))
    return Dialogue(
        num_frames=num_frames,
        audio={p: np.clip(audio[p], -0.99, 0.99) for p in PERSONS},
        turns=tuple(item.turn for item in placed),
        words={p: _timed(placed, p, "words") for p in PERSONS},
        phonemes={p: _timed(placed, p, "phonemes") for p in PERSONS},
        source=voices.source,
        isolation=voices.isolation,
        arranged=True,
        language=voices.language,
        voices=dict(voices.names),
        noise=noise,
    )


def _timed(placed: list[_Placed], person: str, what: Literal["words", "phonemes"]) -> tuple[Span, ...] | None:
    """All words or phonemes of a person in clip time; None where any utterance lacks them."""
    result: list[Span] = []
    for item in placed:
        if item.turn.person == person:
            spans = item.utterance.words if what == "words" else item.utterance.phonemes
            if spans is None:
                return None
            result += [span.shifted(item.turn.start) for span in spans]
    return tuple(result)


def at_level(audio: np.ndarray, level_db: float) -> np.ndarray:
    """Scale (N,) float32 so that its loud half has the RMS level given, dB of full scale; silence stays as it is."""
    frames = audio[: len(audio) // 160 * 160].reshape(-1, 160)
    power = np.sort((frames.astype(np.float64) ** 2).mean(axis=1))[::-1]
    active = float(power[: max(1, (len(power) + 1) // 2)].mean()) if len(power) else 0.0
    if active <= 1e-12:
        return audio
    return (audio * np.float32(10 ** (level_db / 20) / np.sqrt(active))).astype(np.float32)


def faded(audio: np.ndarray) -> np.ndarray:
    """Copy of (N,) float32 with a few milliseconds of fade at both ends, against clicks."""
    result = audio.copy()
    length = min(round(_FADE_S * SAMPLE_RATE), len(result) // 2)
    if length:
        ramp = np.linspace(0.0, 1.0, length, endpoint=False, dtype=np.float32)
        result[:length] *= ramp
        result[-length:] *= ramp[::-1]
    return result
