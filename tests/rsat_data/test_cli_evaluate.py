"""``rsat-data evaluate`` as a person meets it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import schemas
from rsat_data.cli import run
from rsat_data.writer import DatasetWriter
from schemas.arrow import table_from_rows
from tests.dataset_factory import ClipSpec, make_dataset
from tests.synth_dataset import synth_dataset

SMALL = [
    "network.width=16", "network.layers=1", "network.heads=2", "network.reach=10", "network.reference_s=1.0",
    "train.steps=2", "train.batch=2", "train.window=40", "train.warmup=1", "train.validate_every=2",
]  # fmt: skip
FAST = ["--rounds", "100", "--quiet", "--metric", "mse", "--metric", "fd", "--metric", "closure_f1"]


@pytest.fixture(scope="module")
def talks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synth_dataset(tmp_path_factory.mktemp("talks") / "set", clips=8, seconds=4.0)


@pytest.fixture(scope="module")
def trained(talks: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run<1>"
    settings = [word for setting in SMALL for word in ("--set", setting)]
    command = ["train-baseline", "--dataset", str(talks), "--run", str(folder), "--device", "cpu", "--quiet", *settings]
    assert run(command) == 0
    return folder


def evaluate(dataset: Path, *more: str) -> int:
    return run(["evaluate", "--dataset", str(dataset), *more])


def test_floors_need_no_run(talks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(talks, "--floors-only", "--split", "train", "--reference-s", "1", "--rounds", "100", "--quiet") == 0
    out = capsys.readouterr().out
    for words in ("DualTalk's measures", "static mean", "half against half", "while listening", "closure"):
        assert words in out
    assert evaluate(talks, "--floors-only", "--split", "train", "--reference-s", "1", "--json", *FAST) == 0
    report = json.loads(capsys.readouterr().out)
    assert {m["id"] for m in report["measures"]} == {"mse", "fd", "closure_f1"}
    assert {p["kind"] for p in report["predictors"]} == {"floor", "truth"}


def test_a_run_beside_its_floors(talks: Path, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(talks, "--run", str(trained), "--split", "train", *FAST) == 0
    out = capsys.readouterr().out
    assert "run<1>" in out and "shuffled audio" in out and "relation-shuffle test" in out
    report = json.loads((trained / "evaluation" / "report.json").read_text())
    assert report["options"]["reference_s"] == 1.0  # the run's
    assert report["run"]["stage"] == 3 and report["shuffles"][0]["outcomes"]
    speed = [p["frames_per_second"] for p in report["predictors"] if p["kind"] == "model"]
    assert len(speed) == 2 and min(speed) > 0  # the mean, and a draw
    primary = {(one["metric"], one["group"]) for one in report["shuffles"][0]["outcomes"] if one["primary"]}
    assert primary == {*(("mse", group) for group in ("expression", "jaw", "pose", "eyes")), ("surprise", "motion")}
    # What the network is told makes a difference: the controls are not the model again.
    figures = {
        (f["predictor"], f["metric"], f["group"]): f["estimate"]["value"]
        for f in report["figures"]
        if f["role"] == "all"
    }
    assert figures["model", "mse", "jaw"] != figures["model:shuffled_audio", "mse", "jaw"]
    assert figures["model", "mse", "jaw"] != figures["model:shuffled_partner", "mse", "jaw"]
    assert figures["drawn", "mse", "eyes"] != figures["model", "mse", "eyes"]
    assert ("drawn:shuffled_audio", "mse", "jaw") not in figures
    page = (trained / "evaluation" / "report.html").read_text()
    assert "run&lt;1&gt;" in page and "<1>" not in page
    assert not re.search(r"https?://|<script|<img|<link|url\(|@import", page)
    assert page.count("<svg") >= 3 and page.count("<svg") == page.count("</svg>")


def test_stage_one_has_no_relations_to_shuffle(talks: Path, trained: Path, tmp_path: Path) -> None:
    more = ["--stage", "1", "--split", "train", "--out", str(tmp_path / "here"), "--draws", "0", *FAST]
    assert evaluate(talks, "--run", str(trained), *more) == 0
    report = json.loads((tmp_path / "here" / "report.json").read_text())
    assert "drawn" not in {one["name"] for one in report["predictors"]}
    assert report["shuffles"] == [] and any("social module" in warning for warning in report["warnings"])


def test_another_dataset_beside(talks: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = synth_dataset(tmp_path / "other", clips=3, seconds=4.0, seed=9)
    assert evaluate(other, "--run", str(trained), "--split", "train", *FAST) == 1
    told = capsys.readouterr().err
    assert "trained on another dataset" in told and "--any-dataset" in told
    assert evaluate(talks, "--run", str(trained), "--ood", str(other), "--json", *FAST) == 0
    report = json.loads(capsys.readouterr().out)
    assert [size["split"] for size in report["sizes"]] == ["test", "ood"] and report["sizes"][1]["conversations"] == 3


def two(count: int = 4, **changes: Any) -> list[ClipSpec]:
    return [ClipSpec(f"s{n}", f"a{n}", f"b{n}", frames=100, seed=n, video=False, **changes) for n in range(count)]


def test_a_dataset_of_a_head_that_is_not_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset, _ = make_dataset(tmp_path, two())
    assert evaluate(dataset, "--floors-only", "--split", "train", *FAST) == 1  # closure_f1 was asked for
    assert "test-head-1.0" in capsys.readouterr().err
    assert evaluate(dataset, "--floors-only", "--split", "train", "--rounds", "100", "--quiet") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "no measure of vertices or lips was taken" in out and "test-head-1.0" in out and "DualTalk's" in out
    assert evaluate(dataset, "--floors-only", "--split", "train", "--head", "open", *FAST) == 1
    assert "52 expression" in capsys.readouterr().err
    assert evaluate(dataset, "--floors-only", "--split", "train", "--no-vertices", *FAST) == 0


def test_clips_of_one_person(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset, _ = make_dataset(tmp_path, [ClipSpec(f"s{n}", f"a{n}", frames=40, seed=n, video=False) for n in range(3)])
    assert evaluate(dataset, "--floors-only", "--split", "train", *FAST) == 1
    assert "show one person only" in capsys.readouterr().err


def test_no_test_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset, _ = make_dataset(tmp_path, two(1))
    assert evaluate(dataset, "--floors-only", *FAST) == 1
    told = capsys.readouterr().err
    assert "The split test of" in told and "is empty" in told and "--split train" in told


def rewrite(dataset: Path, folder: Path, change: Any) -> Path:
    """A copy of the dataset whose train rows are changed, with hashes that fit."""
    subprocess.run(["cp", "-r", str(dataset), str(folder)], check=True)
    file = "data/triplets/train-00000-of-00001.parquet"
    spec = schemas.TABLES["triplets"]
    rows = pq.read_table(folder / file).to_pylist()
    for row in rows:
        for column in spec:
            if column.is_frames:
                row[column.name] = np.array(row[column.name], np.float32)
    change(rows)
    with DatasetWriter(folder, owned=(file,)) as writer:
        writer.write_table(file, spec.schema, [table_from_rows(spec, rows)])
        writer.commit()
    return folder


def test_nan_and_invalid_spans(talks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def hole(rows: list[dict[str, Any]]) -> None:
        rows[0]["valid"] = [not 40 <= t < 60 for t in range(100)]
        rows[0]["expression"][40:60] = np.nan

    def lie(rows: list[dict[str, Any]]) -> None:
        rows[0]["expression"][50] = np.nan

    options = ["--floors-only", "--split", "train", "--reference-s", "1", *FAST]
    assert evaluate(rewrite(talks, tmp_path / "hole", hole), "--json", *options) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["sizes"][0]["frames"]["all"] % 75 == 55
    assert evaluate(rewrite(talks, tmp_path / "lie", lie), *options) == 1
    assert "expression is not finite in frame 50" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        ([], 2, "--floors-only"),
        (["--floors-only", "--run", "nowhere"], 2, "not both"),
        (["--run", "nowhere"], 1, "nowhere"),
        (["--floors-only", "--metric", "lve"], 2, "no metric 'lve'"),
        (["--floors-only", "--rounds", "5"], 2, "rounds"),
        (["--floors-only", "--split", "everything"], 2, "everything"),
    ],
)
def test_what_cannot_be_is_said(talks: Path, more: list[str], code: int, words: str, capsys: Any) -> None:
    assert evaluate(talks, *more) == code
    assert words in capsys.readouterr().err


def test_no_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(tmp_path, "--floors-only") == 1
    assert str(tmp_path) in capsys.readouterr().err
