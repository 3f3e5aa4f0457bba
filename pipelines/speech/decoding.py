"""Getting a whole text out of a decoder that can fall into a loop or stop early, the same text every time.

Whisper's own remedy is to sample at a higher temperature, whose result is another one every time. Here a stretch of
speech that went wrong is cut in two at its quietest moment and each half is heard again; what is too short to cut is
decoded with penalties on repetition.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.speech.isolate import levels_db
from pipelines.speech.words import Word

SAMPLE_RATE = 16000
#: Text that zlib shrinks by more than this repeats itself (Radford et al., 2022, use the same bound).
MAX_COMPRESSION = 2.4
#: Speech in which no word begins for this long was not heard, in seconds: longer pauses are cut out beforehand.
MAX_UNHEARD_S = 4.0
#: Stretches shorter than this are not cut.
MIN_CUT_S = 6.0
#: Tried in order on a short stretch that loops.
PENALTIES: tuple[dict[str, Any], ...] = (
    {"no_repeat_ngram_size": 5},
    {"repetition_penalty": 1.1},
    {"repetition_penalty": 1.2, "no_repeat_ngram_size": 3},
)

Span = tuple[float, float]


@dataclass(frozen=True)
class Piece:
    """What was heard in one stretch."""

    span: Span
    """Start and end in seconds."""
    text: str
    """Text without the spaces around it."""
    words: tuple[Word, ...] | None = None
    """With times in seconds of the whole audio; None where the decoder gives text only."""


Decode = Callable[[Sequence[Span], Mapping[str, Any]], list[Piece]]


def cut_out(audio: np.ndarray, span: Span) -> np.ndarray:
    """The samples of a stretch, of (N,) samples at 16 kHz."""
    return audio[int(span[0] * SAMPLE_RATE) : int(span[1] * SAMPLE_RATE)]


def compression(text: str) -> float:
    """Length of a text over the length of its zlib compression, in bytes; 0 for no text."""
    raw = text.strip().encode("utf-8")
    return len(raw) / len(zlib.compress(raw)) if raw else 0.0


def most_tokens(seconds: float) -> int:
    """Tokens that so much speech can hold at most (fast talkers need about 6 a second); bounds a decoder in a loop."""
    return min(220, 24 + round(10 * seconds))


def is_sound(piece: Piece) -> bool:
    """Whether the text neither runs in circles nor leaves out a long part of the stretch."""
    if compression(piece.text) > MAX_COMPRESSION:
        return False
    if piece.words is None:
        return True
    marks = [piece.span[0], *sorted(word.start for word in piece.words), piece.span[1]]
    return max(after - before for before, after in zip(marks, marks[1:], strict=False)) <= MAX_UNHEARD_S


def quietest_cut(audio: np.ndarray, span: Span) -> float:
    """The quietest moment in the middle 40 % of a stretch, in seconds.

    Args:
        audio: (N,) float32 at 16 kHz.
        span: in seconds.
    """
    start, end = span
    low, high = start + 0.3 * (end - start), end - 0.3 * (end - start)
    part = audio[round(low * SAMPLE_RATE) : round(high * SAMPLE_RATE)]
    levels = levels_db(part, hop=160)  # 10 ms
    if len(levels) < 20:
        return 0.5 * (start + end)
    kernel = np.hanning(22)[1:-1]
    smooth = np.convolve(levels, kernel / kernel.sum(), mode="valid")
    return low + (int(np.argmin(smooth)) + len(kernel) / 2) * 0.01


def decode_soundly(decode: Decode, audio: np.ndarray, spans: Sequence[Span]) -> list[Piece]:
    """Text of every stretch, cut and heard again where that is needed; pieces in order of time.

    Args:
        decode: gives a piece for every stretch it is handed, under decoding options.
        audio: (N,) float32 at 16 kHz.
        spans: stretches in seconds.
    """
    done: list[Piece] = []
    pending = list(spans)
    while pending:
        found, pending = decode(pending, {}), []
        for piece in found:
            start, end = piece.span
            if is_sound(piece):
                done.append(piece)
            elif end - start >= MIN_CUT_S:
                cut = quietest_cut(audio, piece.span)
                pending += [(start, cut), (cut, end)]
            elif compression(piece.text) <= MAX_COMPRESSION:
                done.append(piece)  # it ends early, and there may be nothing more in it
            else:
                done.append(_penalised(decode, piece))
    return sorted(done, key=lambda piece: piece.span)


def _penalised(decode: Decode, piece: Piece) -> Piece:
    tries = [piece]
    for options in PENALTIES:
        tries.append(decode([piece.span], options)[0])
        if compression(tries[-1].text) <= MAX_COMPRESSION:
            return tries[-1]
    return min(tries, key=lambda tried: compression(tried.text))
