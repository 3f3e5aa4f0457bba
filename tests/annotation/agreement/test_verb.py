from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from annotation.agreement import agreement, clip_infos
from annotation.store import LabelStore
from annotation.votes import append_votes, votes_table
from rsat_data.cli import run
from rsat_data.errors import DatasetError
from tests.annotation.votes_factory import make_vote
from tests.dataset_factory import ClipSpec, make_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    specs = [ClipSpec(f"v{n}", f"p{n}", f"q{n}", seed=n) for n in range(4)]
    out, _ = make_dataset(tmp_path_factory.mktemp("talks"), specs)
    rows = [
        make_vote(
            spec.clip_id,
            f"ann-{who}",
            kinship=("blood", "non_blood")[(number + (who == "c")) % 2],
            prediction_shown=number > 0,
            prediction_accepted=True if number > 0 else None,
        )
        for number, spec in enumerate(specs)
        for who in "abc"
    ]
    append_votes(out, votes_table(rows))
    LabelStore(out).round().append_pushed(
        [{"clip_id": spec.clip_id, "task_id": 1, "prediction": {"kinship": "blood"}} for spec in specs]
    )
    return out


def test_the_verb_reads_votes_clips_and_predictions(dataset: Path) -> None:
    report = agreement(dataset)
    assert (report.num_votes, report.num_clips, report.num_dyads) == (12, 4, 4)
    assert report.question("kinship").percent.value == pytest.approx(1 / 3)
    kinship = report.anchoring.questions[0]
    assert kinship.follows_shown.n == 3 and kinship.follows_hidden.n == 1
    infos = clip_infos(dataset)
    assert {(info.subject_a, info.subject_b) for info in infos.values()} == {(f"p{n}", f"q{n}") for n in range(4)}


def test_the_function_and_the_package_go_by_one_name(dataset: Path) -> None:
    import annotation

    assert annotation.agreement(dataset).num_votes == 12


def test_the_command(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "new" / "page.html"
    assert run(["label", "agreement", str(dataset), "--html", str(page), "--rounds", "100"]) == 0
    text = capsys.readouterr().out
    assert "12 votes of 3 annotators on 4 clips of 4 dyads" in text and str(page) in text.replace("\n", "")
    assert "<title>Agreement: out</title>" in page.read_text(encoding="utf-8")
    assert run(["label", "agreement", str(dataset), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["questions"][0]["percent"]["value"] == pytest.approx(1 / 3)
    assert found["options"]["rounds"] == 1000


def test_a_terminal_that_knows_plain_letters_only(dataset: Path) -> None:
    command = [sys.executable, "-m", "rsat_data", "label", "agreement", str(dataset), "--rounds", "100"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, env=environment, capture_output=True, timeout=120, check=True)
    assert b"12 votes of 3 annotators" in done.stdout and done.stdout.isascii()


def test_what_cannot_be_done_is_said(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DatasetError):
        agreement(tmp_path)
    assert run(["label", "agreement", str(tmp_path)]) == 1
    blocked = tmp_path / "file"
    blocked.write_text("x")
    assert run(["label", "agreement", str(dataset), "--html", str(blocked / "page.html")]) == 2
    assert "Cannot write" in capsys.readouterr().err


def test_a_damaged_shard_is_named(dataset: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(dataset, copy)
    (shard, *_) = (copy / "data" / "clips").iterdir()
    shard.write_bytes(b"PAR1 torn")
    with pytest.raises(DatasetError, match=shard.name):
        clip_infos(copy)


def test_help_is_a_screen() -> None:
    from rsat_data.cli.label.agreement import agreement as command

    result = CliRunner().invoke(command, ["--help"])
    assert result.exit_code == 0 and "--html" in result.output
