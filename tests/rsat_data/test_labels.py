from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rsat_data
from annotation.votes import append_votes, read_votes, votes_table
from pipelines.assemble.splits import RowKeys, assign_splits, leaks
from rsat_data.amend import amend, finish_interrupted
from rsat_data.errors import DatasetError
from rsat_data.labels import LABELS_FILE, labels_summary
from rsat_data.manifest import MANIFEST_NEXT, read_manifest
from rsat_data.publish import publish
from rsat_data.validate import validate
from schemas.vocabulary import senior_of_person
from tests.annotation.votes_factory import make_vote
from tests.dataset_factory import ClipSpec, write_part
from tests.rsat_data.test_writer import Kill, kill_at, tree

#: Two clips of one pair, a clip whose owner said something, and a pair that shares a person with the first.
SPECS = [
    ClipSpec("src0", "s0", "t0", video=False, frames=4, seed=0),
    ClipSpec("src0", "s0", "t0", video=False, frames=4, seed=1, start_s=2.0),
    ClipSpec("src1", "s1", "t1", video=False, frames=5, seed=2, kinship="non_blood", status="equal", senior="none"),
    ClipSpec("src2", "t0", "s2", video=False, frames=6, seed=3),
]
BLOOD = ("blood", "unequal", "B")
RECORD = {"form_hash": "f0" * 32, "options": {"majority": 2 / 3, "min_votes": 2}, "metadata": {}}


def label(out: Path, relations: dict[str, tuple[str, str, str]], source: str = "votes", **more: Any) -> None:
    """Give clips labels in one transaction, as `label apply` does."""
    rows, clips = {}, {}
    for row in rsat_data.load(out, None, ["row_id", "clip_id", "person"]):
        if row["clip_id"] in relations:
            kinship, status, senior = relations[row["clip_id"]]
            columns = {"kinship": kinship, "status": status, "relation_source": source, "relation_confidence": 0.75}
            rows[row["row_id"]] = {**columns, "senior": senior_of_person(senior, row["person"])}
            clips[row["clip_id"]] = {**columns, "senior": senior, "num_votes": 2, "agreement": 1.0} | more
    amend(out, {"triplets": rows, "clips": clips}, labels=RECORD)


def clips_of(out: Path) -> dict[str, dict[str, Any]]:
    return {row["clip_id"]: dict(row) for row in rsat_data.load(out, None, table="clips")}


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    return [write_part(tmp_path / "parts" / spec.clip_id, [spec]) for spec in SPECS]


@pytest.fixture
def out(tmp_path: Path, parts: list[Path]) -> Path:
    publish(parts, tmp_path / "out")
    return tmp_path / "out"


def test_votes_and_labels_outlive_a_build_to_the_byte(out: Path, parts: list[Path]) -> None:
    append_votes(out, votes_table([make_vote(SPECS[0].clip_id, f"ann-{n}", kinship="blood") for n in "ab"]))
    label(out, {SPECS[0].clip_id: BLOOD, SPECS[3].clip_id: ("non_blood", "unknown", "unknown")})
    before = tree(out)
    published = publish(parts, out)
    assert (published.labels, published.lost_labels) == (2, ())
    assert tree(out) == before
    assert validate(out).ok


