"""Distant light as real spherical harmonics up to degree 2: nine numbers a colour.

Order: Y00, Y1-1 (y), Y10 (z), Y11 (x), Y2-2 (xy), Y2-1 (yz), Y20 (3 z^2 - 1), Y21 (xz), Y22 (x^2 - y^2), orthonormal.
A Lambertian surface sees light through a cosine; its transform has A0 = pi, A1 = 2 pi / 3, A2 = pi / 4, and what is
left out has less than 1 % of the energy on average (Ramamoorthi and Hanrahan, "An efficient representation for
irradiance environment maps", SIGGRAPH 2001, equations 2, 3 and 8).
"""

from __future__ import annotations

import math

import torch

COUNT = 9
"""Number of coefficients up to degree 2."""

_Y0 = 0.5 / math.sqrt(math.pi)
_Y1 = math.sqrt(3.0 / (4.0 * math.pi))
_Y2 = math.sqrt(15.0 / (4.0 * math.pi))
_Y20 = 0.25 * math.sqrt(5.0 / math.pi)

CONSTANTS = (_Y0, _Y1, _Y1, _Y1, _Y2, _Y2, _Y20, _Y2, 0.5 * _Y2)
"""Factors of the polynomials 1, y, z, x, xy, yz, 3z^2-1, xz, x^2-y^2."""

COSINE = (1.0, *[2.0 / 3.0] * 3, *[0.25] * 5)
"""A_l / pi for each coefficient: with albedo a, the radiance that leaves is a times the sum over these."""


def basis(directions: torch.Tensor) -> torch.Tensor:
    """The nine basis functions (..., 9) at unit vectors (..., 3)."""
    x, y, z = directions.unbind(-1)
    polynomials = [torch.ones_like(x), y, z, x, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y]
    return torch.stack([factor * value for factor, value in zip(CONSTANTS, polynomials, strict=True)], dim=-1)


def directional(direction: torch.Tensor, radiance: torch.Tensor) -> torch.Tensor:
    """Coefficients (9, C) of a distant point light: direction (3,) unit vector towards it, radiance (C,).

    ``radiance`` is scaled so that a white Lambertian surface facing the light leaves ``radiance`` (up to the band
    limit).
    """
    return basis(direction)[:, None] * radiance * math.pi


def ambient(radiance: torch.Tensor) -> torch.Tensor:
    """Coefficients (9, C) of the same radiance (C,) from everywhere; a white surface then leaves ``radiance``."""
    coefficients = radiance.new_zeros(COUNT, radiance.shape[0])
    coefficients[0] = radiance / _Y0
    return coefficients


def irradiance(normals: torch.Tensor, coefficients: torch.Tensor) -> torch.Tensor:
    """Radiance (..., C) that leaves a white Lambertian surface under light of coefficients (9, C), or (B, 9, C).

    Args:
        normals: (..., 3) unit vectors; for a batch of lights the first dimension is B.
        coefficients: of the incoming radiance.
    """
    weighted = basis(normals) * normals.new_tensor(COSINE)
    if coefficients.ndim == 2:
        return weighted @ coefficients
    shape = weighted.shape
    return (weighted.reshape(shape[0], -1, COUNT) @ coefficients).reshape(*shape[:-1], -1)
