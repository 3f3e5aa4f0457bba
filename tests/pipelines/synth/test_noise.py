from __future__ import annotations

import numpy as np

from pipelines.synth.noise import fractal_noise, spots, value_noise


def _points(count: int = 20000) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.1, 0.1, (count, 3)).astype(np.float32)


def test_noise_is_a_function_of_place_and_seed() -> None:
    points = _points()
    values = value_noise(points, 0.004, 5)
    assert np.array_equal(values, value_noise(points, 0.004, 5))
    assert np.array_equal(values[::-1], value_noise(points[::-1], 0.004, 5))
    assert abs(np.corrcoef(values, value_noise(points, 0.004, 6))[0, 1]) < 0.05
    assert 0 <= values.min() and values.max() < 1 and abs(values.mean() - 0.5) < 0.02


def test_noise_is_smooth_at_its_scale() -> None:
    points = _points()
    near = value_noise(points + np.float32(0.0002), 0.01, 1) - value_noise(points, 0.01, 1)
    far = value_noise(points + np.float32(0.05), 0.01, 1) - value_noise(points, 0.01, 1)
    assert np.abs(near).max() < 0.15 < np.abs(far).mean()


def test_fractal_noise_stays_in_range() -> None:
    values = fractal_noise(_points(), 0.02, 4, 3)
    assert 0 <= values.min() and values.max() < 1


def test_share_and_size_of_spots() -> None:
    points = _points()
    none, some, many = (spots(points, 0.01, share, 2) for share in (0.0, 0.3, 1.0))
    assert (none == 0).all()
    assert 0 < (some > 0).mean() < (many > 0).mean() < 0.6
    assert (spots(points, 0.01, 1.0, 2, radius=(0.05, 0.1)) > 0).mean() < 0.01
