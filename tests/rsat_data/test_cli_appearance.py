"""Stage 2 and what evaluate draws, as a person meets them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from model.avatar.files import load_avatar
from rsat_data.cli import run
from tests.fitted_avatar import make_set

SMALL = [
    "network.width=16", "network.layers=1", "network.heads=2", "network.reach=10", "network.reference_s=0.3",
    "train.steps=2", "train.batch=2", "train.window=20", "train.warmup=1", "train.validate_every=2",
    "appearance.size=48", "appearance.max_steps=4", "appearance.budget_s=3600", "appearance.judged_frames=3",
    "appearance.perceptual_weight=0", "appearance.rate=1", "appearance.motion=draw", "train.threads=1",
]  # fmt: skip


def train(dataset: Path, folder: Path, *more: str) -> int:
    settings = [word for setting in SMALL for word in ("--set", setting)]
    base = ["train-baseline", "--dataset", str(dataset), "--run", str(folder), "--device", "cpu", "--quiet"]
    return run([*base, *([] if "--resume" in more else settings), *more])


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_set(tmp_path_factory.mktemp("painted"))


@pytest.fixture(scope="module")
def trained(painted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert train(painted, folder, "--stage", "1") == 0
    return folder


def test_avatars_are_refined_below_the_run_alone(
    painted: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    before = {path.name: path.read_bytes() for path in (painted / "avatars/ann").iterdir()}
    capsys.readouterr()
    assert train(painted, folder, "--stage", "2") == 0
    assert "stage 2: " in capsys.readouterr().out
    record = json.loads((folder / "stage2/ann/avatar.json").read_text())
    assert record["stage2"]["steps"] == 4 and record["stage2"]["judged_frames"] == 3
    assert record["stage2"]["kept"] in ("refined", "fitted") and record["rows"] and record["held_out"]
    assert len(load_avatar(folder / "stage2/ann").gaussians) > 5000
    summary = json.loads((folder / "stage2/stage2.json").read_text())
    assert set(summary["subjects"]) == {"ann"} and summary["settings"]["max_steps"] == 4
    assert (folder / "stage2/log.jsonl").read_text() and not (folder / "stage2/.state").exists()
    assert before == {path.name: path.read_bytes() for path in (painted / "avatars/ann").iterdir()}
    assert json.loads((folder / "run.json").read_text())["config"]["appearance"]["size"] == 48
    # Started: only on with --resume, which finds it finished.
    assert train(painted, folder, "--stage", "2") == 1
    assert "--resume" in capsys.readouterr().err
    stamp = (folder / "stage2/ann/avatar.json").stat().st_mtime_ns
    assert train(painted, folder, "--stage", "2", "--resume") == 0
    assert (folder / "stage2/ann/avatar.json").stat().st_mtime_ns == stamp

    # And they are what evaluate draws.
    command = ["evaluate", "--dataset", str(painted), "--run", str(folder), "--split", "train", "--pictures", "2"]
    assert run([*command, "--draws", "0", "--rounds", "100", "--quiet"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for words in (
        "pictures of 1 of 2 persons in clips", "2 frames", "stage 2", "upper bound", "static mean",
        "the head stands as tracked", "no avatar (1)", "frames/s", "no lip sync: nobody speaks",
    ):  # fmt: skip
        assert words in said, words
    report = json.loads((folder / "evaluation/report.json").read_text())
    (pictures,) = report["pictures"]
    figures = {(f["method"], f["figure"]): f["estimate"]["value"] for f in pictures["figures"]}
    assert {name for name, _ in figures} == {"tracked", "model", "static_mean"}
    assert all(10 < value < 60 for (_, figure), value in figures.items() if figure == "psnr_head")
    assert pictures["draws_per_second"] > 0 and report["lips"][0]["split"] == "train"
    page = (folder / "evaluation/report.html").read_text()
    assert "Lips and pictures" in page and "upper bound" in page
    assert run([*command, "--picture-pose", "predicted", "--draws", "0", "--rounds", "100", "--json"]) == 0
    other = json.loads(capsys.readouterr().out)["pictures"][0]
    assert other["pose"] == "predicted"
    shown = {(f["method"], f["figure"]): f["estimate"]["value"] for f in other["figures"]}
    assert shown["tracked", "psnr_head"] == pytest.approx(figures["tracked", "psnr_head"])
    assert shown["model", "psnr_head"] != figures["model", "psnr_head"]


def test_without_avatars_it_says_what_fits_them(
    painted: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(painted, bare, ignore=shutil.ignore_patterns("avatars"))
    assert train(bare, tmp_path / "run", "--stage", "2") == 1
    assert f"rsat-data avatar fit {bare}" in capsys.readouterr().err
    command = ["evaluate", "--dataset", str(bare), "--run", str(trained), "--split", "train", "--draws", "0"]
    assert run([*command, "--rounds", "100", "--quiet", "--out", str(tmp_path / "report")]) == 0
    assert "rsat-data avatar fit" in " ".join(capsys.readouterr().out.split())
    assert str(bare) in json.loads((tmp_path / "report/report.json").read_text())["pictures"][0]["note"]


def test_stage_2_needs_stage_1_and_the_runs_own_dataset_and_head(
    painted: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(painted, tmp_path / "none", "--stage", "2") == 1
    assert "rsat-data train-baseline" in capsys.readouterr().err
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    facts = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**facts, "head_model": "other-head-1.0@000000000000"}))
    assert train(painted, folder, "--stage", "2") == 1
    assert "head" in capsys.readouterr().err
    (folder / "run.json").write_text(json.dumps({**facts, "dataset_hash": "0" * 32}))
    assert train(painted, folder, "--stage", "2", "--resume") == 1
    assert "another dataset" in capsys.readouterr().err
