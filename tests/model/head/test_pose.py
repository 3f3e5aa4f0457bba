"""Kinematics against a slow, obvious reference; gradients against finite differences."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.head import HeadModel
from model.head.pose import axis_angle_to_matrix, joint_transforms, pose_features, skin

vector = st.lists(st.floats(-3.0, 3.0, width=32), min_size=3, max_size=3)


def exponential(rotation: np.ndarray) -> np.ndarray:
    """Rotation matrix by the power series of the matrix exponential: slow and independent of Rodrigues' formula."""
    x, y, z = rotation
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    total, term = np.eye(3), np.eye(3)
    for n in range(1, 60):
        term = term @ skew / n
        total = total + term
    return total


@given(vector)
@settings(max_examples=60, deadline=None)
def test_rotation_is_the_matrix_exponential(values: list[float]) -> None:
    matrix = axis_angle_to_matrix(torch.tensor(values, dtype=torch.float64))
    np.testing.assert_allclose(matrix.numpy(), exponential(np.array(values)), atol=1e-9)


@pytest.mark.parametrize("angle", [0.0, 1e-8, 1e-4, 0.9e-3, 1.1e-3, 0.01, 1.0])
def test_rotation_is_precise_in_float32_near_zero(angle: float) -> None:
    rotation = angle * torch.tensor([0.6, 0.0, 0.8])
    expected = exponential(rotation.double().numpy()) - np.eye(3)
    np.testing.assert_allclose((axis_angle_to_matrix(rotation) - torch.eye(3)).numpy(), expected, atol=1.5e-7)


def test_rotation_has_the_right_gradient_at_zero() -> None:
    jacobian = torch.autograd.functional.jacobian(axis_angle_to_matrix, torch.zeros(3, dtype=torch.float64))
    for axis, (row, column) in enumerate([(2, 1), (0, 2), (1, 0)]):
        expected = torch.zeros(3, 3, dtype=torch.float64)
        expected[row, column], expected[column, row] = 1, -1
        torch.testing.assert_close(jacobian[..., axis], expected)


def test_positive_jaw_turn_opens_the_mouth() -> None:
    chin = axis_angle_to_matrix(torch.tensor([0.3, 0.0, 0.0])) @ torch.tensor([0.0, 0.0, -1.0])
    assert chin[1] > 0.2  # y points down


def test_pose_features_are_entries_of_jaw_and_eyes() -> None:
    local = torch.zeros(1, 5, 3)
    local[0, 2, 0] = 0.3
    features = pose_features(axis_angle_to_matrix(local))
    assert features.shape == (1, 27)
    assert features[0, 7].item() == pytest.approx(math.sin(0.3), abs=1e-6)
    assert features[0, 9:].abs().max() == 0
    local = torch.zeros(1, 5, 3)
    local[0, :2] = 0.5  # root and neck have no correctives
    assert pose_features(axis_angle_to_matrix(local)).abs().max() == 0


def slow_pose(head: HeadModel, codes: dict[str, torch.Tensor], frame: int) -> tuple[np.ndarray, np.ndarray]:
    """One frame with 4x4 matrices, one joint after the other, in float64."""
    get = {name: code.double().numpy() for name, code in codes.items()}
    local = np.concatenate([get["rotation"][frame], get["neck"][frame], get["jaw"][frame], get["eyes"][frame]])
    turns = [exponential(part) for part in local.reshape(5, 3)]
    features = np.concatenate([(turn - np.eye(3)).reshape(-1) for turn in turns[2:]])
    rest = head.v_template.double().numpy() + head.shapedirs.double().numpy() @ get["shape"]
    rest = rest + head.exprdirs.double().numpy() @ get["expression"][frame] + head.posedirs.double().numpy() @ features
    joints = head.J_template.double().numpy() + head.J_shapedirs.double().numpy() @ get["shape"]
    world: list[np.ndarray] = []
    for j, parent in enumerate(head.parents):
        local_matrix = np.eye(4)
        local_matrix[:3, :3] = turns[j]
        local_matrix[:3, 3] = joints[j] - (joints[parent] if parent >= 0 else 0)
        world.append(local_matrix if parent < 0 else world[parent] @ local_matrix)
    posed = np.zeros_like(rest)
    for j, matrix in enumerate(world):
        back = np.eye(4)
        back[:3, 3] = -joints[j]
        moved = (matrix @ back @ np.concatenate([rest, np.ones((len(rest), 1))], axis=1).T).T[:, :3]
        posed += head.weights.double().numpy()[:, j : j + 1] * moved
    move = get["translation"][frame]
    return posed + move, np.stack([matrix[:3, 3] for matrix in world]) + move


