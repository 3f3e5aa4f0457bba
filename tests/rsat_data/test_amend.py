from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import rsat_data
from rsat_data.amend import amend, finish_interrupted
from rsat_data.errors import DatasetError, WorkspaceError
from rsat_data.manifest import MANIFEST_NEXT, read_manifest
from rsat_data.publish import publish
from rsat_data.validate import validate
from rsat_data.writer import DatasetWriter
from tests.dataset_factory import ClipSpec, make_dataset, write_part
from tests.rsat_data.test_writer import Kill, kill_at, tree

SPECS = [ClipSpec(f"src{n}", f"s{n}", f"t{n}", video=False, frames=4 + n % 3, seed=n) for n in range(9)]
FILES = {"avatars/s1/avatar.ply": b"ply\n", "avatars/s1/avatar.json": b'{"avatar_id": "av"}\n'}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("published"), SPECS)[0]


@pytest.fixture
def out(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "out"))


def new_values(out: Path, subject: str = "s1") -> dict[str, dict[str, Any]]:
    rows = rsat_data.load(out, None, ["row_id", "subject_id"])
    return {r["row_id"]: {"avatar_id": "av", "avatar_psnr": 31.1} for r in rows if r["subject_id"] == subject}


def values_of(out: Path) -> dict[str, tuple[Any, Any]]:
    rows = rsat_data.load(out, None, ["row_id", "avatar_id", "avatar_psnr"])
    return {row["row_id"]: (row["avatar_id"], row["avatar_psnr"]) for row in rows}


def test_an_amended_dataset_is_the_one_that_a_build_would_have_written(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests import dataset_factory

    values = new_values(out)
    plain = dataset_factory.make_row

    def with_avatar(spec: ClipSpec, person: str) -> dict[str, Any]:
        row = plain(spec, person)
        return row | values.get(row["row_id"], {})

    monkeypatch.setattr(dataset_factory, "make_row", with_avatar)
    publish([write_part(tmp_path / "other", SPECS)], tmp_path / "direct")
    amend(out, {"triplets": values})
    direct, amended = tree(tmp_path / "direct"), tree(out)
    assert amended == direct


def test_only_shards_with_a_changed_row_are_written_and_the_rest_follows(out: Path) -> None:
    before, values = tree(out), new_values(out)
    result = amend(out, {"triplets": values}, files=FILES)
    (split,) = {row["split"] for row in rsat_data.load(out, None) if row["subject_id"] == "s1"}
    assert (result.rows, result.shards) == (len(values), 1)
    after = tree(out)
    changed = {name for name in after if before.get(name) != after[name]}
    shard = next(name for name in before if name.startswith(f"data/triplets/{split}"))
    assert changed == {shard, *FILES, "meta/subjects.parquet", "croissant.json", "manifest.jsonl"}
    assert before.keys() <= after.keys()
    for row_id, (avatar, psnr) in values_of(out).items():
        wanted = values.get(row_id)
        assert (avatar, psnr) == (None, None) if wanted is None else (avatar == "av" and abs(psnr - 31.1) < 1e-5)
    subjects = pq.read_table(out / "meta/subjects.parquet").to_pylist()
    assert {s["subject_id"]: s["avatar_id"] for s in subjects if s["avatar_id"]} == {"s1": "av"}
    croissant = json.loads((out / "croissant.json").read_text())
    hashes = {f["@id"]: f["sha256"] for f in croissant["distribution"] if "sha256" in f}
    assert hashes == {entry.file: entry.sha256 for entry in read_manifest(out) if entry.file.startswith("data/")}
    assert validate(out).ok


def test_the_same_values_again_change_nothing(out: Path) -> None:
    values = new_values(out)
    amend(out, {"triplets": values}, files=FILES)
    before = tree(out)
    again = amend(out, {"triplets": values})
    assert (again.rows, again.shards) == (0, 0)
    assert tree(out) == before


def test_values_and_files_go_again(out: Path) -> None:
    before, values = tree(out), new_values(out)
    amend(out, {"triplets": values}, files=FILES)
    none = {"avatar_id": None, "avatar_psnr": None}
    amend(out, {"triplets": dict.fromkeys(values, none)}, remove=FILES)
    assert tree(out) == before


def test_a_relation_of_blood_joins_a_family_in_rows_clips_and_subjects(out: Path) -> None:
    rows = [row for row in rsat_data.load(out, None) if row["source_id"] == "src4"]
    relation = {"kinship": "blood", "status": "equal", "senior": "none", "relation_source": "votes"}
    amend(
        out,
        {"triplets": {row["row_id"]: relation for row in rows}, "clips": {rows[0]["clip_id"]: relation}},
    )
    subjects = {s["subject_id"]: s for s in pq.read_table(out / "meta/subjects.parquet").to_pylist()}
    assert subjects["s4"]["family_id"] == subjects["t4"]["family_id"] != subjects["s3"]["family_id"]
    assert validate(out).ok


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"triplets": {"row_x": {"avatar_id": "a"}}}, "no row row_x"),
        ({"triplets": {"row_x": {"expression": None}}}, "cannot be amended"),
        ({"triplets": {"row_x": {"kinship": None}}}, "must not be null"),
        ({"triplets": {"row_x": {"kinship": "cousins"}}}, "should be one of"),
        ({"triplets": {"row_x": {"avatar_psnr": "good"}}}, "cannot be 'good'"),
        ({"votes": {"row_x": {}}}, "cannot be amended"),
    ],
)
def test_what_does_not_belong_is_refused_and_nothing_changes(out: Path, values: Any, words: str) -> None:
    before = tree(out)
    with pytest.raises(DatasetError, match=words):
        amend(out, values)
    assert tree(out) == before


def test_only_files_of_avatars_are_added(out: Path) -> None:
    with pytest.raises(DatasetError, match="only files below avatars/"):
        amend(out, {}, files={"data/x": b""})
    with pytest.raises(DatasetError, match="leads outside|not one below"):
        amend(out, {}, files={"avatars/../../x": b""})


def test_a_folder_without_a_dataset_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no manifest.jsonl"):
        amend(tmp_path, {})
    assert not list(tmp_path.iterdir())


def test_killed_at_every_moment_it_is_the_old_or_the_new_dataset(tmp_path: Path) -> None:
    """Every rename and every sync is a moment to die at; the same command again ends where an undisturbed one does."""
    old, _ = make_dataset(tmp_path, [ClipSpec("src1", "s1", video=False, frames=4)])
    values = new_values(old)
    amend(Path(shutil.copytree(old, tmp_path / "straight")), {"triplets": values}, files=FILES)
    new = tree(tmp_path / "straight")
    seen = []
    for moment in range(1000):
        out = Path(shutil.copytree(old, tmp_path / f"out{moment}"))
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, moment)
            try:
                amend(out, {"triplets": values}, files=FILES)
                break  # no such moment any more: it got through
            except Kill:
                pass
        if (out / MANIFEST_NEXT).exists():
            seen.append("decided")
        else:
            seen.append("new" if any(avatar for avatar, _ in values_of(out).values()) else "old")
            assert all(hashlib.sha256((out / e.file).read_bytes()).hexdigest() == e.sha256 for e in read_manifest(out))
        if moment % 2:
            finish_interrupted(out)
        amend(out, {"triplets": values}, files=FILES)
        assert tree(out) == new
    assert seen == sorted(seen, key=["old", "decided", "new"].index) and set(seen) >= {"old", "decided"}


def test_two_publications_at_once_are_refused(out: Path) -> None:
    with DatasetWriter(out), pytest.raises(WorkspaceError, match="another process"):
        amend(out, {"triplets": new_values(out)})
