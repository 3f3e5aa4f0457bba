"""Coefficients of agreement, as functions of sums over items.

Every coefficient here depends on the votes only through sums over items, so a bootstrap draws sums of dyads instead of
votes: :func:`item_sums` makes a row per item, rows are added up in any way, and the coefficients take the sums, any
number of them at once. A coefficient that is not defined is nan.

Sources. Alpha: K. Krippendorff, Computing Krippendorff's alpha-reliability (2011). AC1: K. L. Gwet, Computing
inter-rater reliability and its variance in the presence of high agreement, Br. J. Math. Stat. Psychol. 61 (2008) 29-48;
with missing votes as in his Handbook of inter-rater reliability (4th ed., 2014). Kappa: J. Cohen, A coefficient of
agreement for nominal scales, Educ. Psychol. Meas. 20 (1960) 37-46. Specific agreement: D. V. Cicchetti,
A. R. Feinstein, J. Clin. Epidemiol. 43 (1990) 551-558.
"""

from __future__ import annotations

import numpy as np

from annotation.agreement.ratings import Floats, Ints


def item_sums(counts: Ints) -> Floats:
    """What each item adds to the sums.

    Args:
        counts: (I, K) how often each answer was given to each item.

    Returns:
        (I, 3 + K + K*K): whether the item has two votes; share of alike pairs of its votes; whether it has one; share
        of each answer; coincidences of answers a and b: pairs of votes over (votes - 1). All zero where undefined.
    """
    items, answers = counts.shape
    total = counts.sum(axis=1)
    overlap = total >= 2
    pairs = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(answers, dtype=np.int64)
    coincidences = np.where(overlap[:, None, None], pairs / np.maximum(total - 1, 1)[:, None, None], 0.0)
    alike = np.trace(coincidences, axis1=1, axis2=2) / np.maximum(total, 1)
    shares = counts / np.maximum(total, 1)[:, None]
    head = np.stack([overlap, alike, total > 0], axis=1)
    return np.concatenate([head, shares, coincidences.reshape(items, answers * answers)], axis=1)


def num_answers(sums: Floats) -> int:
    """K of the rows of :func:`item_sums`."""
    return round((-1 + (1 + 4 * (sums.shape[-1] - 3)) ** 0.5) / 2)


def _divide(above: Floats, below: Floats) -> Floats:
    """Quotient; nan where the divisor is (next to) zero."""
    zero = np.abs(below) < 1e-12
    return np.where(zero, np.nan, above / np.where(zero, 1.0, below))


def coincidence_matrix(sums: Floats) -> Floats:
    """(..., K, K) the coincidence matrix."""
    answers = num_answers(sums)
    return sums[..., 3 + answers :].reshape(*sums.shape[:-1], answers, answers)


def percent(sums: Floats) -> Floats:
    """Share of pairs of votes on the same item that are alike, averaged over items with two votes or more."""
    return _divide(sums[..., 1], sums[..., 0])


def alpha(sums: Floats, *, ordinal: bool = False) -> Floats:
    """Krippendorff's alpha, nominal or ordinal. nan where no item has two votes, or all such votes are alike."""
    matrix = coincidence_matrix(sums)
    of_answer = matrix.sum(axis=-1)
    n = of_answer.sum(axis=-1)
    distance = _ordinal(of_answer) if ordinal else 1 - np.eye(matrix.shape[-1])
    observed = (matrix * distance).sum(axis=(-2, -1))
    expected = (of_answer[..., :, None] * of_answer[..., None, :] * distance).sum(axis=(-2, -1))
    return 1 - (n - 1) * _divide(observed, expected)


def _ordinal(of_answer: Floats) -> Floats:
    """Squared number of votes between two grades, half of either's own counted: (..., K, K)."""
    middle = np.cumsum(of_answer, axis=-1) - of_answer / 2
    return (middle[..., :, None] - middle[..., None, :]) ** 2


def ac1(sums: Floats) -> Floats:
    """Gwet's AC1 for any number of raters and missing votes.

    All K answers of the form count, given or not. nan where no item has two votes.
    """
    answers = num_answers(sums)
    share = _divide(sums[..., 3 : 3 + answers], sums[..., 2:3])
    chance = (share * (1 - share)).sum(axis=-1) / (answers - 1)
    return _divide(percent(sums) - chance, 1 - chance)


def confirmed(sums: Floats) -> Floats:
    """(..., K) of the votes for each answer, the share that another vote on the same item confirms."""
    matrix = coincidence_matrix(sums)
    return _divide(np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(axis=-1))


def kappa(tables: Floats) -> Floats:
    """Cohen's kappa of (..., K, K) tables of two raters' answers. nan where both always give the same one answer."""
    total = tables.sum(axis=(-2, -1))
    observed = _divide(np.trace(tables, axis1=-2, axis2=-1), total)
    expected = _divide((tables.sum(axis=-1) * tables.sum(axis=-2)).sum(axis=-1), total**2)
    return _divide(observed - expected, 1 - expected)
