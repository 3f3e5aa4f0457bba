"""PSNR and SSIM of pictures, on whole pictures or under masks; differentiable, on any device.

All take batches (B, H, W, 3) of values in [0, 1] and give one number a picture. **Aggregation**: a clip's figure is the
mean of its frames' figures (:func:`mean_over_frames`), never a figure of pooled pixels; frames in which a mask is empty
have no figure (NaN) and do not count. Under a mask only its pixels count, with their weights; nothing is blackened or
cropped first, so foreground figures do not depend on the background's share of the picture. To judge the foreground of
a picture that was drawn over another background, composite both over the same one before.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from model.metrics.perceptual import lpips, st_lpips, st_lpips_at_hand
from model.raster.jit import fast_kernel, run_jobs

__all__ = ["lpips", "mean_over_frames", "psnr", "ssim", "ssim_map", "st_lpips", "st_lpips_at_hand"]

MAX_PSNR = 120.0
"""dB given to equal pictures."""
RADIUS, SIGMA = 5, 1.5
"""The window of SSIM: 11 x 11 pixels, Gaussian."""
C1, C2 = 0.01**2, 0.03**2
"""Constants of SSIM for values in [0, 1]."""


def _checked(image: Tensor, target: Tensor, mask: Tensor | None) -> Tensor | None:
    if image.ndim != 4 or image.shape != target.shape or image.shape[-1] != 3:
        raise ValueError(f"Expected two batches (B, H, W, 3), got {tuple(image.shape)} and {tuple(target.shape)}")
    if mask is None:
        return None
    if mask.shape != image.shape[:3]:
        raise ValueError(f"Expected masks {tuple(image.shape[:3])}, got {tuple(mask.shape)}")
    return mask.to(image.dtype)


def _mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """(B,) means of (B, H, W), weighted; NaN where the mask is empty."""
    if mask is None:
        return values.mean((1, 2))
    weight = mask.sum((1, 2))
    total = torch.where(mask > 0, values * mask, torch.zeros_like(values)).sum((1, 2))
    return torch.where(weight > 0, total / weight.clamp_min(1e-12), torch.full_like(total, math.nan))


def psnr(image: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio: -10 log10 of the mean squared error over pixels and channels, dB.

    Args:
        image: (B, H, W, 3) in [0, 1].
        target: likewise.
        mask: (B, H, W) weights >= 0, or bool; None for the whole picture.

    Returns:
        (B,); 120 for equal pictures, NaN where the mask is empty.
    """
    mask = _checked(image, target, mask)
    error = _mean((image - target).square().mean(-1), mask)
    return -10 * torch.log10(error.clamp_min(10 ** (-MAX_PSNR / 10)))


