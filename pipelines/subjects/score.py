"""Whether two people in two clips are one: cues, and one score from them.

Every cue gives a share of the log odds, a straight line cut off at both ends, so that no cue can overrule all others::

    share = clip(slope * (value - even), low, high)
    score = 1 / (1 + exp(-(prior + sum of shares)))

Cues that are missing (no voice, hair out of the picture) say nothing. docs/subjects.md tells where the numbers come
from and what they are worth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
_BOUND = (48.0, 0.45)
"""The log Bayes factor lies below 48 - 0.45 d for squared distances d of shapes (in standard deviations of one of
them): measured on all pairs of docs/subjects.md, where it lay 1 to 17 below. Spares most pairs the exact comparison."""


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
    looks = _Looks(people)
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
    for first in range(num - 1):
        progress(first / num)
        allowed = (clips[first + 1 :] != clips[first]) & ~(named[first] & named[first + 1 :])
        second = np.flatnonzero(allowed) + first + 1
        if not len(second):
            continue
        seen = looks.shares(first, second)
        step = (codes[second] - codes[first]).astype(np.float32)
        distance = np.einsum("ns,ns->n", step @ full[first], step) / 2
        bound = LINES["shape"](_BOUND[0] - _BOUND[1] * distance.astype(np.float64))
        likely = PRIOR + seen.sum(axis=1) + bound >= least
        second, seen = second[likely], seen[likely]
        if not len(second):
            continue
        joint = _evidence(full[first] + full[second], right[first] + right[second], precision)
        shape = LINES["shape"](joint - alone[first] - alone[second])
        cues = np.concatenate([shape[:, None], seen], axis=1)
        logit = PRIOR + cues.sum(axis=1)
        keep = logit >= least
        found.append((np.full(int(keep.sum()), first), second[keep], logit[keep], cues[keep]))
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


class _Looks:
    """Textures, colours and voices of everybody as arrays."""

    def __init__(self, people: Sequence[Person]) -> None:
        self.texture = np.stack([person.texture for person in people])
        self.colours = np.stack([person.colours for person in people])
        self.heard = np.array([len(person.voice) > 0 for person in people])
        size = max(len(person.voice) for person in people)
        self.voice = np.zeros((len(people), size), np.float32)
        for row, person in zip(self.voice, people, strict=True):
            row[: len(person.voice)] = person.voice

    def shares(self, first: int, second: np.ndarray) -> np.ndarray:
        """Shares (N, 4) of texture, skin, hair and voice for one person with N others."""
        gradients = self.texture[second, :_GRADIENTS] @ self.texture[first, :_GRADIENTS]
        patterns = self.texture[second, _GRADIENTS:] @ self.texture[first, _GRADIENTS:]
        step = self.colours[second] - self.colours[first]
        voices = (self.voice[second] @ self.voice[first]).astype(np.float64)
        values = {
            "texture": (gradients.astype(np.float64) - 0.955) / 0.012 + (patterns.astype(np.float64) - 0.81) / 0.045,
            "skin": np.sqrt(np.square(step[:, :2]).mean(axis=1)),
            "hair": np.sqrt(np.square(step[:, 8:11]).mean(axis=1)),
            "voice": np.where(self.heard[second] & self.heard[first], voices, np.nan),
        }
        return np.stack([LINES[name](value) for name, value in values.items()], axis=1)
