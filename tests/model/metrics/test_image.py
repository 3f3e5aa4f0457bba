"""PSNR and SSIM against slow and obvious forms, and what masks do."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.metrics.image import blur, blur_reference, mean_over_frames, psnr, ssim, ssim_map


def pictures(seed: int, batch: int = 2, height: int = 19, width: int = 23) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand(batch, height, width, 3, generator=generator, dtype=torch.float64)
    noise = 0.2 * torch.randn(target.shape, generator=generator, dtype=torch.float64)
    return (target + noise).clamp(0, 1), target


def slow_ssim(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """One window at a time, one channel at a time, as in the paper."""
    offsets = np.arange(-5, 6)
    weights = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    weights /= weights.sum()
    height, width, channels = x.shape
    found = np.empty((height - 10, width - 10, channels))
    for c in range(channels):
        for r in range(height - 10):
            for s in range(width - 10):
                a, b = x[r : r + 11, s : s + 11, c], y[r : r + 11, s : s + 11, c]
                ma, mb = (weights * a).sum(), (weights * b).sum()
                va, vb = (weights * (a - ma) ** 2).sum(), (weights * (b - mb) ** 2).sum()
                cov = (weights * (a - ma) * (b - mb)).sum()
                luminance = (2 * ma * mb + 0.01**2) / (ma**2 + mb**2 + 0.01**2)
                found[r, s, c] = luminance * (2 * cov + 0.03**2) / (va + vb + 0.03**2)
    return found


def test_ssim_window_by_window() -> None:
    image, target = pictures(0)
    expected = np.stack([slow_ssim(a, b) for a, b in zip(image.numpy(), target.numpy(), strict=True)])
    np.testing.assert_allclose(ssim_map(image, target).numpy(), expected, atol=1e-10)
    np.testing.assert_allclose(ssim(image, target).numpy(), expected.mean((1, 2, 3)), atol=1e-10)
    np.testing.assert_allclose(ssim(image.float(), target.float()).numpy(), expected.mean((1, 2, 3)), atol=1e-4)


def test_ssim_gradient_against_finite_differences() -> None:
    image, target = pictures(1, batch=1, height=12, width=13)
    assert torch.autograd.gradcheck(lambda x: ssim(x, target), image.requires_grad_())


@settings(max_examples=15, deadline=None)
@given(st.integers(11, 30), st.integers(11, 30), st.integers(1, 4), st.integers(0, 99))
def test_blur_equals_convolutions(height: int, width: int, count: int, seed: int) -> None:
    planes = torch.randn(count, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    fast, slow = planes.clone().requires_grad_(), planes.clone().requires_grad_()
    outputs = blur(fast), blur_reference(slow)
    assert torch.allclose(*outputs, atol=1e-12)
    pull = torch.randn(outputs[0].shape, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    for output in outputs:
        output.backward(pull)
    assert fast.grad is not None and slow.grad is not None
    assert torch.allclose(fast.grad, slow.grad, atol=1e-12)


def test_psnr_by_hand() -> None:
    target = torch.zeros(2, 4, 5, 3)
    image = target.clone()
    image[0] += 0.1
    image[1, 0, 0, 0] = 1.0
    expected = [20.0, 10 * math.log10(4 * 5 * 3)]
    assert psnr(image, target).tolist() == pytest.approx(expected, rel=1e-5)
    assert psnr(target, target).tolist() == [120.0, 120.0]


def test_equal_pictures() -> None:
    _, target = pictures(2)
    assert ssim(target, target).tolist() == pytest.approx([1.0, 1.0])


def test_only_pixels_under_the_mask_count() -> None:
    image, target = pictures(3, height=30, width=30)
    mask = torch.zeros(2, 30, 30, dtype=torch.bool)
    mask[:, 8:20, 9:21] = True
    inside = psnr(image[:, 8:20, 9:21], target[:, 8:20, 9:21])
    assert torch.allclose(psnr(image, target, mask), inside)
    before = ssim(image, target, mask)
    assert torch.allclose(before, ssim_map(image, target)[:, 3:15, 4:16].mean((1, 2, 3)))
    spoilt = image.clone()
    spoilt[~mask] = 0
    assert torch.allclose(psnr(spoilt, target, mask), inside)
    spoilt[:, 0] = math.nan  # outside the mask, even what is no number counts nothing
    assert torch.allclose(psnr(spoilt, target, mask), inside)


def test_weights_of_a_soft_mask() -> None:
    image, target = pictures(4)
    soft = torch.full(image.shape[:3], 0.3)
    assert torch.allclose(psnr(image, target, soft), psnr(image, target))
    assert torch.allclose(ssim(image, target, soft), ssim(image, target))


def test_an_empty_mask_has_no_figure_and_does_not_count() -> None:
    image, target = pictures(5)
    mask = torch.ones(image.shape[:3], dtype=torch.bool)
    mask[1] = False
    for measure in (psnr, ssim):
        values = measure(image, target, mask)
        assert torch.isnan(values).tolist() == [False, True]
        assert mean_over_frames(values) == pytest.approx(float(values[0]))
    assert math.isnan(mean_over_frames(torch.full((3,), math.nan)))


def test_clips_are_judged_by_frame_then_mean() -> None:
    """Not by pooled pixels, which let the worst frame decide."""
    target = torch.zeros(2, 12, 12, 3)
    image = target.clone()
    image[0] += 0.1
    image[1] += 0.01
    assert mean_over_frames(psnr(image, target)) == pytest.approx(30.0, rel=1e-4)


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_shapes_that_do_not_fit(measure) -> None:  # type: ignore[no-untyped-def]
    image = torch.zeros(1, 12, 12, 3)
    with pytest.raises(ValueError, match="two batches"):
        measure(image, image[:, :11])
    with pytest.raises(ValueError, match="masks"):
        measure(image, image, torch.ones(1, 11, 12))
    with pytest.raises(ValueError, match="11 x 11"):
        ssim(image[:, :10], image[:, :10])
