"""The least-squares problem of one person in one clip: data terms from the kernel, priors, limits and smoothing.

Codes of T frames are one float64 array (T, P): linear codes (expressions, and the shape while it is solved), jaw 3,
left eye 3, right eye 3, rotation 3, origin 3 (the root joint in the camera frame, metres).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from model.camera import Camera
from model.fitting import kernels, rotations
from model.fitting.config import FitConfig
from model.fitting.landmark_model import MOTION, LandmarkModel, Part
from model.fitting.regions import (
    LEFT_EYE,
    LEFT_IRIS,
    LID_PAIRS,
    LIP_PAIRS,
    RIGHT_EYE,
    RIGHT_IRIS,
    eye_distance,
    region_weights,
)
from model.head.names import is_share

COMPONENT_SPREAD = 5.0
"""Expressions that are components of a statistic, as FLAME's, are N(0, 1), of any sign and without limits; shares of a
movement spread about a fifth of that, so all their deviations are multiplied by this."""
JAW, LEFT, RIGHT, ROTATION, ORIGIN = (slice(a - MOTION, (a + 3 - MOTION) or None) for a in (0, 3, 6, 9, 12))
"""Where the motion codes lie in the last axis of a code array."""


@dataclass(frozen=True)
class Observations:
    """What was seen of one person: everything the data term needs."""

    landmarks: np.ndarray
    """(T, 478, 2) float32 pixels; finite also where nothing was seen."""
    weights: np.ndarray
    """(T, 478) float32: 0 where nothing was seen."""
    pair_weights: np.ndarray
    """(T, Q) float32."""
    deviation: np.ndarray
    """(T,) float64: standard deviation of a landmark, pixels."""
    distance: np.ndarray
    """(T,) float64: distance between the eyes, pixels, never less than half its median over the clip."""
    seen: np.ndarray
    """(T,) bool."""
    sway: np.ndarray
    """(T, 2, 3) float32: what a metre in the head's frame moves a landmark, in standard deviations (``modes``)."""
    modes: np.ndarray
    """(K, 3, 478) float32 metres, head frame: errors that neighbouring landmarks share in a frame, of amounts
    ~ N(0, 1); K may be 0."""

    def select(self, frames: np.ndarray | slice) -> Observations:
        """The same for some frames."""
        own = {name: getattr(self, name)[frames] for name in self.__dataclass_fields__ if name != "modes"}
        return replace(self, **own)


PAIRS = np.array(LIP_PAIRS + LID_PAIRS, dtype=np.int64)


def observe(
    landmarks: np.ndarray, seen: np.ndarray, closed: np.ndarray, mesh_weight: np.ndarray, config: FitConfig
) -> Observations:
    """Weigh the landmarks of a clip.

    Args:
        landmarks: (T, 478, 2) pixels.
        seen: (T,) bool: frames in which they can be used.
        closed: (T, 2) how far the left and the right eye are closed, 0 to 1; hides their irises.
        mesh_weight: (478,) trust in each landmark's place on the mesh.
        config: noise and region weights.
    """
    num = len(landmarks)
    pixels = np.where(seen[:, None, None], landmarks, 0.0)
    distance = eye_distance(pixels)
    floor = 0.5 * float(np.median(distance[seen]))
    distance = np.where(seen, np.maximum(distance, floor), 2 * floor)
    regions = region_weights(config.lips, config.lids, config.iris, config.oval) * mesh_weight
    weights = np.repeat(regions[None], num, axis=0)
    visible = np.clip(1.2 - 1.6 * closed, 0.0, 1.0)
    weights[:, LEFT_IRIS] *= visible[:, :1]
    weights[:, RIGHT_IRIS] *= visible[:, 1:]
    pair_weight = np.array([config.lip_pairs] * len(LIP_PAIRS) + [config.lid_pairs] * len(LID_PAIRS))
    pair_weight = pair_weight * np.sqrt(mesh_weight[PAIRS[:, 0]] * mesh_weight[PAIRS[:, 1]])
    on = seen[:, None] / config.redundancy
    return Observations(
        np.ascontiguousarray(pixels, dtype=np.float32),
        np.ascontiguousarray(weights * on, dtype=np.float32),
        np.ascontiguousarray(pair_weight * on, dtype=np.float32),
        config.noise * distance,
        distance,
        seen.copy(),
        np.zeros((num, 2, 3), np.float32),
        np.zeros((0, 3, landmarks.shape[1]), np.float32),
    )


