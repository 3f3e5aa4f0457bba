"""Looking at an avatar from around it: a head that stands still, and a camera that swings.

An angle is where the camera stands as the head sees it: yaw grows towards the head's left, pitch upwards, both 0 before
the face. What training never saw from some angle is made up, so a swing stays near the angles that it saw.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.avatar.avatar import Avatar
from model.avatar.draw import CodesLike, complete_codes
from model.avatar.footage import Footage, Frame
from model.camera import Camera
from model.head import HeadModel
from model.head.pose import axis_angle_to_matrix

SWING_FRAMES = 100
"""Frames of one swing."""
SWING_YAW, SWING_PITCH = math.radians(50.0), math.radians(10.0)
"""How far it goes to each side, and up and down, for avatars that do not say what training saw; and how far up and
down at most."""
MARGIN_YAW, MARGIN_PITCH = math.radians(15.0), math.radians(5.0)
"""How far beyond the angles that training saw."""
_RARE = 1.0
"""Percent of the training frames that count for nothing at either end of these angles."""
_HEAD_JOINT = 2
"""The jaw's joint lies about in the middle of the head, between the ears."""
_DISTANCE_M, _FIELD_M, _HAIR_M = 1.0, 0.42, 0.05
"""Where a standing head is, the width of what is seen there, and the room left above its mesh."""


def standing(
    avatar: Avatar, head: HeadModel, codes: CodesLike | None = None
) -> tuple[dict[str, Tensor], Camera, Tensor]:
    """A head before a camera, looking into it.

    Args:
        avatar: whose shape it has.
        head: the avatar's own.
        codes: expression, jaw and eyes (1, .) of its face; None for a face at rest.

    Returns:
        Complete codes (1, .), a camera of 512 x 512 pixels, and the middle of the head (1, 3), metres.
    """
    return standing_shape(head, avatar.shape, codes)


def standing_shape(
    head: HeadModel, shape: Tensor, codes: CodesLike | None = None
) -> tuple[dict[str, Tensor], Camera, Tensor]:
    """:func:`standing` for a shape code (S,) without an avatar."""
    given = complete_codes(head, {"rotation": torch.zeros(1, 3), **(codes or {})})
    given["rotation"] = given["translation"] = torch.zeros(1, 3, device=head.device)
    ahead = torch.tensor([[0.0, 0.0, _DISTANCE_M]], device=head.device)
    given["translation"] = ahead - _middle(head, shape, given)
    focal = 512 * _DISTANCE_M / _FIELD_M
    return given, Camera(focal, focal, 256.0, 256.0, 512, 512), ahead


@torch.no_grad()
def middle(avatar: Avatar, head: HeadModel, codes: CodesLike) -> Tensor:
    """(1, 3) what a camera swings around, on the mean over frames of codes; metres, camera frame.

    Across and in depth it is where the ears are; in height it puts the top of the mesh near the picture's.
    """
    return _middle(head, avatar.shape, codes)


@torch.no_grad()
def _middle(head: HeadModel, shape: Tensor, codes: CodesLike) -> Tensor:
    given = complete_codes(head, codes)
    mean = {name: value.mean(0, keepdim=True) for name, value in given.items() if name != "torso"}
    vertices, joints = head.pose(shape.to(head.device), **mean)
    centre = joints[:, _HEAD_JOINT].clone()
    centre[:, 1] = vertices[..., 1].min() - _HAIR_M + _FIELD_M / 2
    return centre


@torch.no_grad()
def view_angles(head: HeadModel, shape: Tensor, codes: CodesLike) -> tuple[Tensor, Tensor]:
    """Yaw and pitch (T,) of the camera of the codes, radians."""
    given = complete_codes(head, codes)
    _, joints = head.shaped(shape.to(head.device))
    turn = axis_angle_to_matrix(given["rotation"]) @ axis_angle_to_matrix(given["neck"])
    arm = joints[0, _HEAD_JOINT] - joints[0, 0]
    away = -(given["translation"] + joints[0, 0] + turn @ arm)
    seen = (turn.transpose(1, 2) @ away[..., None])[..., 0]
    seen = seen / seen.norm(dim=1, keepdim=True).clamp_min(1e-9)
    return torch.atan2(seen[:, 0], -seen[:, 2]), torch.asin(-seen[:, 1].clamp(-1, 1))


