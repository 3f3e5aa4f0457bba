"""Turns: who held the floor from when to when, with the words said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.speech.words import Word, joined_text


@dataclass(frozen=True)
class Turn:
    """A span in which one person talks, short pauses included."""

    person: str
    """A or B."""
    start: float
    """Seconds from the clip's start, on the frame grid."""
    end: float
    """Seconds; later than ``start``."""
    text: str = ""
    """The person's words in it."""

    def as_dict(self) -> dict[str, Any]:
        """The form in which turns are stored."""
        return {"person": self.person, "start": round(self.start, 3), "end": round(self.end, 3), "text": self.text}


def runs(active: np.ndarray) -> list[tuple[int, int]]:
    """Spans [first, stop) of True in a (T,) bool array."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], active, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def merge_runs(spans: Sequence[tuple[int, int]], gap: int) -> list[tuple[int, int]]:
    """Join spans that lie less than ``gap`` apart; spans in order."""
    merged: list[tuple[int, int]] = []
    for start, stop in spans:
        if merged and start - merged[-1][1] < gap:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return merged


def drop_short_runs(active: np.ndarray, shortest: int) -> np.ndarray:
    """A copy of a (T,) bool array without runs of fewer than ``shortest`` frames."""
    kept = active.copy()
    for start, stop in runs(active):
        if stop - start < shortest:
            kept[start:stop] = False
    return kept


def make_turns(
    speaking: Mapping[str, np.ndarray], words: Sequence[Word], *, fps: float = 25.0, gap_s: float = 0.4
) -> list[Turn]:
    """Turns of all persons in order of their start. Every word with a speaker is in the text of exactly one turn.

    A word belongs to the turn of its speaker that is nearest to its middle. A speaker's word while that person never
    speaks makes a turn of its own.

    Args:
        speaking: for each person (T,) bool.
        words: with speakers.
        fps: frames a second.
        gap_s: pauses shorter than this do not end a turn.
    """
    turns: list[Turn] = []
    for person, active in speaking.items():
        spans = [(a / fps, b / fps) for a, b in merge_runs(runs(active), max(1, round(gap_s * fps)))]
        mine = [word for word in words if word.speaker == person]
        if not spans and mine:
            spans = [(mine[0].start, max(word.end for word in mine))]
        held: list[list[Word]] = [[] for _ in spans]
        for word in mine:
            middle = 0.5 * (word.start + word.end)
            distances = [max(start - middle, middle - end, 0.0) for start, end in spans]
            held[int(np.argmin(distances))].append(word)
        turns += [Turn(person, start, end, joined_text(said)) for (start, end), said in zip(spans, held, strict=True)]
    return sorted(turns, key=lambda turn: (turn.start, turn.end, turn.person))
