"""Turn-taking: who holds the floor, who takes it and how, and who only says that they listen.

Stretches of speech of each person, short pauses bridged, are read in the order they begin:

* whoever speaks first holds the floor, and keeps it through pauses;
* a short stretch of the other, after or during which the holder goes on, is a *back-channel*: the floor stays;
* a longer one that ends while the holder still speaks is an *attempt*: the floor stays;
* any other takes the floor. Where it begins well before the holder stops, it is an *interruption*, else a *change*.

The offset of a taken floor is the time from the end of the one's speech to the beginning of the other's, negative in
overlap (floor transfer offset; Heldner and Edlund 2010, "Pauses, gaps and overlaps in conversations", J. Phonetics 38).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipelines.speech.turns import merge_runs, runs

Kind = Literal["first", "hold", "change", "interruption", "attempt", "backchannel"]

PAUSE_S = 0.2
"""Silence up to here is a closure or a breath and ends no stretch of speech."""
BACKCHANNEL_S = 1.0
"""A back-channel is no longer than this."""
GOES_ON_S = 1.0
"""The holder goes on within this after a back-channel."""
INTERRUPTION_S = 0.4
"""Who begins more than this before the other has stopped interrupts; less is good timing."""


@dataclass(frozen=True)
class Stretch:
    """Speech of one person."""

    person: str
    """A or B."""
    start: int
    """First frame."""
    stop: int
    """Frame after the last."""
    kind: Kind
    """What it does to the floor."""
    offset: int | None = None
    """Frames from the end of the other's speech, where the floor is taken; negative in overlap."""


@dataclass(frozen=True)
class Floor:
    """A conversation's turn-taking."""

    stretches: tuple[Stretch, ...]
    """In the order they begin."""
    holder: np.ndarray
    """(T,) int8: the number of the person who holds the floor, in the order of the mapping; -1 before anybody does."""
    fps: float
    """Frames a second."""

    def of_kind(self, kind: Kind, person: str | None = None) -> list[Stretch]:
        """Stretches of a kind, of one person or of both."""
        return [one for one in self.stretches if one.kind == kind and person in (None, one.person)]

    def latencies(self, person: str) -> list[float]:
        """Seconds from the other's end to this person's beginning, at every taken floor; negative in overlap."""
        return [one.offset / self.fps for one in self.stretches if one.person == person and one.offset is not None]


def floor(speaking: Mapping[str, np.ndarray], *, fps: float = 25.0) -> Floor:
    """Turn-taking of two people.

    Args:
        speaking: for each of two persons (T,) bool.
        fps: frames a second.

    Raises:
        ValueError: these are not two people, or their lengths differ.
    """
    names = list(speaking)
    if len(names) != 2 or len({len(one) for one in speaking.values()}) != 1:
        raise ValueError("turn-taking is of two people over the same frames")
    spans = {
        name: merge_runs(runs(np.asarray(active, bool)), round(PAUSE_S * fps) + 1) for name, active in speaking.items()
    }
    order = sorted((start, stop, name) for name, own in spans.items() for start, stop in own)
    count = len(speaking[names[0]])
    holder = np.full(count, -1, np.int8)
    found: list[Stretch] = []
    held: tuple[str, int] | None = None
    for start, stop, name in order:
        if held is None or held[0] == name:
            found.append(Stretch(name, start, stop, "first" if held is None else "hold"))
            held = (name, max(stop, held[1] if held else stop))
        elif _stays(spans[held[0]], spans[name], held[1], start, stop, fps):
            short = stop - start <= BACKCHANNEL_S * fps
            found.append(Stretch(name, start, stop, "backchannel" if short else "attempt"))
            continue
        else:
            offset = start - held[1]
            kind: Kind = "interruption" if offset < -INTERRUPTION_S * fps else "change"
            found.append(Stretch(name, start, stop, kind, offset))
            held = (name, stop)
        holder[start:] = names.index(name)
    return Floor(tuple(found), holder, fps)


def _stays(
    holders: list[tuple[int, int]], own: list[tuple[int, int]], last: int, start: int, stop: int, fps: float
) -> bool:
    """Whether the floor stays with its holder, whose speech ends at ``last``, through the other's [start, stop)."""
    if last > stop:
        return True
    if stop - start > BACKCHANNEL_S * fps:
        return False
    goes_on = min((a for a, _ in holders if a >= start), default=None)
    again = min((a for a, _ in own if a >= stop), default=None)
    return goes_on is not None and goes_on <= stop + GOES_ON_S * fps and (again is None or goes_on <= again)
