"""Which clips go to annotators first: an order in which every beginning is a fair sample.

The order is total, and depends on the seed and on the clips only, never on how many are wanted: so a sample of 200
contains the sample of 100. Clips are dealt in turn from strata (language, guessed relation, length); within a stratum,
first clips of pairs that were not seen yet come before second ones, and so do those of sources.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

#: Lengths, in seconds, at which a new stratum begins.
LENGTHS_S = (5.0, 10.0, 20.0)


@dataclass(frozen=True)
class Candidate:
    """What sampling looks at of a clip."""

    clip_id: str
    """Its name."""
    dyad_id: str
    """The pair it shows."""
    source_id: str
    """The file it was cut from."""
    language: str
    """ISO 639-1; empty where none was heard."""
    seconds: float
    """Its length."""
    guess: str
    """What is guessed of the relation; empty for nothing."""

    @property
    def stratum(self) -> tuple[str, str, int]:
        """Language, guessed relation, class of length."""
        return (self.language, self.guess, sum(self.seconds >= edge for edge in LENGTHS_S))


def sampling_order(candidates: Iterable[Candidate], *, seed: int = 0, balance: float = 0.5) -> list[str]:
    """Ids of all clips, in the order in which they are to be labelled.

    Args:
        candidates: the clips; their own order does not matter.
        seed: decides among equals.
        balance: a stratum of n clips gets a share proportional to n ** balance (power allocation): 1 keeps the shares
            of the dataset, 0 gives every stratum the same, 0.5 lies between, so that rare relations are seen early.

    The k-th clip of a stratum has its turn at (k + u) / n ** balance, u in (0, 1) drawn once per stratum.
    """
    strata: defaultdict[tuple[str, str, int], list[tuple[int, int, float, str]]] = defaultdict(list)
    pairs: Counter[str] = Counter()
    sources: Counter[str] = Counter()
    # Which of a pair's clips is its first is drawn, too.
    for clip in sorted(candidates, key=lambda clip: (_draw(seed, "clip", clip.clip_id), clip.clip_id)):
        rank = (pairs[clip.dyad_id], sources[clip.source_id], _draw(seed, "clip", clip.clip_id), clip.clip_id)
        strata[clip.stratum].append(rank)
        pairs[clip.dyad_id] += 1
        sources[clip.source_id] += 1
    turns = []
    for stratum, ranks in strata.items():
        weight = len(ranks) ** balance
        offset = _draw(seed, "stratum", *map(str, stratum))
        for number, rank in enumerate(sorted(ranks)):
            turns.append(((number + offset) / weight, rank[2], rank[3]))
    return [clip_id for _, _, clip_id in sorted(turns)]


def mix_in(tasks: Sequence[T], others: Sequence[T], *, seed: int = 0) -> list[T]:
    """``others`` spread evenly among ``tasks``, at places that cannot be counted off.

    The list is parted into as many stretches as there are others, and each stands at a drawn place of its stretch.
    """
    if not others:
        return list(tasks)
    total = len(tasks) + len(others)
    places = []
    for number in range(len(others)):
        first, last = number * total // len(others), (number + 1) * total // len(others)
        places.append(first + int(_draw(seed, "place", str(number)) * (last - first)))
    wanted = dict(zip(places, others, strict=True))
    rest = iter(tasks)
    return [wanted[place] if place in wanted else next(rest) for place in range(total)]


def is_hidden(clip_id: str, project: str, share: float) -> bool:
    """Whether the guess about a clip is kept from the annotators of a project: the same on every run.

    Args:
        clip_id: the clip.
        project: what names the project, server included.
        share: of clips whose guess is hidden, in [0, 1].
    """
    return _draw(0, "hidden", project, clip_id) < share


def _draw(seed: int, *what: str) -> float:
    """A number in [0, 1) that looks random and follows from its arguments."""
    text = "\0".join([str(seed), *what])
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") / 2**64
