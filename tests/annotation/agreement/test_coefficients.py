from __future__ import annotations

from itertools import combinations

import krippendorff
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import cohen_kappa_score

from annotation.agreement import coefficients as c
from tests.annotation.agreement.published import (
    ABSTRACTORS,
    FOUR_OBSERVERS,
    THREE_CODERS,
    TWO_OBSERVERS,
    counts_of,
)


def total(counts: np.ndarray) -> np.ndarray:
    return c.item_sums(counts).sum(axis=0)


def test_krippendorffs_examples() -> None:
    four = total(counts_of(FOUR_OBSERVERS, 5))
    assert c.alpha(four) == pytest.approx(0.743, abs=5e-4)
    assert c.alpha(four, ordinal=True) == pytest.approx(0.815, abs=5e-4)
    assert c.alpha(total(counts_of(THREE_CODERS, 4))) == pytest.approx(0.691, abs=5e-4)
    assert c.alpha(total(counts_of(TWO_OBSERVERS, 2))) == pytest.approx(0.095, abs=5e-4)


def test_gwets_example_with_missing_votes() -> None:
    four = total(counts_of(FOUR_OBSERVERS, 5))
    assert c.ac1(four) == pytest.approx(0.77544, abs=5e-6)
    assert c.percent(four) == pytest.approx(0.81818, abs=5e-6)


def test_cohens_kappa_of_gwets_example() -> None:
    assert c.kappa(ABSTRACTORS.astype(float)) == pytest.approx(0.7964094, abs=5e-8)


def test_the_paradox_of_kappa() -> None:
    # A. R. Feinstein, D. V. Cicchetti, J. Clin. Epidemiol. 43 (1990) 543: 85 % of pairs agree in both tables, kappa is
    # .70 where the answers are balanced and .32 where one is rare. AC1 hardly moves.
    balanced, rare = np.array([[40, 9], [6, 45]]), np.array([[80, 10], [5, 5]])
    assert c.kappa(balanced.astype(float)) == pytest.approx(0.70, abs=5e-3)
    assert c.kappa(rare.astype(float)) == pytest.approx(0.32, abs=5e-3)

    def as_items(table: np.ndarray) -> np.ndarray:
        rows = [
            np.eye(2, dtype=int)[[i, j]].sum(axis=0) for i in range(2) for j in range(2) for _ in range(table[i, j])
        ]
        return total(np.array(rows))

    assert c.ac1(as_items(balanced)) == pytest.approx(0.70, abs=5e-3)
    assert c.ac1(as_items(rare)) == pytest.approx(0.81, abs=5e-3)


def slow_ac1(counts: np.ndarray) -> float:
    """Straight from the formulas, item by item."""
    k = counts.shape[1]
    voted = [row for row in counts if row.sum() >= 1]
    pairs = [sum(n * (n - 1) for n in row) / (row.sum() * (row.sum() - 1)) for row in counts if row.sum() >= 2]
    share = [np.mean([row[answer] / row.sum() for row in voted]) for answer in range(k)]
    chance = sum(p * (1 - p) for p in share) / (k - 1)
    return float((np.mean(pairs) - chance) / (1 - chance))


COUNTS = st.integers(2, 4).flatmap(
    lambda k: st.integers(1, 12).flatmap(lambda n: arrays(np.int64, (n, k), elements=st.integers(0, 3)))
)


@given(COUNTS)
@settings(max_examples=120, deadline=None)
def test_against_the_package_and_the_formulas(counts: np.ndarray) -> None:
    sums = total(counts)
    overlap = counts[counts.sum(axis=1) >= 2]
    alphas = (c.alpha(sums), c.alpha(sums, ordinal=True))
    if not len(overlap):
        assert np.isnan(c.percent(sums)) and np.isnan(c.ac1(sums)) and np.isnan(alphas).all()
        return
    assert c.ac1(sums) == pytest.approx(slow_ac1(counts))
    if (overlap.sum(axis=0) > 0).sum() < 2:
        assert np.isnan(alphas).all()
        return
    for level, value in zip(("nominal", "ordinal"), alphas, strict=True):
        expected = krippendorff.alpha(value_counts=counts, level_of_measurement=level)
        assert value == pytest.approx(expected)


@given(arrays(np.int64, (2, 30), elements=st.integers(0, 2)))
@settings(max_examples=60, deadline=None)
def test_kappa_against_scikit_learn(answers: np.ndarray) -> None:
    table = np.zeros((3, 3))
    np.add.at(table, (answers[0], answers[1]), 1)
    if len(np.unique(answers)) == 1:
        assert np.isnan(c.kappa(table))
    else:
        assert c.kappa(table) == pytest.approx(cohen_kappa_score(answers[0], answers[1]))


def test_confirmed_counts_pairs() -> None:
    counts = np.array([[2, 1, 0], [0, 3, 0], [1, 1, 1], [1, 0, 0]])
    # Of pairs of votes on the same item, each vote looked at with weight 1 / (votes - 1).
    said, again = np.zeros(3), np.zeros(3)
    for row in counts:
        votes = np.repeat(np.arange(3), row)
        for one, other in [pair for two in combinations(range(len(votes)), 2) for pair in (two, two[::-1])]:
            said[votes[one]] += 1 / (len(votes) - 1)
            again[votes[one]] += (votes[one] == votes[other]) / (len(votes) - 1)
    np.testing.assert_allclose(c.confirmed(total(counts)), again / said)


def test_many_sums_at_once() -> None:
    rng = np.random.default_rng(0)
    sums = np.stack([total(rng.integers(0, 4, (20, 3))) for _ in range(7)]).reshape(7, 1, -1)
    for function in (c.percent, c.alpha, c.ac1, c.confirmed, lambda s: c.alpha(s, ordinal=True)):
        one_by_one = np.stack([function(row[0]) for row in sums])
        np.testing.assert_allclose(function(sums)[:, 0], one_by_one)
