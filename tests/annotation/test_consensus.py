from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation.agreement.report import ClipInfo
from annotation.consensus import ConsensusOptions, Relation, agree, enough_for_model
from annotation.votes import votes_table
from tests.annotation.votes_factory import make_vote

#: c1 and c2 show the same pair, seated the other way round in c2; c3 is another pair, c4 one person.
CLIPS = {
    "c1": ClipInfo("d1", "s", "t"),
    "c2": ClipInfo("d1", "t", "s"),
    "c3": ClipInfo("d2", "u", "v"),
    "c4": ClipInfo("w", "w", None),
}
BLOOD = {"kinship": "blood", "status": "unequal", "senior": "A"}


def votes(*rows: tuple[str, str, dict[str, Any]]) -> Any:
    return votes_table([make_vote(clip, f"ann-{who}", at=n, **answer) for n, (clip, who, answer) in enumerate(rows)])


def found(relation: Relation) -> tuple[str, str, str, str]:
    return relation.kinship, relation.status, relation.senior, relation.relation_source


def test_what_two_of_three_say_is_agreed_on_and_goes_to_the_pairs_other_clip_turned_round() -> None:
    table = votes(("c1", "x", BLOOD), ("c1", "y", BLOOD), ("c1", "z", {"kinship": "non_blood"}))
    result = agree(table, CLIPS)
    assert found(result.labels["c1"]) == ("blood", "unequal", "A", "votes")
    assert result.labels["c1"].relation_confidence == pytest.approx(2 / 3)
    assert (result.labels["c1"].num_votes, result.labels["c1"].agreement) == (3, pytest.approx(2 / 3))
    assert found(result.labels["c2"]) == ("blood", "unequal", "B", "votes")
    assert (result.labels["c2"].num_votes, result.labels["c2"].agreement) == (0, None)
    assert found(result.labels["c3"]) == ("unknown", "unknown", "unknown", "unlabelled")
    assert (result.decided, result.spread, result.items, result.conflicts) == (1, 1, (), ())
    alone = agree(table, CLIPS, options=ConsensusOptions(spread=False))
    assert alone.labels["c1"] == result.labels["c1"] and alone.labels["c2"] == Relation()


def test_one_vote_of_two_or_one_vote_alone_is_no_agreement() -> None:
    result = agree(votes(("c1", "x", BLOOD), ("c3", "x", BLOOD), ("c3", "y", {})), CLIPS)
    assert result.labels["c1"] == Relation(num_votes=1)
    assert found(result.labels["c3"]) == ("unknown", "unknown", "unknown", "unlabelled")
    assert (result.labels["c3"].num_votes, result.labels["c3"].agreement) == (2, None)
    (item,) = result.items
    assert item.clip_id == "c3" and "kinship: no majority of 67% (1 blood, 1 non_blood)" in item.reasons
    one = agree(votes(("c1", "x", BLOOD)), CLIPS, options=ConsensusOptions(min_votes=1))
    assert found(one.labels["c1"]) == ("blood", "unequal", "A", "votes")


def test_a_majority_that_cannot_tell_makes_unknown() -> None:
    unsure = {"kinship": "unsure", "status": "unsure"}
    result = agree(votes(("c3", "x", unsure), ("c3", "y", unsure), ("c3", "z", {})), CLIPS)
    assert found(result.labels["c3"]) == ("unknown", "unknown", "unknown", "votes")
    assert result.labels["c3"].agreement == pytest.approx(2 / 3)
    half = agree(votes(("c3", "x", {"kinship": "unsure"}), ("c3", "y", {"kinship": "unsure"})), CLIPS)
    assert found(half.labels["c3"]) == ("unknown", "equal", "none", "votes")


def test_senior_is_asked_of_those_who_say_unequal_and_may_stay_open() -> None:
    a, b = BLOOD, {**BLOOD, "senior": "B"}
    result = agree(votes(("c3", "x", a), ("c3", "y", b), ("c3", "z", {})), CLIPS)
    assert found(result.labels["c3"]) == ("blood", "unequal", "unknown", "votes")
    assert any(reason.startswith("senior: no majority") for reason in result.items[0].reasons)


def test_a_pair_that_differs_between_clips_is_reported_and_not_labelled() -> None:
    table = votes(("c1", "x", BLOOD), ("c1", "y", BLOOD), ("c2", "x", {}), ("c2", "y", {}))
    result = agree(table, CLIPS)
    assert result.labels["c1"] == result.labels["c2"] == Relation(num_votes=2)
    assert [(c.question, dict(c.values), c.settled) for c in result.conflicts] == [
        ("kinship", {"blood": ("c1",), "non_blood": ("c2",)}, False),
        ("status", {"unequal": ("c1",), "equal": ("c2",)}, False),
    ]
    assert [item.clip_id for item in result.items] == ["c1", "c2"]
    assert "kinship: blood here, non_blood of the same two people" in result.items[0].reasons