def ssim(image: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Structural similarity (Wang et al., IEEE TIP 13(4), 2004, equation 13), the mean of :func:`ssim_map`.

    As scikit-image's with ``gaussian_weights=True, sigma=1.5, use_sample_covariance=False``, and torchmetrics'. (The
    training code of 3D Gaussian splatting pads with zeros and averages over the border too; its figures differ.)

    Args:
        image: (B, H, W, 3) in [0, 1], at least 11 x 11 pixels.
        target: likewise.
        mask: (B, H, W) weights >= 0, or bool: the mean is taken over windows centred on its pixels.

    Returns:
        (B,), 1 for equal pictures; NaN where the mask is empty away from the border.
    """
    mask = _checked(image, target, mask)
    inner = None if mask is None else mask[:, RADIUS:-RADIUS, RADIUS:-RADIUS]
    values = _planes_map(image, target)
    # Without a mask the order of the sums is free, and planes are cheaper than pixels.
    return values.mean((1, 2, 3)) if inner is None else _mean(values.mean(1), inner)


def ssim_map(image: Tensor, target: Tensor) -> Tensor:
    """SSIM of every window that lies inside the picture, (B, H - 10, W - 10, 3), for pictures (B, H, W, 3)."""
    return _planes_map(image, target).permute(0, 2, 3, 1)


def _planes_map(image: Tensor, target: Tensor) -> Tensor:
    """(B, 3, H - 10, W - 10)."""
    if min(image.shape[1:3]) <= 2 * RADIUS:
        raise ValueError(f"SSIM needs pictures of at least 11 x 11 pixels, got {image.shape[2]} x {image.shape[1]}")
    x, y = (value.permute(0, 3, 1, 2).contiguous().flatten(0, 1) for value in (image, target))
    mx, my, xx, yy, xy = blur(torch.cat([x, y, x * x, y * y, x * y])).chunk(5)
    product, spread = xy - mx * my, xx - mx * mx + yy - my * my
    result = (2 * mx * my + C1) * (2 * product + C2) / ((mx * mx + my * my + C1) * (spread + C2))
    return result.unflatten(0, (-1, 3))


def window() -> np.ndarray:
    """(11,) float64 weights of the window along one axis."""
    weights = np.exp(-0.5 * (np.arange(-RADIUS, RADIUS + 1) / SIGMA) ** 2)
    return weights / weights.sum()


def blur(planes: Tensor) -> Tensor:
    """Gaussian means (N, H - 10, W - 10) of planes (N, H, W); by numba on a CPU, as convolutions elsewhere."""
    if planes.device.type == "cpu":
        return _Blur.apply(planes)  # type: ignore[no-any-return]
    return blur_reference(planes)


def blur_reference(planes: Tensor) -> Tensor:
    """:func:`blur` in plain torch."""
    weights = torch.from_numpy(window()).to(planes)
    across = torch.nn.functional.conv2d(planes[:, None], weights.view(1, 1, 1, -1))
    return torch.nn.functional.conv2d(across, weights.view(1, 1, -1, 1))[:, 0]


@fast_kernel
def _gather(planes, weights, out):  # type: ignore[no-untyped-def]
    """Write out (n, H - 10, W - 10): both passes, a few rows at a time so that they stay in the cache."""
    count, height, width = planes.shape
    taps = len(weights)
    inner = width - taps + 1
    row = np.empty(width, planes.dtype)
    for n in range(count):
        for r in range(height - taps + 1):
            row[:] = 0
            for k in range(taps):
                w = weights[k]
                given = planes[n, r + k]
                for c in range(width):
                    row[c] += w * given[c]
            made = out[n, r]
            made[:] = 0
            for k in range(taps):
                w = weights[k]
                for c in range(inner):
                    made[c] += w * row[c + k]


@fast_kernel
def _scatter(grads, weights, out):  # type: ignore[no-untyped-def]
    """The transpose of :func:`_gather`: add grads (n, H - 10, W - 10) to out (n, H, W)."""
    count, inner_height, inner = grads.shape
    taps = len(weights)
    width = out.shape[2]
    row = np.empty(width, grads.dtype)
    for n in range(count):
        for r in range(inner_height):
            row[:] = 0
            given = grads[n, r]
            for k in range(taps):
                w = weights[k]
                for c in range(inner):
                    row[c + k] += w * given[c]
            for k in range(taps):
                w = weights[k]
                made = out[n, r + k]
                for c in range(width):
                    made[c] += w * row[c]


class _Blur(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, planes: Tensor) -> Tensor:  # type: ignore[override]
        values = planes.detach().contiguous().numpy()
        out = np.empty((len(values), values.shape[1] - 2 * RADIUS, values.shape[2] - 2 * RADIUS), values.dtype)
        weights = window().astype(values.dtype)
        run_jobs(_gather, [(values[n : n + 1], weights, out[n : n + 1]) for n in range(len(values))])
        return torch.from_numpy(out)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):  # type: ignore[no-untyped-def, override]
        values = grad.contiguous().numpy()
        out = np.zeros((len(values), values.shape[1] + 2 * RADIUS, values.shape[2] + 2 * RADIUS), values.dtype)
        weights = window().astype(values.dtype)
        run_jobs(_scatter, [(values[n : n + 1], weights, out[n : n + 1]) for n in range(len(values))])
        return torch.from_numpy(out)


def mean_over_frames(values: Tensor) -> float:
    """Mean of per-frame figures (T,), leaving out frames that have none (NaN); NaN if no frame has one."""
    there = values[~torch.isnan(values)]
    return float(there.double().mean()) if len(there) else math.nan
