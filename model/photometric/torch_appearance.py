""":mod:`model.photometric.appearance` as batched torch: the same robust least squares, on any device.

Names, arguments and results are those of that module, with tensors for arrays; formulas and constants are explained
there. Sums that decide something run in float64.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from model.photometric.appearance import FLOOR, LEAST_NOISE, MAD, RIDGE, ROUNDS, Appearance, factors

_WIDE = torch.float64


def polynomials(normals: Tensor) -> Tensor:
    """The nine polynomials (..., 9) of normals (..., 3), without their factors."""
    x, y, z = normals.unbind(-1)
    one = torch.ones_like(x)
    return torch.stack([one, y, z, x, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y], dim=-1)


def _scaled(light: Tensor) -> Tensor:
    """Light (9, 3) as factors of the polynomials."""
    return torch.as_tensor(factors(), dtype=_WIDE, device=light.device)[:, None] * light.to(_WIDE)


def shine(normals: Tensor, light: Tensor) -> Tensor:
    """Radiance (..., 3) that leaves a white surface, never quite 0."""
    return (polynomials(normals) @ _scaled(light).to(normals.dtype)).clamp_min(FLOOR)


def _robust(square: Tensor, noise: float) -> Tensor:
    return 1.0 / (1.0 + square / (3 * (2.0 * noise) ** 2))


def median(values: Tensor) -> Tensor:
    """Median along the first axis; of an even number the mean of the middle two, as numpy's."""
    ordered, num = values.sort(dim=0)[0], len(values)
    return 0.5 * (ordered[(num - 1) // 2] + ordered[num // 2])


def fit_gain(colour: Tensor, expected: Tensor, weight: Tensor, noise: float = 0.08) -> Tensor:
    """Exposure (T, 3) float64 for colours and expected colours (T, K, 3) with weights (T, K)."""
    colour, expected, weight = colour[:, ::3], expected[:, ::3], weight[:, ::3]
    gain = torch.ones(len(colour), 3, dtype=_WIDE, device=colour.device)
    for _ in range(3):
        left = (colour - gain[:, None].to(colour.dtype) * expected).square().sum(2)
        w = (weight * _robust(left, noise))[..., None]
        above = (w * colour * expected).sum(1, dtype=_WIDE)
        below = (w * expected.square()).sum(1, dtype=_WIDE)
        gain = torch.where(below > 1e-6, above / below.clamp_min(1e-6), 1.0)
    return gain.clamp(0.2, 5.0)


def fit_light(colour: Tensor, normal: Tensor, base: Tensor, weight: Tensor, noise: float) -> Tensor:
    """Light (9, 3) float64 for colours (..., 3) seen on normals (..., 3); ``base`` under an even light of 1."""
    scale = torch.as_tensor(factors(), dtype=_WIDE, device=colour.device)
    design = polynomials(normal.reshape(-1, 3).to(_WIDE)) * scale
    light = torch.zeros(9, 3, dtype=_WIDE, device=colour.device)
    light[0] = 1.0 / scale[0]
    flat, seen, given = base.reshape(-1, 3).to(_WIDE), colour.reshape(-1, 3).to(_WIDE), weight.reshape(-1).to(_WIDE)
    for _ in range(3):
        left = (seen - flat * (design @ light)).square().sum(1)
        w = given * _robust(left, noise)
        found = []
        for channel in range(3):
            rows = design * flat[:, channel, None]
            weighted = (rows * w[:, None]).mT
            matrix = weighted @ rows
            ridge = torch.full_like(scale, RIDGE) * matrix.trace() / 9
            ridge[0] *= 1e-9
            found.append(torch.linalg.solve(matrix + torch.diag(ridge), weighted @ seen[:, channel]))
        light = torch.stack(found, dim=1)
    return light


def _robust_mean(values: Tensor, weight: Tensor, noise: float) -> Tensor:
    """Means (K, 3) over T of values (T, K, 3): Cauchy, its scale halved from round to round; 0 for unseen points."""
    total = weight.sum(0, dtype=_WIDE)[:, None]
    mean = torch.where(total > 0, (weight[..., None] * values).sum(0, dtype=_WIDE) / total, 0.0).float()
    for step in range(1, ROUNDS + 1):
        scale = 3 * (2 * noise * 2.0 ** (ROUNDS - step)) ** 2
        w = weight / (1 + (values - mean).square().sum(2) / scale)
        total = w.sum(0, dtype=_WIDE)[:, None]
        mean = torch.where(total > 0, (w[..., None] * values).sum(0, dtype=_WIDE) / total, mean).float()
    return mean


def fit_albedo(
    colour: Tensor, normal: Tensor, weight: Tensor, light: Tensor, gain: Tensor, noise: float
) -> tuple[Tensor, Tensor]:
    """Albedo (K, 3) in [0, 1] and (K,) which points were seen often enough; nothing is overwritten."""
    total = weight.sum(0)
    known = total > 0.02 * torch.quantile(total, 0.9).clamp_min(1e-6)
    lit = shine(normal, light) * gain[:, None].to(colour.dtype)
    albedo = _robust_mean(colour / lit, weight * lit.square().sum(2) / 3, noise).clamp(0.0, 1.0)
    if bool(known.any()):
        albedo = torch.where(known[:, None], albedo, median(albedo[known]))
    return albedo, known


def fit_appearance(colour: Tensor, normal: Tensor, weight: Tensor, skin: Tensor) -> Appearance:
    """Texture, light and exposure of K points in T frames, on the host.

    Args:
        colour: (T, K, 3) in [0, 1].
        normal: (T, K, 3) unit, camera frame.
        weight: (T, K) 0 where hidden.
        skin: (K,) bool.

    Raises:
        ValueError: nothing is seen in any frame.
    """
    on = weight[:, skin] > 0
    if not bool(on.any()):
        raise ValueError("No point of the face is seen in any frame")
    some = skin.nonzero()[::3, 0]
    base = median(colour[:, skin][on]).expand(len(colour), len(some), 3)
    light = fit_light(colour[:, some], normal[:, some], base, weight[:, some], 0.1)
    gain = torch.ones(len(colour), 3, dtype=_WIDE, device=colour.device)
    scale = 0.05
    for step in range(ROUNDS):
        albedo, known = fit_albedo(colour, normal, weight, light, gain, scale)
        lit = shine(normal, light) * albedo
        gain = fit_gain(colour, lit, weight)
        gain = gain / median(gain).clamp_min(1e-3)
        left = (colour - lit * gain[:, None].to(colour.dtype)).abs().mean(2)[weight > 0]
        scale = max(LEAST_NOISE, MAD * float(median(left)))
        if step < ROUNDS - 1:
            base = gain[:, None] * albedo[::3]
            light = fit_light(colour[:, ::3], normal[:, ::3], base, weight[:, ::3], scale)
    mean = (shine(normal, light).mean(2) * weight).sum(dtype=_WIDE) / weight.sum(dtype=_WIDE)

    def single(values: Tensor) -> np.ndarray:
        return values.float().cpu().numpy()

    albedo = (albedo * mean.float()).clamp(0.0, 1.0)
    return Appearance(single(albedo), known.cpu().numpy(), single(light / mean), single(gain), scale)
