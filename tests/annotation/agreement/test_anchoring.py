from __future__ import annotations

import numpy as np
import pytest

from annotation.agreement import AgreementOptions, measure
from annotation.agreement.anchoring import _Permutation, _Sides
from annotation.agreement.report import Anchoring
from annotation.votes import votes_table
from benchmarks.simulated_votes import Simulation, simulate
from tests.annotation.votes_factory import make_vote

QUICK = AgreementOptions(rounds=300)


def measured(simulation: Simulation, *, told: bool = True) -> Anchoring:
    made = simulate(simulation)
    return measure(made.votes, made.clips, QUICK, predictions=made.predictions if told else None).anchoring


def test_a_pull_is_found_and_its_size() -> None:
    pull, accuracy, right = 0.5, 0.85, 0.6
    found = measured(Simulation(dyads=200, pull=pull, accuracy=accuracy, right_predictions=right, unsure=0.0, gold=0.0))
    kinship = found.questions[0]
    by_itself = accuracy * right + (1 - accuracy) * (1 - right)
    assert kinship.follows_hidden.value == pytest.approx(by_itself, abs=0.05)
    assert kinship.follows_shown.value == pytest.approx(pull + (1 - pull) * by_itself, abs=0.05)
    assert kinship.p_follows is not None and kinship.p_follows < 0.01
    assert "pull answers on kinship" in found.sentence
    assert found.accepted.value is not None and found.accepted.low is not None


def test_without_a_pull_alarms_are_rare() -> None:
    alarms = 0
    for seed in range(20):
        found = measured(Simulation(dyads=40, seed=seed))
        alarms += "No sign" not in found.sentence
    assert alarms <= 4


def test_without_the_hidden_predictions_the_rest_is_told() -> None:
    found = measured(Simulation(), told=False)
    kinship = found.questions[0]
    assert kinship.follows_shown.value is None and "not known" in kinship.follows_shown.reason
    assert kinship.p_follows is None and kinship.p_percent is not None and kinship.p_shares is not None
    assert kinship.percent_difference.low is not None
    assert sum(kinship.shares_shown) == pytest.approx(1) and sum(kinship.shares_hidden) == pytest.approx(1)


def test_permutation_against_shuffling() -> None:
    rng = np.random.default_rng(3)
    rows = np.stack([rng.integers(0, 3, 80) / 2, np.ones(80)], axis=1)
    shown = rng.random(80) < 0.3
    rows[shown, 0] = np.minimum(1, rows[shown, 0] + (rng.random(shown.sum()) < 0.25))
    sides = _Sides(rows, shown, np.zeros(80, np.int64))
    p = _Permutation(AgreementOptions(rounds=20_000))(sides, lambda one, other: np.abs(one[..., 0] - other[..., 0]))
    observed = abs(rows[shown, 0].mean() - rows[~shown, 0].mean())
    shuffled = []
    for _ in range(20_000):
        side = rng.permutation(shown)
        shuffled.append(abs(rows[side, 0].mean() - rows[~side, 0].mean()))
    assert p == pytest.approx(np.mean(np.array(shuffled) >= observed - 1e-12), abs=0.012)


def test_one_side_only_is_no_comparison() -> None:
    assert measured(Simulation(predicted=False)).reason == "no vote saw a prediction"
    assert "every vote saw" in measured(Simulation(hidden=0.0)).reason
    rows = [make_vote("c1", "ann-a", prediction_shown=True, prediction_accepted=True), make_vote("c1", "ann-b")]
    made = simulate(Simulation(dyads=1))
    clips = {"c1": next(iter(made.clips.values()))}
    found = measure(votes_table(rows), clips, QUICK).anchoring
    assert found.mixed_clips == 1 and "no clip is free" in found.reason
    assert found.accepted.value == 1.0 and found.accepted.low is None
