from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from annotation.agreement import AgreementOptions, AgreementReport, ClipInfo, Estimate, measure
from annotation.agreement.annotators import wilson
from annotation.votes import votes_table
from benchmarks.simulated_votes import Simulation, simulate
from rsat_data.errors import ConfigError
from tests.annotation.votes_factory import make_vote

QUICK = AgreementOptions(rounds=200)
CLIPS = {f"c{n}": ClipInfo(f"d{n // 2}", f"s{n // 2}a", f"s{n // 2}b") for n in range(60)}


def report_of(rows: list[dict[str, Any]], clips: dict[str, ClipInfo] | None = None) -> AgreementReport:
    report = measure(votes_table(rows), CLIPS if clips is None else clips, QUICK)
    json.dumps(report.to_dict(), allow_nan=False)
    for question in report.questions:
        estimates = [question.percent, question.alpha, question.alpha_decided, question.ac1, question.ac1_decided]
        estimates += [pair.kappa for pair in question.pairs] + list(question.confirmed)
        for estimate in estimates:
            assert estimate.value is not None or estimate.reason
            assert (estimate.low is None) == (estimate.high is None)
            assert estimate.value is None or np.isfinite(estimate.value)
        assert question.sentence
    return report


def nothing(estimate: Estimate) -> str:
    assert estimate.value is None and estimate.low is None
    return estimate.reason


def test_no_votes() -> None:
    report = report_of([])
    assert report.num_votes == 0 and report.annotators == () and "no votes" in report.warnings[0]
    assert nothing(report.question("kinship").alpha) == "nobody answered it"


def test_one_annotator() -> None:
    report = report_of([make_vote(f"c{n}", "ann-a") for n in range(30)])
    assert nothing(report.question("kinship").percent) == "one annotator only"
    assert nothing(report.annotators[0].skill) == "nobody else voted on these clips"
    assert report.annotators[0].verdict == "unclear"
    assert any("one annotator only" in warning for warning in report.warnings)


def test_no_overlap() -> None:
    report = report_of([make_vote(f"c{n}", f"ann-{'ab'[n % 2]}") for n in range(30)])
    assert nothing(report.question("status").alpha) == "no clip has two such votes"
    assert report.question("status").pairs == ()
    assert any("No clip has two annotators" in warning for warning in report.warnings)


def test_all_votes_alike_is_no_perfect_agreement() -> None:
    report = report_of([make_vote(f"c{n}", f"ann-{who}") for n in range(30) for who in "abc"])
    question = report.question("kinship")
    assert question.percent.value == 1.0 and question.percent.low is None and "same in every" in question.percent.reason
    for estimate in (question.alpha, question.ac1, question.alpha_decided, question.ac1_decided):
        assert "all votes are alike" in nothing(estimate)
    assert "cannot be known" in question.sentence
    assert {one.verdict for one in report.annotators} == {"unclear"}


def test_all_unsure() -> None:
    rows = [make_vote(f"c{n}", f"ann-{who}", kinship="unsure", status="unsure") for n in range(30) for who in "ab"]
    report = report_of(rows)
    question = report.question("kinship")
    assert "all votes are alike" in nothing(question.alpha)
    assert nothing(question.alpha_decided) == "nobody answered it"
    assert question.consensus.reason == "nobody decided"
    assert report.num_clips_to_look_at == 60 and report.clips[0].reason == "nobody decided"
    assert any("100% of the answers on kinship are unsure" in warning for warning in report.warnings)


def test_one_dyad_has_values_but_no_intervals() -> None:
    clips = {f"c{n}": ClipInfo("d0", "s1", "s2") for n in range(12)}
    rng = np.random.default_rng(0)
    rows = [
        make_vote(f"c{n}", f"ann-{who}", kinship=("blood", "non_blood")[rng.integers(2)])
        for n in range(12)
        for who in "abc"
    ]
    question = report_of(rows, clips).question("kinship")
    assert question.alpha.value is not None and question.alpha.low is None and "one dyad" in question.alpha.reason


def test_votes_of_one_question_on_one_dyad_have_no_interval_either() -> None:
    rows = [make_vote(f"c{n}", f"ann-{who}") for n in range(10) for who in "ab"]
    rows += [
        make_vote(clip, f"ann-{who}", status="unequal", senior=side)
        for clip in ("c50", "c51")
        for who, side in (("a", "A"), ("b", "AB"[clip == "c51"]))
    ]
    senior = report_of(rows).question("senior")
    assert senior.num_overlap == 2 and senior.percent.value == 0.5
    assert senior.percent.low is None and "one dyad" in senior.percent.reason


def test_clips_that_are_gone_are_named_and_left_out() -> None:
    rows = [make_vote(clip, f"ann-{who}") for clip in ("c1", "c2", "gone") for who in "ab"]
    report = report_of(rows)
    assert report.unknown_clips == ("gone",) and report.num_clips == 2 and report.num_votes == 4
    assert any("not in the dataset" in warning and "gone" in warning for warning in report.warnings)
    assert report_of(rows, {}).num_votes == 0


