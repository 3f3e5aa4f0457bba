"""Measures on vertices (T, V, 3): three incompatible LVEs, two FDDs, and means over the mesh.

All take vertices without head pose (the meshes of VOCASET and BIWI, on which most were published, have none) in
**millimetres**, so figures in squared units are mm^2 where the papers have the unit of their mesh. ``x`` is the
prediction, ``y`` the truth. Frames are chosen before; an empty set of frames or vertices raises NoFigure. Each measure
is a mean over frames of what a function of its own says of every frame, so that fewer frames cost nothing more.

Sources: CodeTalker (Xing et al., CVPR 2023) and FaceDiffuser (Stan et al., MIG 2023) as released; UniLS and ARTalk
(Chu et al. 2025) as released.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from model.metrics.motion.figures import Floats, NoFigure

Vertices = npt.NDArray[np.floating[Any]]


def largest_squared(x: Vertices, y: Vertices) -> Floats:
    """(T,) largest squared distance among the vertices of each frame, mm^2."""
    _some(x, y)
    return np.asarray(_squared(x, y).max(1), np.float64)


def frame_means(x: Vertices, y: Vertices) -> tuple[Floats, Floats]:
    """(T,) mean distance over the vertices of each frame, mm, and (T,) mean squared distance, mm^2."""
    _some(x, y)
    squared = _squared(x, y)
    square = squared.mean(1, dtype=np.float64)
    return np.sqrt(squared, out=squared).mean(1, dtype=np.float64), square


def stir(x: Vertices, rest: Vertices) -> Floats:
    """(T, U) squared distance of each vertex from the same head at rest (U, 3), mm^2."""
    return np.asarray(_squared(x, np.broadcast_to(rest, x.shape)), np.float64)


def coordinate_sum(x: Vertices) -> Floats:
    """(T, U) x + y + z of each vertex, mm."""
    return sum((np.asarray(x[..., c], np.float64) for c in range(3)), np.zeros(x.shape[:2]))


def lve_squared(x: Vertices, y: Vertices) -> float:
    """LVE of CodeTalker and FaceDiffuser: mean over frames of the largest SQUARED distance among lip vertices, mm^2.

    Args:
        x: (T, L, 3) lip vertices.
        y: (T, L, 3).
    """
    return float(largest_squared(x, y).mean())


def lve_root(x: Vertices, y: Vertices) -> float:
    """LVE of UniLS and ARTalk: the root of the mean over frames of the largest squared distance, mm.

    As published over the frames in which the person speaks: choose them before.
    """
    return float(np.sqrt(lve_squared(x, y)))


def mean_distance(x: Vertices, y: Vertices) -> float:
    """MVE of FaceDiffuser: mean over frames and vertices of the distance, mm."""
    return float(frame_means(x, y)[0].mean())


def root_mean_square(x: Vertices, y: Vertices) -> float:
    """MHD of UniLS: the root of the mean over frames and vertices of the squared distance, mm."""
    return float(np.sqrt(frame_means(x, y)[1].mean()))


def fdd_signed(x: Vertices, y: Vertices, rest: Vertices) -> float:
    """FDD of CodeTalker: mean_v std_t |y - rest|^2 - mean_v std_t |x - rest|^2 over upper-face vertices, mm^2. SIGNED.

    Positive where the prediction moves less than the truth. T in the denominator of the variance.

    Args:
        x: (T, U, 3) upper-face vertices.
        y: (T, U, 3).
        rest: (U, 3) the same head at rest.
    """
    _some(x, y)
    return stir_gap(stir(x, rest), stir(y, rest))


def stir_gap(x: Floats, y: Floats) -> float:
    """:func:`fdd_signed` from :func:`stir` of prediction and truth (T, U)."""
    return float(y.std(0).mean() - x.std(0).mean())


def fdd_absolute(x: Vertices, y: Vertices, rest: Vertices) -> float:
    """FDD as FaceDiffuser prints it: the absolute value of CodeTalker's in each clip, before the mean over clips."""
    return abs(fdd_signed(x, y, rest))


def fdd_sum(x: Vertices, y: Vertices) -> float:
    """FDD of UniLS: 100 mean_v |std_t(x + y + z of the prediction) - std_t(of the truth)|, coordinates in mm.

    So the unit is 0.01 mm. T in the denominator of the variance.
    """
    _some(x, y)
    return sum_gap(coordinate_sum(x), coordinate_sum(y))


def sum_gap(x: Floats, y: Floats) -> float:
    """:func:`fdd_sum` from :func:`coordinate_sum` of prediction and truth (T, U)."""
    return float(100 * np.abs(x.std(0) - y.std(0)).mean())


def _squared(x: Vertices, y: Vertices) -> Vertices:
    """(T, V) squared distances; coordinate by coordinate, since those may lie apart in memory."""
    total = (x[..., 0] - y[..., 0]) ** 2
    for c in (1, 2):
        difference = x[..., c] - y[..., c]
        difference *= difference
        total += difference
    return total


def _some(x: Vertices, y: Vertices) -> None:
    if x.shape != y.shape:
        raise ValueError(f"Vertices {x.shape} of the prediction, {y.shape} of the truth")
    if not x.size:
        raise NoFigure("no frames" if not len(x) else "the head model has no such vertices")
