"""Whether two people in two clips are one: cues, and one score from them.

Every cue gives a share of the log odds, a straight line cut off at both ends, so that no cue can overrule all others::

    share = clip(slope * (value - even), low, high)
    score = 1 / (1 + exp(-(prior + sum of shares)))

Cues that are missing (no voice, hair out of the picture) say nothing. docs/subjects.md tells where the numbers come
from and what they are worth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.subjects.people import Person

CUES = ("shape", "texture", "skin", "hair", "voice")
PRIOR = -2.0
"""Log odds that two people drawn at random are one, cues aside; cautious, not counted."""
PICTURES = 3.0
"""For so many independent pictures a clip's evidence about the shape counts here, whatever it counts for in the fit."""
_GRADIENTS = 448
"""The first numbers of a texture are gradient histograms, the rest patterns; each part has length 1."""
_BLOCK = 128
_FAR = 400.0
"""Squared distance of two shapes, in tempered standard deviations of one of them, beyond which they are not compared
closely: pairs of one person stay below 100."""


@dataclass(frozen=True)
class Line:
    """How a cue counts."""

    slope: float
    """Log odds per unit."""
    even: float
    """Value that says nothing."""
    low: float
    """Least share."""
    high: float
    """Greatest share."""

    def __call__(self, value: np.ndarray) -> np.ndarray:
        """Shares of the log odds; 0 where the value is NaN."""
        return np.nan_to_num(np.clip(self.slope * (value - self.even), self.low, self.high), nan=0.0)


LINES = {
    # Log of the Bayes factor of "one shape" against "two shapes" under the head model's prior.
    "shape": Line(0.4, 12.0, -8.0, 6.0),
    # Gradient and pattern histograms: both cosines, in units of their spread.
    "texture": Line(0.7, 0.0, -3.0, 3.0),
    # Distance of the skins' colours in log R/G, log B/G.
    "skin": Line(-40.0, 0.09, -1.5, 1.5),
    # Distance of hair over skin, in log colour.
    "hair": Line(-2.0, 0.7, -1.5, 1.0),
    # Cosine of the voices.
    "voice": Line(20.0, 0.77, -3.0, 1.5),
}


@dataclass(frozen=True)
class Pairs:
    """Scored pairs, each once, with a before b; those that are out of the question are left out."""

    first: np.ndarray
    """(N,) int64 number of a person."""
    second: np.ndarray
    """(N,) int64, greater."""
    logit: np.ndarray
    """(N,) log odds that the two are one."""
    cues: np.ndarray
    """(N, 5) shares of the log odds in the order of ``CUES``."""


def probability(logit: np.ndarray) -> np.ndarray:
    """Log odds to a score in (0, 1)."""
    return 1.0 / (1.0 + np.exp(-np.asarray(logit, dtype=np.float64)))


def log_odds(score: float) -> float:
    """The inverse of :func:`probability`."""
    return float(np.log(score / (1.0 - score)))


def score_pairs(
    people: Sequence[Person],
    information: np.ndarray,
    vector: np.ndarray,
    *,
    least: float,
    shape_sd: float = 1.0,
    pictures: float = PICTURES,
    progress: Callable[[float], None] = lambda share: None,
) -> Pairs:
    """Score all pairs that could be one person.

    Not looked at are pairs within a clip, and pairs of people who both bear a name. Memory grows with the number of
    people and of likely pairs, not with its square: one row of distances at a time decides who is compared closely.

    Args:
        people: N people.
        information: (N, S (S + 1) / 2) float32, packed evidence about each one's shape.
        vector: (N, S).
        least: log odds below which a pair is left out.
        shape_sd: prior standard deviation of the shape codes.
        pictures: how many independent pictures the evidence stands for.
        progress: called with the done share.
    """
    num = len(people)
    full = np.float32(PICTURES / pictures) * _unpacked(information, vector.shape[1])
    right = PICTURES / pictures * vector
    precision = np.eye(vector.shape[1]) / shape_sd**2
    codes = np.stack([np.linalg.solve(full[i] + precision, right[i]) for i in range(num)])
    alone = _evidence(full, right, precision)
    clips = np.unique([person.clip_id for person in people], return_inverse=True)[1]
    named = np.array([person.given is not None for person in people])
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
    for first, second in _likely(codes, full, clips, named):
        joint = _evidence(full[first] + full[second], right[first] + right[second], precision)
        cues = np.stack(
            [
                LINES["shape"](joint - alone[first] - alone[second]),
                *_looks(people, first, second),
            ],
            axis=1,
        )
        logit = PRIOR + cues.sum(axis=1)
        keep = logit >= least
        found.append((first[keep], second[keep], logit[keep], cues[keep]))
        progress(float(first[-1] + 1) / num)
    empty = np.zeros(0, np.int64)
    if not found:
        return Pairs(empty, empty, np.zeros(0), np.zeros((0, len(CUES))))
    parts = [np.concatenate(column) for column in zip(*found, strict=True)]
    return Pairs(*parts)


