from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.detector_offsets import Views, frame_errors, person_offsets, principal_modes, unexplained, views
from model.camera import Camera, project
from model.head.load import load_head

CAMERA = Camera(1500.0, 1500.0, 256.0, 256.0, 512, 512)


def test_offsets_of_a_person_come_back() -> None:
    head = load_head()
    rng = np.random.default_rng(2)
    num = 5
    shape = rng.normal(size=head.num_shape).astype(np.float32)
    codes = {"expression": np.zeros((num, head.num_expression)), "eyes": np.zeros((num, 6))}
    codes |= {name: np.zeros((num, 3)) for name in ("jaw", "neck")}
    codes["rotation"] = np.stack([0.05 * np.arange(num), np.linspace(-0.5, 0.5, num), np.zeros(num)], axis=1)
    codes["translation"] = np.tile([0.0, 0.02, 1.0], (num, 1))
    moving = {name: torch.as_tensor(value, dtype=torch.float32) for name, value in codes.items()}
    points = head.landmark_points(head.pose(torch.as_tensor(shape), **moving)[0])
    wanted = np.array([0.0015, -0.002, 0.0])
    from model.head.pose import axis_angle_to_matrix

    turned = axis_angle_to_matrix(moving["rotation"]) @ torch.as_tensor(wanted, dtype=torch.float32)
    seen = project(points + turned[:, None], CAMERA).numpy()
    found = person_offsets(views(head, shape, codes, CAMERA, seen))
    middle = np.median(found, axis=0)
    assert np.abs(middle - wanted).max() < 4e-4


def test_modes_span_what_people_share() -> None:
    rng = np.random.default_rng(3)
    fields = 0.002 * rng.normal(size=(478, 3, 3))
    people = np.einsum("lxk,nk->nlx", fields, rng.normal(size=(200, 3)))
    modes = principal_modes(people, 3, np.ones(478))
    np.testing.assert_allclose(
        np.einsum("axk,bxk->ab", modes, modes), np.einsum("nax,nbx->ab", people, people) / 200, atol=1e-12
    )
    assert unexplained(people, 3, np.ones(478)) < 0.01 < unexplained(people, 1, np.ones(478))
    assert principal_modes(people[:3], 10, np.ones(478)).shape == (478, 3, 2)


def test_without_turns_depth_stays_at_its_prior() -> None:
    head = load_head()
    zero = {name: np.zeros((3, size)) for name, size in (("expression", head.num_expression), ("eyes", 6))}
    zero |= {name: np.zeros((3, 3)) for name in ("jaw", "neck", "rotation")}
    zero["translation"] = np.tile([0.0, 0.0, 1.0], (3, 1))
    moving = {name: torch.as_tensor(value, dtype=torch.float32) for name, value in zero.items()}
    points = head.landmark_points(head.pose(torch.zeros(head.num_shape), **moving)[0])
    seen = project(points, CAMERA).numpy() + np.array([1.0, 0.0])
    found = person_offsets(views(head, np.zeros(head.num_shape), zero, CAMERA, seen))
    assert np.median(found[:, 0]) == pytest.approx(1.0 / 1500, rel=0.25) and np.abs(found[:, 2]).max() < 2e-4


def test_errors_of_a_frame_are_what_offsets_leave_where_it_is_seen() -> None:
    rng = np.random.default_rng(5)
    derivative = np.tile(np.eye(3)[:2], (4, 478, 1, 1))  # seen straight on
    offsets, errors = 0.002 * rng.normal(size=(478, 3)), 0.001 * rng.normal(size=(4, 478, 3))
    facing = np.where(np.arange(478) % 5 == 0, 0.2, 0.9)
    seen = Views((offsets + errors)[..., :2], derivative, np.tile(facing, (4, 1)))
    errors[..., 2] = errors[:, facing < 0.5] = 0.0
    np.testing.assert_allclose(frame_errors(seen, offsets), errors, atol=1e-12)
