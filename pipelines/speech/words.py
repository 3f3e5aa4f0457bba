"""Words with times: cleaning what speech recognition gives, and saying who said each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

#: No word lasts longer than this; alignment stretches words over pauses.
MAX_WORD_S = 1.2
#: A word whose times collapsed gets this long.
MIN_WORD_S = 0.04


@dataclass(frozen=True)
class Word:
    """One word, its times in seconds from the start of what was transcribed."""

    word: str
    """Text without the spaces around it."""
    start: float
    """Seconds."""
    end: float
    """Seconds; later than ``start`` once cleaned."""
    score: float
    """Probability of the word under the model, in [0, 1]."""
    speaker: str | None = None
    """A, B, or None where no visible person said it."""

    def as_dict(self) -> dict[str, Any]:
        """The form in which words are stored."""
        return {
            "word": self.word,
            "start": round(self.start, 3),
            "end": round(self.end, 3),
            "score": round(self.score, 4),
            "speaker": self.speaker,
        }


@dataclass(frozen=True)
class Transcript:
    """What a speech recogniser heard."""

    language: str
    """Language code; empty where there was nothing to tell it from."""
    words: tuple[Word, ...]
    """In order of their start."""
    timing: str
    """Where the word times come from: forced alignment, cross-attention, or none (no words)."""
    doubt: str = ""
    """What speaks against the language asked for, for a person to read; empty where nothing does."""


def clean_words(words: Sequence[Word], duration_s: float, *, offset_s: float = 0.0) -> list[Word]:
    """Words in order, inside [0, duration_s], none empty, of no length, longer than 1.2 s, or reaching into the next.

    Word times from attention collapse where people talk over each other, and stretch over pauses: a collapsed word
    gets the free time after it (at least 0.04 s), a stretched one keeps the end that lies next to its neighbour.

    Args:
        words: as recognised, any order.
        duration_s: length of the audio in seconds.
        offset_s: added to all times first.
    """
    kept = [
        replace(word, word=word.word.strip(), start=word.start + offset_s, end=word.end + offset_s)
        for word in words
        if word.word.strip() and np.isfinite([word.start, word.end]).all()
    ]
    kept.sort(key=lambda word: (word.start, word.end))
    cleaned: list[Word] = []
    floor = 0.0
    for index, word in enumerate(kept):
        start = min(max(word.start, floor), max(0.0, duration_s - MIN_WORD_S))
        end = min(max(word.end, start), duration_s)
        if end - start > MAX_WORD_S:
            follows = index > 0 and start - cleaned[-1].end < 0.1
            start, end = (start, start + MAX_WORD_S) if follows else (end - MAX_WORD_S, end)
        if end - start < MIN_WORD_S:
            ahead = kept[index + 1].start if index + 1 < len(kept) else duration_s
            end = min(max(start + MIN_WORD_S, min(ahead, start + 0.2)), duration_s)
            start = min(start, end - min(MIN_WORD_S, duration_s))
        cleaned.append(replace(word, start=max(0.0, start), end=end, score=float(np.clip(word.score, 0.0, 1.0))))
        floor = max(floor, start + (0.0 if end - start <= MIN_WORD_S else MIN_WORD_S / 2))
    for index in range(len(cleaned) - 1):
        word, after = cleaned[index], cleaned[index + 1]
        if word.end > after.start >= word.start + MIN_WORD_S:
            cleaned[index] = replace(word, end=after.start)
    return cleaned


def speak_words(
    words: Sequence[Word], activity: Mapping[str, np.ndarray], *, fps: float = 25.0, margin_s: float = 0.2
) -> list[Word]:
    """Give each word to the person who talked most while it was said; None where nobody visible did.

    Args:
        words: cleaned.
        activity: for each person (T,) float: probability that the person talks in the frame.
        fps: frames a second of ``activity``.
        margin_s: where nobody talks within the word, the frames this close to it are asked.
    """
    spoken = []
    for word in words:
        best: str | None = None
        for margin, least in ((0.0, 0.3), (margin_s, 0.15)):
            first = max(0, int(np.floor((word.start - margin) * fps)))
            last = max(first + 1, int(np.ceil((word.end + margin) * fps)))
            shares = {person: _mean(track[first:last]) for person, track in activity.items()}
            if shares and max(shares.values()) >= least:
                best = max(shares, key=lambda person: shares[person])
                break
        spoken.append(replace(word, speaker=best))
    return spoken


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else 0.0


def joined_text(words: Sequence[Word]) -> str:
    """Words as running text: with spaces, except where the writing system has none."""
    text = ""
    for word in words:
        spaced = not text or not word.word or not (_unspaced(text[-1]) and _unspaced(word.word[0]))
        text += (" " if text and spaced else "") + word.word
    return text


def _unspaced(character: str) -> bool:
    """Whether the character belongs to a script written without spaces (Chinese, Japanese, Thai, Lao, Khmer)."""
    code = ord(character)
    return 0x0E00 <= code <= 0x0EFF or 0x1780 <= code <= 0x17FF or 0x3000 <= code <= 0x9FFF or 0xFF00 <= code <= 0xFFEF
