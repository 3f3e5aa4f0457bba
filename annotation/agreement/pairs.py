"""Cohen's kappa of every two annotators, with intervals, from one sparse table of who met whom on which dyad."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from annotation.agreement.bootstrap import Bootstrap
from annotation.agreement.coefficients import kappa
from annotation.agreement.ratings import Ints, Ratings
from annotation.agreement.report import Estimate, PairKappa

#: Pairs of annotators whose bootstrap rounds are held at once.
_PAIRS_AT_ONCE = 64


def meetings(ratings: Ratings) -> tuple[Ints, Ints]:
    """Every two votes on the same item: numbers (M,) of the one vote and of the other, first rater before second."""
    votes = np.bincount(ratings.item, minlength=ratings.num_items)
    starts = np.cumsum(votes) - votes
    first, second = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for size in np.unique(votes[votes >= 2]):
        i, j = np.triu_indices(size, 1)
        at = starts[votes == size][:, None]
        first.append((at + i).ravel())
        second.append((at + j).ravel())
    return np.concatenate(first), np.concatenate(second)


def pair_kappas(ratings: Ratings, names: tuple[str, ...], bootstrap: Bootstrap) -> tuple[PairKappa, ...]:
    """Cohen's kappa of each pair of annotators that voted on a clip together, in the order of their names."""
    answers = len(ratings.answers)
    first, second = meetings(ratings)
    pair, number = np.unique(ratings.rater[first] * ratings.num_raters + ratings.rater[second], return_inverse=True)
    cell = (number * answers + ratings.answer[first]) * answers + ratings.answer[second]
    shape = (ratings.num_dyads, len(pair) * answers * answers)
    dyad = ratings.dyad[ratings.item[first]]
    # Counts are whole numbers far below 2^24: single precision holds them exactly, and takes half the time.
    met = sp.coo_array((np.ones(len(cell), np.float32), (dyad, cell)), shape=shape).tocsc()
    found = []
    for start in range(0, len(pair), _PAIRS_AT_ONCE):
        stop = min(start + _PAIRS_AT_ONCE, len(pair))
        part = met[:, start * answers * answers : stop * answers * answers]
        tables = np.asarray(part.sum(axis=0), np.float64).reshape(-1, answers, answers)
        values = kappa(tables)
        drawn = bootstrap.totals(part).astype(np.float64)
        rounds = kappa(drawn.reshape(-1, stop - start, answers, answers))
        for offset in range(stop - start):
            n = round(float(tables[offset].sum()))
            estimate = bootstrap.interval(float(values[offset]), rounds[:, offset], n)
            if estimate.value is None:
                estimate = Estimate(None, n=n, reason="both gave one and the same answer throughout")
            one, other = divmod(int(pair[start + offset]), ratings.num_raters)
            found.append(PairKappa(names[one], names[other], estimate))
    return tuple(found)
