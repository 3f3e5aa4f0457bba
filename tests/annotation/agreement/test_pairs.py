from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from annotation.agreement import pairs as module
from annotation.agreement.bootstrap import Bootstrap
from annotation.agreement.pairs import meetings, pair_kappas
from annotation.agreement.ratings import encode
from benchmarks.simulated_votes import Simulation, simulate


def test_every_pair_against_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAIRS_AT_ONCE", 4)  # more than one block
    made = simulate(Simulation(dyads=30, annotators=6, votes_per_clip=4, random=(2,)))
    votes = encode(made.votes, made.clips)
    ratings = votes.ratings("kinship")
    found = {(p.first, p.second): p.kappa for p in pair_kappas(ratings, votes.annotators, Bootstrap(30, 200, 0, 0.95))}
    assert len(found) == 15
    said = {(i, r): a for i, r, a in zip(ratings.item, ratings.rater, ratings.answer, strict=True)}
    for one, other in combinations(range(6), 2):
        both = [i for i in range(ratings.num_items) if (i, one) in said and (i, other) in said]
        kappa = found[votes.annotators[one], votes.annotators[other]]
        expected = cohen_kappa_score([said[i, one] for i in both], [said[i, other] for i in both])
        assert kappa.value == pytest.approx(expected) and kappa.n == len(both)
        assert kappa.low is not None and kappa.high is not None and kappa.low <= kappa.value <= kappa.high


def test_meetings_are_all_pairs_of_votes_on_an_item() -> None:
    made = simulate(Simulation(dyads=5, annotators=5, votes_per_clip=4))
    ratings = encode(made.votes, made.clips).ratings("status")
    first, second = meetings(ratings)
    assert (ratings.item[first] == ratings.item[second]).all()
    assert (ratings.rater[first] < ratings.rater[second]).all()
    assert len(set(zip(first.tolist(), second.tolist(), strict=True))) == ratings.num_items * 6


def test_a_pair_that_gave_one_answer_only_has_no_kappa() -> None:
    made = simulate(Simulation(dyads=10, annotators=2, votes_per_clip=2, straight=(0, 1)))
    votes = encode(made.votes, made.clips)
    (pair,) = pair_kappas(votes.ratings("kinship"), votes.annotators, Bootstrap(10, 100, 0, 0.95))
    assert pair.kappa.value is None and "one and the same answer" in pair.kappa.reason
    assert np.isfinite(pair.kappa.n)
