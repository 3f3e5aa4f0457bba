"""Axis-angle rotations for many frames at once, in numpy and float64."""

from __future__ import annotations

import numpy as np


def hat(vectors: np.ndarray) -> np.ndarray:
    """Cross-product matrices (..., 3, 3) of vectors (..., 3)."""
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    zero = np.zeros_like(x)
    rows = [np.stack(row, axis=-1) for row in ((zero, -z, y), (z, zero, -x), (-y, x, zero))]
    return np.stack(rows, axis=-2)


def exp(vectors: np.ndarray) -> np.ndarray:
    """Rotation matrices (..., 3, 3) of axis-angles (..., 3) in radians (Rodrigues)."""
    square = np.sum(np.square(vectors), axis=-1)[..., None, None]
    angle = np.sqrt(square)
    small = angle < 1e-4
    safe = np.where(small, 1.0, angle)
    first = np.where(small, 1 - square / 6, np.sin(safe) / safe)
    second = np.where(small, 0.5 - square / 24, (1 - np.cos(safe)) / (safe * safe))
    k = hat(vectors)
    return np.eye(3) + first * k + second * (k @ k)


def left_jacobian(vectors: np.ndarray) -> np.ndarray:
    """Matrices (..., 3, 3) with exp(v + d) = exp(J(v) d) exp(v) to first order (Sola et al. 2018, eq. 145)."""
    square = np.sum(np.square(vectors), axis=-1)[..., None, None]
    angle = np.sqrt(square)
    small = angle < 1e-4
    safe = np.where(small, 1.0, angle)
    first = np.where(small, 0.5 - square / 24, (1 - np.cos(safe)) / (safe * safe))
    second = np.where(small, 1 / 6 - square / 120, (safe - np.sin(safe)) / (safe**3))
    k = hat(vectors)
    return np.eye(3) + first * k + second * (k @ k)


def log(matrices: np.ndarray) -> np.ndarray:
    """Axis-angles (..., 3) of rotation matrices (..., 3, 3), by way of unit quaternions: exact up to pi."""
    m = matrices
    trace = m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2]
    # Four candidates, each well conditioned where its own component of the quaternion is the largest.
    squares = np.stack(
        [
            1 + trace,
            1 + 2 * m[..., 0, 0] - trace,
            1 + 2 * m[..., 1, 1] - trace,
            1 + 2 * m[..., 2, 2] - trace,
        ],
        axis=-1,
    )
    best = np.argmax(squares, axis=-1)
    a = m[..., 2, 1] - m[..., 1, 2]
    b = m[..., 0, 2] - m[..., 2, 0]
    c = m[..., 1, 0] - m[..., 0, 1]
    d = m[..., 1, 0] + m[..., 0, 1]
    e = m[..., 0, 2] + m[..., 2, 0]
    f = m[..., 2, 1] + m[..., 1, 2]
    table = np.stack(
        [
            np.stack([squares[..., 0], a, b, c], axis=-1),
            np.stack([a, squares[..., 1], d, e], axis=-1),
            np.stack([b, d, squares[..., 2], f], axis=-1),
            np.stack([c, e, f, squares[..., 3]], axis=-1),
        ],
        axis=-2,
    )
    q = np.take_along_axis(table, best[..., None, None], axis=-2)[..., 0, :]
    q = q / np.linalg.norm(q, axis=-1, keepdims=True)
    q = np.where(q[..., :1] < 0, -q, q)
    sine = np.linalg.norm(q[..., 1:], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, q[..., :1])
    scale = np.where(sine < 1e-9, 2.0, angle / np.where(sine < 1e-9, 1.0, sine))
    return q[..., 1:] * scale


def slerp(start: np.ndarray, end: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Axis-angles (N, 3) on the shortest way from ``start`` to ``end`` (N, 3) at ``share`` (N,) in [0, 1]."""
    first = exp(start)
    turn = log(np.swapaxes(first, -1, -2) @ exp(end))
    return log(first @ exp(turn * share[:, None]))
