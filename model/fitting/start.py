"""First guesses: pose in closed form, expressions from blendshapes, and the choice of frames that show the shape."""

from __future__ import annotations

import numpy as np

from model.camera import Camera
from model.fitting import rotations
from model.fitting.config import FitConfig
from model.fitting.landmark_model import LandmarkModel

GAZE_RAD = 0.45
"""Angle of an eye at a gaze blendshape of 1, radians; only a starting point."""


def neutral_landmarks(model: LandmarkModel) -> np.ndarray:
    """Landmarks (L, 3) in metres about the root joint, all codes at zero."""
    points = model.root.rest.astype(np.float64).reshape(-1, 3)
    for part in (model.jaw, model.eye):
        rows = np.flatnonzero(part.index >= 0)
        points[rows] += part.rest.reshape(-1, 3)[part.index[rows]]
    return points


def start_pose(
    model: LandmarkModel, landmarks: np.ndarray, weights: np.ndarray, camera: Camera
) -> tuple[np.ndarray, np.ndarray]:
    """Rotation and origin of every frame by an affine camera (POS, DeMenthon and Davis 1995), all frames at once.

    Args:
        model: gives the neutral face.
        landmarks: (T, L, 2) pixels.
        weights: (L,) trust in each landmark.
        camera: camera of the landmarks' image.

    Returns:
        Axis-angle rotations (T, 3) and origins (T, 3), the root joint in the camera frame, metres.
    """
    face = neutral_landmarks(model)
    normal = np.stack(
        [(landmarks[..., 0] - camera.cx) / camera.fx, (landmarks[..., 1] - camera.cy) / camera.fy], axis=-1
    ).astype(np.float64)
    # About the centre of the face, where the affine camera fits best; the root is moved there afterwards.
    middle = weights @ face / weights.sum()
    design = np.concatenate([face - middle, np.ones((len(face), 1))], axis=1)
    root = np.sqrt(weights)[:, None]
    affine = np.einsum("al,tlx->txa", np.linalg.pinv(design * root) * root[:, 0], normal)  # (T, 2, 4)
    first, second = affine[:, 0, :3], affine[:, 1, :3]
    size = np.sqrt(np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1))
    size = np.maximum(size, 1e-6)
    rows = np.stack([first, second, np.cross(first, second) / size[:, None]], axis=1) / size[:, None, None]
    u, _, vt = np.linalg.svd(rows)
    turn = u @ vt
    mirrored = np.linalg.det(turn) < 0
    u[mirrored, :, 2] *= -1
    turn = u @ vt
    depth = 1.0 / size
    centre = np.stack([affine[:, 0, 3] * depth, affine[:, 1, 3] * depth, depth], axis=1)
    return rotations.log(turn), centre - turn @ middle


def start_codes(
    model: LandmarkModel,
    rotation: np.ndarray,
    origin: np.ndarray,
    blendshapes: np.ndarray | None,
    blendshape_names: tuple[str, ...],
    config: FitConfig,
) -> np.ndarray:
    """Codes (T, P) to start from: the given pose, expressions, jaw and gaze from blendshapes where there are any.

    Args:
        model: gives the names of the expressions; those without a blendshape of their name start at 0.
        rotation: (T, 3) radians.
        origin: (T, 3) metres.
        blendshapes: (T, N) in [0, 1], or None.
        blendshape_names: their N names (ARKit's).
        config: shares and angles.
    """
    num, c = len(rotation), model.num_linear
    codes = np.zeros((num, model.num_codes))
    codes[:, -6:-3], codes[:, -3:] = rotation, origin
    if blendshapes is None:
        return codes
    values = np.clip(np.nan_to_num(np.asarray(blendshapes, dtype=np.float64)), 0.0, 1.0)
    column = {name: values[:, i] for i, name in enumerate(blendshape_names)}
    zero = np.zeros(num)

    def get(name: str) -> np.ndarray:
        return column.get(name, zero)

    for i, name in enumerate(model.names[: model.num_expressions]):
        codes[:, i] = config.blendshape_start * get(name)
    codes[:, c] = config.jaw_open_rad * get("jawOpen")
    for start, side, outward in ((c + 3, "Left", -1.0), (c + 6, "Right", 1.0)):
        codes[:, start] = GAZE_RAD * (get(f"eyeLookDown{side}") - get(f"eyeLookUp{side}"))
        codes[:, start + 1] = outward * GAZE_RAD * (get(f"eyeLookOut{side}") - get(f"eyeLookIn{side}"))
    return codes


def choose_frames(rotation: np.ndarray, blendshapes: np.ndarray | None, seen: np.ndarray, count: int) -> np.ndarray:
    """Frames that show most of a face: the most frontal and neutral one, then each time the one least like the others.

    Args:
        rotation: (T, 3) head rotations, radians.
        blendshapes: (T, N) or None.
        seen: (T,) bool: frames to choose from.
        count: how many at most.

    Returns:
        Sorted frame numbers.
    """
    candidates = np.flatnonzero(seen)
    features = rotation[candidates] / 0.3
    if blendshapes is not None:
        features = np.concatenate([features, np.nan_to_num(blendshapes[candidates])], axis=1)
    # Rare extremes are often failures of the detector: leave out the frames farthest from the typical one.
    centre = np.median(features, axis=0)
    far = np.linalg.norm(features - centre, axis=1)
    keep = far <= np.quantile(far, 0.95) + 1e-9
    candidates, features = candidates[keep], features[keep]
    chosen = [int(np.argmin(np.linalg.norm(features, axis=1)))]
    nearest = np.linalg.norm(features - features[chosen[0]], axis=1)
    while len(chosen) < min(count, len(candidates)):
        following = int(np.argmax(nearest))
        if nearest[following] <= 0:
            break
        chosen.append(following)
        nearest = np.minimum(nearest, np.linalg.norm(features - features[following], axis=1))
    return np.sort(candidates[chosen])
