"""What a picture and a set of Gaussians are judged by: L1 and SSIM with their gradient in one pass, and regularisers.

    photometric = (1 - w) mean |x - y| + w (1 - mean SSIM(x, y))

with SSIM of Wang et al. (IEEE TIP 13(4), 2004): windows of 11 x 11 pixels, Gaussian of 1.5 px, zero beyond the border,
C1 = 0.01^2 and C2 = 0.03^2 for values in [0, 1]. On the CPU numba kernels compute value and gradient together; the
plain torch form beside them is what they are tested against, and what runs on other devices.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from model.gaussians import BoundGaussians
from model.raster.jit import fast_kernel, run_jobs

RADIUS = 5
"""Pixels that the window of SSIM reaches to each side."""
_SIGMA = 1.5
_C1, _C2 = 0.01**2, 0.03**2
_BANDS = 4


def window() -> np.ndarray:
    """(11,) float32 weights of the window along one axis."""
    x = np.arange(-RADIUS, RADIUS + 1)
    values = np.exp(-np.square(x) / (2 * _SIGMA**2))
    return (values / values.sum()).astype(np.float32)


@fast_kernel
def _moments(row0, row1, x, y, weights, stats):  # type: ignore[no-untyped-def]
    """Blur x, y, xx, yy, xy (rows row0..row1 of images (H, W)) into stats (5, H, W)."""
    height, width = x.shape
    radius = len(weights) // 2
    top, end = max(0, row0 - radius), min(height, row1 + radius)
    across = np.zeros((5, end - top, width), np.float32)
    line = np.zeros((5, width + 2 * radius), np.float32)
    for r in range(top, end):
        for c in range(width):
            a, b = x[r, c], y[r, c]
            line[0, c + radius], line[1, c + radius] = a, b
            line[2, c + radius], line[3, c + radius], line[4, c + radius] = a * a, b * b, a * b
        for q in range(5):
            out = across[q, r - top]
            given = line[q]
            for k in range(len(weights)):
                w = weights[k]
                for c in range(width):
                    out[c] += w * given[c + k]
    for r in range(row0, row1):
        for q in range(5):
            out = stats[q, r]
            for c in range(width):
                out[c] = 0.0
            for k in range(max(top, r - radius), min(end, r + radius + 1)):
                w = weights[k - r + radius]
                given = across[q, k - top]
                for c in range(width):
                    out[c] += w * given[c]


@fast_kernel
def _slopes(row0, row1, stats, total):  # type: ignore[no-untyped-def]
    """Replace stats[0..3] by the derivatives of SSIM by mean, mean of squares and mean product; add SSIM to total."""
    width = stats.shape[2]
    c1, c2 = np.float32(0.0001), np.float32(0.0009)
    for r in range(row0, row1):
        sum_ssim = np.float32(0.0)
        for c in range(width):
            mx, my = stats[0, r, c], stats[1, r, c]
            a1, a2 = 2 * mx * my + c1, 2 * (stats[4, r, c] - mx * my) + c2
            b1, b2 = mx * mx + my * my + c1, stats[2, r, c] - mx * mx + stats[3, r, c] - my * my + c2
            below = np.float32(1.0) / (b1 * b2)
            ssim = a1 * a2 * below
            by_square = -ssim / b2
            by_product = 2 * a1 * below
            stats[0, r, c] = 2 * my * a2 * below - 2 * mx * ssim / b1 - 2 * mx * by_square - my * by_product
            stats[1, r, c] = by_square
            stats[2, r, c] = by_product
            sum_ssim += ssim
        total[r] += sum_ssim


@fast_kernel
def _gradient(row0, row1, x, y, weights, stats, by_l1, by_ssim, grad, total):  # type: ignore[no-untyped-def]
    """Write grad (H, W), the slope of the loss by x; the sum of |x - y| a row is added to total (H,)."""
    height, width = x.shape
    radius = len(weights) // 2
    top, end = max(0, row0 - radius), min(height, row1 + radius)
    across = np.zeros((3, end - top, width), np.float32)
    line = np.zeros(width + 2 * radius, np.float32)
    down = np.empty((3, width), np.float32)
    for q in range(3):
        for r in range(top, end):
            for c in range(width):
                line[c + radius] = stats[q, r, c]
            out = across[q, r - top]
            for k in range(len(weights)):
                w = weights[k]
                for c in range(width):
                    out[c] += w * line[c + k]
    for r in range(row0, row1):
        for q in range(3):
            out = down[q]
            for c in range(width):
                out[c] = 0.0
            for k in range(max(top, r - radius), min(end, r + radius + 1)):
                w = weights[k - r + radius]
                given = across[q, k - top]
                for c in range(width):
                    out[c] += w * given[c]
        absolute = np.float32(0.0)
        for c in range(width):
            left = x[r, c] - y[r, c]
            absolute += abs(left)
            side = np.float32(0.0)
            if left > 0:
                side = by_l1
            elif left < 0:
                side = -by_l1
            grad[r, c] = side - by_ssim * (down[0, c] + 2 * x[r, c] * down[1, c] + y[r, c] * down[2, c])
        total[r] += absolute


class _Photometric(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: FunctionCtx, image: Tensor, target: Tensor, ssim_weight: float, count: float, threads: int | None
    ) -> Tensor:
        x = np.ascontiguousarray(image.detach().permute(2, 0, 1).numpy())
        y = np.ascontiguousarray(target.detach().permute(2, 0, 1).numpy())
        channels, height, width = x.shape
        stats = np.empty((channels, 5, height, width), np.float32)
        grad = np.empty_like(x)
        similar, absolute = np.zeros((channels, height), np.float32), np.zeros((channels, height), np.float32)
        edges = np.linspace(0, height, _BANDS + 1).astype(int).tolist()
        bands = [(c, a, b) for c in range(channels) for a, b in zip(edges[:-1], edges[1:], strict=True)]
        weights = window()
        run_jobs(_moments, [(a, b, x[c], y[c], weights, stats[c]) for c, a, b in bands], threads)
        run_jobs(_slopes, [(a, b, stats[c], similar[c]) for c, a, b in bands], threads)
        by_l1, by_ssim = np.float32((1 - ssim_weight) / count), np.float32(ssim_weight / count)
        run_jobs(
            _gradient,
            [(a, b, x[c], y[c], weights, stats[c], by_l1, by_ssim, grad[c], absolute[c]) for c, a, b in bands],
            threads,
        )
        ctx.grad = torch.from_numpy(grad).permute(1, 2, 0)  # type: ignore[attr-defined]
        unlike = channels * height * width - float(similar.sum(dtype=np.float64))
        value = ((1 - ssim_weight) * float(absolute.sum(dtype=np.float64)) + ssim_weight * unlike) / count
        return torch.tensor(value, dtype=torch.float32)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):  # type: ignore[no-untyped-def, override]
        return ctx.grad * grad, None, None, None, None


def photometric(image: Tensor, target: Tensor, ssim_weight: float, *, threads: int | None = None) -> Tensor:
    """The loss at the top; differentiable in ``image``.

    Args:
        image: (H, W, 3) in [0, 1].
        target: (H, W, 3) in [0, 1].
        ssim_weight: w.
        threads: of the kernels; changes nothing in the result.
    """
    if image.device.type != "cpu" or image.dtype != torch.float32:
        return photometric_reference(image, target, ssim_weight)
    return _Photometric.apply(image, target, ssim_weight, float(image.numel()), threads)  # type: ignore[no-any-return]


def photometric_reference(image: Tensor, target: Tensor, ssim_weight: float) -> Tensor:
    """:func:`photometric` in plain torch, on any device."""
    x, y = image.permute(2, 0, 1)[:, None], target.permute(2, 0, 1)[:, None]
    weights = torch.from_numpy(window()).to(x)

    def blur(values: Tensor) -> Tensor:
        across = torch.nn.functional.conv2d(values, weights.view(1, 1, 1, -1), padding=(0, RADIUS))
        return torch.nn.functional.conv2d(across, weights.view(1, 1, -1, 1), padding=(RADIUS, 0))

    mx, my = blur(x), blur(y)
    product, spread = blur(x * y) - mx * my, blur(x * x) - mx * mx + blur(y * y) - my * my
    ssim = (2 * mx * my + _C1) * (2 * product + _C2) / ((mx * mx + my * my + _C1) * (spread + _C2))
    return (1 - ssim_weight) * (x - y).abs().mean() + ssim_weight * (1 - ssim.mean())


def matte_loss(alpha: Tensor, matte: Tensor, sure: Tensor) -> Tensor:
    """Mean over pixels of ``sure`` |alpha - matte|, all (H, W) in [0, 1]."""
    return ((alpha - matte).abs() * sure).mean()


@torch.no_grad()
def add_regularisers(
    gaussians: BoundGaussians, visible: Tensor, mean_limit: Tensor, scale_limit: Tensor, mean_weight: float,
    scale_weight: float,
) -> None:  # fmt: skip
    """Add the gradients of :func:`regularisers` to those of positions and log-scales, in place.

    By hand, because a graph over all Gaussians would cost as much as the rest of the loss.
    """
    share = visible.to(gaussians.mean.dtype) / visible.sum().clamp_min(1)
    length = gaussians.mean.norm(dim=1)
    pull = torch.where(length > mean_limit, share * mean_weight / length.clamp_min(1e-12), 0.0)
    grad_mean, grad_scale = gaussians.mean.grad, gaussians.log_scale.grad
    assert grad_mean is not None and grad_scale is not None
    grad_mean.addcmul_(gaussians.mean, pull[:, None])
    scale = gaussians.log_scale.exp()
    over = (scale - scale_limit[:, None]).clamp_min(0)
    size = over.norm(dim=1)
    grad_scale.addcmul_(over * scale, (share * scale_weight / size.clamp_min(1e-12))[:, None])


def regularisers(
    gaussians: BoundGaussians, visible: Tensor, mean_limit: Tensor, scale_limit: Tensor, mean_weight: float,
    scale_weight: float,
) -> Tensor:  # fmt: skip
    """Mean over visible Gaussians of w_m max(0, |mu| - limit_m) + w_s |max(0, exp(s) - limit_s)|, in local units.

    As published with GaussianAvatars, where the limits are 1 and 0.6 for all; here each Gaussian has its own.

    Args:
        gaussians: N of them.
        visible: (N,) bool.
        mean_limit: (N,) in units of the triangle.
        scale_limit: (N,) likewise.
        mean_weight: w_m.
        scale_weight: w_s.
    """
    far = torch.relu(gaussians.mean.norm(dim=1) - mean_limit)
    large = torch.relu(gaussians.log_scale.exp() - scale_limit[:, None])
    # sqrt has no slope at 0.
    squared = large.square().sum(dim=1)
    size = torch.where(squared > 0, squared.clamp_min(1e-24).sqrt(), 0.0)
    values = mean_weight * far + scale_weight * size
    return (values * visible).sum() / visible.sum().clamp_min(1)


def psnr(square: float) -> float:
    """Decibels of a mean squared error of values in [0, 1]; 120 dB at most."""
    return -10 * math.log10(max(square, 1e-12))
