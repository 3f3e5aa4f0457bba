"""What clips say about shapes and cameras, kept so that several clips of one subject or one source can be added up.

A clip's landmarks are, near their best explanation, a quadratic in the shape once everything that changes from frame to
frame is eliminated (Schur complement). Its matrix (the information) and vector can be summed over clips of one
subject; the prior enters once, at the end::

    shape = (I / shape_sd^2 + sum of information)^-1 sum of vectors

Focal length: the least cost as a function of the focal length, again summed, over all persons and clips of a source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from model.camera import Camera
from model.fitting.config import FitConfig
from model.fitting.inputs import Inputs, hints, prepare
from model.fitting.landmark_model import LandmarkModel, landmark_model
from model.fitting.problem import make_priors
from model.fitting.solve import ShapeSolution, solve_shape
from model.fitting.start import choose_frames, start_codes

if TYPE_CHECKING:
    from model.head import HeadModel


@dataclass(frozen=True)
class ShapeEvidence:
    """What one clip says about the shape of one person, seen through one camera."""

    cost: float
    """Least cost (minus the log of a probability, up to a constant): data and priors, for independent pictures."""
    shape: np.ndarray
    """(S,) float64: the most probable shape of this clip alone."""
    information: np.ndarray
    """(S, S) float64: second derivative of the cost by the shape without its prior, all else at its best."""
    vector: np.ndarray
    """(S,) float64: information times the shape that the data alone would choose; exists where that does not."""
    frames: np.ndarray
    """Frames (numbers in the clip) that were used."""
    num_seen: int
    """Frames of the clip in which the face was seen."""


@dataclass(frozen=True)
class FocalChoice:
    """A focal length and how it came about."""

    focal: float
    """In the unit of the candidates."""
    decided: bool
    """Whether the curves had a minimum worth the name; otherwise ``focal`` is the default."""
    drop: float
    """Cost saved against the worse end of the candidates; compare with ``flat``."""
    curve: tuple[float, ...]
    """Summed cost per candidate, the least at 0."""


def most_probable_shape(
    inputs: Inputs, camera: Camera, config: FitConfig, steps: int | None = None
) -> tuple[ShapeSolution, np.ndarray]:
    """Shape from the most telling frames of a clip, and the numbers of those frames."""
    model = inputs.model
    frames = choose_frames(inputs.rotation, inputs.scores, inputs.observations.seen, config.shape_frames)
    some = inputs.select(frames)
    start = start_codes(model, some.rotation, some.origin, some.scores, some.names, config)
    priors = make_priors(model, hints(some, start, config), config, smooth=False)
    return solve_shape(model, start, some.observations, camera, priors, config, steps), frames


def shape_evidence(
    head: HeadModel | LandmarkModel,
    landmarks: np.ndarray,
    valid: np.ndarray,
    cameras: Sequence[Camera],
    *,
    blendshapes: np.ndarray | None = None,
    blendshape_names: tuple[str, ...] = (),
    config: FitConfig | None = None,
) -> list[ShapeEvidence]:
    """What a clip says about a person's shape, for each of several cameras.

    Args:
        head: the head model, or its ``landmark_model``.
        landmarks: (T, 478, 2) pixels, as for ``fit_landmarks``.
        valid: (T,) bool.
        cameras: candidates for the camera of that image: the same crop at several focal lengths.
        blendshapes: (T, N) scores, or None.
        blendshape_names: their names.
        config: noise, priors, iterations.

    Returns:
        One entry per camera.

    Raises:
        SkippedClip: no frame can be used.
        ValueError: shapes do not fit each other.
    """
    config = config or FitConfig()
    model = head if isinstance(head, LandmarkModel) else landmark_model(head)
    out = []
    for camera in cameras:
        inputs = prepare(model, landmarks, valid, blendshapes, blendshape_names, config, camera)
        num_seen = int(inputs.observations.seen.sum())
        found, frames = most_probable_shape(inputs, camera, config)
        out.append(ShapeEvidence(found.cost, found.shape, found.information, found.vector, frames, num_seen))
    return out


def fuse_shapes(evidence: Sequence[ShapeEvidence], shape_sd: float = 1.0) -> np.ndarray:
    """One shape (S,) float64 for all clips of one subject.

    Args:
        evidence: one entry per clip, at the camera that was chosen for it; any order gives the same shape up to
            rounding.
        shape_sd: prior standard deviation of whitened shape codes.

    Raises:
        ValueError: no evidence, or of different heads.
    """
    if not evidence:
        raise ValueError("No evidence to fuse")
    size = len(evidence[0].vector)
    if any(len(one.vector) != size for one in evidence):
        raise ValueError("Evidence of heads with different numbers of shape codes cannot be fused")
    matrix = np.eye(size) / shape_sd**2 + sum(one.information for one in evidence)
    total = np.sum([one.vector for one in evidence], axis=0)
    return np.linalg.solve(matrix, total)


def choose_focal(
    curves: Sequence[Sequence[float]],
    focals: Sequence[float],
    default: float,
    *,
    flat: float = 4.0,
    log_sd: float = 0.25,
) -> FocalChoice:
    """Focal length of a source from the cost curves of its persons and clips.

    The curves are added to a prior, log focal length ~ N(log default, ``log_sd``^2), and the minimum is that of a
    parabola in the logarithm through the lowest candidate and its neighbours.

    Args:
        curves: for each person and clip, the cost at every candidate.
        focals: candidates, ascending, positive, at least three.
        default: taken when the sum is flat, when it falls towards an end, or when there is no curve.
        flat: least saving, against both ends of the candidates, that counts as a minimum. In units of cost, i.e. of
            log probability: 2 is two standard deviations; model errors of landmarks ask for more.
        log_sd: width of the prior: 0.25 is a factor of 1.28 either way.

    Raises:
        ValueError: candidates and curves do not fit each other.
    """
    grid = np.log(np.asarray(focals, dtype=np.float64))
    if len(grid) < 3 or (np.diff(grid) <= 0).any():
        raise ValueError(f"At least three ascending focal lengths are needed, got {list(focals)}")
    if any(len(curve) != len(grid) for curve in curves):
        raise ValueError(f"Each curve must have {len(grid)} costs, one per focal length")
    if not len(curves):
        return FocalChoice(default, False, 0.0, (0.0,) * len(grid))
    data = np.sum(np.asarray(curves, dtype=np.float64), axis=0)
    data = data - data.min()
    shown = tuple(float(value) for value in data)
    drop = float(min(data[0], data[-1]))
    if not np.isfinite(data).all() or drop < flat:
        return FocalChoice(default, False, drop if np.isfinite(drop) else 0.0, shown)
    total = data + 0.5 * np.square((grid - np.log(default)) / log_sd)
    best = int(np.clip(np.argmin(total), 1, len(grid) - 2))
    second, first, _ = np.polyfit(grid[best - 1 : best + 2], total[best - 1 : best + 2], 2)
    centre = grid[best] if second <= 0 else np.clip(-first / (2 * second), grid[best - 1], grid[best + 1])
    return FocalChoice(float(np.exp(centre)), True, drop, shown)
