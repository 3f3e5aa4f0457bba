from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from pipelines.synth.scene import Head
from pipelines.synth.simulate import SimulationConfig, simulate
from pipelines.synth.speech import RecordingSource
from pipelines.synth.truth import npz_bytes, read_truth, truth_paths, write_truth
from rsat_data.errors import UnreadableSource


def test_archive_bytes_do_not_depend_on_time_or_order() -> None:
    arrays = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.array([True, False])}
    first = npz_bytes(arrays)
    time.sleep(2.1)  # zip dates have a step of two seconds
    assert npz_bytes(dict(reversed(arrays.items()))) == first


def test_archive_is_read_by_numpy_without_objects(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(npz_bytes({"x": np.eye(3)[:, ::2]}))
    with np.load(path, allow_pickle=False) as archive:
        assert np.array_equal(archive["x"], np.eye(3)[:, ::2])
    with pytest.raises(ValueError, match="[Oo]bject"):
        npz_bytes({"x": np.array([None])})


@pytest.mark.parametrize("damage", ["missing", "text", "cut"])
def test_damaged_truth_is_named(speech: RecordingSource, facts: Head, tmp_path: Path, damage: str) -> None:
    truth, _ = simulate(SimulationConfig(seconds=2.0), 0, speech, facts)
    write_truth(tmp_path, truth)
    json_path, npz_path = truth_paths(tmp_path, truth.name)
    if damage == "missing":
        json_path.unlink()
    elif damage == "text":
        json_path.write_text('{"format": "something else"}')
    else:
        npz_path.write_bytes(npz_path.read_bytes()[:1000])
    with pytest.raises(UnreadableSource, match=truth.name):
        read_truth(tmp_path, truth.name)