def test_seniority_is_compared_by_person_not_by_side() -> None:
    same = votes(*[(clip, who, {**BLOOD, "senior": side}) for clip, side in (("c1", "A"), ("c2", "B")) for who in "xy"])
    assert [found(agree(same, CLIPS).labels[c])[2] for c in ("c1", "c2")] == ["A", "B"]
    other = votes(*[(clip, who, BLOOD) for clip in ("c1", "c2") for who in "xy"])
    result = agree(other, CLIPS)
    assert [(c.question, dict(c.values)) for c in result.conflicts] == [("senior", {"s": ("c1",), "t": ("c2",)})]
    assert result.labels["c1"] == Relation(num_votes=2)


def test_an_adjudicator_wins_in_the_whole_pair() -> None:
    rows = [("c1", "x", BLOOD), ("c1", "y", BLOOD), ("c2", "x", {}), ("c2", "y", {})]
    table = votes(*rows, ("c2", "j", {**BLOOD, "senior": "B", "round": "adjudication"}))
    result = agree(table, CLIPS)
    assert found(result.labels["c1"]) == ("blood", "unequal", "A", "votes")
    assert found(result.labels["c2"]) == ("blood", "unequal", "B", "adjudicated")
    assert (result.labels["c2"].num_votes, result.labels["c2"].agreement) == (3, pytest.approx(1 / 3))
    assert all(conflict.settled for conflict in result.conflicts) and not result.items


def test_adjudicators_who_differ_settle_nothing() -> None:
    round_ = {"round": "adjudication"}
    result = agree(votes(("c3", "j", {**BLOOD, **round_}), ("c3", "k", round_)), CLIPS)
    assert result.labels["c3"] == Relation(num_votes=2)
    assert result.items[0].reasons[0].startswith("adjudicators differ: kinship")


def test_an_issue_sends_a_clip_to_adjudication_but_does_not_undo_agreement() -> None:
    result = agree(votes(("c3", "x", {"issues": ["acted"]}), ("c3", "y", {})), CLIPS)
    assert [item.reasons for item in result.items] == [("issue acted was reported by 1 of 2",)]
    assert found(result.labels["c3"]) == ("non_blood", "equal", "none", "votes")


def test_the_model_of_the_annotators_may_doubt_a_majority_and_gives_its_trust() -> None:
    table = votes(("c3", "x", {}), ("c3", "y", {}))
    doubt = {"c3": {"kinship": {"blood": 0.4, "non_blood": 0.6}, "status": {"equal": 0.95, "unequal": 0.05}}}
    result = agree(table, CLIPS, posteriors=doubt)
    assert found(result.labels["c3"]) == ("unknown", "equal", "none", "votes")
    assert result.labels["c3"].relation_confidence == 0.95
    assert "probability of 0.60, below 0.8" in result.items[0].reasons[0]


def test_what_the_owner_said_stands_against_votes_unless_told_otherwise() -> None:
    owner = {"c1": Relation("non_blood", "unknown", "unknown", "metadata", 1.0)}
    table = votes(("c1", "x", BLOOD), ("c1", "y", BLOOD))
    kept = agree(table, CLIPS, metadata=owner)
    assert found(kept.labels["c1"]) == ("non_blood", "unknown", "unknown", "metadata")
    assert (kept.labels["c1"].num_votes, kept.labels["c1"].agreement) == (2, 0.0)
    assert kept.labels["c2"] == Relation()
    assert [(c.question, c.with_metadata, c.settled) for c in kept.conflicts] == [("kinship", True, False)]
    assert "as the owner of the source says" in kept.items[0].reasons[0]
    replaced = agree(table, CLIPS, metadata=owner, options=ConsensusOptions(metadata="replace"))
    assert found(replaced.labels["c1"]) == ("blood", "unequal", "A", "votes")
    assert [c.settled for c in replaced.conflicts] == [True] and not replaced.items
    ruled = agree(votes(("c1", "j", {**BLOOD, "round": "adjudication"})), CLIPS, metadata=owner)
    assert found(ruled.labels["c1"]) == ("blood", "unequal", "A", "adjudicated")


def test_votes_fill_in_what_the_owner_left_open() -> None:
    owner = {"c1": Relation("blood", "unknown", "unknown", "metadata", 0.9)}
    result = agree(votes(("c1", "x", BLOOD), ("c1", "y", BLOOD)), CLIPS, metadata=owner)
    assert found(result.labels["c1"]) == ("blood", "unequal", "A", "votes")
    assert result.labels["c1"].relation_confidence == 0.9
    assert not result.conflicts


