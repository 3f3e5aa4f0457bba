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
from scipy.interpolate import CubicSpline

from model.camera import Camera
from model.fitting.config import FitConfig
from model.fitting.inputs import Inputs, hints, prepare
from model.fitting.landmark_model import LandmarkModel, landmark_model
from model.fitting.problem import make_priors
from model.fitting.solve import ShapeSolution, solve_shape
from model.fitting.start import choose_frames, start_codes

if TYPE_CHECKING:
    from model.head import HeadModel

APPARENT = (0.53, 0.24)
"""(a, b): landmarks of a camera with the inverse focal length u (1 / longer side of the picture) look like those of
a + b u. FaceLandmarker draws every face in nearly the same perspective, so the landmarks keep a quarter of the true
difference. Measured on synthetic clips (docs/tracking.md)."""


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
    """Whether the curves told focal lengths apart; otherwise ``focal`` is the default."""
    drop: float
    """Difference of the cost between the best and the worst focal length; compare with ``flat``."""
    curve: tuple[float, ...]
    """Summed cost per candidate as it was weighed (``trust``, ``pictures``), the least at 0."""


def most_probable_shape(
    inputs: Inputs, camera: Camera, config: FitConfig, steps: int | None = None
) -> tuple[ShapeSolution, np.ndarray]:
    """Shape, and after it the detector's offsets, from the most telling frames of a clip; the numbers of the frames."""
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
        out.append(ShapeEvidence(found.cost, *_shape_alone(found, inputs.model.num_offsets), frames, num_seen))
    return out


def _shape_alone(found: ShapeSolution, num_offsets: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shape (S,), information (S, S) and vector (S,) with the offsets, whose prior is N(0, 1), eliminated."""
    size = len(found.shape) - num_offsets
    if not num_offsets:
        return found.shape, found.information, found.vector
    matrix, right = found.information, found.vector
    own = matrix[size:, size:] + np.eye(num_offsets)
    solved = np.linalg.solve(own, np.column_stack([matrix[size:, :size], right[size:]]))
    reduced = matrix[:size, :size] - matrix[:size, size:] @ solved[:, :-1]
    return found.shape[:size], 0.5 * (reduced + reduced.T), right[:size] - matrix[:size, size:] @ solved[:, -1]


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
    flat: float = 1.0,
    log_sd: float = 0.45,
    trust: float = 0.3,
    pictures: float = 4.0,
    apparent: tuple[float, float] = APPARENT,
) -> FocalChoice:
    """Focal length of a source from the cost curves of its persons and clips.

    The curves are added, read at the focal length that the detector shows for a true one (``APPARENT``), and added to a
    prior, log focal length ~ N(log default, ``log_sd``^2). The least sum is the answer, so a flat curve leaves the
    default and a one-sided one moves as far as the prior lets it.

    Args:
        curves: for each person and clip, the cost at every candidate.
        focals: candidates, ascending, positive, at least three, in units of the picture's longer side.
        default: middle of the prior; the answer when there is no usable curve or the sum is flat.
        flat: least difference between the best and the worst focal length that counts, in units of log probability.
        log_sd: width of the prior: 0.45 is a factor of 1.57 either way.
        trust: factor on the curves. They count landmark errors as noise, but these are mostly a bias of the detector
            for each face: apparent inverse focal lengths scatter by 0.065 where the curves alone promise half that.
        pictures: at most so many curves count as independent: a face's landmark errors repeat from clip to clip.
        apparent: see ``APPARENT``.

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
    data = np.sum(np.asarray(curves, dtype=np.float64), axis=0) * trust * min(1.0, pictures / len(curves))
    data = data - data.min()
    shown = tuple(float(value) for value in data)
    if not np.isfinite(data).all():
        return FocalChoice(default, False, 0.0, shown)
    tried = np.log(default) + np.linspace(-4 * log_sd, 4 * log_sd, 2001)  # the middle one is the default itself
    shown_at = -np.log(apparent[0] + apparent[1] * np.exp(-tried))
    cost = CubicSpline(grid, data)(np.clip(shown_at, grid[0], grid[-1]))
    drop = float(cost.max() - cost.min())
    if drop < flat:
        return FocalChoice(default, False, drop, shown)
    total = cost + 0.5 * np.square((tried - np.log(default)) / log_sd)
    return FocalChoice(float(np.exp(tried[np.argmin(total)])), True, drop, shown)
