from __future__ import annotations

import pytest
import torch

from model.avatar.losses import add_regularisers, photometric, photometric_reference, regularisers
from model.gaussians import BoundGaussians


@pytest.mark.parametrize(("height", "width"), [(40, 32), (33, 47), (5, 9), (1, 1)])
@pytest.mark.parametrize("weight", [0.0, 0.2, 1.0])
def test_kernels_agree_with_torch(height: int, width: int, weight: float) -> None:
    generator = torch.Generator().manual_seed(height)
    x = torch.rand(height, width, 3, generator=generator).requires_grad_(True)
    y = (x.detach() + 0.1 * torch.randn(height, width, 3, generator=generator)).clamp(0, 1)
    ours = photometric(x, y, weight)
    (grad,) = torch.autograd.grad(3 * ours, x)
    wanted = photometric_reference(x.double(), y.double(), weight)
    (slope,) = torch.autograd.grad(3 * wanted, x)
    assert ours.item() == pytest.approx(wanted.item(), abs=2e-6)
    torch.testing.assert_close(grad, slope, atol=2e-4 * float(slope.abs().max()) + 1e-9, rtol=1e-3)


def test_threads_change_nothing() -> None:
    x = torch.rand(50, 30, 3, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    y = torch.rand(50, 30, 3, generator=torch.Generator().manual_seed(1))
    results = []
    for threads in (1, 3):
        loss = photometric(x, y, 0.2, threads=threads)
        results.append((loss.item(), torch.autograd.grad(loss, x)[0]))
    assert results[0][0] == results[1][0]
    assert torch.equal(results[0][1], results[1][1])


def test_equal_pictures_cost_nothing() -> None:
    x = torch.rand(20, 20, 3).requires_grad_(True)
    loss = photometric(x, x.detach(), 0.2)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0, abs=1e-6)
    assert x.grad is not None and float(x.grad.abs().max()) < 1e-6


def test_gradients_of_regularisers_by_hand() -> None:
    generator = torch.Generator().manual_seed(2)
    count = 60
    gaussians = BoundGaussians(
        mean=torch.randn(count, 3, generator=generator), log_scale=torch.randn(count, 3, generator=generator) - 0.5,
        rotation=torch.randn(count, 4, generator=generator), opacity=torch.zeros(count),
        sh=torch.zeros(count, 1, 3), face=torch.zeros(count, dtype=torch.int64),
    ).requires_grad_(True)  # fmt: skip
    visible = torch.rand(count, generator=generator) > 0.3
    limits = torch.rand(count, generator=generator) + 0.3, torch.rand(count, generator=generator) + 0.2
    total = regularisers(gaussians, visible, *limits, 0.01, 1.0)
    mean, scale = torch.autograd.grad(total, [gaussians.mean, gaussians.log_scale])
    gaussians.mean.grad, gaussians.log_scale.grad = torch.ones(count, 3), torch.ones(count, 3)
    add_regularisers(gaussians, visible, *limits, 0.01, 1.0)
    torch.testing.assert_close(gaussians.mean.grad, 1 + mean)
    torch.testing.assert_close(gaussians.log_scale.grad, 1 + scale)
    assert float(mean.abs().max()) > 0 and float(scale.abs().max()) > 0
    assert float(mean[~visible].abs().max()) == 0
