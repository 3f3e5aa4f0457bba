""":class:`model.photometric.term.PhotometricTerm` in batched torch for any device; see ``kernels.data_term``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.camera import Camera
from model.fitting.torch_points import Points
from model.photometric.torch_view import MIN_DEPTH, neighbours, place

BYTES_AT_ONCE = {"cpu": 1 << 25, "cuda": 1 << 30}
"""Memory for the Jacobians that exist together: 2 MB a frame of 4,000 samples. Temporaries take about as much again."""
_WIDE = torch.float64


@dataclass(frozen=True)
class TorchTerm:
    """Robust distance of the colours under K points from those expected; fields as in ``PhotometricTerm``."""

    points: Points
    image: Tensor
    """(T, H, W, 4) uint8."""
    camera: Camera
    target: Tensor
    """(T, K, 3)."""
    weight: Tensor
    """(T, K)."""
    noise: float
    cauchy: float
    matte_weight: float

    def __call__(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cost (T,), gradient (T, P) and Gauss-Newton matrix (T, P, P) at codes (T, P), all on the host."""
        with torch.no_grad():
            found = self.on_device(torch.as_tensor(codes, dtype=_WIDE, device=self.image.device))
        cost, gradient, hessian = (part.cpu().numpy() for part in found)
        return cost, gradient, hessian

    def on_device(self, codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Cost (T,) float64, gradient (T, P) float64 and Gauss-Newton matrix (T, P, P) float32 at codes (T, P)."""
        num, p = codes.shape
        each = self.target.shape[1] * 2 * p * 4
        at_once = max(1, BYTES_AT_ONCE.get(codes.device.type, BYTES_AT_ONCE["cuda"]) // each)
        parts = [self._some(codes[first : first + at_once], first) for first in range(0, num, at_once)]
        cost, gradient, hessian = (torch.cat([part[k] for part in parts]) for k in range(3))
        return cost, gradient, hessian

    def _some(self, codes: Tensor, first: int) -> tuple[Tensor, Tensor, Tensor]:
        """The same for frames from ``first`` on."""
        window = slice(first, first + len(codes))
        image, target, weight = self.image[window], self.target[window], self.weight[window]
        camera, (height, width) = self.camera, image.shape[1:3]
        scale, cc = 1.0 / self.noise, self.cauchy**2
        placed = self.points.placed(codes)
        depth = placed.at[..., 2]
        near = depth > MIN_DEPTH
        inverse = 1.0 / torch.where(near, depth, 1.0)
        across, down = (torch.where(near, placed.at[..., axis], 0.0) * inverse for axis in range(2))
        x, y = camera.fx * across + camera.cx, camera.fy * down + camera.cy
        flat, s, q = place(x, y, width, height)

        # Value and slope of the four channels, in standard deviations.
        around = image.reshape(-1, 4)[neighbours(flat, width)].float()
        s, q = s[..., None], q[..., None]
        to_right, below = around[:, :, 1] - around[:, :, 0], around[:, :, 3] - around[:, :, 2]
        upper, lower = around[:, :, 0] + s * to_right, around[:, :, 2] + s * below
        value = (upper + q * (lower - upper)) / 255
        inside_x, inside_y = (x > 0.5) & (x < width - 0.5), (y > 0.5) & (y < height - 0.5)
        by_x, by_y = ((1 - q) * to_right + q * below) * inside_x[..., None], (lower - upper) * inside_y[..., None]
        slope = torch.stack([by_x, by_y], dim=-1) * (scale / 255)  # (T, K, 4, 2)
        residual = (value - torch.nn.functional.pad(target, (0, 1), value=1.0)) * scale
        ratio = residual[..., :3].square().sum(-1) / cc
        matte = self.matte_weight * residual[..., 3].square()
        lost = 0.5 * cc * np.log1p(scale * scale / cc)
        each = torch.where(near, 0.5 * (cc * torch.log1p(ratio) + matte), lost)
        cost = torch.where(weight > 0, weight * each, 0.0).sum(1, dtype=_WIDE)

        # All channels of a point as one 2 x 2 matrix L L^T and L y, so that two rows stand for them.
        factor = torch.where(near & (weight > 0), weight, 0.0)
        by_channel = torch.cat(
            [(factor / (1 + ratio))[..., None].expand(-1, -1, 3), (factor * self.matte_weight)[..., None]], dim=-1
        )
        steep = slope * by_channel[..., None]
        h11, h12 = (steep[..., 0] * slope[..., 0]).sum(-1), (steep[..., 0] * slope[..., 1]).sum(-1)
        h22 = (steep[..., 1] * slope[..., 1]).sum(-1)
        b1, b2 = (steep[..., 0] * residual).sum(-1), (steep[..., 1] * residual).sum(-1)
        told = h11 + h22 > 1e-12
        l11 = torch.where(told, torch.maximum(h11, 1e-6 * h22), 1.0).sqrt()
        l21 = h12 / l11
        rest = h22 - l21.square()
        both = told & (rest > 1e-5 * h22)
        l22 = torch.where(both, rest, 1.0).sqrt()
        y1 = b1 / l11
        y2 = torch.where(both, (b2 - l21 * y1) / l22, 0.0)
        zero = torch.zeros_like(y1)
        l11, l21, y1 = (torch.where(told, values, 0.0) for values in (l11, l21, y1))
        l22 = torch.where(both, l22, 0.0)

        ku, kv = inverse * camera.fx, inverse * camera.fy
        pulls = torch.stack(
            [l11 * ku, l21 * kv, -(l11 * ku * across + l21 * kv * down), zero, l22 * kv, -l22 * kv * down], dim=-1
        ).unflatten(-1, (2, 3))
        rows = placed.jacobian(pulls).flatten(1, 2)  # (T, 2 K, P)
        gradient = (torch.stack([y1, y2], dim=-1).flatten(1)[:, None] @ rows)[:, 0]
        return cost, gradient.to(_WIDE), rows.mT @ rows
