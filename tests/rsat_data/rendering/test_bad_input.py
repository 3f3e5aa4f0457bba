"""What ``rsat-data render`` says to input that it cannot draw; never is anything half-written left behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

import rsat_data
from rsat_data.cli import run
from rsat_data.mp4 import VideoWriter

Said = Callable[..., str]


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Said:
    """Run the command, expect an exit code, and return what was said; nothing may lie in the folder of --out."""

    def call(*arguments: str | Path, code: int = 1, out: Path | None = None) -> str:
        target = tmp_path / "out" / "x.mp4" if out is None else out
        words = [*map(str, arguments), "--out", str(target), "--device", "cpu", "--quiet"]
        assert run(["render", "--size", "64", *words]) == code
        assert not list(tmp_path.glob("out/**/*.mp4"))
        return capsys.readouterr().err

    return call


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--row", "--audio", "--codes"]),
        (["--audio", "a.wav", "b.wav"], ["--run"]),
        (["--run", "r"], ["--audio"]),
        (["--run", "r", "--audio", "-"], ["--stream"]),
        (["--run", "r", "--audio", "a.wav", "b.wav", "--relation", "unequal,senior=C"],
         ["blood|non_blood", "equal|unequal", "senior=A|B|none|unknown"]),
        (["--run", "r", "--audio", "a.wav", "b.wav", "--relation", "equal,senior=A"], ["no senior"]),
        (["--run", "r", "--audio", "a.wav", "b.wav", "--compare"], ["--relation"]),
        (["--run", "r", "--audio", "a.wav", "b.wav", "--relation", "unknown", "--compare"], ["the same"]),
        (["--run", "r", "--audio", "a.wav", "b.wav", "--relation", "blood", "--relation", "equal"], ["--compare"]),
        (["--run", "r", "--audio", "a.wav", "b.wav", "--avatars", "one"], ["A and then B"]),
        (["--run", "r", "--audio", "a.wav", "b.wav", "--relation", "blood", "--compare", "--stream"], ["--stream"]),
        (["set", "--row", "1", "--clip", "2"], ["--row", "--clip"]),
        (["set", "--row", "1", "--stream"], ["--stream"]),
        (["--row", "1"], ["Which dataset"]),
        (["set", "--run", "r", "--audio", "a.wav", "b.wav"], ["--subjects"]),
        (["--codes", "x.npz", "--run", "r"], ["--run"]),
    ],
)  # fmt: skip
def test_wrong_usage(arguments: list[str], words: list[str], refused: Said) -> None:
    said = refused(*arguments, code=2)
    assert all(word in said for word in words), said


def test_the_video_needs_a_name(refused: Said, tmp_path: Path) -> None:
    assert ".mp4" in refused("x", "--row", "1", code=2, out=tmp_path / "frames")
    assert "even" in refused("x", "--row", "1", "--size", "65", code=2)


def test_sound_that_cannot_be_used(refused: Said, ahead: Path, voices: tuple[Path, Path], tmp_path: Path) -> None:
    silent, words, mono = tmp_path / "silent.wav", tmp_path / "words.wav", tmp_path / "mono.wav"
    soundfile.write(silent, np.zeros(8000), 16_000)
    words.write_text("not sound")
    soundfile.write(mono, np.random.default_rng(0).normal(0, 0.1, 8000), 16_000)
    drive = ["--run", ahead, "--audio"]
    assert "silence" in refused(*drive, silent, silent)
    assert "words.wav" in refused(*drive, voices[0], words)
    assert "gone.wav" in refused(*drive, voices[0], tmp_path / "gone.wav")
    assert "channel" in refused(*drive, mono, code=2)


def test_runs_that_cannot_be_used(refused: Said, ahead: Path, voices: tuple[Path, Path], tmp_path: Path) -> None:
    drive = ["--audio", *voices, "--run"]
    assert "train-baseline" in refused(*drive, tmp_path / "nothing")
    assert "network.causal=true" in refused(*drive, ahead, "--stream")
    older = tmp_path / "older"
    shutil.copytree(ahead, older)
    facts = json.loads((older / "run.json").read_text())
    facts["format"] = 0
    (older / "run.json").write_text(json.dumps(facts))
    assert "older" in refused(*drive, older)


def test_avatars_that_cannot_be_used(
    refused: Said, talks: Path, ahead: Path, voices: tuple[Path, Path], tmp_path: Path
) -> None:
    good = next((talks / "avatars").iterdir())
    drive = ["--run", ahead, "--audio", *voices, "--avatars"]
    assert "avatar" in refused(*drive, good, tmp_path / "nothing")
    other = tmp_path / "other"
    shutil.copytree(good, other)
    record = json.loads((other / "avatar.json").read_text())
    record["head"] = "somebodys-head-1.0@0123456789ab"
    (other / "avatar.json").write_text(json.dumps(record))
    assert "somebodys-head" in refused(*drive, good, other)


def test_rows_that_are_not_there(refused: Said, talks: Path, tmp_path: Path) -> None:
    assert "nowhere" in refused(tmp_path / "nowhere", "--row", "1")
    assert "Nearest" in refused(talks, "--row", "zzz")
    assert "Nearest" in refused(talks, "--clip", "zzz")


def test_a_full_disk_leaves_nothing(
    refused: Said, talks: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(self: VideoWriter, frame: np.ndarray) -> None:
        self._handle.write(b"the beginning")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(VideoWriter, "add", full)
    row = rsat_data.load(talks, None)[0]
    (tmp_path / "out").mkdir()
    assert "no space" in refused(talks, "--row", row["row_id"])
    assert not list((tmp_path / "out").iterdir())
    # A folder that cannot be made: a file is in its way.
    (tmp_path / "file").write_text("")
    assert "cannot be made" in refused(talks, "--row", row["row_id"], out=tmp_path / "file" / "x.mp4")


def test_files_without_codes(refused: Said, tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", frames=np.zeros((3, 2)))
    assert "frames" in refused("--codes", tmp_path / "other.npz")
    np.savez(tmp_path / "wide.npz", expression=np.zeros((3, 7), np.float32))
    assert "7 expressions" in refused("--codes", tmp_path / "wide.npz")
    np.savez(tmp_path / "unequal.npz", jaw=np.zeros((3, 3)), eyes=np.zeros((4, 6)))
    assert "eyes" in refused("--codes", tmp_path / "unequal.npz")
    np.savez(tmp_path / "nan.npz", jaw=np.full((3, 3), np.nan))
    assert "no frame" in refused("--codes", tmp_path / "nan.npz")
    np.savez(tmp_path / "objects.npz", jaw=np.array([{}, {}], dtype=object))
    assert "objects" in refused("--codes", tmp_path / "objects.npz")
    (tmp_path / "x.parquet").write_bytes(b"no")
    assert "Parquet" in refused("--codes", tmp_path / "x.parquet")
    assert ".npz" in refused("--codes", tmp_path / "x.csv")