def test_labels_reach_subjects_info_card_and_croissant(out: Path) -> None:
    before = json.loads((out / "meta/info.json").read_text())["labels"]
    assert before["relation_source"] == {"unlabelled": 3, "metadata": 1, "votes": 0, "adjudicated": 0}
    assert before["votes"] == 0 and before["applied"] is None
    append_votes(
        out,
        votes_table(
            [
                make_vote(SPECS[0].clip_id, "ann-a", kinship="blood"),
                make_vote(SPECS[0].clip_id, "ann-b", kinship="blood"),
                make_vote(SPECS[0].clip_id, "ann-c"),
                make_vote(SPECS[3].clip_id, "ann-a"),
                make_vote(SPECS[3].clip_id, "ann-j", round="adjudication"),
                make_vote(SPECS[3].clip_id, "gold", round="gold"),
            ]
        ),
    )
    label(out, {SPECS[0].clip_id: BLOOD})
    after = json.loads((out / "meta/info.json").read_text())["labels"]
    assert after["relation_source"] == {"unlabelled": 2, "metadata": 1, "votes": 1, "adjudicated": 0}
    assert after["kinship"] == {"blood": 1, "non_blood": 1, "unknown": 2}
    assert (after["votes"], after["annotators"], after["clips_voted_on"], after["adjudications"]) == (4, 3, 2, 1)
    assert after["pairs_alike"] == {"kinship": round(1 / 3, 6), "status": 1.0}
    assert after["applied"] == {"form_hash": "f0" * 32, "options": RECORD["options"]}
    card = (out / "README.md").read_text()
    assert "annotations_creators:\n- machine-generated\n- crowdsourced\nconfigs" in card
    assert "Votes: 4 of 3 annotators on 2 clips, and 1 by adjudicators" in card
    assert "alike in 33% on kinship and 100% on status" in card and "from 67% of at least 2 votes" in card
    croissant = json.loads((out / "croissant.json").read_text())
    assert croissant["rai:annotationsPerItem"] == "2 votes a clip voted on"
    subjects = {s["subject_id"]: s for s in pq.read_table(out / "meta/subjects.parquet").to_pylist()}
    assert subjects["s0"]["family_id"] == subjects["t0"]["family_id"] != subjects["s2"]["family_id"]
    assert validate(out).ok


def test_a_build_makes_families_of_the_labels_it_keeps(out: Path, parts: list[Path], tmp_path: Path) -> None:
    label(out, {SPECS[3].clip_id: ("blood", "equal", "none")})
    more = write_part(tmp_path / "parts" / "more", [ClipSpec("src7", "s7", "t7", video=False, frames=4, seed=9)])
    publish([*parts, more], out)
    subjects = {s["subject_id"]: s for s in pq.read_table(out / "meta/subjects.parquet").to_pylist()}
    assert subjects["t0"]["family_id"] == subjects["s2"]["family_id"] != subjects["s0"]["family_id"]
    assert clips_of(out)[SPECS[3].clip_id]["kinship"] == "blood"
    assert validate(out).ok


def test_the_owners_new_word_goes_before_a_label_that_is_carried(out: Path, parts: list[Path], tmp_path: Path) -> None:
    label(out, {SPECS[0].clip_id: BLOOD, SPECS[1].clip_id: BLOOD})
    said = ClipSpec(
        "src0", "s0", "t0", video=False, frames=4, seed=0, kinship="non_blood", status="equal", senior="none"
    )
    write_part(parts[0], [said])
    published = publish(parts, out)
    assert published.lost_labels == (said.clip_id,) and published.labels == 1
    found = clips_of(out)[said.clip_id]
    assert (found["kinship"], found["relation_source"], found["num_votes"]) == ("non_blood", "metadata", 2)
    assert found["agreement"] is None
    assert validate(out).ok


def test_a_label_lent_by_a_pair_goes_when_the_clip_leaves_the_pair(out: Path, parts: list[Path]) -> None:
    label(out, {SPECS[1].clip_id: BLOOD}, num_votes=0, agreement=None)
    write_part(parts[1], [ClipSpec("src0", "s0", "x9", video=False, frames=4, seed=1, start_s=2.0)])
    published = publish(parts, out)
    assert published.lost_labels == (SPECS[1].clip_id,)
    assert clips_of(out)[SPECS[1].clip_id]["relation_source"] == "unlabelled"
    assert validate(out).ok


def test_a_clip_that_leaves_takes_its_label_along_and_its_votes_stay(out: Path, parts: list[Path]) -> None:
    append_votes(out, votes_table([make_vote(SPECS[3].clip_id, "ann-a")]))
    label(out, {SPECS[3].clip_id: BLOOD})
    published = publish(parts[:3], out)
    assert (published.labels, published.lost_labels) == (0, ())
    assert read_votes(out).num_rows == 1 and SPECS[3].clip_id not in clips_of(out)
    assert validate(out).ok


