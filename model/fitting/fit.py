"""Mesh codes of one person in one clip from 478 landmarks a frame: the entry point of the fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from model.camera import Camera
from model.fitting import rotations
from model.fitting.backend import Solver
from model.fitting.config import FitConfig
from model.fitting.evidence import most_probable_shape
from model.fitting.inputs import Inputs, hints, prepare
from model.fitting.landmark_model import LandmarkModel
from model.fitting.problem import make_priors
from model.fitting.regions import NUM_LANDMARKS
from model.fitting.solve import ExtraTerm, solve_codes
from model.fitting.stages import FitStage, stages
from model.fitting.start import start_codes, start_pose
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
    """(T,) mean distance of the projected from the given landmarks, offsets of the detector included, over all with a
    known place on the mesh, each as much as it faces the camera; 0 where the detector saw no face."""
    eye_distance_px: np.ndarray
    """(T,) distance between the eyes as a head facing the camera would show it: that seen, over its foreshortening by
    the turn. At least half its median over the clip, before that correction."""
    root_joint: np.ndarray
    """(3,) the root joint of this shape at rest, metres, head frame."""
    offsets: np.ndarray
    """(K,) codes of the detector's own error on this face (``model.fitting.offsets``); they move landmarks only."""

    @property
    def codes(self) -> np.ndarray:
        """(T, E + 15) float64 as the solver orders them: expression, jaw, eyes, rotation, posed root joint."""
        origin = self.translation.astype(np.float64) + self.root_joint
        return np.concatenate([self.expression, self.jaw, self.eyes, self.rotation, origin], axis=1)

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
    shape: np.ndarray | None = None,
    offsets: np.ndarray | None = None,
    start: np.ndarray | None = None,
    extra: Callable[[slice], ExtraTerm] | None = None,
    solve: Solver = solve_codes,
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
        shape: (S,) a known shape, held fixed; None to find it.
        offsets: (K,) known codes of the detector's offsets to go with it (``FitResult.offsets``); None to find them.
        start: (T, E + 15) codes to start from (``FitResult.codes``); None for a guess of its own.
        extra: called with each window of frames (a slice), gives a further term of the cost for these frames: a
            function from codes (T, E + 15) to cost (T,), gradient (T, E + 15) and Gauss-Newton matrix
            (T, E + 15, E + 15).
        solve: finds the codes: numba's solver, or ``model.fitting.backend.solver_for("cuda")``. The shape, solved from
            a few frames, is always found on the CPU.

    Raises:
        SkippedClip: no frame can be used.
        ValueError: shapes do not fit each other.
    """
    config = config or FitConfig()
    inputs = prepare(head, landmarks, valid, blendshapes, blendshape_names, config, camera)
    general, observations = inputs.model, inputs.observations
    seen = observations.seen
    num_motion = general.num_codes - general.num_linear + general.num_expressions
    if start is not None and np.shape(start) != (len(seen), num_motion):
        raise ValueError(f"Expected start codes ({len(seen)}, {num_motion}), got {np.shape(start)}")
    if shape is not None and not np.isfinite(shape).all():
        raise ValueError("The given shape is not finite")
    known = None if shape is None else np.asarray(shape, dtype=np.float64)
    if known is not None and offsets is not None:
        if not np.isfinite(offsets).all() or np.shape(offsets) != (general.num_offsets,):
            raise ValueError(f"Expected {general.num_offsets} finite offsets, got {np.shape(offsets)}")
        known = np.concatenate([known, offsets])
    for stage in stages(config):
        if stage.name == "pose":
            continue  # in closed form, for weights and starts alike: ``prepare`` has done it
        if stage.name == "shape":
            known = _shape(inputs, camera, config, stage, known)
        elif stage.name == "codes":
            assert known is not None
            model = general.with_shape(known)
            codes, points = _fit_codes(inputs.with_model(model), camera, config, stage, start, extra, solve)
    assert known is not None

    share = np.where(general.weight > 0, inputs.facing, 0.0)
    apart = np.linalg.norm(points - observations.landmarks, axis=2).astype(np.float64)
    error = np.sum(share * apart, axis=1) / share.sum(axis=1)
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
        known[: len(known) - general.num_offsets].astype(np.float32),
        single[:, :e],
        single[:, -15:-12],
        np.zeros_like(single[:, :3]),
        single[:, -12:-6],
        single[:, -6:-3],
        (codes[:, -3:] - model.root_joint).astype(np.float32),
        good,
        np.nan_to_num(error, posinf=0.0).astype(np.float32),
        observations.distance.astype(np.float32),
        model.root_joint.astype(np.float32),
        known[len(known) - general.num_offsets :].astype(np.float32),
    )


def _shape(inputs: Inputs, camera: Camera, config: FitConfig, stage: FitStage, known: np.ndarray | None) -> np.ndarray:
    """Shape and offsets (S + K,), given nothing, the shape (S,) or both."""
    general = inputs.model
    if known is None:
        return most_probable_shape(inputs, camera, config, stage.steps)[0].shape
    if not general.num_offsets or len(known) == general.num_linear - general.num_expressions:
        return known
    own = inputs.with_model(general.with_shape(known))
    return np.concatenate([known, most_probable_shape(own, camera, config, stage.steps)[0].shape])


def _fit_codes(
    inputs: Inputs,
    camera: Camera,
    config: FitConfig,
    stage: FitStage,
    start: np.ndarray | None,
    extra: Callable[[slice], ExtraTerm] | None,
    solve: Solver,
) -> tuple[np.ndarray, np.ndarray]:
    """Codes (T, P) and projections (T, 478, 2), window by window."""
    model = inputs.model
    num = len(inputs.observations.seen)
    codes = np.zeros((num, model.num_codes))
    points = np.zeros((num, NUM_LANDMARKS, 2), np.float32)
    stride = config.window - config.overlap
    first = 0
    while True:
        last = min(num, first + config.window)
        window = slice(first, last)
        part = inputs.select(window)
        seen = part.observations
        rotation, origin = start_pose(model, seen.landmarks, inputs.rigid, camera)
        guess = start_codes(model, rotation, origin, part.scores, part.names, config)
        guess[~seen.seen, -6:-3] = 0.0
        guess[~seen.seen, -3:] = 0.0, 0.0, 1.0
        priors = make_priors(model, hints(part, guess, config), config, smooth=stage.has("smoothness"))
        if start is not None:
            guess = np.asarray(start[window], dtype=np.float64)
        term = None if extra is None else extra(window)
        fitted, at = solve(model, guess, seen, camera, priors, config, stage.steps, term)
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
