"""A tiny network and the data that the tests of training share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model.motion.config import NetworkConfig
from model.train.config import RunConfig, TrainConfig
from model.train.devices import Devices
from model.train.stages import Prepared, check, prepare
from tests.synth_dataset import synth_dataset

CPU = Devices(torch.device("cpu"))


def tiny(**changes: object) -> RunConfig:
    network = NetworkConfig(width=16, layers=1, heads=2, reach=10, queries=2, reference_s=1.0, draw_width=16)
    options = {"steps": 6, "batch": 4, "window": 40, "hop": 20, "warmup": 2, "validate_every": 3}
    options |= {"draw_steps": 6, "draw_batch": 4, **changes}
    return RunConfig(network=network, train=TrainConfig(**options))  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def talks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synth_dataset(tmp_path_factory.mktemp("talks") / "set", clips=8, seconds=4.0)


def prepared_for(dataset: Path, run: Path, config: RunConfig, *, social: bool = False) -> Prepared:
    return prepare(dataset, run, config, check(dataset, config, social=social), CPU)


@pytest.fixture(scope="session")
def prepared(talks: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepared_for(talks, tmp_path_factory.mktemp("run"), tiny())