def test_a_clip_voted_on_fifty_times_weighs_as_one() -> None:
    rows = [make_vote(f"c{n}", f"ann-{who}") for n in range(20) for who in "ab"]
    rows += [make_vote("c30", f"ann-{n:02d}", kinship=("blood", "non_blood")[n % 2]) for n in range(50)]
    question = report_of(rows).question("kinship")
    alike_there = 2 * 25 * 24 / (50 * 49)
    assert question.percent.value == pytest.approx((20 + alike_there) / 21)


def test_one_person_twice_on_a_clip_is_one_vote() -> None:
    rows = [make_vote(f"c{n}", f"ann-{who}") for n in range(5) for who in "ab"]
    again = [make_vote("c0", "ann-a", at=60, kinship="blood")]
    report = report_of(rows + again)
    assert report.superseded == 1 and report.num_votes == 10
    assert report.question("kinship").counts == (1, 9, 0)


def test_the_report_is_the_same_for_any_order_of_rows_and_any_chunks() -> None:
    made = simulate(Simulation(dyads=15))
    order = np.random.default_rng(2).permutation(made.votes.num_rows)
    shuffled = made.votes.take(pa.array(order))
    chunked = pa.concat_tables([shuffled.slice(0, 50), shuffled.slice(50)])
    one = measure(made.votes, made.clips, QUICK)
    assert one.to_dict() == measure(chunked, made.clips, QUICK).to_dict()
    assert one.to_dict() != measure(made.votes, made.clips, AgreementOptions(rounds=200, seed=1)).to_dict()


def test_low_alpha_beside_high_ac1_is_explained() -> None:
    made = simulate(Simulation(dyads=150, blood=0.02, accuracy=0.96, unsure=0.0, seed=3))
    report = measure(made.votes, made.clips, QUICK)
    question = report.question("kinship")
    assert question.alpha.value is not None and question.ac1.value is not None
    assert question.alpha.value < 0.5 < 0.85 < question.ac1.value
    assert "are non_blood" in question.sentence
    (warning,) = [warning for warning in report.warnings if "prevalence paradox" in warning and "kinship" in warning]
    assert "votes for blood are confirmed" in warning


def test_gold_pace_and_issues() -> None:
    rows = [
        make_vote("c0", "gold", round="gold", kinship="blood", status="unequal", senior="A"),
        make_vote("c1", "gold", round="gold", kinship="non_blood", status="equal"),
        make_vote("c0", "ann-a", kinship="blood", status="unequal", senior="A", seconds_spent=3.0),
        make_vote("c1", "ann-a", kinship="blood", status="equal", seconds_spent=9.0, issues=["acted"]),
        make_vote("c0", "ann-b", kinship="unsure", status="unequal", senior="B", seconds_spent=None),
    ]
    report = report_of(rows)
    a, b = report.annotator("ann-a"), report.annotator("ann-b")
    assert (a.gold.value, a.gold.n) == (0.8, 5)
    assert (b.gold.value, b.gold.n) == (pytest.approx(1 / 3), 3)
    assert a.seconds == 6.0 and a.fast.value == 0.5 and b.seconds is None and nothing(b.fast) == "no times are known"
    assert [item.issues for item in report.clips if item.clip_id == "c1"][0] == ("acted",)


def test_only_predictions_that_were_seen_are_kept() -> None:
    rows = [make_vote(f"c{n}", "ann-a", prediction_shown=n < 2, prediction_accepted=n != 1) for n in range(5)]
    (one,) = report_of(rows).annotators
    assert (one.accepted.value, one.accepted.n) == (0.5, 2)


@pytest.mark.parametrize("bad", [{"rounds": 0}, {"seed": -1}, {"level": 1.0}, {"min_votes": 1}, {"clips_listed": -1}])
def test_options_out_of_range(bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="out of range"):
        AgreementOptions(**bad)


def test_one_round_and_no_list_are_possible() -> None:
    made = simulate(Simulation(dyads=5))
    report = measure(made.votes, made.clips, AgreementOptions(rounds=1, clips_listed=0))
    assert report.clips == () and report.num_clips_to_look_at > 0


def test_wilsons_interval() -> None:
    # R. G. Newcombe, Statistics in Medicine 17 (1998) 857: 81 of 263 has .2553 to .3662, 0 of 20 has 0 to .1611.
    found = wilson(81, 263, 0.95, "")
    assert (found.low, found.high) == (pytest.approx(0.2553, abs=5e-5), pytest.approx(0.3662, abs=5e-5))
    assert wilson(0, 20, 0.95, "").high == pytest.approx(0.1611, abs=5e-5)
    assert nothing(wilson(0, 0, 0.95, "none")) == "none"


def test_split_clips_come_first() -> None:
    rows = [make_vote("c0", f"ann-{who}", kinship="blood") for who in "abcd"]
    rows += [make_vote("c1", f"ann-{who}", kinship=("blood", "non_blood")[who in "ab"]) for who in "abcd"]
    report = report_of(rows)
    assert report.clips[0].clip_id == "c1" and report.clips[0].question == "kinship"
    assert report.clips[0].reason == "votes are split" and report.clips[0].votes == {"blood": 2, "non_blood": 2}
