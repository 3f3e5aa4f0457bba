"""What train-baseline is given and cannot use: the file is named, and what to do."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rsat_data.cli import run
from tests.rsat_data.test_cli_evaluate import rewrite
from tests.rsat_data.test_cli_train import command
from tests.synth_dataset import synth_dataset

STAGE = ["--stage", "1", "--quiet"]


@pytest.fixture(scope="module")
def talks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synth_dataset(tmp_path_factory.mktemp("talks") / "set", clips=8, seconds=4.0)


@pytest.fixture(scope="module")
def trained(talks: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert run(command(talks, folder, *STAGE)) == 0
    return folder


def damaged_sound(rows: list[dict[str, Any]]) -> None:
    rows[2]["audio"]["bytes"] = rows[2]["audio"]["bytes"][:200]


def no_sound(rows: list[dict[str, Any]]) -> None:
    rows[2]["audio"]["bytes"] = b""


def not_finite(rows: list[dict[str, Any]]) -> None:
    rows[2]["jaw"][50] = np.inf


def short_track(rows: list[dict[str, Any]]) -> None:
    rows[2]["speaking"] = rows[2]["speaking"][:60]


def other_head(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        row["head_model"] = "other-1.0@000000000000"


def nothing_valid(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        row["valid"] = [False] * row["num_frames"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (damaged_sound, ["the sound cannot be decoded", "build the dataset again"]),
        (no_sound, ["the sound cannot be decoded", "build the dataset again"]),
        (not_finite, ["jaw is not finite in frame 50", "rsat-data validate"]),
        (short_track, ["speaking has shape (60,)", "rsat-data validate"]),
        (other_head, ["other-1.0@000000000000", "Codes of two heads never mix"]),
        (nothing_valid, ["no frame of the training split is valid", "rsat-data preview"]),
    ],
)
def test_damaged_datasets(
    change: Callable[..., None], words: list[str], talks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = rewrite(talks, tmp_path / "bad", change)
    assert run(command(bad, tmp_path / "run", *STAGE)) == 1
    told = capsys.readouterr().err
    assert all(word in told for word in (str(bad), *words)), told


def cut(path: Path, count: int) -> None:
    path.write_bytes(path.read_bytes()[:count])


def test_damaged_runs(talks: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    on = [*STAGE, "--resume", "--set", "train.steps=6"]
    # What was made from the dataset is made from it again.
    for name, count in (("motion.npy", 100), ("valid.npy", 200), ("index.json", 10)):
        for path in (folder / "features").rglob(name):
            cut(path, count)
    (folder / "features" / f"{next((folder / 'features').glob('train-*')).name}.1.tmp").mkdir()
    assert run(command(talks, folder, *on)) == 0
    assert not list((folder / "features").glob("*.tmp"))
    cut(folder / "stage1" / "last.safetensors", 2000)
    assert run(command(talks, folder, *on)) == 1
    told = capsys.readouterr().err
    assert "last.safetensors is damaged" in told and f"Remove {folder / 'stage1'}" in told
    shutil.rmtree(folder / "stage1")  # as it says
    assert run(command(talks, folder, *STAGE)) == 0
    (folder / "run.json").write_text("{")
    assert run(command(talks, folder, *on)) == 1
    told = capsys.readouterr().err
    assert str(folder / "run.json") in told and "backup" in told


def test_a_run_that_is_a_file(talks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert run(command(talks, tmp_path / "file", *STAGE)) == 2
    assert "is a file" in capsys.readouterr().err


def test_one_conversation_is_trained_on_and_says_what_it_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = synth_dataset(tmp_path / "one", clips=1, seconds=1.0)  # a second: shorter than a window
    assert run(command(one, tmp_path / "run", *STAGE)) == 0
    assert "no validation split" in capsys.readouterr().err
    assert run(["evaluate", "--dataset", str(one), "--run", str(tmp_path / "run"), "--quiet"]) == 1
    told = capsys.readouterr().err
    assert "split test" in told and "--split train" in told
