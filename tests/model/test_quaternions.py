"""Quaternions, rotation matrices and axis-angles there and back."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.head.pose import axis_angle_to_matrix
from model.quaternions import matrix_to_axis_angle, matrix_to_quaternion, multiply, quaternion_to_matrix


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: sum(x * x for x in q) > 1e-4))
def test_quaternion_and_matrix_there_and_back(values: list[float]) -> None:
    quaternion = torch.nn.functional.normalize(torch.tensor(values, dtype=torch.float64), dim=0)
    matrix = quaternion_to_matrix(quaternion)
    assert torch.linalg.det(matrix).item() == pytest.approx(1.0)
    back = matrix_to_quaternion(matrix)
    assert abs(float(back @ quaternion)) == pytest.approx(1.0, abs=1e-12)
    assert torch.allclose(quaternion_to_matrix(back), matrix, atol=1e-12)


@pytest.mark.parametrize("axis", [(1.0, 0, 0), (0, 1.0, 0), (0, 0, 1.0), (0.6, 0.8, 0), (0, 0.6, -0.8)])
def test_quaternions_of_half_turns(axis: tuple[float, float, float]) -> None:
    half = torch.tensor([0.0, *axis], dtype=torch.float64)
    matrix = quaternion_to_matrix(half).requires_grad_()
    back = matrix_to_quaternion(matrix)
    assert abs(float(back.detach() @ half)) == pytest.approx(1.0)
    back.sum().backward()
    assert matrix.grad is not None and torch.isfinite(matrix.grad).all()


def test_product_of_quaternions_is_the_product_of_matrices() -> None:
    pair = torch.randn(2, 10, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    left, right = torch.nn.functional.normalize(pair, dim=-1)
    product = quaternion_to_matrix(left) @ quaternion_to_matrix(right)
    assert torch.allclose(quaternion_to_matrix(multiply(left, right)), product, atol=1e-12)


@given(st.integers(0, 10_000), st.floats(0.0, 3.14))
@settings(max_examples=60, deadline=None)
def test_logarithm_undoes_the_exponential(seed: int, angle: float) -> None:
    axis = torch.nn.functional.normalize(torch.randn(3, generator=torch.Generator().manual_seed(seed)).double(), dim=0)
    vector = angle * axis
    torch.testing.assert_close(matrix_to_axis_angle(axis_angle_to_matrix(vector)), vector, atol=1e-6, rtol=0)
