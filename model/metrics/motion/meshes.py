"""Measures on vertices (T, V, 3): three incompatible LVEs, two FDDs, and means over the mesh.

All take vertices without head pose (the meshes of VOCASET and BIWI, on which most were published, have none) in
**millimetres**, so figures in squared units are mm^2 where the papers have the unit of their mesh. ``x`` is the
prediction, ``y`` the truth. Frames are chosen before; an empty set of frames or vertices raises NoFigure.

Sources: CodeTalker (Xing et al., CVPR 2023) and FaceDiffuser (Stan et al., MIG 2023) as released; UniLS and ARTalk
(Chu et al. 2025) as released.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from model.metrics.motion.figures import NoFigure

Vertices = npt.NDArray[np.floating[Any]]


def lve_squared(x: Vertices, y: Vertices) -> float:
    """LVE of CodeTalker and FaceDiffuser: mean over frames of the largest SQUARED distance among lip vertices, mm^2.

    Args:
        x: (T, L, 3) lip vertices.
        y: (T, L, 3).
    """
    _some(x, y)
    return float(_squared(x, y).max(1).mean(dtype=np.float64))


def lve_root(x: Vertices, y: Vertices) -> float:
    """LVE of UniLS and ARTalk: the root of the mean over frames of the largest squared distance, mm.

    As published over the frames in which the person speaks: choose them before.
    """
    return float(np.sqrt(lve_squared(x, y)))


def mean_distance(x: Vertices, y: Vertices) -> float:
    """MVE of FaceDiffuser: mean over frames and vertices of the distance, mm."""
    _some(x, y)
    return float(np.sqrt(_squared(x, y)).mean(dtype=np.float64))


def root_mean_square(x: Vertices, y: Vertices) -> float:
    """MHD of UniLS: the root of the mean over frames and vertices of the squared distance, mm."""
    _some(x, y)
    return float(np.sqrt(_squared(x, y).mean(dtype=np.float64)))


def fdd_signed(x: Vertices, y: Vertices, rest: Vertices) -> float:
    """FDD of CodeTalker: mean_v std_t |y - rest|^2 - mean_v std_t |x - rest|^2 over upper-face vertices, mm^2. SIGNED.

    Positive where the prediction moves less than the truth. T in the denominator of the variance.

    Args:
        x: (T, U, 3) upper-face vertices.
        y: (T, U, 3).
        rest: (U, 3) the same head at rest.
    """
    _some(x, y)
    return float(_stir(y, rest) - _stir(x, rest))


def fdd_absolute(x: Vertices, y: Vertices, rest: Vertices) -> float:
    """FDD as FaceDiffuser prints it: the absolute value of CodeTalker's in each clip, before the mean over clips."""
    return abs(fdd_signed(x, y, rest))


def fdd_sum(x: Vertices, y: Vertices) -> float:
    """FDD of UniLS: 100 mean_v |std_t(x + y + z of the prediction) - std_t(of the truth)|, coordinates in mm.

    So the unit is 0.01 mm. T in the denominator of the variance.
    """
    _some(x, y)
    one, two = (np.asarray(v, np.float64).sum(-1).std(0) for v in (x, y))
    return float(100 * np.abs(one - two).mean())


def _stir(vertices: Vertices, rest: Vertices) -> float:
    motion = np.asarray(vertices, np.float64) - rest
    return float((motion * motion).sum(-1).std(0).mean())


def _squared(x: Vertices, y: Vertices) -> Vertices:
    """(T, V) squared distances."""
    difference = x - y
    found: Vertices = np.einsum("tvc,tvc->tv", difference, difference)
    return found


def _some(x: Vertices, y: Vertices) -> None:
    if x.shape != y.shape:
        raise ValueError(f"Vertices {x.shape} of the prediction, {y.shape} of the truth")
    if not x.size:
        raise NoFigure("no frames" if not len(x) else "the head model has no such vertices")
