"""Unit quaternions (w, x, y, z) and rotation matrices, in torch and differentiable."""

from __future__ import annotations

import torch
from torch import Tensor


def matrix_to_quaternion(rotation: Tensor) -> Tensor:
    """Unit quaternions (..., 4), w x y z, of rotation matrices (..., 3, 3); the largest component is positive.

    Four formulas hold wherever their own component is not small; each matrix takes the one whose component is largest,
    so values and gradients are exact everywhere (Shepperd, "Quaternion from rotation matrix", 1978).
    """
    m = rotation
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    products = torch.stack(
        [
            1 + xx + yy + zz, m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1],
            m[..., 2, 1] - m[..., 1, 2], 1 + xx - yy - zz, m[..., 1, 0] + m[..., 0, 1], m[..., 0, 2] + m[..., 2, 0],
            m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] + m[..., 0, 1], 1 - xx + yy - zz, m[..., 2, 1] + m[..., 1, 2],
            m[..., 1, 0] - m[..., 0, 1], m[..., 0, 2] + m[..., 2, 0], m[..., 2, 1] + m[..., 1, 2], 1 - xx - yy + zz,
        ],
        dim=-1,
    ).unflatten(-1, (4, 4))  # fmt: skip
    best = torch.diagonal(products, dim1=-2, dim2=-1).argmax(-1)
    row = torch.gather(products, -2, best[..., None, None].expand(*best.shape, 1, 4))[..., 0, :]
    return torch.nn.functional.normalize(row, dim=-1)


def quaternion_to_matrix(quaternion: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) of quaternions (..., 4), w x y z, of any length but 0."""
    w, x, y, z = torch.nn.functional.normalize(quaternion, dim=-1).unbind(-1)
    return torch.stack(
        [
            1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
            2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
            2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
        ],
        dim=-1,
    ).unflatten(-1, (3, 3))  # fmt: skip


def multiply(left: Tensor, right: Tensor) -> Tensor:
    """Hamilton product (..., 4) of quaternions w x y z: the rotation ``right``, then ``left``."""
    a, b, c, d = left.unbind(-1)
    w, x, y, z = right.unbind(-1)
    return torch.stack(
        [
            a * w - b * x - c * y - d * z,
            a * x + b * w + c * z - d * y,
            a * y - b * z + c * w + d * x,
            a * z + b * y - c * x + d * w,
        ],
        dim=-1,
    )


def matrix_to_axis_angle(matrix: Tensor) -> Tensor:
    """Axis-angle (..., 3), radians in [0, pi], of rotation matrices (..., 3, 3), by way of unit quaternions."""
    quaternion = matrix_to_quaternion(matrix.double())
    quaternion = torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    vector = quaternion[..., 1:]
    sine = torch.linalg.norm(vector, dim=-1, keepdim=True)
    angle = 2 * torch.atan2(sine, quaternion[..., :1])
    scale = torch.where(sine > 1e-12, angle / sine.clamp(min=1e-12), torch.full_like(sine, 2.0))
    return (vector * scale).to(matrix.dtype)
