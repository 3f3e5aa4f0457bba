"""The data terms of the fit written the slow and obvious way: pose the head, project, differentiate automatically.

Shares nothing with ``kernels`` but the definition of the loss, and works for any head that can be posed. Tests compare
the two, and the benchmark's rival minimises this one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from model.camera import Camera, project
from model.fitting.problem import PAIRS

if TYPE_CHECKING:
    from model.head import HeadModel


def landmarks(head: HeadModel, shape: Tensor, codes: Tensor, camera: Camera) -> Tensor:
    """Projected landmarks (T, 478, 2), pixels.

    Args:
        head: the head model.
        shape: (S,) or (T, S).
        codes: (T, E + 15) expressions, jaw 3, eyes 6, rotation 3, origin 3; the origin is the posed root joint.
        camera: intrinsics.
    """
    e = codes.shape[1] - 15
    root = head.J_template[0] + shape @ head.J_shapedirs[0].T
    vertices, _ = head.pose(
        shape if shape.dim() == 2 else shape.expand(len(codes), -1),
        codes[:, :e],
        codes[:, e : e + 3],
        torch.zeros_like(codes[:, :3]),
        codes[:, e + 3 : e + 9],
        codes[:, e + 9 : e + 12],
        codes[:, e + 12 :] - root,
    )
    return project(head.landmark_points(vertices), camera)


def data_cost(
    points: Tensor, observed: Tensor, weights: Tensor, pair_weights: Tensor, deviation: Tensor, cauchy: float
) -> Tensor:
    """Robust cost of every frame.

    Args:
        points: (T, 478, 2) projections, pixels.
        observed: (T, 478, 2) pixels.
        weights: (T, 478).
        pair_weights: (T, Q) for the vectors between ``problem.PAIRS``.
        deviation: (T,) standard deviation, pixels.
        cauchy: scale of the loss in standard deviations.

    Returns:
        (T,) sum of w c^2 / 2 log(1 + |r|^2 / c^2).
    """
    residual = (points - observed) / deviation[:, None, None]
    pairs = torch.as_tensor(PAIRS, device=points.device)
    between = residual[:, pairs[:, 0]] - residual[:, pairs[:, 1]]

    def robust(r: Tensor, w: Tensor) -> Tensor:
        return (0.5 * cauchy**2 * w * torch.log1p(r.square().sum(-1) / cauchy**2)).sum(1)

    return robust(residual, weights) + robust(between, pair_weights)