def smoothing_weights(seen: Observations, config: FitConfig) -> np.ndarray:
    """How much the second difference around every inner frame counts, (T - 2,) in [0, 1].

    0 where one of its three frames was not seen. Where the landmarks as a whole accelerate, the head does: their mean
    over 478 points hardly jitters, so smoothing gives way there as 1 / (1 + (a / ``config.jerk``)^2), a in distances
    between the eyes per frame^2. Without that, filmed heads, which jerk far more than made ones, lag behind.
    """
    frames = seen.seen
    if len(frames) < 3:
        return np.zeros(0)
    together = frames[:-2] & frames[1:-1] & frames[2:]
    centre = seen.landmarks.mean(axis=1, dtype=np.float64)
    acceleration = np.linalg.norm(centre[:-2] - 2 * centre[1:-1] + centre[2:], axis=1) / seen.distance[1:-1]
    return np.where(together, 1.0 / (1.0 + np.square(acceleration / config.jerk)), 0.0)


@dataclass(frozen=True)
class Priors:
    """Quadratic priors, soft limits and smoothing of the P codes of a frame."""

    mean: np.ndarray
    """(T, P) or (1, P)."""
    precision: np.ndarray
    """(P,) 1 / variance around ``mean``; 0 for none."""
    lower: np.ndarray
    """(P,) soft lower limits, -inf for none."""
    upper: np.ndarray
    """(P,) soft upper limits, inf for none."""
    limit_precision: np.ndarray
    """(P,) 1 / variance beyond the limits."""
    ties: tuple[tuple[int, int, float], ...]
    """Pairs of codes (from the end) that should be equal, and 1 / variance of their difference."""
    smooth: np.ndarray
    """(P,) 1 / variance of the second difference over time."""


def make_priors(model: LandmarkModel, pull: np.ndarray, config: FitConfig, smooth: bool = True) -> Priors:
    """Priors of a model's codes.

    Args:
        model: gives names and number of the linear codes.
        pull: (T, E + 1) means of the expressions and, last, of the jaw's opening; or (1, E + 1).
        config: standard deviations.
        smooth: whether neighbouring rows are neighbours in time.
    """
    e, c, p = model.num_expressions, model.num_linear, model.num_codes
    mean = np.zeros((len(pull), p))
    mean[:, :e] = pull[:, :e]
    mean[:, c] = pull[:, e]
    precision, limit, second = np.zeros(p), np.zeros(p), np.zeros(p)
    lower, upper = np.full(p, -np.inf), np.full(p, np.inf)
    share = np.array([is_share(name) for name in model.names[:e]], dtype=bool)
    spread = np.where(share, 1.0, COMPONENT_SPREAD)
    precision[:e] = (config.expression_sd * spread) ** -2.0
    precision[e : c - model.num_offsets] = config.shape_sd**-2
    precision[c - model.num_offsets : c] = 1.0
    lower[:e], upper[:e] = np.where(share, 0.0, -np.inf), np.where(share, 1.0, np.inf)
    limit[:e] = config.expression_limit_sd**-2
    precision[c : c + 3] = config.jaw_sd**-2, config.jaw_side_sd**-2, config.jaw_side_sd**-2
    lower[c], upper[c], limit[c] = 0.0, config.jaw_max_rad, config.jaw_limit_sd**-2
    for start in (c + 3, c + 6):
        precision[start : start + 3] = config.eye_sd**-2, config.eye_sd**-2, config.eye_roll_sd**-2
        lower[start : start + 2], upper[start : start + 2] = -config.eye_max_rad, config.eye_max_rad
        limit[start : start + 2] = config.jaw_limit_sd**-2
    if smooth:
        fast = np.array([name.startswith(("eyeBlink", "eyeSquint", "eyeWide")) for name in model.names[:e]], dtype=bool)
        second[:e] = (np.where(fast, config.smooth_lids, config.smooth_expression) * spread) ** -2.0
        second[c : c + 3] = config.smooth_jaw**-2, config.smooth_jaw_side**-2, config.smooth_jaw_side**-2
        second[c + 3 : c + 9] = config.smooth_eyes**-2
        second[c + 9 : c + 12] = config.smooth_rotation**-2
        second[c + 12 : c + 14] = config.smooth_translation_m**-2
        second[c + 14] = config.smooth_depth_m**-2
    ties = tuple((c + 3 + a, c + 6 + a, config.eye_difference_sd**-2) for a in range(2))
    return Priors(mean, precision, lower, upper, limit, ties, second)


