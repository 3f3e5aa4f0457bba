"""Intervals over dyads, for one figure and for the difference of two predictors on the same conversations.

Clips of the same two people are alike, so figures of clips are not independent; dyads are. Every figure here is a ratio
of sums over dyads (weight times value, over weight). A round of the bootstrap draws as many dyads as there are, with
replacement, and the interval is the studentised one (bootstrap-t: Efron and Tibshirani, An introduction to the
bootstrap, 1993, chapter 12.5; errors by linearisation): with 8 to 40 dyads its coverage is nearer to what it says than
that of percentiles. Below :data:`FEW` dyads the rounds repeat the same few draws, and Student's t takes their place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

Floats = npt.NDArray[np.float64]

FEW = 8
"""Fewer dyads have Student's interval."""
_ROUNDING = 1e-6
"""Differences below this share of the figures are none: codes are float32."""
_BLOCK = 4_000_000
"""Numbers held at once while rounds are drawn."""


@dataclass(frozen=True)
class Estimate:
    """A figure over conversations."""

    value: float | None
    """None where it is not defined."""
    low: float | None = None
    """Lower end of the interval; None where there is none."""
    high: float | None = None
    """Upper end."""
    p: float | None = None
    """Of differences: how likely one at least as far from zero would be if there were none (two-sided)."""
    dyads: int = 0
    """Pairs of people it rests on."""
    clips: int = 0
    """Persons in clips it rests on."""
    method: str = ""
    """bootstrap-t, student, or empty for no interval."""
    reason: str = ""
    """Why there is no value or no interval."""


@dataclass(frozen=True, eq=False)
class Cells:
    """What one measure says of every person in every clip under one predictor; N in all."""

    value: Floats
    """(N,); NaN where there is no figure."""
    weight: Floats
    """(N,) at least 0; 0 where there is no figure."""

    def sums(self, dyad: npt.NDArray[np.int64], num_dyads: int, keep: npt.NDArray[np.bool_] | None = None) -> Floats:
        """(D, 2): weight times value, and weight, of each dyad."""
        weight = self.weight if keep is None else np.where(keep, self.weight, 0.0)
        product = np.where(weight > 0, np.nan_to_num(self.value) * weight, 0.0)
        columns = [np.bincount(dyad, weights=part, minlength=num_dyads) for part in (product, weight)]
        return np.stack(columns, 1)