def test_votes_on_clips_that_are_gone_or_show_one_person_label_nothing() -> None:
    result = agree(votes(("c9", "x", BLOOD), ("c9", "y", BLOOD), ("c4", "x", BLOOD), ("c4", "y", BLOOD)), CLIPS)
    assert (dict(result.gone), result.alone) == ({"c9": 2}, ("c4",))
    assert all(relation.relation_source == "unlabelled" for relation in result.labels.values())


def test_withdrawn_superseded_and_gold_rows_do_not_count() -> None:
    rows = [
        make_vote("c3", "ann-x", at=1, **BLOOD),
        make_vote("c3", "ann-x", at=2),
        make_vote("c3", "ann-y", at=1),
        make_vote("c3", "ann-z", at=1, **BLOOD),
        make_vote("c3", "ann-z", at=2, withdrawn=True, **BLOOD),
        make_vote("c3", "gold", round="gold", **BLOOD),
    ]
    result = agree(votes_table(rows), CLIPS)
    assert found(result.labels["c3"]) == ("non_blood", "equal", "none", "votes")
    assert (result.labels["c3"].num_votes, result.labels["c3"].agreement) == (2, 1.0)


def test_the_model_is_asked_only_with_enough_votes_and_people() -> None:
    many = [make_vote(f"c{n}", f"ann-{n % 3}") for n in range(50)]
    assert enough_for_model(votes_table(many), ConsensusOptions())
    assert not enough_for_model(votes_table(many[:49]), ConsensusOptions())
    two = [make_vote(f"c{n}", f"ann-{n % 2}") for n in range(60)]
    assert not enough_for_model(votes_table(two), ConsensusOptions())


_ANSWER = st.one_of(
    st.tuples(st.sampled_from(["blood", "non_blood", "unsure"]), st.sampled_from(["equal", "unsure"]), st.none()),
    st.tuples(
        st.sampled_from(["blood", "non_blood", "unsure"]), st.just("unequal"), st.sampled_from(["A", "B", "unsure"])
    ),
)
_VOTE = st.tuples(st.sampled_from(["c1", "c2", "c3"]), st.sampled_from("wxyz"), st.booleans(), _ANSWER)


@given(
    st.lists(_VOTE, max_size=14),
    st.sampled_from(["keep", "replace"]),
    st.booleans(),
    st.sampled_from([None, ("blood", "unequal", "B"), ("non_blood", "equal", "none")]),
)
def test_whatever_is_voted_the_labels_are_valid_and_agree_within_a_pair(
    draws: list[tuple[str, str, bool, tuple[str, str, str | None]]],
    metadata: str,
    spread: bool,
    stated: tuple[str, str, str] | None,
) -> None:
    rows = [
        make_vote(
            clip, f"ann-{who}", at=n, kinship=k, status=s, senior=b, round="adjudication" if ruled else "labelling"
        )
        for n, (clip, who, ruled, (k, s, b)) in enumerate(draws)
    ]
    owner = {} if stated is None else {"c1": Relation(*stated, "metadata", 1.0)}
    options = ConsensusOptions(metadata=metadata, spread=spread)
    result = agree(votes_table(rows), CLIPS, metadata=owner, options=options)
    assert result.labels.keys() == CLIPS.keys()
    for name, label in result.labels.items():
        assert label.senior in {"equal": ("none",), "unequal": ("A", "B", "unknown")}.get(label.status, ("unknown",))
        known = (label.kinship, label.status) != ("unknown", "unknown")
        assert not (known and label.relation_source == "unlabelled")
        assert (label.relation_confidence is None) == (label.relation_source == "unlabelled")
        assert label.agreement is None or (0 <= label.agreement <= 1 and label.num_votes)
        if label.relation_source == "metadata":
            assert found(label)[:3] == found(owner[name])[:3]
    one, two = result.labels["c1"], result.labels["c2"]
    if not owner:
        for question in ("kinship", "status"):
            assert len({getattr(one, question), getattr(two, question)} - {"unknown"}) <= 1
        if {one.senior, two.senior} <= {"A", "B"}:
            assert one.senior != two.senior  # seated the other way round
    open_pairs = {conflict.dyad_id for conflict in result.conflicts if not conflict.settled}
    for name, info in CLIPS.items():
        if info.dyad_id in open_pairs:
            assert result.labels[name].relation_source in ("unlabelled", "metadata")
    # The order of the table's rows does not matter.
    assert agree(votes_table(rows[::-1]), CLIPS, metadata=owner, options=options) == result