@dataclass
class Linearisation:
    """Cost and derivatives of all frames at one set of codes, smoothing left out."""

    points: np.ndarray
    """(T, 478, 2) float32 projections, pixels."""
    cost: np.ndarray
    """(T,) float64."""
    gradient: np.ndarray
    """(T, P) float64."""
    hessian: np.ndarray
    """(T, P, P) float32, Gauss-Newton."""


def _single(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, dtype=np.float32)


def linearise(
    model: LandmarkModel,
    codes: np.ndarray,
    seen: Observations,
    camera: Camera,
    priors: Priors,
    config: FitConfig,
    derive: bool = True,
) -> Linearisation:
    """Evaluate data terms and priors of all frames.

    Args:
        model: landmarks as a function of the codes.
        codes: (T, P) float64.
        seen: the observations.
        camera: camera of the landmarks' image.
        priors: priors and limits.
        config: the loss.
        derive: False leaves gradient and hessian empty and costs a tenth.
    """
    num, p = codes.shape
    c = model.num_linear
    angles = np.stack([codes[:, JAW], codes[:, LEFT], codes[:, RIGHT], codes[:, ROTATION]], axis=1)

    points = np.zeros((num, model.num_landmarks, 2), np.float32)
    cost = np.zeros(num)
    size = num if derive else 1
    gradient = np.zeros((size, p), np.float32)
    hessian = np.zeros((size, p, p), np.float32)

    def arrays(part: Part) -> tuple[np.ndarray, ...]:
        return part.rest, part.across, part.linear, part.corrective, part.entries, part.bends

    kernels.linearise(  # type: ignore[call-arg]
        _single(codes[:, :c]), _single(rotations.exp(angles)), _single(rotations.left_jacobian(angles)),
        _single(codes[:, ORIGIN]), seen.landmarks, seen.weights, PAIRS, seen.pair_weights,
        _single(1.0 / seen.deviation), np.float32(config.cauchy),
        np.array([camera.fx, camera.fy, camera.cx, camera.cy], np.float32),
        seen.sway, seen.modes,
        *arrays(model.root), model.jaw.index, *arrays(model.jaw), model.eye.index, model.eye_side, *arrays(model.eye),
        points, cost, gradient, hessian, derive,
    )  # fmt: skip
    away = codes - priors.mean
    beyond = np.minimum(codes - priors.lower, 0.0) + np.maximum(codes - priors.upper, 0.0)
    cost += 0.5 * (np.square(away) @ priors.precision + np.square(beyond) @ priors.limit_precision)
    for i, j, precision in priors.ties:
        cost += 0.5 * precision * np.square(codes[:, i] - codes[:, j])
    if not derive:
        return Linearisation(points, cost, np.zeros((0, p)), hessian[:0])
    total = gradient + away * priors.precision + beyond * priors.limit_precision
    diagonal = np.arange(p)
    hessian[:, diagonal, diagonal] += priors.precision + np.where(beyond != 0, priors.limit_precision, 0.0)
    for i, j, precision in priors.ties:
        pull = precision * (codes[:, i] - codes[:, j])
        total[:, i] += pull
        total[:, j] -= pull
        hessian[:, i, i] += precision
        hessian[:, j, j] += precision
        hessian[:, i, j] -= precision
        hessian[:, j, i] -= precision
    return Linearisation(points, cost, total, hessian)


def closed_eyes(blendshapes: np.ndarray | None, names: tuple[str, ...], num: int) -> np.ndarray:
    """How far left and right eye are closed, (T, 2) in [0, 1], by the eyeBlink blendshapes; 0 without them."""
    if blendshapes is None:
        return np.zeros((num, 2))
    columns = [names.index(name) for name in ("eyeBlinkLeft", "eyeBlinkRight")]
    return np.clip(blendshapes[:, columns].astype(np.float64), 0.0, 1.0)


__all__ = ["LEFT_EYE", "RIGHT_EYE", "Linearisation", "Observations", "Priors", "linearise", "make_priors", "observe"]
