"""Frames in which a face was not found: filled from their neighbours, and marked."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation, Slerp


def fill_linear(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """``values`` (T, ...) with invalid frames interpolated linearly in time; held before the first and after the last.

    Raises:
        ValueError: no frame is valid.
    """
    known = np.flatnonzero(valid)
    if not len(known):
        raise ValueError("no valid frame to fill from")
    flat = values.reshape(len(values), -1)
    lost = np.flatnonzero(~valid)
    out = flat.copy()
    after = np.searchsorted(known, lost)
    left = known[np.clip(after - 1, 0, len(known) - 1)]
    right = known[np.clip(after, 0, len(known) - 1)]
    left = np.where(after == 0, right, left)
    weight = np.where(right > left, (lost - left) / np.maximum(right - left, 1), 0.0)[:, None]
    out[lost] = ((1 - weight) * flat[left] + weight * flat[right]).astype(values.dtype)
    return out.reshape(values.shape)


def fill_poses(matrices: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Pose matrices (T, 4, 4) float32 filled: rotations along the shortest arc, positions and scale linearly.

    Raises:
        ValueError: no frame is valid.
    """
    known = np.flatnonzero(valid)
    if len(known) == len(matrices):
        return matrices
    out = fill_linear(matrices, valid)
    if len(known) < 2:
        return out
    lost = np.flatnonzero(~valid & (np.arange(len(valid)) > known[0]) & (np.arange(len(valid)) < known[-1]))
    if len(lost):
        scale = np.linalg.norm(matrices[known, :3, :3], axis=1).mean(axis=1)
        rotations = Rotation.from_matrix(matrices[known, :3, :3] / scale[:, None, None])
        between = Slerp(known, rotations)(lost).as_matrix()
        out[lost, :3, :3] = between * np.interp(lost, known, scale)[:, None, None]
    return out


def angles(matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Yaw, pitch and roll (T,) float32 in degrees of the landmarker's pose matrices (T, 4, 4).

    The face looks along R z (x to the image's right, y up, z to the viewer). Yaw is positive when it looks to the
    image's right, pitch when it looks up, roll when it leans clockwise in the image.
    """
    rotation = matrices[:, :3, :3].astype(np.float64)
    rotation /= np.maximum(np.linalg.norm(rotation, axis=1, keepdims=True), 1e-9)
    forward, up = rotation[:, :, 2], rotation[:, :, 1]
    yaw = np.degrees(np.arctan2(forward[:, 0], forward[:, 2]))
    pitch = np.degrees(np.arcsin(np.clip(forward[:, 1], -1, 1)))
    roll = np.degrees(np.arctan2(up[:, 0], up[:, 1]))
    return yaw.astype(np.float32), pitch.astype(np.float32), roll.astype(np.float32)
