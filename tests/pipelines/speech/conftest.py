"""Fixtures of the speech tests: real models, loaded once, and signals whose truth is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from rsat_data.errors import ModelFileError
from rsat_data.registry import model_path


def _model(name: str) -> Path:
    try:
        return model_path(name)
    except ModelFileError as error:
        pytest.skip(f"no model file {name} here: {error.message}")


@pytest.fixture(scope="session")
def segmentation_file() -> Path:
    """The packaged segmentation checkpoint."""
    return _model("pyannote-segmentation")


@pytest.fixture(scope="session")
def whisper_folder() -> Path:
    """Whisper base in CTranslate2 form."""
    return _model("whisper-base")


@pytest.fixture(scope="session")
def network(segmentation_file: Path):
    """The segmentation network."""
    from model.speech.pyannet import load_pyannet

    return load_pyannet(segmentation_file)


@pytest.fixture(scope="session")
def telephone_call() -> tuple[np.ndarray, np.ndarray]:
    """30 s of a real call, (480000,) float32, and who spoke when, (3000, 2) bool every 10 ms."""
    folder = _model("sample-conversation")
    samples, rate = soundfile.read(str(folder / "sample.wav"), dtype="float32")
    assert rate == 16000
    truth = np.zeros((3000, 2), dtype=bool)
    names: dict[str, int] = {}
    for line in (folder / "sample.rttm").read_text(encoding="utf-8").splitlines():
        fields = line.split()
        start, duration, who = float(fields[3]), float(fields[4]), names.setdefault(fields[7], len(names))
        truth[round(start * 100) : round((start + duration) * 100), who] = True
    return samples, truth


def talking_mouth(speaking: np.ndarray, seed: int) -> np.ndarray:
    """Landmarks (T, 478, 3) of a face whose lips move when it speaks, with jitter as of a real detector."""
    generator = np.random.default_rng(seed)
    frames = len(speaking)
    points = np.zeros((frames, 478, 3))
    points[:, 33, 0], points[:, 263, 0] = 200.0, 300.0
    points[:, 61], points[:, 291] = (220.0, 300.0, 0.0), (280.0, 300.0, 0.0)
    syllables = np.abs(np.sin(np.arange(frames) * 2 * np.pi * 2.3 / 25 + generator.uniform(0, 6)))
    gap = np.where(speaking, 2.0 + 14.0 * syllables * generator.uniform(0.5, 1.0, frames), 1.0)
    points[:, 13], points[:, 14] = (250.0, 300.0, 0.0), (250.0, 300.0, 0.0)
    points[:, 14, 1] += gap
    return (points + generator.normal(0, 0.05, points.shape)).astype(np.float32)