def _unpacked(information: np.ndarray, size: int) -> np.ndarray:
    """(N, S, S) float32 from packed triangles."""
    rows, columns = np.triu_indices(size)
    full = np.zeros((len(information), size, size), np.float32)
    full[:, rows, columns] = information
    full[:, columns, rows] = information
    return full


def _evidence(information: np.ndarray, right: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """Log probability (B,) of evidence (B, S, S), (B, S) under the prior of shapes, up to what the data alone decide.

    Integral of exp(-s P s / 2) exp(-s I s / 2 + v s) over s, with P the prior's precision; its logarithm is
    v (I + P)^-1 v / 2 - log det(I + P) / 2 + log det(P) / 2.
    """
    out = np.empty(len(right))
    constant = 0.5 * np.linalg.slogdet(precision)[1]
    for start in range(0, len(right), _BLOCK):
        part = slice(start, start + _BLOCK)
        factor = np.linalg.cholesky(information[part].astype(np.float64) + precision)
        half = np.linalg.solve(factor, right[part][..., None])[..., 0]
        logs = np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1)
        out[part] = 0.5 * np.square(half).sum(axis=1) - logs + constant
    return out


def _likely(
    codes: np.ndarray, full: np.ndarray, clips: np.ndarray, named: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs whose shapes do not rule each other out, a person with all later ones at a time."""
    for first in range(len(codes) - 1):
        step = (codes[first + 1 :] - codes[first]).astype(np.float32)
        distance = np.einsum("ns,ns->n", step @ full[first], step) / 2
        allowed = (clips[first + 1 :] != clips[first]) & ~(named[first] & named[first + 1 :])
        second = np.flatnonzero(allowed & (distance < _FAR)) + first + 1
        if len(second):
            yield np.full(len(second), first), second


def _looks(people: Sequence[Person], first: np.ndarray, second: np.ndarray) -> list[np.ndarray]:
    """Shares of texture, skin, hair and voice for pairs."""
    a, b = [people[i] for i in first], [people[i] for i in second]
    texture_a, texture_b = np.stack([p.texture for p in a]), np.stack([p.texture for p in b])
    product = texture_a * texture_b
    gradients = product[:, :_GRADIENTS].sum(axis=1, dtype=np.float64)
    patterns = product[:, _GRADIENTS:].sum(axis=1, dtype=np.float64)
    texture = (gradients - 0.955) / 0.012 + (patterns - 0.81) / 0.045
    step = np.stack([p.colours for p in a]) - np.stack([p.colours for p in b])
    skin = np.sqrt(np.square(step[:, :2]).mean(axis=1))
    hair = np.sqrt(np.square(step[:, 8:11]).mean(axis=1))
    voice = np.array(
        [float(p.voice @ q.voice) if len(p.voice) and len(q.voice) else np.nan for p, q in zip(a, b, strict=True)]
    )
    values = {"texture": texture, "skin": skin, "hair": hair, "voice": voice}
    return [LINES[name](value) for name, value in values.items()]
