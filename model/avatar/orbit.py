"""Looking at an avatar from around it: a head that stands still, and a camera that swings."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from model.avatar.avatar import Avatar
from model.avatar.draw import CodesLike, complete_codes
from model.camera import Camera
from model.head import HeadModel

SWING_FRAMES = 100
"""Frames of one swing."""
SWING_YAW, SWING_PITCH = math.radians(50.0), math.radians(10.0)
"""How far it goes to each side, and up and down."""
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
    given = complete_codes(head, {"rotation": torch.zeros(1, 3), **(codes or {})})
    given["rotation"] = given["translation"] = torch.zeros(1, 3, device=head.device)
    ahead = torch.tensor([[0.0, 0.0, _DISTANCE_M]], device=head.device)
    given["translation"] = ahead - middle(avatar, head, given)
    focal = 512 * _DISTANCE_M / _FIELD_M
    return given, Camera(focal, focal, 256.0, 256.0, 512, 512), ahead


@torch.no_grad()
def middle(avatar: Avatar, head: HeadModel, codes: CodesLike) -> Tensor:
    """(1, 3) what a camera swings around, on the mean over frames of codes; metres, camera frame.

    Across and in depth it is where the ears are; in height it puts the top of the mesh near the picture's.
    """
    given = complete_codes(head, codes)
    vertices, joints = head.pose(avatar.shape.to(head.device), **{k: v.mean(0, keepdim=True) for k, v in given.items()})
    centre = joints[:, _HEAD_JOINT].clone()
    centre[:, 1] = vertices[..., 1].min() - _HAIR_M + _FIELD_M / 2
    return centre


def swing(centre: Tensor, count: int, frames: int = SWING_FRAMES) -> Tensor:
    """Rigid motions (count, 4, 4) about ``centre`` (1, 3): to both sides and a little up and down, and back.

    Args:
        centre: in the camera frame, metres.
        count: how many.
        frames: of one swing; the first one looks straight ahead.
    """
    turn = torch.arange(count, dtype=torch.float32, device=centre.device) * (2 * math.pi / frames)
    return turned(centre, SWING_YAW * turn.sin(), SWING_PITCH * (2 * turn).sin())


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
