from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

import rsat_data
from annotation import apply as verb
from annotation.apply import ApplyOptions, ApplyResult, apply
from annotation.votes import append_votes, votes_table
from rsat_data.errors import DatasetError, LabelError, UsageError
from rsat_data.manifest import read_manifest
from rsat_data.publish import publish
from rsat_data.validate import validate
from tests.annotation.votes_factory import make_vote
from tests.dataset_factory import ClipSpec, write_part
from tests.rsat_data.test_writer import tree

#: One pair in two clips (the other way round in the second), a clip whose owner spoke, and pairs to fill other shards.
PAIR, TURNED, OWNED = (
    ClipSpec("src0", "s0", "t0", video=False, frames=4, seed=0),
    ClipSpec("src0", "t0", "s0", video=False, frames=4, seed=1, start_s=2.0),
    ClipSpec("src1", "s1", "t1", video=False, frames=4, seed=2, kinship="non_blood", status="equal", senior="none"),
)
OTHERS = [ClipSpec(f"src{n}", f"s{n}", f"t{n}", video=False, frames=4, seed=n) for n in range(2, 14)]
SPECS = [PAIR, TURNED, OWNED, *OTHERS]
BLOOD = {"kinship": "blood", "status": "unequal", "senior": "A"}


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("parts")
    return [write_part(folder / spec.clip_id, [spec]) for spec in SPECS]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, parts: list[Path]) -> Path:
    out = tmp_path_factory.mktemp("published") / "out"
    publish(parts, out)
    return out


@pytest.fixture
def out(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "out"))


def vote(out: Path, spec: ClipSpec, people: str, **answer: Any) -> None:
    at = answer.pop("at", 0.0)
    append_votes(out, votes_table([make_vote(spec.clip_id, f"ann-{who}", at=at, **answer) for who in people]))


def relations(out: Path) -> dict[tuple[str, str], tuple[Any, ...]]:
    columns = ("kinship", "status", "senior", "relation_source")
    rows = rsat_data.load(out, None, ["clip_id", "person", *columns])
    found = {(row["clip_id"], row["person"]): tuple(row[name] for name in columns) for row in rows}
    for clip in rsat_data.load(out, None, ["clip_id", *columns, "num_votes", "agreement"], table="clips"):
        found[clip["clip_id"], "clip"] = tuple(clip[name] for name in (*columns, "num_votes", "agreement"))
    return found


def run(out: Path, /, **options: Any) -> ApplyResult:
    return apply(out, ApplyOptions(**options))


def test_agreed_labels_are_in_both_rows_and_the_clip_and_in_nothing_else(out: Path) -> None:
    vote(out, PAIR, "xy", **BLOOD)
    before, files = relations(out), tree(out)
    result = run(out)
    after = relations(out)
    assert after[PAIR.clip_id, "A"] == ("blood", "unequal", "self", "votes")
    assert after[PAIR.clip_id, "B"] == ("blood", "unequal", "partner", "votes")
    assert after[PAIR.clip_id, "clip"] == ("blood", "unequal", "A", "votes", 2, 1.0)
    assert after[TURNED.clip_id, "A"] == ("blood", "unequal", "partner", "votes")
    assert after[TURNED.clip_id, "clip"] == ("blood", "unequal", "B", "votes", 0, None)
    touched = {PAIR.clip_id, TURNED.clip_id}
    assert {key: value for key, value in after.items() if key[0] not in touched} == {
        key: value for key, value in before.items() if key[0] not in touched
    }
    assert {change.clip_id for change in result.changes} == touched
    assert (result.decided, result.spread, result.labels["votes"]) == (1, 1, 2)
    # Only shards with a changed row are other files now.
    split = next(row["split"] for row in rsat_data.load(out, None) if row["clip_id"] == PAIR.clip_id)
    changed = {file for file, digest in tree(out).items() if files.get(file) != digest and file.startswith("data/")}
    assert result.shards == len(changed) == 2 and all(f"/{split}-" in file for file in changed)
    assert len({file for file in files if file.startswith("data/")}) > 2
    info = json.loads((out / "meta/info.json").read_text())["labels"]
    assert info["applied"]["form_hash"] == "f0" and info["applied"]["options"]["min_votes"] == 2
    assert info["applied"]["counts"] == {"votes": 2, "decided": 1, "spread": 1, "conflicts": 0, "to_adjudicate": 0}
    assert "2 one that annotators agree on" in (out / "README.md").read_text()
    assert validate(out).ok


