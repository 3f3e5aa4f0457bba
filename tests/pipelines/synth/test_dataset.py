from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from pipelines.synth import driver
from pipelines.synth.driver import SynthConfig, Tools
from pipelines.synth.scene import Head
from pipelines.synth.simulate import SimulationConfig
from pipelines.synth.speech import RecordingSource


@pytest.fixture
def dataset(tmp_path: Path, speech: RecordingSource, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset of 30 conversations of 3 s, written by the command's own function."""
    from model.head import load_head
    from pipelines.synth.scene import head_facts
    from rsat_data.cli.synth import write_dataset

    head = load_head()
    # The packaged recording would be fetched; everything else is the real path.
    monkeypatch.setattr(driver, "open_tools", lambda config: Tools(speech, head, head_facts(head)))
    config = SynthConfig(tmp_path / "out", clips=30, simulation=SimulationConfig(seed=4, seconds=3.0))
    result = write_dataset(config, quiet=True)
    assert result["rows"]["train"] + result["rows"]["validation"] + result["rows"]["test"] == 60
    return tmp_path / "out"


def test_dataset_is_sound_and_reads_back(dataset: Path, facts: Head) -> None:
    import rsat_data
    from rsat_data.validate import validate

    report = validate(dataset)
    assert report.ok, report
    assert json.loads((dataset / "meta" / "synth.json").read_text())["simulation"]["seed"] == 4
    rows = rsat_data.load(dataset, split="train")
    row = rows[0]
    assert row["expression"].shape == (75, len(facts.expression_names))
    assert row["video"] is None and row["image"] is None
    assert not list(dataset.glob(".synth-*"))
    relations = {(rows[i]["kinship"], rows[i]["status"], rows[i]["senior"]) for i in range(len(rows))}
    assert len(relations) == 6


def test_same_run_same_bytes(dataset: Path, tmp_path: Path, speech: RecordingSource) -> None:
    from rsat_data.cli.synth import write_dataset

    config = SynthConfig(tmp_path / "again", clips=30, simulation=SimulationConfig(seed=4, seconds=3.0))
    write_dataset(config, quiet=True)
    files = sorted(path.relative_to(dataset) for path in (dataset / "data").rglob("*.parquet"))
    assert files
    for file in files:
        first, second = ((root / file).read_bytes() for root in (dataset, tmp_path / "again"))
        assert hashlib.sha256(first).digest() == hashlib.sha256(second).digest(), file


def test_speaking_matches_the_audio_of_the_row(dataset: Path) -> None:
    import io

    import pyarrow.parquet as pq
    import soundfile

    path = next((dataset / "data" / "triplets").glob("train-*.parquet"))
    for row in pq.read_table(path, columns=["audio", "speaking"]).slice(0, 10).to_pylist():
        sound, _ = soundfile.read(io.BytesIO(row["audio"]["bytes"]), dtype="float32")
        speaking = np.array(row["speaking"])
        loud = np.abs(sound.reshape(len(speaking), -1)).max(axis=1)
        near = np.convolve(speaking, np.ones(3), mode="same") > 0
        assert loud[~near].max(initial=0.0) < 1e-3
        if speaking.any():
            assert loud[speaking].mean() > 0.02
