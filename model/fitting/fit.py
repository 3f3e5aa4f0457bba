"""Mesh codes of one person in one clip from 478 landmarks a frame: the entry point of the fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from model.camera import Camera
from model.fitting import rotations
from model.fitting.config import FitConfig
from model.fitting.landmark_model import LandmarkModel, landmark_model
from model.fitting.problem import Observations, closed_eyes, make_priors, observe
from model.fitting.regions import NUM_LANDMARKS
from model.fitting.solve import solve_codes, solve_shape
from model.fitting.start import choose_frames, start_codes, start_pose
from rsat_data.errors import SkippedClip

if TYPE_CHECKING:
    from model.head import HeadModel


@dataclass(frozen=True)
class FitResult:
    """Codes of one person in T frames. All arrays are float32 and finite in every frame."""

    shape: np.ndarray
    """(S,) whitened shape code."""
    expression: np.ndarray
    """(T, E)."""
    jaw: np.ndarray
    """(T, 3) axis-angle, radians."""
    neck: np.ndarray
    """(T, 3) zeros: without shoulders, neck and rotation cannot be told apart."""
    eyes: np.ndarray
    """(T, 6) axis-angles of the left and the right eye, radians."""
    rotation: np.ndarray
    """(T, 3) axis-angle at the root joint, radians, camera frame."""
    translation: np.ndarray
    """(T, 3) metres, camera frame."""
    valid: np.ndarray
    """(T,) bool: seen and fitted within the error gate. Codes of other frames are interpolated."""
    reprojection_px: np.ndarray
    """(T,) mean distance of the projected from the given landmarks, over all with a known place on the mesh; 0 where
    the detector saw no face."""
    eye_distance_px: np.ndarray
    """(T,) distance between the eyes, at least half its median over the clip."""

    @property
    def reprojection(self) -> float:
        """Median over valid frames of the mean reprojection error, as a share of the distance between the eyes."""
        return float(np.median(self.reprojection_px[self.valid] / self.eye_distance_px[self.valid]))


def fit_landmarks(
    head: HeadModel | LandmarkModel,
    landmarks: np.ndarray,
    valid: np.ndarray,
    camera: Camera,
    *,
    blendshapes: np.ndarray | None = None,
    blendshape_names: tuple[str, ...] = (),
    config: FitConfig | None = None,
) -> FitResult:
    """Fit one shape, and expression, jaw, eyes and pose of every frame, to the landmarks of a clip.

    Minimises, over all frames together, robust (Cauchy) distances of projected landmarks and of the vectors between
    upper and lower lips and lids, priors and soft limits of the codes, and second differences over time.

    Args:
        head: the head model, or its ``landmark_model`` where several clips share it.
        landmarks: (T, 478, 2) pixels of the camera's image, corner origin. Anything may stand in invalid frames.
        valid: (T,) bool: frames in which the detector saw the face.
        camera: intrinsics of that image.
        blendshapes: (T, N) MediaPipe's scores in [0, 1]; only a starting point and a hint of closed eyes.
        blendshape_names: their names.
        config: noise, priors, smoothing, iterations.

    Raises:
        SkippedClip: no frame can be used.
        ValueError: shapes do not fit each other.
    """
    config = config or FitConfig()
    pixels = np.asarray(landmarks, dtype=np.float64)
    seen = np.array(valid, dtype=bool)
    scores = None if blendshapes is None else np.asarray(blendshapes, dtype=np.float64)
    if pixels.ndim != 3 or pixels.shape[1:] != (NUM_LANDMARKS, 2) or seen.shape != pixels.shape[:1]:
        raise ValueError(f"Expected landmarks (T, 478, 2) and valid (T,), got {pixels.shape} and {seen.shape}")
    if scores is not None and scores.shape != (len(pixels), len(blendshape_names)):
        raise ValueError(f"Expected blendshapes ({len(pixels)}, {len(blendshape_names)}), got {scores.shape}")
    seen &= np.isfinite(pixels).all(axis=(1, 2))
    if not seen.any():
        raise SkippedClip(
            f"no face could be used in any of the {len(seen)} frames",
            hint="The detector marked every frame invalid: the face is too small, too blurred or turned away.",
        )
    general = head if isinstance(head, LandmarkModel) else landmark_model(head)
    if scores is not None:
        scores = np.where(np.isfinite(scores), scores, 0.0)
    closed = closed_eyes(scores, blendshape_names, len(seen))
    observations = observe(pixels, seen, closed, general.weight, config)
    rigid = general.weight * np.where(general.eye.index >= 0, 0.0, 1.0)

    shape = _fit_shape(general, observations, rigid, camera, scores, blendshape_names, config)
    model = general.with_shape(shape)
    codes, points = _fit_codes(model, observations, rigid, camera, scores, blendshape_names, config)

    placed = general.weight > 0
    error = np.linalg.norm((points - observations.landmarks)[:, placed], axis=2).mean(axis=1, dtype=np.float64)
    error = np.where(seen, error, 0.0)
    good = seen & np.isfinite(codes).all(axis=1) & (error <= config.error_gate * observations.distance)
    good &= codes[:, -1] > 0
    if not good.any():
        ratio = float(np.median(error[seen] / observations.distance[seen]))
        raise SkippedClip(
            f"the head fits no frame: median landmark error {100 * ratio:.1f} % of the distance between the eyes",
            hint=f"Frames beyond {100 * config.error_gate:.0f} % are not used; see flame.error_gate.",
        )
    codes = interpolate(codes, good)
    e = model.num_expressions
    single = codes.astype(np.float32)
    return FitResult(
        shape.astype(np.float32),
        single[:, :e],
        single[:, -15:-12],
        np.zeros_like(single[:, :3]),
        single[:, -12:-6],
        single[:, -6:-3],
        (codes[:, -3:] - model.root_joint).astype(np.float32),
        good,
        np.nan_to_num(error, posinf=0.0).astype(np.float32),
        observations.distance.astype(np.float32),
    )


def _hints(scores: np.ndarray | None, codes: np.ndarray, model: LandmarkModel, config: FitConfig) -> np.ndarray:
    """Means of the priors of expressions and jaw opening, (1, E + 1) or (T, E + 1)."""
    e, c = model.num_expressions, model.num_linear
    if scores is None or config.blendshape_pull == 0:
        return np.zeros((1, e + 1))
    pull = config.blendshape_pull / config.blendshape_start
    return np.concatenate([pull * codes[:, :e], config.blendshape_pull * codes[:, c : c + 1]], axis=1)


def _fit_shape(
    model: LandmarkModel,
    observations: Observations,
    rigid: np.ndarray,
    camera: Camera,
    scores: np.ndarray | None,
    names: tuple[str, ...],
    config: FitConfig,
) -> np.ndarray:
    """Shape code (S,) from the most telling frames."""
    if model.num_linear == model.num_expressions:
        return np.zeros(0)
    rotation, origin = start_pose(model, observations.landmarks, rigid, camera)
    frames = choose_frames(rotation, scores, observations.seen, config.shape_frames)
    some = None if scores is None else scores[frames]
    start = start_codes(model, rotation[frames], origin[frames], some, names, config)
    priors = make_priors(model, _hints(some, start, model, config), config, smooth=False)
    shape, _ = solve_shape(model, start, observations.select(frames), camera, priors, config)
    return shape


def _fit_codes(
    model: LandmarkModel,
    observations: Observations,
    rigid: np.ndarray,
    camera: Camera,
    scores: np.ndarray | None,
    names: tuple[str, ...],
    config: FitConfig,
) -> tuple[np.ndarray, np.ndarray]:
    """Codes (T, P) and projections (T, 478, 2), window by window."""
    num = len(observations.seen)
    codes = np.zeros((num, model.num_codes))
    points = np.zeros((num, NUM_LANDMARKS, 2), np.float32)
    stride = config.window - config.overlap
    first = 0
    while True:
        last = min(num, first + config.window)
        window = slice(first, last)
        part = observations.select(window)
        some = None if scores is None else scores[window]
        rotation, origin = start_pose(model, part.landmarks, rigid, camera)
        start = start_codes(model, rotation, origin, some, names, config)
        start[~part.seen, -6:-3] = 0.0
        start[~part.seen, -3:] = 0.0, 0.0, 1.0
        priors = make_priors(model, _hints(some, start, model, config), config)
        fitted, at = solve_codes(model, start, part, camera, priors, config)
        skip = 0 if first == 0 else config.overlap // 2
        codes[first + skip : last] = fitted[skip:]
        points[first + skip : last] = at.points[skip:]
        if last == num:
            return codes, points
        first += stride


def interpolate(codes: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Fill the codes of frames that are not good from their good neighbours, held at the ends.

    Args:
        codes: (T, P); rotation in the columns -6 to -3.
        good: (T,) bool, at least one True.

    Returns:
        (T, P): good frames unchanged; others linear in time, rotations on the shortest way.
    """
    frames = np.flatnonzero(good)
    bad = np.flatnonzero(~good)
    out = codes.copy()
    if not len(bad):
        return out
    after = np.searchsorted(frames, bad)
    left = frames[np.clip(after - 1, 0, len(frames) - 1)]
    right = frames[np.clip(after, 0, len(frames) - 1)]
    left = np.where(after == 0, right, left)
    right = np.where(after == len(frames), left, right)
    share = np.where(right > left, (bad - left) / np.maximum(right - left, 1), 0.0)
    out[bad] = codes[left] + share[:, None] * (codes[right] - codes[left])
    out[bad, -6:-3] = rotations.slerp(codes[left, -6:-3], codes[right, -6:-3], share)
    return out
