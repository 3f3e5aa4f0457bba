from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import rsat_data
from model.motion.conversation import (
    Conversation,
    Conversations,
    Relation,
    conversations,
    dataset_hash,
    labels_hash,
    partner_of,
)
from model.motion.layout import GROUPS, MotionLayout
from rsat_data.errors import DatasetError, HeadMismatch
from tests import dataset_factory
from tests.dataset_factory import ClipSpec, make_dataset


def test_both_people_come_as_their_rows_say(talks: Path, spoken: Conversations) -> None:
    assert len(spoken) == 6 and spoken.left_out == 0
    rows = rsat_data.load(talks, None)
    for talk in spoken:
        assert talk.subject_id["A"] != talk.subject_id["B"]
        for person in "AB":
            row = rows.by_id(talk.row_id[person])
            assert row["person"] == person and row["partner_subject_id"] == talk.subject_id[partner_of(person)]
            for name, value in talk.codes[person].items():
                assert value.dtype == np.float32
                np.testing.assert_array_equal(value, row[name])
            np.testing.assert_array_equal(talk.audio(person), row.audio())
            assert talk.audio(person).shape == (640 * talk.num_frames,)
            np.testing.assert_array_equal(talk.speaking[person], row["speaking"])
            assert talk.relation.senior_seen_from(person) == row["senior"]
            assert (talk.relation.kinship, talk.relation.status) == (row["kinship"], row["status"])


def test_splits_share_no_subject(talks: Path) -> None:
    seen = [{s for talk in conversations(talks, name) for s in talk.subject_id.values()} for name in ("train", "test")]
    assert seen[0] and not seen[0] & seen[1]


def test_clips_of_one_person_are_left_out_and_counted(tmp_path: Path) -> None:
    out, _ = make_dataset(tmp_path)
    talks = conversations(out, None)
    assert (len(talks), talks.left_out) == (5, 1)
    assert sorted(talks.frames) == [10, 11, 12, 13, 14]


def broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, frame: int, valid: bool) -> Path:
    make_row = dataset_factory.make_row

    def with_nan(spec: ClipSpec, person: str) -> dict[str, object]:
        row = make_row(spec, person)
        row["jaw"] = row["jaw"].copy()
        row["jaw"][frame] = np.nan
        row["valid"] = np.arange(spec.frames) != (-1 if valid else frame)
        return row

    monkeypatch.setattr(dataset_factory, "make_row", with_nan)
    return make_dataset(tmp_path, [ClipSpec("s", "a", "b", frames=12)])[0]


def test_codes_that_are_not_finite_are_refused_where_they_count(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match=r"jaw is not finite in frame 4"):
        conversations(broken(monkeypatch, tmp_path, 4, valid=True), None)[0]


def test_frames_that_are_not_valid_may_hold_anything(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    talk = conversations(broken(monkeypatch, tmp_path, 4, valid=False), None)[0]
    assert not talk.valid["A"][4] and talk.valid["A"].sum() == 11
    assert (talk.codes["A"]["jaw"][4] == 0).all() and np.isfinite(talk.codes["A"]["jaw"]).all()


def test_people_of_one_clip_with_different_lengths(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    make_row = dataset_factory.make_row
    monkeypatch.setattr(
        dataset_factory,
        "make_row",
        lambda spec, person: {
            **make_row(replace(spec, frames=spec.frames + (person == "B")), person),
            "end_s": spec.start_s + spec.frames / 25,
        },
    )
    out, _ = make_dataset(tmp_path, [ClipSpec("s", "a", "b", frames=12)])
    with pytest.raises(DatasetError, match="12 and 13 frames"):
        conversations(out, None)[0]


def test_sound_of_another_length_is_refused(spoken: Conversations) -> None:
    talk: Conversation = replace(spoken[0], sound={"A": lambda: np.zeros(640), "B": lambda: np.full(96000, np.nan)})
    with pytest.raises(DatasetError, match="640 samples of sound do not go with 150 frames"):
        talk.audio("A")
    with pytest.raises(DatasetError, match="not finite"):
        talk.audio("B")


def test_relations_are_directed() -> None:
    relation = Relation("blood", "unequal", "B")
    assert relation.ids("A") == (1, 2, 2) and relation.ids("B") == (1, 2, 1)
    assert relation.swapped().ids("A") == relation.ids("B")
    assert Relation().ids("A") == (0, 0, 0) and not Relation().known and relation.known
    with pytest.raises(DatasetError, match="senior"):
        Relation(senior="self")


def test_layout_packs_and_unpacks_any_head(spoken: Conversations) -> None:
    codes = spoken[0].codes["A"]
    layout = MotionLayout(codes["expression"].shape[1])
    packed = layout.pack(codes)
    assert packed.shape == (150, layout.size) and packed.dtype == np.float32
    groups = layout.unpack(packed)
    assert tuple(groups) == GROUPS
    np.testing.assert_array_equal(groups["pose"], codes["rotation"])
    np.testing.assert_array_equal(layout.pack(groups), packed)
    with pytest.raises(HeadMismatch, match="52 are expected"):
        MotionLayout(52).pack(codes)
    with pytest.raises(HeadMismatch):
        layout.unpack(packed[:, 1:])


def test_labels_do_not_change_what_a_dataset_is(tmp_path: Path) -> None:
    plain = [ClipSpec("s", "a", "b", frames=12), ClipSpec("t", "c", "d", frames=12)]
    labelled = [replace(spec, kinship="blood", status="equal", senior="none") for spec in plain]
    one, _ = make_dataset(tmp_path / "one", plain, seed=1)
    # The same splits: kinship within a pair joins nothing that the pair did not join.
    two, _ = make_dataset(tmp_path / "two", labelled, seed=1)
    other, _ = make_dataset(tmp_path / "other", plain[:1], seed=1)
    assert dataset_hash(one) == dataset_hash(two) != dataset_hash(other)
    assert labels_hash(one) != labels_hash(two)