def test_applying_twice_changes_nothing_and_labels_go_when_votes_do(out: Path) -> None:
    start = relations(out)
    vote(out, PAIR, "xy", **BLOOD)
    run(out)
    files = tree(out)
    again = run(out)
    assert (again.changes, again.shards) == ((), 0) and tree(out) == files
    vote(out, PAIR, "y", at=9.0)  # y takes another view: no majority any more
    result = run(out)
    assert [change.after.relation_source for change in result.changes] == ["unlabelled", "unlabelled"]
    found = relations(out)
    assert found[PAIR.clip_id, "clip"] == ("unknown", "unknown", "unknown", "unlabelled", 2, None)
    assert {k: v for k, v in found.items() if k[1] != "clip"} == {k: v for k, v in start.items() if k[1] != "clip"}
    vote(out, PAIR, "xy", at=10.0, withdrawn=True)
    run(out)
    assert relations(out) == start
    assert validate(out).ok


def test_a_dry_run_tells_the_same_and_writes_nothing(out: Path) -> None:
    vote(out, PAIR, "xy", **BLOOD)
    files = tree(out)
    planned = run(out, dry_run=True)
    assert tree(out) == files and planned.dry_run and len(planned.changes) == 2
    assert run(out).changes == planned.changes


def test_a_new_version_shares_files_with_the_old_one_which_stays_as_it_is(out: Path, tmp_path: Path) -> None:
    vote(out, PAIR, "xy", **BLOOD)
    (out / ".label").mkdir()
    files, new = tree(out), tmp_path / "versions" / "v2"
    result = run(out, out=new)
    assert tree(out) == files and result.out == new
    in_place = Path(shutil.copytree(out, tmp_path / "in_place"))
    run(in_place)
    shutil.rmtree(in_place / ".label")
    assert tree(new) == tree(in_place)
    old, now = ({entry.file: entry.sha256 for entry in read_manifest(folder)} for folder in (out, new))
    same = {file for file in old if now.get(file) == old[file]}
    assert any(file.startswith("data/triplets/") for file in same)
    assert all((out / file).stat().st_ino == (new / file).stat().st_ino for file in same)
    files_of_new = tree(new)
    run(out, out=new)
    assert tree(new) == files_of_new
    assert sorted(path.name for path in new.parent.iterdir()) == ["v2"]
    vote(out, OTHERS[0], "xy")
    with pytest.raises(DatasetError, match="holds another dataset already"):
        run(out, out=new)
    assert sorted(path.name for path in new.parent.iterdir()) == ["v2"]
    # A change to the new version does not reach the old one.
    files = tree(out)
    vote(new, OTHERS[1], "xy")
    run(new)
    assert tree(out) == files and validate(out).ok and validate(new).ok


