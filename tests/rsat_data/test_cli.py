"""The command line as a person meets it: help, errors, exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rsat_data.cli import COMMANDS, run
from rsat_data.cli.status import describe


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom rsat_data.cli import run\nassert run(['--help']) == 0\n"
        "heavy = {'torch', 'numpy', 'cv2', 'mediapipe', 'pyarrow', 'pandas', 'rich', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert all(name in result.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--help"]) == 0
    assert f"rsat-data {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["build", "--videos", "nowhere", "--out", "{tmp}/out"], "does not exist"),
        (["build", "--videos", "{tmp}", "--out", "{tmp}/out"], "holds no video"),
        (["build", "--videos", "{tmp}"], "--out"),
        (["build", "--videos", "{tmp}", "--out", "o", "--workers", "0"], "--workers"),
        (["build", "--videos", "{tmp}", "--out", "o", "--max-failed", "few"], "--max-failed"),
        (["biuld"], "biuld"),
    ],
)
def test_wrong_usage_is_exit_2_and_says_what(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([argument.format(tmp=tmp_path) for argument in arguments]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_status_of_nothing_is_an_error_with_the_next_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["status", str(tmp_path)]) == 1
    assert "rsat-data build" in capsys.readouterr().err


def test_status_of_a_stopped_build_prints_the_command_that_resumes() -> None:
    stage = {"units": 2, "done": 1.0, "total": 2.0, "failed": 0}
    state = {
        "updated": 0.0, "status": "running", "alive": False, "stages": {"ingest": stage}, "running": [],
        "quarantined": [{"stage": "ingest", "error": "NoAudioTrack", "message": "a.mp4 has no sound."}],
        "command": "rsat-data build --videos v --out o",
    }  # fmt: skip
    text = describe(state)
    assert "stopped in the middle" in text and "rsat-data build --videos v --out o" in text
    assert "a.mp4 has no sound." in text


@pytest.mark.parametrize("dies_of", ["KeyboardInterrupt", "RuntimeError('half imported')"])
def test_ctrl_c_is_an_interruption_whatever_a_library_makes_of_it(dies_of: str) -> None:
    """Interrupted in the middle of its import, a library may raise something else."""
    code = (
        "import os, signal, sys, time, types, click\n"
        "import rsat_data.cli as c\n"
        # Where the tests themselves run in the background, shells have Ctrl-C ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "@click.command()\n"
        "def slow():\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        # Another thread may be the one that the signal wakes: a pause of this one could then last for ever.
        "        while True: time.sleep(0.01)\n"
        f"    except KeyboardInterrupt: raise {dies_of}\n"
        "sys.modules['slow_command'] = types.SimpleNamespace(slow=slow)\n"
        "c.COMMANDS['slow'] = ('slow_command', 'slow', 'Wait.')\n"
        "sys.exit(c.run(['slow']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 130 and "To go on:\n  rsat-data slow" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_error_without_ctrl_c_is_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**options: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("rsat_data.cli.cli.main", broken)
    with pytest.raises(ZeroDivisionError):
        run(["status", "x"])
