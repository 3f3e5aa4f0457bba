"""A small dataset of conversations with two avatars, tiny runs that were trained on it, and a little sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

import rsat_data
from rsat_data.cli import run
from tests.plain_avatar import write_plain_avatar
from tests.synth_dataset import synth_dataset

SMALL = [
    "network.width=16", "network.layers=1", "network.heads=2", "network.reach=10", "network.reference_s=1.0",
    "train.steps=2", "train.batch=2", "train.window=40", "train.warmup=1", "train.validate_every=2",
]  # fmt: skip


@pytest.fixture(scope="session")
def talks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six clips of 3 s; the people of the first clip have avatars."""
    out = synth_dataset(tmp_path_factory.mktemp("render") / "set", clips=6, seconds=3.0)
    rows = rsat_data.load(out, None)
    for row in (rows[0], rows[0].partner()):
        assert row is not None
        write_plain_avatar(out / "avatars" / row["subject_id"], row["shape"])
    return out


def train(talks: Path, folder: Path, *settings: str, stage: str = "all") -> Path:
    words = [word for setting in (*SMALL, *settings) for word in ("--set", setting)]
    arguments = ["--dataset", str(talks), "--run", str(folder), "--stage", stage, "--device", "cpu", "--quiet", *words]
    assert run(["train-baseline", *arguments]) == 0
    return folder


@pytest.fixture(scope="session")
def causal(talks: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a social module that looks at nothing later."""
    return train(talks, tmp_path_factory.mktemp("runs") / "causal", "network.causal=true")


@pytest.fixture(scope="session")
def ahead(talks: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without a social module that looks ahead."""
    return train(talks, tmp_path_factory.mktemp("runs") / "ahead", stage="1")


def talk(seconds: float, rate: int, seed: int) -> np.ndarray:
    """(N,) float32: bursts of noise, in turn with those of the next seed."""
    time = np.arange(round(seconds * rate)) / rate
    loud = np.sin(2 * np.pi * (time / 1.2 + seed / 2)) > 0
    noise = np.random.default_rng(seed).normal(0, 0.1, len(time))
    return (noise * loud).astype(np.float32)


@pytest.fixture(scope="session")
def voices(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two files of different lengths, rates, channels and kinds."""
    folder = tmp_path_factory.mktemp("voices")
    a, b = folder / "a.wav", folder / "b.flac"
    soundfile.write(a, talk(1.5, 44_100, 0), 44_100)
    soundfile.write(b, np.stack([talk(1.0, 8000, 1)] * 2, axis=1), 8000)
    return a, b