def test_what_is_wrong_with_labels_is_found(out: Path, tmp_path: Path) -> None:
    clip = next(row for row in rsat_data.load(out, None) if row["clip_id"] == SPECS[0].clip_id)
    amend(out, {"clips": {clip["clip_id"]: {"kinship": "blood", "relation_source": "votes"}}})
    found = [finding.message for finding in validate(out).findings]
    assert "kinship: is unknown, the clip has blood" in found
    (out / LABELS_FILE).write_text("{")
    assert any(f.file == LABELS_FILE and "not in the manifest" in f.message for f in validate(out).findings)


def test_a_damaged_record_of_labels_is_named(out: Path, parts: list[Path]) -> None:
    label(out, {SPECS[0].clip_id: BLOOD})
    (out / LABELS_FILE).write_text('{"metadata": {"clip": {}}}')
    with pytest.raises(DatasetError, match="labels.json cannot be read"):
        publish(parts, out)


def test_killed_at_every_moment_votes_and_labels_are_the_old_or_the_new_ones(out: Path, tmp_path: Path) -> None:
    votes = votes_table([make_vote(SPECS[0].clip_id, "ann-a")])
    clip = {"clips": {SPECS[2].clip_id: {"num_votes": 1, "agreement": 1.0}}}

    def change(folder: Path) -> None:
        amend(folder, clip, votes=votes, labels=RECORD)

    change(Path(shutil.copytree(out, tmp_path / "straight")))
    old, new = tree(out), tree(tmp_path / "straight")
    for moment in range(200):
        folder = Path(shutil.copytree(out, tmp_path / f"out{moment}"))
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, moment)
            try:
                change(folder)
                break
            except Kill:
                pass
        if not (folder / MANIFEST_NEXT).exists():
            kept = {file: digest for file, digest in tree(folder).items() if not file.endswith(".tmp")}
            assert kept in (old, new)
        finish_interrupted(folder)
        change(folder)
        assert tree(folder) == new
    assert moment > 5


def test_older_votes_and_clips_without_votes_are_counted() -> None:
    votes = votes_table([make_vote("c", "ann-a"), make_vote("c", "ann-b", kinship="blood")])
    old = votes.drop_columns(["round", "prediction_version", "withdrawn"])
    rows = [{"kinship": "unknown", "status": "unknown", "relation_source": "unlabelled"}]
    assert labels_summary(rows, old, None) == labels_summary(rows, votes, None)
    assert labels_summary(rows, votes, None)["pairs_alike"] == {"kinship": 0.0, "status": 1.0}
    assert labels_summary([], None, None)["pairs_alike"] == {"kinship": None, "status": None}


_ROW = st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(0, 5), st.sampled_from(["blood", "unknown"]))


@given(st.lists(_ROW, min_size=1, max_size=25), st.integers(0, 5))
def test_labels_of_blood_never_move_a_subject_nor_cut_a_family(
    draws: list[tuple[int, int, int, str]], seed: int
) -> None:
    """Splits are decided before anybody votes: whatever is labelled later, they hold."""
    rows, unlabelled = [], []
    for one, other, source, kinship in draws:
        for mine, theirs in ((one, other), (other, one)):
            partner = None if one == other else f"s{theirs}"
            names = (f"s{mine}", partner, f"src{source}", f"d{min(one, other)}-{max(one, other)}")
            rows.append(RowKeys(*names, kinship))
            unlabelled.append(RowKeys(*names, "unknown"))
    before, after = assign_splits(unlabelled, seed=seed), assign_splits(rows, seed=seed)
    assert before.split_of == after.split_of and before.component_of == after.component_of
    for row in rows:
        if row.kinship == "blood" and row.partner_subject_id:
            assert after.family_of[row.subject_id] == after.family_of[row.partner_subject_id]
    assert leaks((row, before.split_of[row.subject_id]) for row in rows) == []


def test_the_manifest_lists_the_record(out: Path) -> None:
    label(out, {SPECS[0].clip_id: BLOOD})
    assert LABELS_FILE in {entry.file for entry in read_manifest(out)}
    before = tree(out)
    label(out, {SPECS[0].clip_id: BLOOD})
    assert tree(out) == before
