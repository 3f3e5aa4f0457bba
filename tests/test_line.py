"""The whole line on a real (synthetic) video: synth, build, validate, read, compare with the truth, kill and resume."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import rsat_data
from benchmarks.durability import finish, kill_and_resume
from pipelines.assemble.ids import named_subject_id
from pipelines.synth.truth import Truth, read_truth
from rsat_data.cli import run
from rsat_data.errors import ModelFileError
from rsat_data.registry import model_path
from tests.media_factory import make_video, tone, truncate
from tests.media_factory import test_card as card

#: One worker: the suite may itself run on several processes.
OPTIONS = ("--workers", "2", "--set", "speech.model=whisper-tiny.en", "--max-failed", "100%")


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        for name in ("face_landmarker", "selfie_segmenter", "whisper-tiny.en", "pyannote-segmentation"):
            model_path(name)
    except ModelFileError as error:
        pytest.skip(f"model files cannot be had here: {error.message}")
    folder = tmp_path_factory.mktemp("talks")
    # A seed with which both persons speak.
    arguments = ["synth", "--out", str(folder), "--clips", "1", "--seconds", "6", "--seed", "5"]
    assert run([*arguments, "--source", "recording", "--quiet"]) == 0
    return folder


@pytest.fixture(scope="session")
def dataset(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dataset") / "out"
    finish(videos, out, *OPTIONS)
    return out


@pytest.fixture(scope="session")
def truth(videos: Path) -> Truth:
    path = next(videos.glob("*.truth.json"))
    return read_truth(path.parent, path.name.removesuffix(".truth.json"))


def test_two_rows_that_name_each_other_and_a_sound_dataset(dataset: Path) -> None:
    rows = rsat_data.load(dataset, split=None)
    assert [row["person"] for row in sorted(rows, key=lambda row: str(row["person"]))] == ["A", "B"]
    assert {row["row_id"] for row in rows} == {row["partner_row_id"] for row in rows}
    assert all(row["num_frames"] == 150 and row["expression"].shape[0] == 150 for row in rows)
    assert run(["validate", str(dataset)]) == 0


def test_codes_follow_the_truth_and_persons_do_not_swap(dataset: Path, truth: Truth) -> None:
    for row in rsat_data.load(dataset, split=None):
        codes = truth.codes[row["person"]]
        assert np.mean(row["valid"]) >= 0.95
        assert row["q_reprojection"] <= 0.03
        if truth.speaking[row["person"]].mean() > 0.1:  # a closed mouth has no course to follow
            assert np.corrcoef(row["jaw"][:, 0], codes.jaw[:, 0])[0, 1] >= 0.8
        for name in ("eyeBlinkLeft", "eyeBlinkRight"):
            column = truth.expression_names.index(name)
            assert np.corrcoef(row["expression"][:, column], codes.expression[:, column])[0, 1] >= 0.8
        # Which side of the picture, in every frame: a swap would change the sign.
        assert (np.sign(row["translation"][:, 0]) == np.sign(codes.translation[:, 0])).all()


def test_the_owners_names_decide_and_every_source_has_a_camera(dataset: Path, truth: Truth) -> None:
    rows = {row["person"]: row for row in rsat_data.load(dataset, split=None)}
    for person, row in rows.items():
        assert row["subject_id"] == named_subject_id(truth.subjects[person])
        assert (row["subject_source"], row["subject_score"]) == ("given", None)
    cameras = json.loads((dataset / "meta/cameras.json").read_text(encoding="utf-8"))["sources"]
    (camera,) = cameras.values()
    assert camera["source"] == f"{truth.name}.mp4"
    sides = json.loads(next((dataset / ".work/units/faces").rglob("faces.json")).read_text(encoding="utf-8"))
    for entry in sides["persons"]:
        scale = entry["crop"]["size"] / entry["crop"]["side"]
        assert rows[entry["person"]]["camera"]["fx"] == pytest.approx(camera["focal"] * 1280 * scale, rel=1e-5)
    assert json.loads((dataset / "meta/subject_review.json").read_text(encoding="utf-8"))["pairs"] == []


def test_who_speaks_agrees_with_the_truth(dataset: Path, truth: Truth) -> None:
    for row in rsat_data.load(dataset, split=None):
        assert np.mean(row["speaking"] == truth.speaking[row["person"]]) >= 0.85


def test_relation_of_the_sidecar_is_seen_from_each_side(dataset: Path, truth: Truth) -> None:
    for row in rsat_data.load(dataset, split=None):
        assert (row["kinship"], row["status"]) == (truth.relation.kinship, truth.relation.status)
        seniors = {"A": {"A": "self", "B": "partner"}, "B": {"A": "partner", "B": "self"}}
        assert row["senior"] == seniors[row["person"]].get(truth.relation.senior, truth.relation.senior)
        assert row["relation_source"] == "metadata"


def test_running_again_computes_nothing_and_changes_nothing(dataset: Path, videos: Path) -> None:
    before = (dataset / "manifest.jsonl").read_bytes()
    units = {path: path.stat().st_mtime_ns for path in (dataset / ".work/units").rglob("done.json")}
    finish(videos, dataset, *OPTIONS)
    assert (dataset / "manifest.jsonl").read_bytes() == before
    assert {path: path.stat().st_mtime_ns for path in (dataset / ".work/units").rglob("done.json")} == units


def test_gates_part_clips_without_computing_anything(
    dataset: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "gated"
    shutil.copytree(dataset, out)
    before = (out / "manifest.jsonl").read_bytes()
    build = ["build", "--videos", str(videos), "--out", str(out), "--quiet", *OPTIONS]
    assert run([*build, "--json", "--gate", "q_valid>0.5,clips.q_speech>0.1"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["units_run"], facts["clips"], facts["gated"]) == (0, 1, 0)
    assert "clips.q_speech>0.1" in (out / "meta/config.yaml").read_text(encoding="utf-8")
    kept = (out / "manifest.jsonl").read_bytes()
    assert run([*build, "--gate", "num_frames>9999"]) == 1
    assert "leave none of 1 clips" in capsys.readouterr().err
    assert (out / "manifest.jsonl").read_bytes() == kept
    assert run([*build, "--gate", "q_snyc>0.3"]) != 0
    assert "q_sync" in capsys.readouterr().err
    assert run(build) == 0
    assert (out / "manifest.jsonl").read_bytes() == before


def test_killed_and_resumed_gives_the_same_bytes(dataset: Path, videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    shutil.copytree(dataset, out)
    for name in ("shape", "subjects", "flame", "assemble"):  # what is quick to make again, the barrier among it
        shutil.rmtree(out / ".work/units" / name)
    shutil.rmtree(out / "data")
    (out / "manifest.jsonl").unlink()
    verdict = kill_and_resume(videos, out, dataset, kills=3, seed=3, longest_s=6.0, options=OPTIONS)
    assert verdict.kills >= 1
    assert verdict.differing == () and verdict.leftovers == ()


def test_bad_files_are_quarantined_and_the_good_one_goes_through(
    dataset: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mixed"
    shutil.copytree(videos, folder)
    good = next(folder.glob("*.mp4"))
    picture = card(320, 240)
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("this is no video\n" * 100, encoding="utf-8")
    truncate(good, folder / "truncated.mp4", 0.4)
    make_video(folder / "mute.mp4", picture)
    make_video(folder / 'nobody here\'s "face"\n.mp4', picture, audio=tone(4.0))
    make_video(folder / "thin.mp4", card(2, 240), audio=tone(4.0))
    (tmp_path / "outside.mp4").write_bytes(good.read_bytes())
    (folder / "link.mp4").symlink_to(tmp_path / "outside.mp4")
    out = tmp_path / "out"
    (out / ".work").mkdir(parents=True)
    shutil.copytree(dataset / ".work/units", out / ".work/units")
    assert run(["build", "--videos", str(folder), "--out", str(out), "--quiet", "--json", *OPTIONS[:-1], "0"]) == 3
    assert json.loads(capsys.readouterr().out)["rows"] == 2
    lines = pq.read_table(out / "meta/quarantine.parquet").to_pylist()
    errors = {line["source_name"]: line["error"] for line in lines}
    assert errors == {
        "empty.mp4": "UnreadableSource",
        "text.mp4": "UnreadableSource",
        "truncated.mp4": "UnreadableSource",
        "mute.mp4": "NoAudioTrack",
        'nobody here\'s "face"\\n.mp4': "SkippedSource",
        "thin.mp4": "UnsupportedSource",
        "link.mp4": "UnsafeSource",
    }
    for line in lines:
        assert Path(line["source_name"]).stem[:4] in line["message"] and "Traceback" not in line["message"]
    assert run(["validate", str(out)]) == 0


def test_avatars_are_fitted_after_a_build_and_stay_through_the_next(
    dataset: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(dataset, out)
    small = ("--set", "avatar.max_steps=4", "--set", "avatar.size=64", "--set", "avatar.max_frames=20")
    build = ["build", "--videos", str(videos), "--out", str(out), "--quiet", "--json", *OPTIONS, *small]
    assert run([*build, "--avatar-budget", "10m"]) == 2  # without --avatars it would be passed over in silence
    capsys.readouterr()
    assert run([*build, "--avatars", "--avatar-budget", "10m"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [avatar["fitted"] for avatar in facts["avatars"]["avatars"]] == [True, True], facts["avatars"]["failures"]
    columns = {row["row_id"]: (row["avatar_id"], row["avatar_psnr"]) for row in rsat_data.load(out, split=None)}
    assert len(columns) == 2 and all(name is not None and psnr > 5 for name, psnr in columns.values())
    assert run(build) == 0
    assert len(json.loads(capsys.readouterr().out)["avatars_kept"]) == 2
    assert {r["row_id"]: (r["avatar_id"], r["avatar_psnr"]) for r in rsat_data.load(out, split=None)} == columns
    assert run(["validate", str(out)]) == 0