def seen_angles(
    avatar: Avatar, head: HeadModel, footage: Sequence[Footage], train: Sequence[Frame]
) -> dict[str, list[float]]:
    """yaw_deg and pitch_deg: the least and the largest that training saw, but for one frame in a hundred at each end.

    Args:
        avatar, head: whose shape and joints it has.
        footage: rows of the subject.
        train: frames it was fitted to.
    """
    codes = {
        name: np.stack([footage[frame.row].codes[name][frame.time] for frame in train])
        for name in ("rotation", "neck", "translation")
    }
    yaw, pitch = (torch.rad2deg(angle).cpu().numpy() for angle in view_angles(head, avatar.shape, codes))
    ends = [_RARE, 100 - _RARE]
    return {
        name: [round(float(end), 1) for end in np.percentile(angle, ends)]
        for name, angle in (("yaw_deg", yaw), ("pitch_deg", pitch))
    }


@dataclass(frozen=True)
class Swing:
    """Between which angles a camera swings; radians."""

    yaw: tuple[float, float] = (-SWING_YAW, SWING_YAW)
    pitch: tuple[float, float] = (-SWING_PITCH, SWING_PITCH)
    full: bool = False
    """All the way around instead, at the height of the eyes."""
    told: bool = False
    """The avatar says what training saw, and the angles come from that."""

    def yaw_deg(self) -> list[float]:
        """For people."""
        return [-180.0, 180.0] if self.full else [round(math.degrees(end), 1) for end in self.yaw]

    def views(self, centre: Tensor, count: int, frames: int = SWING_FRAMES) -> Tensor:
        """Rigid motions (count, 4, 4) about ``centre`` (1, 3): to both sides and a little up and down, and back.

        Args:
            centre: in the camera frame, metres.
            count: how many.
            frames: of one swing; it begins in the middle.
        """
        turn = torch.arange(count, dtype=torch.float32, device=centre.device) * (2 * math.pi / frames)
        if self.full:
            return turned(centre, turn, torch.zeros_like(turn))
        (left, right), (low, high) = self.yaw, self.pitch
        yaw = (left + right) / 2 + (right - left) / 2 * turn.sin()
        pitch = (low + high) / 2 + min((high - low) / 2, SWING_PITCH) * (2 * turn).sin()
        return turned(centre, yaw, pitch)


def swing_of(about: Mapping[str, Any], own: tuple[float, float] = (0.0, 0.0)) -> Swing:
    """The swing that suits an avatar: what training saw, by its avatar.json, and a margin.

    Args:
        about: of the avatar; one that says nothing (it was imported) gets ``SWING_YAW`` and ``SWING_PITCH``.
        own: yaw and pitch at which the head is seen before the camera swings, radians.
    """
    seen = about.get("seen")
    try:
        ends = [[math.radians(float(value)) for value in seen[name]] for name in ("yaw_deg", "pitch_deg")]  # type: ignore[index]
        (left, right), (low, high) = ends
    except (TypeError, KeyError, ValueError):
        return Swing()
    if not all(-math.pi <= end <= math.pi for end in (left, right, low, high)) or left > right or low > high:
        return Swing()
    return Swing(
        (left - MARGIN_YAW - own[0], right + MARGIN_YAW - own[0]),
        (low - MARGIN_PITCH - own[1], high + MARGIN_PITCH - own[1]),
        told=True,
    )


def turned(centre: Tensor, yaw: Tensor, pitch: Tensor) -> Tensor:
    """Rigid motions (T, 4, 4) that turn the world about ``centre`` (1, 3) by yaw and pitch (T,), radians."""
    zero, one = torch.zeros_like(yaw), torch.ones_like(yaw)
    about_y = torch.stack([yaw.cos(), zero, yaw.sin(), zero, one, zero, -yaw.sin(), zero, yaw.cos()], 1)
    about_x = torch.stack([one, zero, zero, zero, pitch.cos(), -pitch.sin(), zero, pitch.sin(), pitch.cos()], 1)
    rotation = about_x.view(-1, 3, 3) @ about_y.view(-1, 3, 3)
    views = torch.eye(4, device=centre.device).repeat(len(yaw), 1, 1)
    views[:, :3, :3] = rotation
    views[:, :3, 3] = centre - (rotation @ centre[..., None])[..., 0]
    return views
