from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from annotation.agreement import bootstrap as module
from annotation.agreement.bootstrap import Bootstrap, bca_levels, sum_by
from annotation.agreement.coefficients import ac1, alpha, item_sums
from annotation.agreement.ratings import Ratings, encode
from benchmarks.simulated_votes import Simulation, simulate


def kinship(simulation: Simulation) -> Ratings:
    made = simulate(simulation)
    return encode(made.votes, made.clips).ratings("kinship")


def per_dyad(ratings: Ratings) -> np.ndarray:
    return sum_by(ratings.dyad, item_sums(ratings.counts()), ratings.num_dyads)


def test_a_round_is_a_table_of_drawn_dyads() -> None:
    ratings = kinship(Simulation(dyads=12))
    bootstrap = Bootstrap(12, 5, 3, 0.95)
    weights = np.concatenate(list(bootstrap.weights()))
    assert (weights.sum(axis=1) == 12).all()
    totals = bootstrap.totals(per_dyad(ratings))
    for row, total in zip(weights, totals, strict=True):
        counts = np.concatenate([ratings.counts()[ratings.dyad == d] for d in range(12) for _ in range(int(row[d]))])
        assert alpha(total) == pytest.approx(alpha(item_sums(counts).sum(axis=0)))


def test_blocks_and_sparse_sums_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sums = np.random.default_rng(0).integers(0, 3, (40, 6)).astype(float)
    whole = Bootstrap(40, 30, 7, 0.95).totals(sums)
    assert np.array_equal(whole, Bootstrap(40, 30, 7, 0.95).totals(sp.csc_array(sums)))
    assert not np.array_equal(whole, Bootstrap(40, 30, 8, 0.95).totals(sums))
    monkeypatch.setattr(module, "_BLOCK", 40 * 30)
    assert np.array_equal(whole, Bootstrap(40, 30, 7, 0.95).totals(sums))
    monkeypatch.setattr(module, "_BLOCK", 40 * 7)
    pieces = Bootstrap(40, 30, 7, 0.95)
    assert len(list(pieces.weights())) == 5
    assert np.array_equal(whole, pieces.totals(sums))


def test_clips_of_one_dyad_are_no_independent_evidence() -> None:
    # The same 20 dyads, with 1 clip each or the same clip 25 times: drawing dyads, the interval stays as wide.
    rng = np.random.default_rng(1)
    counts = rng.multinomial(3, [0.5, 0.4, 0.1], 20)
    once = Bootstrap(20, 2000, 0, 0.95).draw(item_sums(counts)).estimate(ac1, 20)
    often = Bootstrap(20, 2000, 0, 0.95).draw(25 * item_sums(counts)).estimate(ac1, 500)
    assert once.low == pytest.approx(often.low) and once.high == pytest.approx(often.high)
    assert once.high - once.low > 0.2


def test_bca_against_scipy() -> None:
    from scipy.stats import bootstrap as scipy_bootstrap

    data = np.random.default_rng(4).gamma(0.5, size=60)
    expected = scipy_bootstrap((data,), np.mean, n_resamples=20_000, method="BCa", random_state=0).confidence_interval
    rows = np.stack([data, np.ones(60)], axis=1)
    found = Bootstrap(60, 20_000, 0, 0.95).draw(rows).estimate(lambda sums: sums[..., 0] / sums[..., 1], 60)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=0.03)


def test_levels_without_a_jackknife_are_percentiles() -> None:
    assert bca_levels(0.5, np.linspace(0, 1, 11), None, 0.9) == pytest.approx((0.05, 0.95))


@pytest.mark.parametrize("rare", [False, True], ids=["balanced", "rare blood"])
def test_intervals_hold_the_truth_in_95_percent(rare: bool) -> None:
    base = {"blood": 0.08, "accuracy": 0.93, "unsure": 0.02} if rare else {}
    truth = float(alpha(per_dyad(kinship(Simulation(dyads=6_000, seed=10_000, gold=0.0, **base))).sum(axis=0)))
    hits = 0
    for seed in range(100):
        sums = per_dyad(kinship(Simulation(dyads=60, seed=seed, gold=0.0, **base)))
        found = Bootstrap(len(sums), 400, seed, 0.95).draw(sums).estimate(alpha, 1)
        assert found.low is not None and found.high is not None
        hits += found.low <= truth <= found.high
    # A true coverage of 95 % gives 89 to 99 of 100 in 99 % of all series (binomial); the seeds are fixed.
    assert 89 <= hits <= 99
