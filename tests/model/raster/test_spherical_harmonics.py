from __future__ import annotations

import math

import pytest
import torch

from model.raster.spherical_harmonics import ambient, basis, directional, irradiance


def _sphere(count: int = 20000) -> torch.Tensor:
    """Evenly spread unit vectors (Fibonacci lattice)."""
    i = torch.arange(count, dtype=torch.float64) + 0.5
    z = 1 - 2 * i / count
    angle = math.pi * (1 + math.sqrt(5)) * i
    r = torch.sqrt(1 - z * z)
    return torch.stack([r * torch.cos(angle), r * torch.sin(angle), z], dim=-1)


def test_basis_is_orthonormal() -> None:
    values = basis(_sphere())
    gram = 4 * math.pi * values.T @ values / len(values)
    assert torch.allclose(gram, torch.eye(9, dtype=torch.float64), atol=1e-3)


def test_even_light_shades_every_normal_alike() -> None:
    light = ambient(torch.tensor([0.3, 0.5, 0.7], dtype=torch.float64))
    leaving = irradiance(_sphere(50), light)
    assert torch.allclose(leaving, torch.tensor([[0.3, 0.5, 0.7]], dtype=torch.float64).expand(50, 3))


def test_directional_light_is_near_the_clamped_cosine() -> None:
    direction = torch.nn.functional.normalize(torch.tensor([0.3, -0.8, -0.5], dtype=torch.float64), dim=0)
    normals = _sphere(2000)
    leaving = irradiance(normals, directional(direction, torch.ones(1, dtype=torch.float64)))[:, 0]
    exact = (normals @ direction).clamp_min(0)
    assert (leaving - exact).abs().max() < 0.1  # the part beyond degree 2 (at most 3/32)
    assert leaving.mean().item() == pytest.approx(0.25, abs=1e-3)


def test_batched_light() -> None:
    normals = _sphere(24).reshape(2, 3, 4, 3)
    lights = torch.randn(2, 9, 3, dtype=torch.float64)
    together = irradiance(normals, lights)
    assert torch.allclose(together[1], irradiance(normals[1], lights[1]))
