from __future__ import annotations

import numpy as np
import pytest

from model.evaluate.harness import EvaluateConfig
from model.evaluate.predictors import truth_of
from model.evaluate.relations import PRIMARY, holm, shuffle_test
from model.motion.conversation import Conversation, Relation
from rsat_data.errors import RunError
from tests.model.evaluate.talks import RELATIONS, effect_of, talk

CONFIG = EvaluateConfig(reference_s=0.0, rounds=400, vertices=False)
QUICK = EvaluateConfig(reference_s=0.0, rounds=200, vertices=False, metrics=("mse",))


def model(error: float, believed: float, seed: int):
    """A predictor: the motion without any relation, its own error, and what it believes the relation adds."""

    def predict(conversation: Conversation, person: str, relation: Relation, planted: float = 0.0):
        rng = np.random.default_rng([seed, int(conversation.clip_id[5:]), "AB".index(person)])
        codes = {}
        for group, values in truth_of(conversation, person).items():
            name = "rotation" if group == "pose" else group
            known = effect_of(conversation.relation).get(name, 0.0) if conversation.relation.known else 0.0
            guess = effect_of(relation).get(name, 0.0) if relation.known else 0.0
            noise = rng.normal(size=values.shape[1]).astype(np.float32) * error
            codes[group] = (values - planted * known + believed * guess + noise).astype(np.float32)
        return codes

    return predict


def talks(count: int, seed: int, effect: float) -> list[Conversation]:
    order = np.random.default_rng(seed).permutation(count)
    return [
        talk(i, seed=seed, frames=20, relation=RELATIONS[order[i] % len(RELATIONS)], effect=effect)
        for i in range(count)
    ]


def test_a_planted_effect_that_the_model_knows_is_found() -> None:
    inner = model(0.1, 0.05, seed=1)
    predict = lambda c, p, r: inner(c, p, r, planted=0.05)  # noqa: E731
    found = shuffle_test("test", talks(16, 3, 0.05), predict, None, CONFIG)
    assert found.verdict == "gain"
    best = next(one for one in found.outcomes if (one.metric, one.group) == ("mse", "expression"))
    assert best.primary and best.over_permuted.low > 0 and best.over_unknown.low > 0
    assert best.true.value < best.unknown.value < best.permuted.value
    assert best.permuted.value - best.true.value == pytest.approx(best.over_permuted.value)
    assert sum(found.relations.values()) == 16 == found.conversations


def test_a_model_that_has_relations_the_wrong_way_round_does_harm() -> None:
    inner = model(0.1, -0.05, seed=1)
    predict = lambda c, p, r: inner(c, p, r, planted=0.05)  # noqa: E731
    assert shuffle_test("test", talks(16, 3, 0.05), predict, None, CONFIG).verdict == "harm"


def test_a_model_that_ignores_relations_gains_nothing() -> None:
    found = shuffle_test("test", talks(8, 3, 0.05), model(0.1, 0.0, seed=1), None, CONFIG)
    assert found.verdict == "none seen"
    assert all(one.over_permuted.value == pytest.approx(0, abs=1e-9) for one in found.outcomes if one.primary)


def test_beliefs_without_an_effect_are_rarely_taken_for_a_gain() -> None:
    # The model lets the relation move its prediction, but the relation does nothing: whatever the model believes adds
    # error, more under some relations than others. A gain or a harm is a false alarm; about 5 in 100 are allowed.
    alarms = sum(
        shuffle_test("test", talks(9, s, 0.0), model(0.1, 0.03, seed=s + 500), None, QUICK).verdict != "none seen"
        for s in range(30)
    )
    assert alarms <= 5  # P(more, were it 5 %) = 0.003


def test_without_two_different_relations_there_is_nothing_to_permute() -> None:
    same = [talk(i, frames=40, relation=RELATIONS[0]) for i in range(3)]
    found = shuffle_test("test", same, model(0.1, 0.0, seed=1), None, CONFIG)
    assert found.verdict == "untested" and "same relation" in found.sentence and not found.outcomes
    unlabelled = [talk(i, frames=40) for i in range(3)]
    found = shuffle_test("test", unlabelled, model(0, 0, 1), None, CONFIG)
    assert "no conversation has a known relation" in found.sentence


def test_the_verdict_rests_on_what_was_fixed_before() -> None:
    found = shuffle_test("test", talks(8, 3, 0.0), model(0.1, 0.03, seed=2), None, CONFIG)
    primary = [(one.metric, one.group) for one in found.outcomes if one.primary]
    assert set(primary) == {one for one in PRIMARY if one[0] == "mse"}  # nothing that draws, no surprise
    assert all((one.p_adjusted is not None) == one.primary for one in found.outcomes)


def test_surprise_counts_among_what_was_fixed() -> None:
    ignorant = model(0.1, 0.0, seed=1)

    def surprise(conversation: Conversation, person: str, relation: Relation) -> np.ndarray:
        errors = np.random.default_rng(int(conversation.clip_id[5:])).random(conversation.num_frames)
        return errors + (0.0 if relation == conversation.relation else 0.2)

    found = shuffle_test("test", talks(8, 3, 0.0), ignorant, None, CONFIG, surprise=surprise)
    assert {(one.metric, one.group) for one in found.outcomes if one.primary} == set(PRIMARY)
    assert found.verdict == "gain" and "surprise of motion" in found.sentence and "mse" not in found.sentence
    best = next(one for one in found.outcomes if one.metric == "surprise")
    # Every relation occurs in two of the eight: six of eight permuted ones are not the true one.
    assert best.over_permuted.value == pytest.approx(0.2 * 6 / 8)
    assert best.over_unknown.value == pytest.approx(0.2)

    def broken(conversation: Conversation, person: str, relation: Relation) -> np.ndarray:
        return np.full(conversation.num_frames, np.nan)

    with pytest.raises(RunError, match="clip-0"):
        shuffle_test("test", talks(4, 3, 0.0), ignorant, None, CONFIG, surprise=broken)


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.04: times 3, 2, 1 is 0.03, 0.04, 0.04.
    assert holm([0.04, 0.01, None, 0.02]) == pytest.approx([0.04, 0.03, None, 0.04])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
