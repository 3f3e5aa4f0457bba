"""A made clip whose codes are known exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from model.camera import Camera
from model.fitting import reference
from model.fitting.landmark_model import LandmarkModel, landmark_model
from tests.model.fitting.made_head import NAMES, MadeHead, made_head

CAMERA = Camera(1300.0, 1280.0, 250.0, 240.0, 512, 512)


@dataclass(frozen=True)
class Truth:
    """Codes and landmarks of a clip."""

    shape: np.ndarray
    codes: np.ndarray  # (T, E + 15)
    landmarks: np.ndarray  # (T, 478, 2)

    @property
    def jaw(self) -> np.ndarray:
        """(T,) opening, radians."""
        return self.codes[:, len(NAMES)]


def make_truth(head: MadeHead, num: int, seed: int = 0) -> Truth:
    """Smooth talk, nods, gaze and blinks within the limits of the priors."""
    rng = np.random.default_rng(seed)
    t = np.arange(num) / 25
    e = len(NAMES)
    codes = np.zeros((num, e + 15))
    wave = np.sin(t[:, None] * rng.uniform(2, 5, e) + rng.uniform(0, 6, e))
    codes[:, :e] = 0.45 + 0.4 * wave
    codes[:, e] = 0.15 + 0.12 * np.sin(9 * t)
    codes[:, e + 3] = codes[:, e + 6] = 0.1 * np.sin(2 * t)
    codes[:, e + 4] = codes[:, e + 7] = 0.2 * np.sin(3 * t)
    codes[:, e + 9 : e + 12] = np.stack([0.2 * np.sin(t), 0.4 * np.sin(1.3 * t + 1), 0.1 * np.cos(t)], 1)
    codes[:, e + 12 :] = np.stack([0.02 * np.sin(t), 0.05 + 0 * t, 0.9 + 0.03 * np.cos(t)], 1)
    shape = rng.normal(size=head.shapedirs.shape[2])
    points = reference.landmarks(head, torch.as_tensor(shape), torch.as_tensor(codes), CAMERA)  # type: ignore[arg-type]
    return Truth(shape, codes, points.numpy())


@pytest.fixture(scope="session")
def head() -> MadeHead:
    """In float64, so that the truth is exact."""
    return made_head(dtype=torch.float64)


@pytest.fixture(scope="session")
def model(head: MadeHead) -> LandmarkModel:
    """Its landmarks."""
    return landmark_model(head)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def truth(head: MadeHead) -> Truth:
    """Four seconds."""
    return make_truth(head, 100)
