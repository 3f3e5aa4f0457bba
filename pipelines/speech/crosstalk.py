"""Words that one microphone heard from another one's person."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from pipelines.speech.words import Word

_NEAR_S = 0.4
"""The same word begins this near in both channels: recognisers place a faint one less well."""
_FAINTER = 0.8
"""An echo has at most this share of the other channel's voice; two people who say one word together have alike."""


def drop_echoes(channels: Sequence[Sequence[Word]], voices: np.ndarray) -> tuple[list[list[Word]], list[Word]]:
    """Leave out of each channel the words that another channel has at the same time, and louder.

    Args:
        channels: the words of every channel.
        voices: (T, C) how much each channel holds its own person's voice, in [0, 1], 25 frames a second.

    Returns:
        The words kept of every channel; those left out.
    """
    kept: list[list[Word]] = []
    echoes: list[Word] = []
    for own, words in enumerate(channels):
        others = [number for number in range(len(channels)) if number != own]
        kept.append([])
        for word in words:
            echo = any(_is_echo(word, own, other, channels[other], voices) for other in others)
            (echoes if echo else kept[-1]).append(word)
    return kept, echoes


def _is_echo(word: Word, own: int, other: int, words: Sequence[Word], voices: np.ndarray) -> bool:
    text = _plain(word.word)
    for same in words:
        if abs(same.start - word.start) > _NEAR_S or _plain(same.word) != text:
            continue
        first = round(min(word.start, same.start) * 25)
        span = voices[first : max(first + 1, round(max(word.end, same.end) * 25))]
        if len(span) and span[:, own].mean() < _FAINTER * span[:, other].mean():
            return True
    return False


def _plain(word: str) -> str:
    return re.sub(r"\W+", "", word).casefold()
