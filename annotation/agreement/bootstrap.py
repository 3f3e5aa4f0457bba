"""Intervals by bootstrap over dyads.

Clips of the same two people are alike, so votes on them are not independent; dyads are. A round draws as many dyads as
there are, with replacement, and adds up what they hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.stats import norm

from annotation.agreement.ratings import Floats, Ints
from annotation.agreement.report import Estimate

#: Numbers held at once while rounds are drawn.
_BLOCK = 8_000_000
#: Share of rounds in which a statistic may be undefined before its interval is given up.
_UNDEFINED = 0.1

FEW_DYADS = 20
CONSTANT = "the same in every dyad: an interval would claim a certainty that is not there"
ONE_DYAD = "one dyad only: how much dyads differ cannot be seen"


class Bootstrap:
    """Rounds of dyads drawn with replacement; the same seed draws the same dyads every time.

    Args:
        num_dyads: D, at least 1.
        rounds: R.
        seed: of the draws.
        level: coverage of the intervals.
    """

    def __init__(self, num_dyads: int, rounds: int, seed: int, level: float) -> None:
        self.num_dyads, self.rounds, self.seed, self.level = num_dyads, rounds, seed, level
        self._block = max(1, min(rounds, _BLOCK // max(num_dyads, 1)))
        self._kept: Floats | None = None
        self._across: Floats | None = None

    def weights(self) -> Iterator[Floats]:
        """How often each dyad was drawn: (rounds, D) blocks."""
        if self._kept is not None:
            yield self._kept
            return
        generator = np.random.default_rng(self.seed)
        for start in range(0, self.rounds, self._block):
            rounds = min(self._block, self.rounds - start)
            drawn = generator.integers(self.num_dyads, size=(rounds, self.num_dyads))
            drawn += np.arange(rounds)[:, None] * self.num_dyads
            counts = np.bincount(drawn.ravel(), minlength=rounds * self.num_dyads)
            block = counts.reshape(rounds, self.num_dyads).astype(np.float64)
            if rounds == self.rounds:
                self._kept = block
            yield block

    def totals(self, per_dyad: Floats | sp.csc_array) -> Floats:
        """Sums of each round: (R, P) from what each dyad adds (D, P), dense or sparse; as precise as ``per_dyad``."""
        if isinstance(per_dyad, np.ndarray):
            return np.concatenate([block @ per_dyad for block in self.weights()])
        across = per_dyad.T.tocsr()
        return np.concatenate([across @ block for block in self._columns(per_dyad.dtype)], axis=1).T

    def _columns(self, dtype: np.dtype[Any]) -> Iterator[Floats]:
        """The weights as (D, rounds) blocks, in the layout that sparse products read in one go."""
        if self._across is not None and self._across.dtype == dtype:
            yield self._across
            return
        for block in self.weights():
            columns = np.ascontiguousarray(block.T, dtype)
            if len(block) == self.rounds:
                self._across = columns
            yield columns

    def draw(self, per_dyad: Floats) -> Drawn:
        """Draw what each dyad adds (D, P), for any number of statistics."""
        return Drawn(self, per_dyad)

    def interval(self, value: float, replicates: Floats, n: int, leave_one_out: Floats | None = None) -> Estimate:
        """An interval from a statistic's values in the rounds: percentiles, or BCa where the jackknife is given."""
        if not np.isfinite(value):
            return Estimate(None, n=n)
        if self.num_dyads < 2:
            return Estimate(value, n=n, reason=ONE_DYAD)
        defined = replicates[np.isfinite(replicates)]
        if len(defined) < (1 - _UNDEFINED) * len(replicates):
            return Estimate(value, n=n, reason="too few votes for an interval: many rounds of the bootstrap have none")
        if np.ptp(defined) < 1e-12:
            return Estimate(value, n=n, reason=CONSTANT)
        low, high = bca_levels(value, defined, leave_one_out, self.level)
        ends = np.quantile(defined, (low, high))
        return Estimate(value, float(ends[0]), float(ends[1]), n)


class Drawn:
    """Sums over dyads, drawn once."""

    def __init__(self, bootstrap: Bootstrap, per_dyad: Floats) -> None:
        self.bootstrap, self.per_dyad = bootstrap, per_dyad
        self.total = per_dyad.sum(axis=0)

    @cached_property
    def rounds(self) -> Floats:
        """(R, P) sums of each round."""
        return self.bootstrap.totals(self.per_dyad)

    @cached_property
    def leave_one_out(self) -> Floats:
        """(D, P) sums without each dyad."""
        return self.total - self.per_dyad

    def estimate(self, statistic: Callable[[Floats], Floats], n: int) -> Estimate:
        """A statistic of sums over dyads, with its BCa interval.

        Args:
            statistic: takes sums (..., P), gives (...); nan where it is not defined.
            n: number of items, kept in the result.
        """
        value = float(statistic(self.total))
        if not np.isfinite(value):
            return Estimate(None, n=n)
        if self.bootstrap.num_dyads < 2:
            return Estimate(value, n=n, reason=ONE_DYAD)
        return self.bootstrap.interval(value, statistic(self.rounds), n, statistic(self.leave_one_out))


def bca_levels(value: float, replicates: Floats, leave_one_out: Floats | None, level: float) -> tuple[float, float]:
    """Which quantiles of the replicates bound the interval.

    Bias-corrected and accelerated: B. Efron, Better bootstrap confidence intervals, J. Am. Stat. Assoc. 82 (1987).
    """
    tails = ((1 - level) / 2, (1 + level) / 2)
    if leave_one_out is None:
        return tails
    # Rounds that hit the value itself count half; sums in another order may miss it by a rounding error.
    slack = 1e-9 * max(1.0, abs(value))
    below = (np.mean(replicates < value - slack) + np.mean(replicates <= value + slack)) / 2
    spread = leave_one_out[np.isfinite(leave_one_out)]
    if not 0 < below < 1 or len(spread) < 2:
        return tails
    bias, deviation = norm.ppf(below), spread.mean() - spread
    size = (deviation**2).sum() ** 1.5
    acceleration = (deviation**3).sum() / (6 * size) if size > 0 else 0.0
    ends = []
    for tail in tails:
        z = bias + norm.ppf(tail)
        ends.append(float(norm.cdf(bias + z / (1 - acceleration * z))))
    return ends[0], ends[1]


def sum_by(group: Ints, rows: Floats, groups: int) -> Floats:
    """(groups, P) sums of rows (N, P) by group (N,)."""
    columns = [np.bincount(group, weights=rows[:, column], minlength=groups) for column in range(rows.shape[1])]
    return np.stack(columns, axis=1) if columns else np.zeros((groups, 0))
