"""Texture, light and exposure of a clip from observed colours, by robust alternating least squares.

The picture of a surface point is modelled as gain_t x albedo_k x shine(normal), in the picture's own encoded values: a
product of linear light stays a product under a power law, and the noise of encoded values is about the same everywhere.
``shine`` is what nine spherical harmonics leave on a white surface (``model.raster.spherical_harmonics``). It is scaled
so that the surface as seen is lit by 1 on average, and ``gain`` is 1 in the middle; albedo is thus the colour seen in
typical light, in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.photometric import kernels
from model.raster.jit import run_jobs
from model.raster.spherical_harmonics import CONSTANTS, COSINE

ROUNDS = 3
RIDGE = 0.02
"""Prior pull of the directional light towards none, as a share of the observations."""
MAD = 1.4826
"""Standard deviation of a normal distribution over its median absolute value."""
LEAST_NOISE = 0.004
"""About one step of a picture's 256: less cannot be told."""
FLOOR = 0.05
"""Least light on a surface that counts, in units of the average."""


@dataclass(frozen=True)
class Appearance:
    """What makes the colours of a clip, codes apart."""

    albedo: np.ndarray
    """(K, 3) float32 colour of each point in average light."""
    known: np.ndarray
    """(K,) bool: seen often enough."""
    light: np.ndarray
    """(9, 3) float32: coefficients of the spherical harmonics of the incoming light, camera frame."""
    gain: np.ndarray
    """(T, 3) float32 exposure and white balance of each frame."""
    noise: float
    """Robust standard deviation of what is left, a channel, in [0, 1]."""


def factors() -> np.ndarray:
    """(9,) float64: what turns light coefficients into factors of the polynomials of the normal."""
    return np.array(CONSTANTS) * np.array(COSINE)


