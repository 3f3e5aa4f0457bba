"""``rsat-data train-baseline`` as a person meets it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from rsat_data.cli import run
from tests.dataset_factory import ClipSpec, make_dataset
from tests.synth_dataset import synth_dataset

SMALL = [
    "network.width=16", "network.layers=1", "network.heads=2", "network.reach=10", "network.reference_s=1.0",
    "train.steps=4", "train.batch=2", "train.window=40", "train.warmup=1", "train.validate_every=2",
    "train.draw_steps=4", "train.draw_batch=2", "network.draw_width=16",
]  # fmt: skip


def command(dataset: Path, folder: Path, *more: str) -> list[str]:
    settings = [word for setting in SMALL for word in ("--set", setting)]
    return ["train-baseline", "--dataset", str(dataset), "--run", str(folder), "--device", "cpu", *settings, *more]


@pytest.fixture(scope="module")
def talks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synth_dataset(tmp_path_factory.mktemp("talks") / "set", clips=8, seconds=4.0)


def test_all_stages_then_again_then_on(talks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    assert run(command(talks, folder, "--json", "--quiet")) == 0
    told = json.loads(capsys.readouterr().out)
    assert {name: stage["steps"] for name, stage in told["stages"].items()} == {
        "1": 4, "1, draws": 4, "3": 4, "3, draws": 2,
    }  # fmt: skip
    for number in (1, 3):
        lines = [json.loads(line) for line in (folder / f"stage{number}" / "log.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4]
        assert [line["step"] for line in lines if "validation/loss" in line] == [2, 4]
        assert {"expression", "jaw", "pose", "eyes", "velocity", "lips"} < lines[0].keys()
    assert run(command(talks, folder, "--quiet")) == 1
    assert "--resume" in capsys.readouterr().err
    # More steps than before: it goes on, with the settings it was started with.
    arguments = ["train-baseline", "--dataset", str(talks), "--run", str(folder), "--stage", "1", "--resume", "--quiet"]
    assert run([*arguments, "--device", "cpu", "--set", "train.steps=6"]) == 0
    assert "stage 1: 6 steps" in capsys.readouterr().out
    assert json.loads((folder / "run.json").read_text())["config"]["network"]["width"] == 16


SPECS = [ClipSpec(f"s{n}", f"a{n}", f"b{n}", frames=60, seed=n, video=False) for n in range(12)]


@pytest.mark.parametrize(
    ("specs", "more", "words"),
    [
        (SPECS, ["--stage", "3"], ["rsat-data label", "--stage 1"]),
        (
            [replace(s, kinship="blood", status="equal", senior="none") for s in SPECS],
            ["--stage", "all"],
            ["have the same relation"],
        ),
        ([ClipSpec("s", "a", None, frames=60, video=False)], ["--stage", "1"], ["one person each"]),
        (SPECS, ["--stage", "1", "--resume"], ["holds no run to resume"]),
        (SPECS, ["--stage", "1", "--set", "speech.encoder=wavlm"], ["speech.weights"]),
    ],
)
def test_data_that_cannot_be_trained_on(
    specs: list[ClipSpec], more: list[str], words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = make_dataset(tmp_path, specs)
    assert run(command(out, tmp_path / "run", "--quiet", *more)) == 1
    said = capsys.readouterr().err
    assert all(word in said for word in words), said


def test_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = make_dataset(tmp_path, SPECS)
    for more, word in (
        (["--set", "train.step=5"], "train.step"),
        (["--set", "train.lr=-1"], "train.lr"),
        (["--set", "network.heads=3"], "network.heads"),
        (["--stage", "4"], "--stage"),
        (["--stage", "1", "--device", "tpu"], "--device"),
    ):
        assert run(command(out, tmp_path / "run", "--quiet", *more)) == 2
        assert word in capsys.readouterr().err
    assert run(command(tmp_path / "nothing", tmp_path / "run", "--quiet")) == 1


def test_a_head_that_is_not_here_trains_without_lips(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = make_dataset(tmp_path, SPECS)
    assert run(command(out, tmp_path / "run", "--stage", "1", "--set", "train.validate_every=4")) == 0
    assert "lips are not compared" in capsys.readouterr().err
    lines = (tmp_path / "run" / "stage1" / "log.jsonl").read_text().splitlines()
    assert "lips" not in json.loads(lines[0])
