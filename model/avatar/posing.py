"""Posing a head on a torso of its own, and the torso's pose from the head's.

Tracking sees a face, so its rotation turns head, neck and shoulders alike. In a picture the shoulders mostly stay where
they are. Here the root joint, which carries the neck's base and the shoulders, follows a pose of its own; all other
joints go where the codes say. Linear blend skinning spans the neck between the two.

Where the torso itself was tracked (:mod:`model.avatar.torso`) it goes where it was seen. Elsewhere, under codes of
another subject or none at all of pictures, it follows from the head::

    torso_t = rest + offset + follow (head_t - rest),      head_t = (rotation_t, translation_t), six numbers

where rest is the mean head pose of the row, and offset (6,) and follow (6, 6) belong to the avatar. Zero for both is a
torso that stands still.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from model.head import HeadModel
from model.head.pose import axis_angle_to_matrix, joint_transforms, pose_features, skin

Codes = Mapping[str, Tensor]
SPREAD = (0.1, 0.1, 0.1, 0.02, 0.02, 0.02)
"""Usual spread of a talking head's pose in a clip: radians and metres. Makes the numbers of ``follow`` comparable."""


@dataclass(frozen=True, eq=False)
class Torso:
    """How a subject's torso goes with the head."""

    offset: Tensor
    """(6,) in units of ``SPREAD``: the torso against the head's mean pose."""
    follow: Tensor
    """(6, 6) what moves the torso (rows) by how much when the head moves (columns), both in units of ``SPREAD``."""

    def pose(self, codes: Codes, rest: Tensor) -> Tensor:
        """(B, 6) torso poses of frames with ``rotation`` (B, 3) and ``translation`` (B, 3) among their codes.

        Where the codes hold ``torso`` (B, 6), the torso as it was tracked, that stands in for what the head says.
        ``rest``, (6,) or (B, 6), is the mean head pose.
        """
        spread = codes["rotation"].new_tensor(SPREAD)
        if "torso" in codes:
            moved = codes["torso"]
        else:
            away = (torch.cat([codes["rotation"], codes["translation"]], dim=1) - rest) / spread
            moved = away @ self.follow.T
        return rest + (self.offset + moved) * spread

    @staticmethod
    def still(device: torch.device | str = "cpu") -> Torso:
        """A torso that does not move."""
        return Torso(torch.zeros(6, device=device), torch.zeros(6, 6, device=device))


def rest_pose(rotation: Tensor, translation: Tensor, usable: Tensor | None = None) -> Tensor:
    """(6,) mean head pose of a row, from rotation (T, 3), translation (T, 3) and which frames (T,) count."""
    poses = torch.cat([rotation, translation], dim=1)
    if usable is not None and bool(usable.any()):
        poses = poses[usable]
    return poses.mean(dim=0)


def pose_on_torso(
    head: HeadModel, rest: tuple[Tensor, Tensor], codes: Codes, torso: Tensor | None, offsets: Tensor | None = None
) -> Tensor:
    """Vertices (B, V, 3) in the camera frame, metres; differentiable in all codes, the torso and the offsets.

    Args:
        head: the head model.
        rest: vertices (1, V, 3) and joints (1, J, 3) of the identity, from ``head.shaped(shape)``.
        codes: expression (B, E), jaw, neck, eyes, rotation, translation (B, 3 or 6).
        torso: (B, 6) rotation and translation of the root joint; None: as the codes say, as in ``head.pose``.
        offsets: (V, 3) added to the vertices at rest, metres.
    """
    parts = (codes["rotation"], codes["neck"], codes["jaw"], codes["eyes"])
    batch = codes["rotation"].shape[0]
    rotations = axis_angle_to_matrix(torch.cat(parts, dim=1).unflatten(1, (5, 3)))
    vertices, joints = rest
    if head.J_exprdirs is not None:
        joints = joints + torch.einsum("be,jce->bjc", codes["expression"], head.J_exprdirs)
    moving = torch.cat([codes["expression"], pose_features(rotations, head.posedirs.shape[-1])], dim=1)
    if offsets is not None:
        vertices = vertices + offsets
    vertices = vertices + (moving @ head._flat_dirs[0]).unflatten(-1, (-1, 3))
    turned, moved, _ = joint_transforms(rotations, joints.expand(batch, -1, -1), head.parents)
    moved = moved + codes["translation"][:, None]
    if torso is not None:
        root = axis_angle_to_matrix(torso[:, :3])
        pivot = joints.expand(batch, -1, -1)[:, 0]
        away = pivot - (root @ pivot[..., None])[..., 0] + torso[:, 3:]
        turned = torch.cat([root[:, None], turned[:, 1:]], dim=1)
        moved = torch.cat([away[:, None], moved[:, 1:]], dim=1)
    return skin(vertices, head.weights, turned, moved)
