"""The photometric term as one would write it down: posed mesh, projection, bilinear pictures, autograd. For tests."""

from __future__ import annotations

import torch
from torch import Tensor

from model.camera import Camera, project
from model.head import HeadModel


def bilinear(image: Tensor, points: Tensor) -> Tensor:
    """Pictures (T, H, W, C) in [0, 1] at pixels (T, K, 2), corner origin; held at the edges: (T, K, C)."""
    height, width = image.shape[1:3]
    x = (points[..., 0] - 0.5).clamp(0, width - 1)
    y = (points[..., 1] - 0.5).clamp(0, height - 1)
    i, j = x.detach().floor().long().clamp(max=width - 2), y.detach().floor().long().clamp(max=height - 2)
    s, q = (x - i)[..., None], (y - j)[..., None]
    t = torch.arange(len(image))[:, None]
    upper = image[t, j, i] * (1 - s) + image[t, j, i + 1] * s
    lower = image[t, j + 1, i] * (1 - s) + image[t, j + 1, i + 1] * s
    return upper * (1 - q) + lower * q


def sample_points(head: HeadModel, corners: Tensor, bary: Tensor, shape: Tensor, codes: Tensor) -> Tensor:
    """Points (T, K, 3) in the camera frame of codes (T, E + 15); corners (K, 3) vertices, bary (K, 3)."""
    e = codes.shape[1] - 15
    _, joints = head.shaped(shape)
    vertices, _ = head.pose(
        shape, expression=codes[:, :e], jaw=codes[:, e : e + 3], eyes=codes[:, e + 3 : e + 9],
        rotation=codes[:, e + 9 : e + 12], translation=codes[:, e + 12 :] - joints[:, 0],
    )  # fmt: skip
    return torch.einsum("tkmx,km->tkx", vertices[:, corners], bary.to(vertices.dtype))


def residuals(image: Tensor, target: Tensor, points: Tensor, camera: Camera, noise: float) -> tuple[Tensor, Tensor]:
    """Residuals over their deviation: colours (T, K, 3), and matte (T, K)."""
    seen = bilinear(image.to(points.dtype) / 255, project(points, camera))
    return (seen[..., :3] - target) / noise, (seen[..., 3] - 1) / noise


def cost(colours: Tensor, matte: Tensor, weight: Tensor, cauchy: float, matte_weight: float) -> Tensor:
    """(T,) robust cost of ``residuals`` with weights (T, K)."""
    robust = cauchy**2 * torch.log1p(colours.square().sum(-1) / cauchy**2)
    return 0.5 * (weight * (robust + matte_weight * matte.square())).sum(1)


def gauss_newton(
    colours: Tensor, matte: Tensor, weight: Tensor, cauchy: float, matte_weight: float, codes: Tensor
) -> Tensor:
    """(T, P, P) Gauss-Newton matrices by differentiating every residual by itself.

    Args:
        colours: (T, K, 3) residuals, with their graph.
        matte: (T, K) residuals, with their graph.
        weight: (T, K).
        cauchy: scale of the loss.
        matte_weight: weight of the matte.
        codes: (T, P) what they were made from; requires grad.
    """
    robust = (weight / (1 + colours.detach().square().sum(-1) / cauchy**2))[..., None].expand_as(colours)
    rows = torch.cat([colours * robust.sqrt(), matte[..., None] * (weight * matte_weight).sqrt()[..., None]], dim=2)
    out = codes.new_zeros(len(codes), codes.shape[1], codes.shape[1])
    for k in range(rows.shape[1]):
        for c in range(rows.shape[2]):
            # Frames do not mix, so one backward pass serves all of them.
            (row,) = torch.autograd.grad(rows[:, k, c].sum(), codes, retain_graph=True)
            out += row[:, :, None] * row[:, None, :]
    return out