def shine(normals: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Radiance (..., 3) that leaves a white surface with unit normals (..., 3) under light (9, 3), never quite 0."""
    x, y, z = normals[..., 0], normals[..., 1], normals[..., 2]
    one = np.ones_like(x)
    polynomials = np.stack([one, y, z, x, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y], axis=-1)
    return np.maximum(polynomials @ (factors()[:, None] * light).astype(normals.dtype), FLOOR)


def _robust(square: np.ndarray, noise: float) -> np.ndarray:
    """Cauchy weights of squared residuals summed over three channels."""
    return 1.0 / (1.0 + square / (3 * np.square(2.0 * noise)))


def fit_gain(colour: np.ndarray, expected: np.ndarray, weight: np.ndarray, noise: float = 0.08) -> np.ndarray:
    """Exposure (T, 3) that brings expected colours (T, K, 3) nearest to those seen; 1 where nothing is seen.

    Every third point is used: there are thousands for three numbers.
    """
    colour, expected, weight = colour[:, ::3], expected[:, ::3], weight[:, ::3]
    gain: np.ndarray = np.ones((len(colour), 3))
    for _ in range(3):
        left = np.square(colour - gain[:, None] * expected).sum(axis=2)
        w = (weight * _robust(left, noise))[..., None]
        above, below = (w * colour * expected).sum(axis=1), (w * np.square(expected)).sum(axis=1)
        gain = np.where(below > 1e-6, above / np.maximum(below, 1e-6), 1.0)
    return np.clip(gain, 0.2, 5.0)


def fit_light(colour: np.ndarray, normal: np.ndarray, base: np.ndarray, weight: np.ndarray, noise: float) -> np.ndarray:
    """Light (9, 3) for colours (..., 3) seen on normals (..., 3), where an even light of 1 would show ``base``."""
    x, y, z = (normal[..., a].reshape(-1).astype(np.float64) for a in range(3))
    one = np.ones_like(x)
    design = np.stack([one, y, z, x, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y], axis=1) * factors()
    light = np.zeros((9, 3))
    light[0] = 1.0 / factors()[0]
    flat, seen, w0 = base.reshape(-1, 3), colour.reshape(-1, 3), weight.reshape(-1)
    for _ in range(3):
        left = np.square(seen - flat * (design @ light)).sum(axis=1)
        w = w0 * _robust(left, noise)
        for channel in range(3):
            rows = design * flat[:, channel, None]
            matrix = (rows * w[:, None]).T @ rows
            pull = RIDGE * np.trace(matrix) / 9
            ridge = np.diag(np.r_[1e-9, np.ones(8)] * pull)
            light[:, channel] = np.linalg.solve(matrix + ridge, (rows * w[:, None]).T @ seen[:, channel])
    return light


def fit_albedo(
    colour: np.ndarray, normal: np.ndarray, weight: np.ndarray, light: np.ndarray, gain: np.ndarray, noise: float,
    threads: int = 1,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Albedo (K, 3) in [0, 1] of points seen in T frames, and (K,) which points were seen often enough.

    Args:
        colour: (T, K, 3) seen; overwritten.
        normal: (T, K, 3) unit; overwritten with what a white surface would show there.
        weight: (T, K) 0 where hidden; overwritten.
        light: (9, 3) spherical harmonics.
        gain: (T, 3) exposure.
        noise: scale of the Cauchy loss.
        threads: jobs at a time.
    """
    total = weight.sum(axis=0)
    known = total > 0.02 * max(float(np.quantile(total, 0.9)), 1e-6)
    scaled = (factors()[:, None] * light).astype(np.float32)
    fixed = (scaled, gain.astype(np.float32), colour, normal, weight)
    run_jobs(kernels.unlight, [(t, t + 1, *fixed) for t in range(len(colour))], threads)
    albedo = np.empty(colour.shape[1:], np.float32)
    edges = np.linspace(0, len(albedo), 17).astype(int).tolist()
    jobs = [(a, b, colour, weight, noise, ROUNDS, albedo) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    run_jobs(kernels.robust_mean, jobs, threads)
    albedo = np.clip(albedo, 0.0, 1.0)
    if known.any():
        albedo[~known] = np.median(albedo[known], axis=0)
    return albedo, known


def fit_appearance(
    colour: np.ndarray, normal: np.ndarray, weight: np.ndarray, skin: np.ndarray, threads: int = 1
) -> Appearance:
    """Texture, light and exposure of K points in T frames.

    Args:
        colour: (T, K, 3) in [0, 1].
        normal: (T, K, 3) unit, camera frame.
        weight: (T, K) 0 where hidden.
        skin: (K,) bool: points from which the light may first be taken, their colour being much alike.
        threads: jobs at a time; changes nothing in the result.

    Raises:
        ValueError: nothing is seen in any frame.
    """
    on = weight[:, skin] > 0
    if not on.any():
        raise ValueError("No point of the face is seen in any frame")
    some = np.flatnonzero(skin)[::3]
    usual = np.median(colour[:, skin][on], axis=0)
    base = np.broadcast_to(usual, (len(colour), len(some), 3))
    light = fit_light(colour[:, some], normal[:, some], base, weight[:, some], 0.1)
    gain = np.ones((len(colour), 3))
    scale = 0.05
    for step in range(ROUNDS):
        albedo, known = fit_albedo(colour.copy(), normal.copy(), weight.copy(), light, gain, scale, threads)
        gain = fit_gain(colour, shine(normal, light) * albedo, weight)
        gain = gain / np.maximum(np.median(gain, axis=0), 1e-3)
        left = np.abs(colour - shine(normal, light) * albedo * gain[:, None]).mean(axis=2)[weight > 0]
        scale = float(max(LEAST_NOISE, MAD * np.median(left)))
        if step < ROUNDS - 1:
            light = fit_light(colour[:, ::3], normal[:, ::3], gain[:, None] * albedo[::3], weight[:, ::3], scale)
    mean = float(np.average(shine(normal, light).mean(axis=2), weights=weight))
    light, albedo = light / mean, np.clip(albedo * mean, 0.0, 1.0)
    return Appearance(albedo.astype(np.float32), known, light.astype(np.float32), gain.astype(np.float32), scale)
