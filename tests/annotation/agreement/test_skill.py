from __future__ import annotations

import numpy as np
import pyarrow.compute as pc
import pytest

from annotation.agreement import AgreementOptions, measure, posteriors
from annotation.agreement.ratings import encode
from annotation.agreement.skill import _chance, support
from benchmarks.simulated_votes import Simulation, name, simulate

QUICK = AgreementOptions(rounds=200)


@pytest.mark.parametrize("seed", range(4))
def test_who_answers_at_random_or_straight_or_keeps_predictions(seed: int) -> None:
    made = simulate(
        Simulation(dyads=80, annotators=8, random=(1,), stamps=(2,), straight=(3,), seed=seed, right_predictions=0.8)
    )
    report = measure(made.votes, made.clips, QUICK)
    verdicts = {one.name: one.verdict for one in report.annotators}
    assert {who for who, verdict in verdicts.items() if verdict == "random"} == {name(1)}
    assert {who for who, verdict in verdicts.items() if verdict == "straight"} == {name(3)}
    assert {one.name for one in report.annotators if one.rubber_stamp} == {name(2)}
    assert not {"contrary", "weak"} & set(verdicts.values())
    assert any(warning.startswith(f"{name(1)} answers at random") for warning in report.warnings)
    # Without the two, agreement is what honest annotators have.
    question = report.question("kinship")
    assert question.alpha_trusted.value is not None and question.alpha.value is not None
    assert question.alpha_trusted.value > question.alpha.value + 0.1


def test_swapped_keys_are_contrary() -> None:
    made = simulate(Simulation(dyads=80, annotators=6, unsure=0.0, seed=1))
    votes = made.votes
    for column, one, other in (("kinship", "blood", "non_blood"), ("status", "equal", "unequal")):
        mine = pc.equal(votes["annotator"], name(4))
        swapped = pc.if_else(pc.equal(votes[column], one), other, one)
        index = votes.column_names.index(column)
        votes = votes.set_column(index, votes.schema.field(column), pc.if_else(mine, swapped, votes[column]))
    report = measure(votes, made.clips, QUICK)
    assert report.annotator(name(4)).verdict == "contrary"
    assert {one.verdict for one in report.annotators if one.name != name(4)} == {"ok"}


def test_honest_annotators_are_left_in_peace() -> None:
    flagged = total = 0
    for seed in range(12):
        made = simulate(Simulation(dyads=60, annotators=8, accuracy=0.75, seed=seed))
        report = measure(made.votes, made.clips, QUICK)
        flagged += sum(one.verdict not in ("ok", "unclear") or one.rubber_stamp for one in report.annotators)
        total += len(report.annotators)
    assert flagged <= 0.05 * total


def test_where_all_answer_at_random_all_are_found() -> None:
    made = simulate(Simulation(dyads=300, annotators=5, random=range(5)))
    report = measure(made.votes, made.clips, QUICK)
    assert {one.verdict for one in report.annotators} == {"random"}
    assert "no more than chance" in report.question("kinship").sentence


def test_few_votes_are_no_ground_for_a_verdict() -> None:
    made = simulate(Simulation(dyads=3, clips_per_dyad=3, annotators=4, random=(0,)))
    report = measure(made.votes, made.clips, QUICK)
    assert {one.verdict for one in report.annotators} == {"unclear"}


def test_probability_under_chance_is_that_of_permutations() -> None:
    rng = np.random.default_rng(0)
    x = np.eye(3)[rng.integers(0, 3, 60)]
    s = np.concatenate([0.25 * x[:40], np.zeros((20, 3))]) + rng.dirichlet([1, 1, 1], 60)
    observed = (x * s).sum()
    shuffled = np.array([(rng.permutation(x) * s).sum() for _ in range(20_000)])
    assert _chance(x, s) == pytest.approx((shuffled >= observed).mean(), abs=0.01)
    assert 0.001 < _chance(x, s) < 0.3


def test_support_leaves_out_the_own_vote() -> None:
    made = simulate(Simulation(dyads=6))
    ratings = encode(made.votes, made.clips).ratings("kinship")
    shares, others = support(ratings)
    for vote in range(len(ratings.item)):
        rest = (ratings.item == ratings.item[vote]) & (ratings.rater != ratings.rater[vote])
        assert others[vote] == rest.sum()
        np.testing.assert_allclose(shares[vote], np.bincount(ratings.answer[rest], minlength=3) / rest.sum())


def test_posteriors_beat_the_majority_where_annotators_differ() -> None:
    right = {"model": 0, "majority": 0}
    clips = 0
    for seed in range(6):
        made = simulate(Simulation(dyads=60, annotators=6, votes_per_clip=4, random=(1, 2), unsure=0.0, seed=seed))
        beliefs = posteriors(made.votes, made.clips)
        ratings = encode(made.votes, made.clips).ratings("kinship")
        counts, rng = ratings.counts(), np.random.default_rng(seed)
        for row, number in enumerate(ratings.clips):
            clip_id = f"clip-{number:06d}"
            truth, belief = made.truth[clip_id]["kinship"], beliefs[clip_id]["kinship"]
            right["model"] += max(belief, key=lambda value, p=belief: p[value]) == truth
            winner = np.argmax(counts[row, :2] + 0.1 * rng.random(2))  # ties fall either way
            right["majority"] += ("blood", "non_blood")[winner] == truth
            clips += 1
    assert right["model"] > right["majority"] + 0.03 * clips
