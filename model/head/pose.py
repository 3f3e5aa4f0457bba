"""Posing a head: shape and expression blendshapes, pose correctives, forward kinematics, linear blend skinning.

The order is FLAME's (Li et al., "Learning a model of facial shape and expression from 4D scans", ACM ToG 36(6), 2017,
equations 1-5): blendshapes and correctives displace the template, the joints follow the identity only, and the skin
follows the joints. All functions are batched, differentiable and keep the dtype and device of their inputs.
"""

from __future__ import annotations

import torch
from torch import Tensor


def axis_angle_to_matrix(rotation: Tensor) -> Tensor:
    """Rotation matrices of axis-angle vectors (Rodrigues), exact and smooth also at zero.

    Args:
        rotation: (..., 3) radians.

    Returns:
        (..., 3, 3).
    """
    squared = (rotation * rotation).sum(-1)
    small = squared < 1e-6
    safe = torch.where(small, torch.ones_like(squared), squared)
    angle = safe.sqrt()
    half = torch.sin(0.5 * angle) / angle
    # sin(t)/t and (1 - cos t)/t^2; the latter as 2 sin^2(t/2)/t^2, which does not cancel in float32.
    first = torch.where(small, 1 - squared / 6, torch.sin(angle) / angle)
    second = torch.where(small, 0.5 - squared / 24, 2 * half * half)
    x, y, z = rotation.unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).reshape(*rotation.shape, 3)
    eye = torch.eye(3, dtype=rotation.dtype, device=rotation.device)
    return eye + first[..., None, None] * skew + second[..., None, None] * (skew @ skew)


def pose_features(rotations: Tensor, count: int = 27) -> Tensor:
    """What the correctives are linear in: the entries of R - I of the last joints, row by row.

    Args:
        rotations: (B, 5, 3, 3) local rotations of root, neck, jaw, left eye, right eye.
        count: 27 for jaw, left eye and right eye (the open head), 36 for the neck before them (FLAME), 0 for none.

    Returns:
        (B, count).
    """
    eye = torch.eye(3, dtype=rotations.dtype, device=rotations.device)
    return (rotations[:, rotations.shape[1] - count // 9 :] - eye).flatten(1)


def joint_transforms(rotations: Tensor, joints: Tensor, parents: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Forward kinematics.

    Args:
        rotations: (B, J, 3, 3) local rotations.
        joints: (B, J, 3) joints at rest, metres.
        parents: parent of each joint, -1 for the root; parents come first.

    Returns:
        Global rotations G (B, J, 3, 3) and offsets t (B, J, 3) such that a point x at rest on joint j goes to
        G_j x + t_j, and the posed joints (B, J, 3).
    """
    turned: list[Tensor] = []
    offsets: list[Tensor] = []
    posed: list[Tensor] = []
    for j, parent in enumerate(parents):
        rest = joints[:, j]
        if parent < 0:
            turned.append(rotations[:, j])
            posed.append(rest)
        else:
            turned.append(turned[parent] @ rotations[:, j])
            posed.append((turned[parent] @ rest[..., None])[..., 0] + offsets[parent])
        offsets.append(posed[j] - (turned[j] @ rest[..., None])[..., 0])
    return torch.stack(turned, 1), torch.stack(offsets, 1), torch.stack(posed, 1)


def skin(vertices: Tensor, weights: Tensor, turned: Tensor, offsets: Tensor) -> Tensor:
    """Linear blend skinning.

    Args:
        vertices: (B, V, 3) at rest, metres.
        weights: (V, J), rows sum to 1.
        turned: (B, J, 3, 3) global rotations.
        offsets: (B, J, 3) offsets of :func:`joint_transforms`.

    Returns:
        (B, V, 3).
    """
    affine = torch.cat([turned, offsets[..., None]], dim=-1)  # (B, J, 3, 4)
    blended = (weights @ affine.flatten(2)).unflatten(-1, (3, 4))  # (B, V, 3, 4)
    return (blended[..., :3] * vertices[:, :, None, :]).sum(-1) + blended[..., 3]
