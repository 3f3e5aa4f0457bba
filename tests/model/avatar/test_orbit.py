from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from model.avatar.avatar import Avatar
from model.avatar.footage import Footage, Frame
from model.avatar.orbit import MARGIN_YAW, SWING_PITCH, SWING_YAW, Swing, seen_angles, swing_of, turned, view_angles
from model.gaussians import one_per_face
from model.head import HeadModel
from model.head.pose import axis_angle_to_matrix


def codes(rotation: list[list[float]], distance: float = 0.8) -> dict[str, torch.Tensor]:
    turn = torch.tensor(rotation)
    return {"rotation": turn, "translation": torch.tensor([[0.0, 0.0, distance]]).expand(len(turn), -1)}


def test_a_head_turned_to_its_left_is_seen_from_its_right(head: HeadModel) -> None:
    shape = torch.zeros(head.num_shape)
    yaw, pitch = view_angles(head, shape, codes([[0.0, 0.0, 0.0], [0.0, -0.4, 0.0], [0.3, 0.0, 0.0]]))
    assert abs(float(yaw[0])) < 1e-3 and float(yaw[1]) == pytest.approx(-0.4, abs=0.05)
    assert float(pitch[2] - pitch[0]) == pytest.approx(0.3, abs=0.06) and abs(float(yaw[2])) < 1e-3


@pytest.mark.parametrize(("yaw", "pitch"), [(0.5, 0.0), (-0.3, 0.2), (2.5, 0.0)])
def test_a_turned_camera_is_where_it_says(head: HeadModel, yaw: float, pitch: float) -> None:
    """The same rigid motion applied to the head's codes is seen at these angles."""
    shape, given = torch.zeros(head.num_shape), codes([[0.0, 0.0, 0.0]])
    _, joints = head.pose(shape, **given)
    centre = joints[:, 2].clone()
    centre[:, :2] = 0  # straight before the camera
    given["translation"] = given["translation"] - (joints[:, 2] - centre)
    view = turned(centre, torch.tensor([yaw]), torch.tensor([pitch]))[0]
    root = joints[0, 0] - (joints[0, 2] - centre[0])
    moved = view[:3, :3] @ root + view[:3, 3]
    cosine = float((torch.trace(view[:3, :3]) - 1) / 2)
    skew = view[:3, :3] - view[:3, :3].T
    axis = torch.stack([skew[2, 1], skew[0, 2], skew[1, 0]])
    rotation = axis / axis.norm() * math.acos(max(-1.0, min(1.0, cosine)))
    assert torch.allclose(axis_angle_to_matrix(rotation), view[:3, :3], atol=1e-4)
    seen = {"rotation": rotation[None], "translation": (moved - head.shaped(shape)[1][0, 0])[None]}
    found = [float(angle) for angle in view_angles(head, shape, seen)]
    assert found == pytest.approx([yaw, pitch], abs=1e-3)


def test_what_training_saw_is_told_without_the_rarest(head: HeadModel, footage: Footage) -> None:
    count = len(footage)
    turn = np.zeros((count, 3), np.float32)
    turn[:, 1] = np.linspace(-0.2, 0.1, count)
    turn[0, 1] = 1.5  # not among the frames of the training
    moved = Footage(**{**vars(footage), "codes": {**footage.codes, "rotation": turn}})
    avatar = Avatar(one_per_face(head), head.id, len(head.faces), torch.zeros(head.num_shape))
    seen = seen_angles(avatar, head, [moved], [Frame(0, t) for t in range(1, count)])
    low, high = seen["yaw_deg"]
    assert low < high and abs(low - math.degrees(-0.2)) < 5 and abs(high - math.degrees(0.1)) < 5
    assert len(seen["pitch_deg"]) == 2


def test_a_swing_stays_within_what_was_seen_and_a_margin() -> None:
    swing = swing_of({"seen": {"yaw_deg": [-10.0, 30.0], "pitch_deg": [-2.0, 8.0]}})
    assert swing.told and swing.yaw == pytest.approx((math.radians(-10) - MARGIN_YAW, math.radians(30) + MARGIN_YAW))
    views = swing.views(torch.tensor([[0.0, 0.0, 1.0]]), 100)
    # The third row of such a rotation is (-sin yaw cos pitch, sin pitch, cos yaw cos pitch).
    yaw = torch.atan2(-views[:, 2, 0], views[:, 2, 2])
    assert float(yaw.min()) == pytest.approx(swing.yaw[0], abs=0.01) and float(yaw.max()) == pytest.approx(
        swing.yaw[1], abs=0.01
    )
    assert torch.asin(views[:, 2, 1]).max() - torch.asin(views[:, 2, 1]).min() <= 2 * SWING_PITCH + 1e-4
    turned_head = swing_of({"seen": {"yaw_deg": [-10.0, 30.0], "pitch_deg": [-2.0, 8.0]}}, (0.3, 0.0))
    assert turned_head.yaw[0] == pytest.approx(swing.yaw[0] - 0.3)


@pytest.mark.parametrize(
    "about", [{}, {"seen": None}, {"seen": {"yaw_deg": [1]}}, {"seen": {"yaw_deg": [9, -9], "pitch_deg": [0, 0]}}]
)
def test_an_avatar_that_says_nothing_gets_the_usual_swing(about: dict[str, object]) -> None:
    assert swing_of(about).yaw == (-SWING_YAW, SWING_YAW) and not swing_of(about).told


def test_a_full_turn_goes_all_around() -> None:
    views = Swing(full=True).views(torch.tensor([[0.0, 0.0, 1.0]]), 100)
    assert torch.allclose(views[50, :3, :3], torch.diag(torch.tensor([-1.0, 1.0, -1.0])), atol=1e-4)
