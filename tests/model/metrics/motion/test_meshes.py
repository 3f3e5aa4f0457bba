from __future__ import annotations

import numpy as np
import pytest

from model.metrics.motion import meshes
from model.metrics.motion.figures import NoFigure


def still(frames: int, vertices: int) -> np.ndarray:
    return np.zeros((frames, vertices, 3), np.float32)


def test_three_lves_by_hand() -> None:
    y = still(2, 3)
    x = y.copy()
    x[0, 1] = (3, 4, 0)  # 5 mm off: largest squared distance of frame 0 is 25
    x[0, 2] = (1, 0, 0)
    x[1, 0] = (0, 0, 1)  # frame 1: 1
    assert meshes.lve_squared(x, y) == 13
    assert meshes.lve_root(x, y) == pytest.approx(np.sqrt(13))
    assert meshes.mean_distance(x, y) == pytest.approx((5 + 1 + 1) / 6)
    assert meshes.root_mean_square(x, y) == pytest.approx(np.sqrt((25 + 1 + 1) / 6))


def test_two_fdds_by_hand() -> None:
    rest = np.zeros((1, 3), np.float32)
    y, x = still(2, 1), still(2, 1)
    y[1, 0] = (2, 0, 0)  # |y - rest|^2 is 0 and 4: std 2
    x[1, 0] = (0, 1, -1)  # 0 and 2: std 1; its coordinates sum to 0 throughout
    assert meshes.fdd_signed(x, y, rest) == pytest.approx(1)
    assert meshes.fdd_signed(y, x, rest) == pytest.approx(-1)
    assert meshes.fdd_absolute(y, x, rest) == pytest.approx(1)
    assert meshes.fdd_sum(x, y) == pytest.approx(100 * 1)  # sums 0 and 2: std 1, against 0


def test_memory_layout_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 7, 11, 3)).astype(np.float32)
    planes = np.ascontiguousarray(x.transpose(0, 2, 1)).transpose(0, 2, 1)
    for measure in (meshes.lve_squared, meshes.mean_distance, meshes.root_mean_square, meshes.fdd_sum):
        assert measure(planes, y) == pytest.approx(measure(x, y), rel=1e-6)
    assert meshes.mean_distance(x, y) == pytest.approx(np.linalg.norm(x - y, axis=-1).mean(), rel=1e-6)


def test_nothing_has_no_figure() -> None:
    with pytest.raises(NoFigure, match="no frames"):
        meshes.lve_squared(still(0, 3), still(0, 3))
    with pytest.raises(NoFigure, match="no such vertices"):
        meshes.lve_squared(still(3, 0), still(3, 0))
    with pytest.raises(ValueError):
        meshes.mean_distance(still(3, 2), still(4, 2))
