from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from annotation.agreement import ClipInfo, posteriors
from annotation.agreement.ratings import encode
from annotation.votes import votes_table
from rsat_data.errors import LabelError
from tests.annotation.votes_factory import make_vote

CLIPS = {"c1": ClipInfo("d1", "s1", "s2"), "c2": ClipInfo("d1", "s2", "s1"), "c3": ClipInfo("d2", "s3")}


def test_the_last_vote_of_a_person_counts() -> None:
    rows = [
        make_vote("c1", "ann-a", at=5, kinship="blood"),
        make_vote("c1", "ann-a", at=1, kinship="unsure"),
        make_vote("c1", "ann-b", at=3),
    ]
    votes = encode(votes_table(rows), CLIPS)
    assert votes.superseded == 1
    assert votes.annotators == ("ann-a", "ann-b")
    assert votes.ratings("kinship").counts().tolist() == [[1, 1, 0]]


def test_a_vote_taken_back_does_not_count() -> None:
    rows = [make_vote("c1", "ann-a"), make_vote("c1", "ann-a", at=2, withdrawn=True), make_vote("c1", "ann-b")]
    votes = encode(votes_table(rows), CLIPS)
    assert votes.annotators == ("ann-b",) and votes.superseded == 2


def test_other_rounds_and_unknown_clips_are_told_apart() -> None:
    rows = [
        make_vote("c1", "ann-a"),
        make_vote("gone", "ann-a"),
        make_vote("c1", "ann-judge", round="adjudication"),
        make_vote("c2", "gold", round="gold", kinship="blood", status="unequal", senior="A"),
    ]
    votes = encode(votes_table(rows), CLIPS)
    assert votes.unknown_clips == ("gone",) and votes.other_rounds == 1
    assert votes.annotators == ("ann-a",) and len(votes.clip) == 1
    assert votes.gold["kinship"].tolist() == [-1, 0]
    assert votes.gold["senior"].tolist() == [-1, 1]  # A of c2 is s2, the second by name


def test_senior_means_a_person_and_not_a_side() -> None:
    rows = [
        make_vote("c1", "ann-a", status="unequal", senior="A"),
        make_vote("c2", "ann-a", status="unequal", senior="B"),  # the same person, now on the right
        make_vote("c1", "ann-b", status="unequal", senior="unsure"),
        make_vote("c2", "ann-b", status="equal", senior=None),
        make_vote("c3", "ann-b", status="unequal", senior="A"),  # one person is seen: nobody to be senior to
    ]
    votes = encode(votes_table(rows), CLIPS)
    ratings = votes.ratings("senior")
    assert ratings.clips.tolist() == [0, 1]
    assert ratings.counts().tolist() == [[1, 0, 1], [1, 0, 0]]
    found = posteriors(votes_table(rows), CLIPS)
    assert set(found["c1"]["senior"]) == {"s1", "s2"}
    assert found["c1"]["senior"]["s1"] > 0.5 < found["c2"]["senior"]["s1"]
    assert "senior" not in found["c3"]


def test_nobody_decided_means_no_posterior() -> None:
    rows = [make_vote("c1", f"ann-{n}", kinship="unsure") for n in "abc"] + [make_vote("c2", "ann-a", kinship="blood")]
    found = posteriors(votes_table(rows), CLIPS)
    assert "kinship" not in found["c1"] and "status" in found["c1"]
    assert sum(found["c2"]["kinship"].values()) == pytest.approx(1)
    assert posteriors(votes_table([]), CLIPS) == {}


def test_gold_is_believed() -> None:
    rows = [make_vote("c1", f"ann-{n}", kinship="non_blood") for n in "abc"]
    rows.append(make_vote("c1", "gold", round="gold", kinship="blood"))
    assert posteriors(votes_table(rows), CLIPS)["c1"]["kinship"] == {"blood": 1.0, "non_blood": 0.0}


def test_the_order_of_rows_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    rows = [
        make_vote(f"c{c}", f"ann-{a}", at=10 * c + a, kinship=["blood", "non_blood", "unsure"][rng.integers(3)])
        for c in (1, 2)
        for a in range(5)
    ]
    one, other = votes_table(rows), votes_table([rows[i] for i in rng.permutation(len(rows))])
    assert posteriors(one, CLIPS) == posteriors(other, CLIPS)


def test_what_is_not_a_vote_is_refused() -> None:
    with pytest.raises(LabelError, match="kinship with 'cousins'"):
        encode(votes_table([make_vote("c1", "ann-a", kinship="cousins")]), CLIPS)
    with pytest.raises(LabelError, match="no table of votes"):
        encode(pa.table({"clip_id": ["c1"]}), CLIPS)
