"""Symmetric matrices as the half that says it all."""

from __future__ import annotations

from functools import lru_cache

import numpy as np


@lru_cache(maxsize=4)
def _places(size: int) -> tuple[np.ndarray, np.ndarray]:
    return np.triu_indices(size)


def pack(matrix: np.ndarray) -> np.ndarray:
    """(S, S) symmetric -> (S (S + 1) / 2,) float32: the upper triangle, row by row."""
    return matrix[_places(len(matrix))].astype(np.float32)


def unpack(packed: np.ndarray) -> np.ndarray:
    """The inverse of :func:`pack`, (S, S) float64.

    Raises:
        ValueError: no triangle has so many numbers.
    """
    size = int((np.sqrt(8 * len(packed) + 1) - 1) / 2)
    if size * (size + 1) // 2 != len(packed):
        raise ValueError(f"{len(packed)} numbers are no triangle of a matrix")
    matrix = np.zeros((size, size))
    matrix[_places(size)] = packed
    return matrix + np.triu(matrix, 1).T
