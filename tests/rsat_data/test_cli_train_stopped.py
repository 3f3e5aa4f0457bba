"""Training that is killed or stopped, in processes of its own, and goes on by the command that is printed."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rsat_data.cli import run
from rsat_data.cli.train import train_baseline
from tests.rsat_data.test_cli_train import command
from tests.synth_dataset import synth_dataset

STEPS = ["--stage", "1", "--set", "train.steps=30", "--set", "train.threads=1", "--set", "train.patience=0", "--quiet"]


def stopped(arguments: list[str], last: Path, how: signal.Signals) -> tuple[int, str]:
    """Run a command until it has written ``last`` anew, send the signal, and return exit code and standard error."""
    before = last.stat().st_mtime_ns if last.exists() else 0
    process = subprocess.Popen(
        [sys.executable, "-m", "rsat_data", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        while not last.exists() or last.stat().st_mtime_ns == before:
            assert process.poll() is None, process.communicate()
            time.sleep(0.005)
        process.send_signal(how)
        _, told = process.communicate(timeout=120)
    finally:
        process.kill()
    return process.returncode, told


@pytest.mark.slow
def test_killed_then_stopped_is_as_if_never_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    talks = synth_dataset(tmp_path / "talks", clips=8, seconds=4.0)
    whole, pieces = tmp_path / "whole", tmp_path / "in pieces"
    assert run(command(talks, whole, *STEPS)) == 0
    last = pieces / "stage1" / "last.safetensors"
    code, _ = stopped(command(talks, pieces, *STEPS), last, signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert run(command(talks, pieces, *STEPS)) == 1
    assert "--resume" in capsys.readouterr().err
    code, told = stopped(command(talks, pieces, *STEPS, "--resume"), last, signal.SIGTERM)
    assert code == 130 and "up to the last validation is kept" in told
    (line,) = [line for line in told.splitlines() if line.startswith("  rsat-data ")]
    words = shlex.split(line)[1:]
    assert words.count("--resume") == 1 and str(pieces) in words
    assert run(words) == 0
    assert last.read_bytes() == (whole / "stage1" / "last.safetensors").read_bytes()


def test_the_words_that_resume(tmp_path: Path) -> None:
    def words(*arguments: str) -> list[str]:
        return train_baseline.resuming(arguments)  # type: ignore[attr-defined, no-any-return]

    given = ["--dataset", "talks", "--run", str(tmp_path)]
    assert words(*given) == given  # nothing was begun: the same command starts it
    (tmp_path / "run.json").write_text("{}")
    assert words(*given) == [*given, "--resume"]
    assert words(*given, "--resume") == [*given, "--resume"]
