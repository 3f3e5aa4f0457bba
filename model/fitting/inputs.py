"""What a caller gives, checked and weighed once: the common start of the fit and of the evidence on shapes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from model.camera import Camera
from model.fitting import rotations
from model.fitting.config import FitConfig
from model.fitting.landmark_model import LandmarkModel, landmark_model
from model.fitting.offsets import frame_noise, with_offsets
from model.fitting.problem import Observations, closed_eyes, observe
from model.fitting.regions import NUM_LANDMARKS
from model.fitting.start import neutral_landmarks, start_pose
from rsat_data.errors import SkippedClip

if TYPE_CHECKING:
    from model.head import HeadModel


_BEHIND_M = 0.06
"""How far behind the middle of the face its landmarks' outward directions start."""
_MIN_DISTANCE = 0.05
"""Metres: nearest root joint of a first guess."""
_LEAST_SEEN = 0.1
"""Weight left to a landmark on the hidden side."""
_LEAST_LENGTH = 0.4
"""Foreshortening of the line between the eyes that is corrected at most."""


@dataclass(frozen=True)
class Inputs:
    """One person in one clip of T frames."""

    model: LandmarkModel
    """Landmarks as a function of expressions, shape, the detector's offsets and motion."""
    observations: Observations
    """The landmarks and their weights."""
    rigid: np.ndarray
    """(478,) weights for a first guess of the pose: no irises."""
    scores: np.ndarray | None
    """(T, N) finite blendshapes, or None."""
    names: tuple[str, ...]
    """Their N names."""
    rotation: np.ndarray
    """(T, 3) first guess of the head's rotation."""
    origin: np.ndarray
    """(T, 3) first guess of the root joint."""
    facing: np.ndarray
    """(T, 478) how much of each landmark's surface faces the camera, ``_LEAST_SEEN`` to 1; in the weights already."""

    def select(self, frames: np.ndarray | slice) -> Inputs:
        """The same for some frames."""
        scores = None if self.scores is None else self.scores[frames]
        return Inputs(
            self.model,
            self.observations.select(frames),
            self.rigid,
            scores,
            self.names,
            self.rotation[frames],
            self.origin[frames],
            self.facing[frames],
        )

    def with_model(self, model: LandmarkModel) -> Inputs:
        """The same for another model of the same landmarks."""
        return replace(self, model=model)


def prepare(
    head: HeadModel | LandmarkModel,
    landmarks: np.ndarray,
    valid: np.ndarray,
    blendshapes: np.ndarray | None,
    blendshape_names: tuple[str, ...],
    config: FitConfig,
    camera: Camera,
) -> Inputs:
    """Check and weigh what was seen; arguments as for ``fit_landmarks``.

    Raises:
        SkippedClip: no frame can be used.
        ValueError: shapes do not fit each other.
    """
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
    general = with_offsets(head if isinstance(head, LandmarkModel) else landmark_model(head), config.offsets)
    if scores is not None:
        scores = np.where(np.isfinite(scores), scores, 0.0)
    closed = closed_eyes(scores, blendshape_names, len(seen))
    observations = observe(pixels, seen, closed, general.weight, config)
    rigid = general.weight * np.where(general.eye.index >= 0, 0.0, 1.0)
    rotation, origin = start_pose(general, observations.landmarks, rigid, camera)
    facing, length = _turned(general, rotation, origin)
    observations = replace(
        observations,
        weights=(observations.weights * facing).astype(np.float32),
        deviation=observations.deviation / length,
        distance=observations.distance / length,
        sway=_sway(rotation, origin, observations.deviation / length, camera),
        modes=frame_noise(config.noise_modes, general.num_landmarks),
    )
    return Inputs(general, observations, rigid, scores, blendshape_names, rotation, origin, facing)


def _sway(rotation: np.ndarray, origin: np.ndarray, deviation: np.ndarray, camera: Camera) -> np.ndarray:
    """What a metre in the head's frame adds to a residual, (T, 2, 3) float32, as far away as the root joint.

    Args:
        rotation: (T, 3) radians.
        origin: (T, 3) metres.
        deviation: (T,) standard deviation of a landmark, pixels.
        camera: camera of the landmarks' image.
    """
    scale = np.array([camera.fx, camera.fy]) / (np.maximum(origin[:, 2:], _MIN_DISTANCE) * deviation[:, None])
    return np.ascontiguousarray(scale[:, :, None] * rotations.exp(rotation)[:, :2], dtype=np.float32)


def _turned(model: LandmarkModel, rotation: np.ndarray, origin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a turn of the head hides and shortens.

    On the far side of a turned face the detector places its points where it believes them, not where it sees them.

    Args:
        model: gives the neutral face.
        rotation: (T, 3) radians.
        origin: (T, 3) metres.

    Returns:
        (T, L) how much each landmark faces the camera, ``_LEAST_SEEN`` to 1, outward directions taken as those from a
        point behind the middle of the face; and (T,) the length of the line between the eyes as seen over that
        facing the camera, at least ``_LEAST_LENGTH``.
    """
    face = neutral_landmarks(model)
    middle = model.weight @ face / model.weight.sum()
    outward = face - (middle + np.array([0.0, 0.0, _BEHIND_M]))
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    turn = rotations.exp(rotation)
    view = origin + turn @ middle
    view /= np.maximum(np.linalg.norm(view, axis=1, keepdims=True), 1e-9)
    local = np.einsum("txy,tx->ty", turn, view)  # the line of sight in the head frame
    facing = np.clip((0.05 - local @ outward.T) / 0.35, _LEAST_SEEN, 1.0)
    return facing, np.maximum(np.sqrt(np.maximum(1.0 - np.square(local[:, 0]), 0.0)), _LEAST_LENGTH)


def hints(inputs: Inputs, codes: np.ndarray, config: FitConfig) -> np.ndarray:
    """Means of the priors of expressions and jaw opening, (1, E + 1) or (T, E + 1), from the codes of the start."""
    e, c = inputs.model.num_expressions, inputs.model.num_linear
    if inputs.scores is None or config.blendshape_pull == 0:
        return np.zeros((1, e + 1))
    pull = config.blendshape_pull / config.blendshape_start
    return np.concatenate([pull * codes[:, :e], config.blendshape_pull * codes[:, c : c + 1]], axis=1)
