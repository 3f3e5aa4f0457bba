from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from model.fitting.config import FitConfig
from model.fitting.fit import fit_landmarks
from model.fitting.landmark_model import LandmarkModel
from model.fitting.solve import solve_band
from tests.model.fitting.conftest import CAMERA, Truth
from tests.model.fitting.made_head import NAMES


@given(st.integers(0, 10_000), st.integers(1, 9), st.booleans())
@settings(max_examples=30, deadline=None)
def test_band_solver_agrees_with_the_dense_system(seed: int, num: int, smooth: bool) -> None:
    rng = np.random.default_rng(seed)
    p = 4
    root = rng.normal(size=(num, p, 6))
    hessian, damping, right = root @ root.transpose(0, 2, 1), rng.uniform(0.1, 1, (num, p)), rng.normal(size=(num, p))
    precision = rng.uniform(0, 50, p)
    triples = (rng.random(num - 2) < 0.7).astype(float) if smooth and num > 2 else np.zeros(0)
    whole = np.zeros((num, p, num, p))
    for frame in range(num):
        whole[frame, :, frame] = hessian[frame] + np.diag(damping[frame])
    for start, weight in enumerate(triples):
        row = np.zeros(num)
        row[start : start + 3] = 1, -2, 1
        for code in range(p):
            whole[:, code, :, code] += weight * precision[code] * np.outer(row, row)
    expected = np.linalg.solve(whole.reshape(num * p, -1), right.reshape(-1)).reshape(num, p)
    found = solve_band(hessian, damping, triples, precision, right)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8 * np.abs(expected).max())


def test_a_further_term_pulls_where_it_should(model: LandmarkModel, truth: Truth) -> None:
    e, pull = len(NAMES), 1e6
    windows = []

    def extra(window: slice) -> Any:
        windows.append(window)

        def term(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            gradient, hessian = np.zeros_like(codes), np.zeros((*codes.shape, codes.shape[1]))
            gradient[:, e], hessian[:, e, e] = pull * (codes[:, e] - 0.2), pull
            return 0.5 * pull * np.square(codes[:, e] - 0.2), gradient, hessian

        return term

    config = FitConfig(window=40, overlap=8, tolerance=1e-6)
    plain = fit_landmarks(model, truth.landmarks, np.ones(100, bool), CAMERA, config=config, shape=truth.shape)
    pulled = fit_landmarks(
        model, truth.landmarks, np.ones(100, bool), CAMERA, config=config, shape=truth.shape, extra=extra
    )
    assert windows == [slice(0, 40), slice(32, 72), slice(64, 100)]
    assert np.abs(plain.jaw[:, 0] - 0.2).max() > 0.08
    assert np.abs(pulled.jaw[:, 0] - 0.2).max() < 5e-3
    np.testing.assert_array_equal(pulled.shape, truth.shape.astype(np.float32))
