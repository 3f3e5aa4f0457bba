"""``train-baseline`` in two processes, as launchers start it: the real command, on the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rsat_data.cli import run
from tests.rsat_data.test_cli_train import command
from tests.synth_dataset import synth_dataset

pytest.importorskip("accelerate", reason="several processes need accelerate")
OPTIONS = [
    "train-baseline", "--dataset", "a", "--run", "b", "--stage", "1", "--config", "c.yaml", "--set", "train.steps=5",
    "--device", "cpu", "--resume", "--json", "--quiet",
]  # fmt: skip


def test_launchers_leave_our_options_alone() -> None:
    """Their parsers look at every word first, and torchrun takes --run for a beginning of its own --run-path."""
    from accelerate.commands.launch import launch_command_parser
    from torch.distributed.run import get_args_parser

    ours = launch_command_parser().parse_args(["--multi_gpu", "-m", "rsat_data", *OPTIONS])
    assert ours.module and ours.training_script == "rsat_data" and ours.training_script_args == OPTIONS
    ours = get_args_parser().parse_args(["--nproc-per-node", "2", "-m", "--", "rsat_data", *OPTIONS])
    assert ours.module and ours.training_script == "rsat_data" and ours.training_script_args == OPTIONS


@pytest.mark.slow
def test_two_processes_train_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    talks = synth_dataset(tmp_path / "talks", clips=8, seconds=4.0)
    settings = ["train.steps=8", "train.batch=4", "train.validate_every=4", "train.threads=1", "train.lr=0.003"]
    words = ["--stage", "1", "--json", "--quiet", *(word for one in settings for word in ("--set", one))]
    assert run(command(talks, tmp_path / "one", *words)) == 0
    one = json.loads(capsys.readouterr().out)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "--"]
    done = subprocess.run(
        [*launcher, "rsat_data", *command(talks, tmp_path / "two", *words)],
        capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # One process speaks and writes.
    two = json.loads(done.stdout)
    log = (tmp_path / "two" / "stage1" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in log] == [1, 2, 3, 4, 4, 5, 6, 7, 8, 8]
    assert not list((tmp_path / "two").rglob("*.tmp*"))
    # The same windows in the same order, each half under dice of its own (references, dropout): near, not the same.
    assert two["stages"]["1"]["best"] == pytest.approx(one["stages"]["1"]["best"], rel=0.1)
    assert two["stages"]["1"]["best_step"] == 8
    # The run is a run like any other.
    assert run(command(talks, tmp_path / "two", *words, "--resume", "--set", "train.steps=9")) == 0