def test_pose_agrees_with_the_slow_reference(head: HeadModel, codes: dict[str, torch.Tensor]) -> None:
    vertices, joints = head.pose(**codes)
    for frame in range(3):
        slow_vertices, slow_joints = slow_pose(head, codes, frame)
        np.testing.assert_allclose(vertices[frame].numpy(), slow_vertices, atol=2e-6)
        np.testing.assert_allclose(joints[frame].numpy(), slow_joints, atol=2e-6)


def test_root_turn_is_about_the_root_joint(head: HeadModel) -> None:
    rotation, translation = torch.tensor([[0.2, -0.5, 0.1]]), torch.tensor([[0.01, 0.02, 0.7]])
    vertices, _ = head.pose(torch.zeros(head.num_shape), rotation=rotation, translation=translation)
    root = head.J_template[0]
    expected = (head.v_template - root) @ axis_angle_to_matrix(rotation)[0].T + root + translation
    torch.testing.assert_close(vertices[0], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["shape", "expression", "jaw", "neck", "eyes", "rotation", "translation"])
def test_gradients_agree_with_finite_differences(head: HeadModel, codes: dict[str, torch.Tensor], name: str) -> None:
    some = head.subset(torch.arange(0, head.num_vertices, 400))
    wide = {field: getattr(some, field).double() for field in ("v_template", "shapedirs", "exprdirs", "posedirs")}
    wide |= {field: getattr(some, field).double() for field in ("J_template", "J_shapedirs", "weights")}
    exact = replace(some, **wide)
    inputs = {key: code.double() for key, code in codes.items()}
    start = inputs[name].clone()
    generator = torch.Generator().manual_seed(1)
    mix = torch.randn(3, exact.num_vertices, 3, generator=generator, dtype=torch.float64)
    step = torch.randn(start.shape, generator=generator, dtype=torch.float64)

    def value(code: torch.Tensor) -> torch.Tensor:
        vertices, joints = exact.pose(**(inputs | {name: code}))
        return (vertices * mix).sum() + (joints**2).sum()

    code = start.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(code), code)
    numeric = (value(start + 1e-5 * step) - value(start - 1e-5 * step)) / 2e-5
    assert float((gradient * step).sum()) == pytest.approx(float(numeric), rel=1e-6, abs=1e-8)


def test_gradients_are_finite_at_rest(head: HeadModel) -> None:
    codes = {name: code.requires_grad_() for name, code in head.neutral(2).items()}
    vertices, _ = head.pose(**codes)
    vertices.square().sum().backward()
    assert all(code.grad is not None and bool(code.grad.isfinite().all()) for code in codes.values())


def test_kinematic_pieces_keep_a_joint_in_place() -> None:
    joints = torch.tensor([[[0.0, 0.0, 0.0], [0.0, -1.0, 0.0]]])
    rotations = axis_angle_to_matrix(torch.tensor([[[0.0, 0.0, 0.0], [0.0, 0.0, 1.2]]]))
    turned, offsets, posed = joint_transforms(rotations, joints, (-1, 0))
    torch.testing.assert_close(posed, joints)
    on_joint = skin(joints[:, 1:], torch.tensor([[0.0, 1.0]]), turned, offsets)
    torch.testing.assert_close(on_joint, joints[:, 1:])
