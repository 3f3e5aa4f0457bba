"""Scores of pairs against a slow reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.shape.pack import pack
from pipelines.subjects.people import read_crowd, read_evidence
from pipelines.subjects.score import CUES, LINES, PICTURES, PRIOR, log_odds, probability, score_pairs
from tests.pipelines.subjects.conftest import FOCALS, SIZE, member
from tests.pipelines.subjects.conftest import PICTURES as MEASURED

TEMPER = PICTURES / MEASURED


def log_evidence(information: np.ndarray, vector: np.ndarray) -> float:
    """By the Gaussian integral over the shape, as in the textbook."""
    total = information + np.eye(SIZE)
    return 0.5 * float(vector @ np.linalg.inv(total) @ vector) - 0.5 * float(np.log(np.linalg.det(total)))


def test_scores_agree_with_the_formula_pair_by_pair(tmp_path: Path) -> None:
    crowd = read_crowd([member(tmp_path, 0, 0, 1), member(tmp_path, 1, 0, 2), member(tmp_path, 2, 1)])
    evidence = [read_evidence(person.path).at(1.6, FOCALS) for person in crowd.people]
    pairs = score_pairs(
        crowd.people,
        np.stack([pack(information) for information, _ in evidence]),
        np.stack([vector for _, vector in evidence]),
        least=-100.0,
        pictures=MEASURED,
    )
    found = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    assert found == {(0, 2), (0, 3), (0, 4), (1, 2), (1, 3), (1, 4), (2, 4), (3, 4)}  # not the pairs of a clip
    for i, j, logit, cues in zip(pairs.first, pairs.second, pairs.logit, pairs.cues, strict=True):
        (a, right_a), (b, right_b) = evidence[i], evidence[j]
        shape = log_evidence(TEMPER * (a + b), TEMPER * (right_a + right_b))
        shape -= log_evidence(TEMPER * a, TEMPER * right_a) + log_evidence(TEMPER * b, TEMPER * right_b)
        line = LINES["shape"]
        assert cues[0] == pytest.approx(np.clip(line.slope * (shape - line.even), line.low, line.high), abs=1e-2)
        assert logit == pytest.approx(PRIOR + cues.sum())
        assert cues[CUES.index("voice")] == 0.0  # nobody spoke: nothing is said
    same = dict(zip(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True), pairs.logit.tolist(), strict=True))
    assert min(same[0, 2], same[1, 4]) > max(value for pair, value in same.items() if pair not in ((0, 2), (1, 4)))


def test_unknown_values_count_nothing_and_odds_go_back_and_forth() -> None:
    assert LINES["hair"](np.array([np.nan, 0.7])).tolist() == [0.0, 0.0]
    assert log_odds(float(probability(np.array(1.25)))) == pytest.approx(1.25)
