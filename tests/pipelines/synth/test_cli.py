"""The command line of the synthesiser: options that must be refused before anything is made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rsat_data.cli import run
from rsat_data.errors import EXIT_OK, EXIT_USAGE


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seconds", "0.9"], "--seconds"),
        (["--clips", "0"], "--clips"),
        (["--size", "big"], "1280x720"),
        (["--size", "1281x720"], "even"),
        (["--rows", "10"], "--as-dataset"),
        (["--rows", "10", "--clips", "5", "--as-dataset"], "exclude"),
        (["--speech", "x.wav", "--source", "spoken"], "exclude"),
        (["--speech", "not_there.wav"], "not_there.wav"),
        (["--effect-scale", "9"], "--effect-scale"),
        (["--as-dataset", "--per-person-audio"], "--per-person-audio"),
        (["--source", "radio"], "radio"),
        (["--workers", "0"], "--workers"),
    ],
)
def test_bad_option_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert run(["synth", "--out", str(tmp_path / "out"), *options]) == EXIT_USAGE
    assert message in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.mp4"))


def test_text_as_speech_is_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "talk.wav").write_text("no sound")
    assert run(["synth", "--out", str(tmp_path / "out"), "--speech", str(tmp_path / "talk.wav")]) == EXIT_USAGE
    assert "talk.wav" in capsys.readouterr().err


def test_out_that_is_a_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").write_text("x")
    assert run(["synth", "--out", str(tmp_path / "out")]) == EXIT_USAGE
    assert "is a file" in capsys.readouterr().err


def test_dry_run_makes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["synth", "--out", str(tmp_path / "out"), "--clips", "40", "--dry-run", "--json"]
    assert run(arguments) == EXIT_OK
    result = json.loads(capsys.readouterr().out)
    assert result["would_make"] == 40 and result["minutes"] > 0 and result["megabytes"] > 0
    assert not (tmp_path / "out").exists()
