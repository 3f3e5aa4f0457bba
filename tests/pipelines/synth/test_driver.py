from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.synth.driver import SpeechConfig, SynthConfig, open_speech, run_jobs
from pipelines.synth.simulate import SimulationConfig
from rsat_data.errors import UsageError, WorkspaceError


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seconds": 0.5}, "--seconds"),
        ({"seconds": float("nan")}, "--seconds"),
        ({"seconds": 1e6}, "--seconds"),
        ({"width": 1281}, "--size"),
        ({"width": 20, "height": 10}, "--size"),
        ({"width": 720, "height": 1280}, "wider"),
        ({"clips_per_dyad": 0}, "--clips-per-dyad"),
        ({"seed": -1}, "--seed"),
    ],
)
def test_bad_simulation_is_a_usage_error(changes: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SynthConfig(Path("out"), simulation=replace(SimulationConfig(), **changes))  # type: ignore[arg-type]


def test_no_clips_and_no_workers_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="--clips"):
        SynthConfig(Path("out"), clips=0)
    with pytest.raises(UsageError, match="--workers"):
        SynthConfig(Path("out"), workers=0)


def test_missing_recording_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere.wav"):
        open_speech(SpeechConfig(files=(tmp_path / "nowhere.wav",)))


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    from pipelines.synth.driver import prepare_folder

    (tmp_path / "file").write_text("x")
    with pytest.raises(WorkspaceError, match="file"):
        prepare_folder(tmp_path / "file" / "below")


def test_error_of_a_job_comes_out(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere.wav"):
        list(run_jobs(len, [((),), ((),)], 2, SpeechConfig(files=(tmp_path / "nowhere.wav",))))