def test_where_files_cannot_be_linked_they_are_copied(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vote(out, PAIR, "xy", **BLOOD)
    run(out, out=tmp_path / "linked")

    def refuse(source: Any, target: Any) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    run(out, out=tmp_path / "copied")
    assert tree(tmp_path / "copied") == tree(tmp_path / "linked")
    assert all(path.stat().st_nlink == 1 for path in (tmp_path / "copied").rglob("*") if path.is_file())


@pytest.mark.parametrize("place", ["out", "out/inner", "taken"])
def test_a_place_that_is_not_free_is_refused(out: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "letter.txt").write_text("dear")
    files = tree(out)
    with pytest.raises(DatasetError, match="is the dataset itself|is no dataset"):
        run(out, out=tmp_path / place)
    assert tree(out) == files


def test_what_is_left_of_a_killed_copy_is_swept_and_a_living_one_is_not(out: Path, tmp_path: Path) -> None:
    dead, alive = tmp_path / ".new.999999999.tmp", tmp_path / f".new.{os.getppid()}.tmp"
    dead.mkdir()
    alive.mkdir()
    run(out, out=tmp_path / "new")
    assert not dead.exists() and alive.exists()


def test_the_owners_word_stands_until_an_adjudicator_speaks_and_comes_back_when_he_takes_it_back(out: Path) -> None:
    start = relations(out)
    vote(out, OWNED, "xyz", **BLOOD)
    kept = run(out)
    assert relations(out)[OWNED.clip_id, "A"] == ("non_blood", "equal", "none", "metadata")
    assert relations(out)[OWNED.clip_id, "clip"][4:] == (3, 0.0)
    assert kept.conflicts[0].with_metadata and [item.clip_id for item in kept.to_adjudicate] == [OWNED.clip_id]
    vote(out, OWNED, "j", round="adjudication", **BLOOD)
    ruled = run(out)
    assert relations(out)[OWNED.clip_id, "B"] == ("blood", "unequal", "partner", "adjudicated")
    assert ruled.conflicts[0].settled and not ruled.to_adjudicate
    record = json.loads((out / "meta/labels.json").read_text())["metadata"]
    assert record == {
        OWNED.clip_id: {
            "kinship": "non_blood",
            "status": "equal",
            "senior": "none",
            "relation_source": "metadata",
            "relation_confidence": 1.0,
        }
    }
    assert run(out).changes == ()
    vote(out, OWNED, "j", round="adjudication", at=5.0, withdrawn=True, **BLOOD)
    vote(out, OWNED, "xyz", at=5.0, withdrawn=True, **BLOOD)
    run(out)
    assert relations(out) == start
    assert validate(out).ok


def test_votes_replace_the_owners_word_if_asked_and_a_build_keeps_that(out: Path, parts: list[Path]) -> None:
    vote(out, OWNED, "xyz", **BLOOD)
    run(out, metadata="replace")
    assert relations(out)[OWNED.clip_id, "clip"] == ("blood", "unequal", "A", "votes", 3, 1.0)
    files = tree(out)
    publish(parts, out)
    assert tree(out) == files
    run(out)
    assert relations(out)[OWNED.clip_id, "A"] == ("non_blood", "equal", "none", "metadata")


def test_a_build_after_applying_gives_the_same_bytes(out: Path, parts: list[Path]) -> None:
    vote(out, PAIR, "xy", **BLOOD)
    vote(out, OTHERS[3], "xy", kinship="unsure")
    run(out)
    files = tree(out)
    publish(parts, out)
    assert tree(out) == files
    assert run(out).changes == ()


def test_a_label_of_blood_never_cuts_a_family(out: Path) -> None:
    splits = {row["row_id"]: row["split"] for row in rsat_data.load(out, None)}
    assert len(set(splits.values())) > 1
    for spec in SPECS:
        vote(out, spec, "xy", **(BLOOD if spec != TURNED else {**BLOOD, "senior": "B"}))
    result = run(out, metadata="replace")
    assert result.labels == {"votes": len(SPECS)}
    assert {row["row_id"]: row["split"] for row in rsat_data.load(out, None)} == splits
    assert validate(out).ok


def test_with_enough_votes_the_model_of_the_annotators_is_asked(out: Path) -> None:
    """Two careless people outvote a careful one; the model, which sees them disagree everywhere else, does not."""
    for number, spec in enumerate(OTHERS):
        truth = ("blood", "non_blood")[number % 2]
        lie = ("blood", "non_blood")[(number // 2) % 2]
        for who in "abcd":
            vote(out, spec, who, kinship=truth)
        vote(out, spec, "e", kinship=lie)
    result = run(out)
    assert result.used_model
    confidences = {row["relation_confidence"] for row in rsat_data.load(out, None) if row["relation_source"] == "votes"}
    assert all(0.8 <= value <= 1 for value in confidences) and confidences != {1.0}
    assert json.loads((out / "meta/labels.json").read_text())["options"]["model"] is True


def test_votes_of_two_forms_do_not_mix(out: Path) -> None:
    vote(out, PAIR, "xy", **BLOOD)
    vote(out, OTHERS[0], "xyz", config_hash="a1b2")
    with pytest.raises(LabelError, match="2 forms: a1b2 .3 votes., f0 .2 votes."):
        run(out)
    result = run(out, form="f0")
    assert [change.clip_id for change in result.changes] == [PAIR.clip_id, TURNED.clip_id]
    with pytest.raises(LabelError, match="0 forms begin with 'zz'"):
        run(out, form="zz")


@pytest.mark.parametrize(
    "options", [{"majority": 0.2}, {"majority": 1.5}, {"posterior": 2.0}, {"min_votes": 0}, {"metadata": "mix"}]
)
def test_options_out_of_range_are_refused(out: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        run(out, **options)


def test_no_votes_change_nothing(out: Path) -> None:
    files = tree(out)
    result = verb(out)
    assert (result.changes, result.decided) == ((), 0) and tree(out) == files