def mix(parts: Sequence[Cells], shares: Sequence[float]) -> Cells:
    """Cells of a predictor drawn anew for each clip, ``parts[i]`` with chance ``shares[i]``, in expectation."""
    weight = sum(
        (share * part.weight for share, part in zip(shares, parts, strict=True)), np.zeros_like(parts[0].weight)
    )
    total = np.zeros_like(weight)
    for share, part in zip(shares, parts, strict=True):
        total += share * part.weight * np.nan_to_num(part.value)
    with np.errstate(invalid="ignore", divide="ignore"):
        return Cells(np.where(weight > 0, total / weight, np.nan), weight)


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are made; the same seed draws the same dyads every time."""

    rounds: int = 2000
    """Rounds of the bootstrap."""
    seed: int = 0
    """Of the draws."""
    level: float = 0.95
    """Coverage of the intervals."""

    def figure(self, cells: Cells, dyad: npt.NDArray[np.int64]) -> Estimate:
        """Weighted mean of the cells over all dyads.

        Args:
            cells: N figures.
            dyad: (N,) number of the dyad each belongs to.
        """
        return self._estimate(cells.sums(dyad, int(dyad.max(initial=-1)) + 1), int((cells.weight > 0).sum()))

    def difference(self, first: Cells, second: Cells, dyad: npt.NDArray[np.int64], *, pooled: bool = False) -> Estimate:
        """Figure of the first less that of the second, paired: every round draws the same dyads for both.

        Args:
            first: N figures.
            second: N figures of the same persons in the same clips.
            dyad: (N,) number of the dyad.
            pooled: the figures count events, and having none is no gap in the data. Else a person in a clip counts only
                if both have a figure.
        """
        there = (first.weight > 0) | (second.weight > 0) if pooled else (first.weight > 0) & (second.weight > 0)
        num = int(dyad.max(initial=-1)) + 1
        sums = np.concatenate([first.sums(dyad, num, there), second.sums(dyad, num, there)], 1)
        return self._estimate(sums, int(there.sum()))

    def _estimate(self, sums: Floats, clips: int) -> Estimate:
        """Of (D, 2) sums a ratio, of (D, 4) the difference of two."""
        sums = sums[(sums[:, 1::2] > 0).any(1)]
        dyads = len(sums)
        if not dyads or (sums[:, 1::2].sum(0) <= 0).any():
            return Estimate(None, dyads=dyads, clips=clips, reason="no conversation has this figure")
        value, coefficients = _linear(sums.sum(0)[None])
        result = float(value[0])
        if dyads < 2:
            return Estimate(result, dyads=dyads, clips=clips, reason="one dyad only: how much dyads differ is not seen")
        moments = (sums[:, :, None] * sums[:, None, :]).reshape(dyads, -1)
        error = float(_error(coefficients, moments.sum(0)[None], dyads)[0])
        totals = sums.sum(0)
        size = float(np.abs(totals[0::2] / totals[1::2]).max())
        if error <= _ROUNDING * size:  # all dyads alike
            if abs(result) <= _ROUNDING * size:
                return Estimate(0.0, 0.0, 0.0, 1.0, dyads, clips, "student")
            return Estimate(result, result, result, 0.0, dyads, clips, "student")
        tail = (1 - self.level) / 2
        if dyads < FEW:
            reach = float(student.ppf(1 - tail, dyads - 1)) * error
            p = float(2 * student.sf(abs(result) / error, dyads - 1))
            return Estimate(result, result - reach, result + reach, p, dyads, clips, "student")
        parts = []
        for weights in _weights(dyads, self.rounds, self.seed):
            values, around = _linear(weights @ sums)
            with np.errstate(invalid="ignore", divide="ignore"):
                parts.append((values - result) / _error(around, weights @ moments, dyads))
        ratios = np.concatenate(parts)
        ratios = ratios[np.isfinite(ratios)]
        if len(ratios) < 0.9 * self.rounds:
            return Estimate(result, dyads=dyads, clips=clips, reason="too few dyads differ: many draws are all alike")
        low, high = np.quantile(ratios, (1 - tail, tail))
        # Twice the smaller tail: below 1 - level exactly where the interval leaves zero out.
        tails = [int((sign * ratios >= sign * result / error).sum()) for sign in (1, -1)]
        p = min(1.0, 2 * (1 + min(tails)) / (1 + len(ratios)))
        ends = result - low * error, result - high * error
        return Estimate(result, float(ends[0]), float(ends[1]), float(p), dyads, clips, "bootstrap-t")


def _linear(totals: Floats) -> tuple[Floats, Floats]:
    """Ratio, or difference of two ratios, of totals (R, 2 or 4): (R,), and what it is linear in nearby, (R, 2 or 4)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = totals[:, 0::2] / totals[:, 1::2]
        by_sum, by_weight = 1 / totals[:, 1::2], -ratio / totals[:, 1::2]
    if totals.shape[1] == 2:
        return ratio[:, 0], np.stack([by_sum[:, 0], by_weight[:, 0]], 1)
    parts = [by_sum[:, 0], by_weight[:, 0], -by_sum[:, 1], -by_weight[:, 1]]
    return ratio[:, 0] - ratio[:, 1], np.stack(parts, 1)


def _error(coefficients: Floats, moments: Floats, dyads: int) -> Floats:
    """(R,) standard errors: the spread over dyads of the linear parts, from second moments (R, k k)."""
    size = coefficients.shape[1]
    product = (coefficients[:, :, None] * coefficients[:, None, :]).reshape(-1, size * size)
    with np.errstate(invalid="ignore"):
        squares = (product * moments).sum(1)
        # The linear parts sum to zero over the dyads drawn, so their squares need no mean taken off.
        found: Floats = np.sqrt(np.maximum(squares, 0.0) * dyads / (dyads - 1))
    return found


@lru_cache(maxsize=8)
def _weights(dyads: int, rounds: int, seed: int) -> tuple[Floats, ...]:
    """How often each dyad was drawn in each round: blocks of (rounds, D)."""
    generator = np.random.default_rng(seed)
    block = max(1, _BLOCK // dyads)
    blocks = []
    for start in range(0, rounds, block):
        count = min(block, rounds - start)
        drawn = generator.integers(dyads, size=(count, dyads)) + np.arange(count)[:, None] * dyads
        blocks.append(np.bincount(drawn.ravel(), minlength=count * dyads).reshape(count, dyads).astype(np.float64))
    return tuple(blocks)
