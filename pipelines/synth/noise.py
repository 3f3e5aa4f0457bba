"""Value noise by hashing lattice points: the same number at the same place of a surface, for ever."""

from __future__ import annotations

import numpy as np

from model.raster.jit import kernel


@kernel
def _hash(x, y, z, seed):  # type: ignore[no-untyped-def]
    """A number in [0, 1) for a lattice point: integer mixing with odd constants and shifts."""
    h = np.uint32(x) * np.uint32(0x8DA6B343) + np.uint32(y) * np.uint32(0xD8163841)
    h = h + np.uint32(z) * np.uint32(0xCB1AB31F) + np.uint32(seed) * np.uint32(0x9E3779B9)
    h = np.uint32(h ^ (h >> np.uint32(15))) * np.uint32(0x2C1B3C6D)
    h = np.uint32(h ^ (h >> np.uint32(12))) * np.uint32(0x297A2D39)
    h = np.uint32(h ^ (h >> np.uint32(15)))
    return np.float64(h) / 4294967296.0


@kernel
def _value_noise(points, frequency, seed, out):  # type: ignore[no-untyped-def]
    for n in range(points.shape[0]):
        x, y, z = points[n, 0] * frequency[0], points[n, 1] * frequency[1], points[n, 2] * frequency[2]
        i, j, k = int(np.floor(x)), int(np.floor(y)), int(np.floor(z))
        u, v, w = x - i, y - j, z - k
        u, v, w = u * u * (3 - 2 * u), v * v * (3 - 2 * v), w * w * (3 - 2 * w)
        total = 0.0
        for corner in range(8):
            a, b, c = corner & 1, (corner >> 1) & 1, corner >> 2
            weight = (u if a else 1 - u) * (v if b else 1 - v) * (w if c else 1 - w)
            total += weight * _hash(i + a, j + b, k + c, seed)
        out[n] = total


@kernel
def _spots(points, frequency, seed, share, smallest, largest, out):  # type: ignore[no-untyped-def]
    """One spot of random size in a share of the lattice's cells; 1 in its middle, 0 outside."""
    for n in range(points.shape[0]):
        x, y, z = points[n, 0] * frequency, points[n, 1] * frequency, points[n, 2] * frequency
        i, j, k = int(np.floor(x)), int(np.floor(y)), int(np.floor(z))
        best = 0.0
        for a in range(-1, 2):
            for b in range(-1, 2):
                for c in range(-1, 2):
                    p, q, r = i + a, j + b, k + c
                    if _hash(p, q, r, seed) >= share:
                        continue
                    dx = p + _hash(p, q, r, seed + 1) - x
                    dy = q + _hash(p, q, r, seed + 2) - y
                    dz = r + _hash(p, q, r, seed + 3) - z
                    size = smallest + (largest - smallest) * _hash(p, q, r, seed + 4) ** 2
                    value = 1.0 - (dx * dx + dy * dy + dz * dz) / (size * size)
                    best = max(best, value)
        out[n] = best


def value_noise(points: np.ndarray, scale_m: float | tuple[float, float, float], seed: int) -> np.ndarray:
    """Smooth noise (N,) float32 in [0, 1) at points (N, 3) metres; ``scale_m`` is the lattice's spacing, metres."""
    frequency = 1.0 / np.broadcast_to(np.asarray(scale_m, np.float64), (3,))
    out = np.empty(len(points), np.float32)
    _value_noise(np.ascontiguousarray(points, np.float32), np.ascontiguousarray(frequency), int(seed), out)
    return out


def fractal_noise(points: np.ndarray, scale_m: float, octaves: int, seed: int) -> np.ndarray:
    """Sum of ``octaves`` noises, each half as large and half as strong, (N,) float32 in [0, 1)."""
    total = np.zeros(len(points), np.float32)
    for octave in range(octaves):
        total += 0.5**octave * value_noise(points, scale_m / 2**octave, seed + 101 * octave)
    return total / (2 - 0.5 ** (octaves - 1))


def spots(
    points: np.ndarray, scale_m: float, share: float, seed: int, radius: tuple[float, float] = (0.2, 0.5)
) -> np.ndarray:
    """Round spots (N,) float32 in [0, 1] at points (N, 3), at most one per cell of ``scale_m``, in ``share`` of them.

    ``radius`` is the range of their radii in cells, at most 1; small ones are more frequent.
    """
    out = np.empty(len(points), np.float32)
    _spots(np.ascontiguousarray(points, np.float32), 1.0 / scale_m, int(seed), float(share), *radius, out)
    return out
