from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.linalg import expm

from model.fitting import rotations

vectors = arrays(np.float64, 3, elements=st.floats(-1.7, 1.7))


@given(vectors)
@settings(max_examples=60, deadline=None)
def test_exp_is_the_matrix_exponential_and_log_its_inverse(vector: np.ndarray) -> None:
    matrix = rotations.exp(vector)
    np.testing.assert_allclose(matrix, expm(rotations.hat(vector)), atol=1e-9)
    np.testing.assert_allclose(rotations.log(matrix), vector, atol=1e-7)


@given(vectors, vectors)
@settings(max_examples=40, deadline=None)
def test_left_jacobian_is_the_derivative(vector: np.ndarray, direction: np.ndarray) -> None:
    step = 1e-6
    turn = rotations.exp(vector + step * direction) @ rotations.exp(vector - step * direction).T
    np.testing.assert_allclose(rotations.log(turn) / (2 * step), rotations.left_jacobian(vector) @ direction, atol=1e-6)


def test_log_near_half_a_turn() -> None:
    axis = np.array([0.6, -0.8, 0.0])
    for angle in (np.pi - 1e-3, np.pi - 1e-7, np.pi):
        found = rotations.log(rotations.exp(axis * angle))
        np.testing.assert_allclose(rotations.exp(found), rotations.exp(axis * angle), atol=1e-9)
        assert abs(np.linalg.norm(found) - angle) < 1e-6


def test_slerp_takes_the_shortest_way() -> None:
    start, end = np.array([[0.0, 0.1, 0.0]]), np.array([[0.0, 0.5, 0.0]])
    np.testing.assert_allclose(rotations.slerp(start, end, np.array([0.25])), [[0.0, 0.2, 0.0]], atol=1e-12)
