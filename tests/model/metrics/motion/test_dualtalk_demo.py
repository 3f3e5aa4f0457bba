"""Floors on two real conversations: what FD and MSE say of predictions that know nothing of the motion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.metrics.motion.clusters import shannon_index
from model.metrics.motion.codes import frechet, squared_error

STATIC_FD, STATIC_MSE = (16.65, 9.37), (0.332, 0.187)
ZERO_MSE, HALVES_FD = (1.43, 1.32), (6.6, 1.8)


@pytest.fixture(scope="module")
def clips(real_data: Path) -> list[np.ndarray]:
    folder = real_data / "dualtalk_demo"
    files = sorted(folder.glob("*.npz")) if folder.is_dir() else []
    if len(files) != 2:
        pytest.skip(f"no DualTalk demo at {folder}")
    found = []
    for path in files:
        with np.load(path, allow_pickle=False) as arrays:
            found.append(arrays["exp"].astype(np.float64))
    return found


def test_the_static_mean(clips: list[np.ndarray]) -> None:
    for y, fd, mse in zip(clips, STATIC_FD, STATIC_MSE, strict=True):
        still = np.broadcast_to(y.mean(0), y.shape)
        assert frechet(still, y) == pytest.approx(fd, abs=0.006)
        assert squared_error(still, y) == pytest.approx(mse, abs=0.0006)
        assert squared_error(still, y, centred=True) == pytest.approx(squared_error(still, y))


def test_zeros(clips: list[np.ndarray]) -> None:
    for y, mse in zip(clips, ZERO_MSE, strict=True):
        assert squared_error(np.zeros_like(y), y) == pytest.approx(mse, abs=0.006)
        # Nearly all of it is where the person's mean lies, which centred MSE does not see.
        assert squared_error(np.zeros_like(y), y, centred=True) < 0.25 * mse


def test_half_against_half(clips: list[np.ndarray]) -> None:
    for y, fd in zip(clips, HALVES_FD, strict=True):
        half = len(y) // 2
        assert frechet(y[half : 2 * half], y[:half]) == pytest.approx(fd, abs=0.06)


def test_sid_of_the_truth_is_between_none_and_all(clips: list[np.ndarray]) -> None:
    for y in clips:
        assert 4 < shannon_index(y, y, 40) < np.log2(40)
