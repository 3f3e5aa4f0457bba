"""A made-up face track: landmarks of the open head in motion, colours of a face, and a fit that fits."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
from scipy.spatial.transform import Rotation

from model.head import load_head
from pipelines.flame.validity import Fitted, Seen

SIZE = 512.0
FOCAL = 1800.0


@cache
def _landmarks() -> np.ndarray:
    head = load_head()
    points = head.landmark_points(head.v_template[None])[0].numpy().astype(np.float64)
    return points - points.mean(axis=0)


def track(
    frames: int = 80, seed: int = 0, yaw_deg: np.ndarray | float = 0.0, person: int = 0
) -> tuple[Seen, Fitted, np.ndarray]:
    """Somebody who nods a little: what the detector says, what the fit says, and the colours.

    Args:
        frames: T.
        seed: of noise and motion.
        yaw_deg: (T,) or one value.
        person: who; other people have other proportions and other colours.
    """
    rng = np.random.default_rng(seed)
    who = np.random.default_rng([person, 77])
    points = _landmarks()
    # Another face: smooth change of its proportions.
    points = points * (1.0 + 0.09 * np.sin(who.uniform(1, 3) * 30 * points[:, [1, 2, 0]] + who.uniform(0, 6, 3)))
    t = np.arange(frames)
    yaw = np.radians(np.broadcast_to(np.asarray(yaw_deg, np.float64), (frames,)))
    turn = Rotation.from_euler("YX", np.stack([yaw, 0.05 * np.sin(t / 6)], axis=1))
    place = np.stack([0.01 * np.sin(t / 9), 0.004 * np.cos(t / 7), np.full(frames, 0.9)], axis=1)
    there = np.einsum("tij,nj->tni", turn.as_matrix(), points) + place[:, None]
    scale = FOCAL / there[..., 2:]
    landmarks = np.concatenate([there[..., :2] * scale + SIZE / 2, (there[..., 2:] - 0.9) * FOCAL / 0.9], axis=2)
    landmarks[..., :2] += rng.normal(0, 0.15, landmarks[..., :2].shape)
    flip = np.diag([1.0, -1.0, -1.0])
    matrix = np.tile(np.eye(4), (frames, 1, 1))
    matrix[:, :3, :3] = flip @ turn.as_matrix() @ flip
    base = 120 + 40 * np.sin(who.uniform(30, 60, 3) @ points.T + who.uniform(0, 6)) + who.normal(0, 8, 478)
    colours = np.stack([base, 110 + who.normal(0, 2, 478), 150 + who.normal(0, 3, 478)], axis=1)
    light = 1 + 0.1 * np.sin(t / 20)
    all_colours = np.tile(colours, (frames, 1, 1)) + rng.normal(0, 1.0, (frames, 478, 3))
    all_colours[..., 0] *= light[:, None]
    seen = Seen(
        landmarks.astype(np.float32),
        np.ones(frames, bool),
        matrix.astype(np.float32),
        np.full(frames, 0.93, np.float32),
        np.full(frames, 150.0, np.float32) * rng.uniform(0.8, 1.2, frames).astype(np.float32),
        np.degrees(yaw).astype(np.float32),
        np.full(frames, 0.1, np.float32),
        (0.0, 0.0, SIZE, SIZE),
    )
    fitted = Fitted(
        np.ones(frames, bool),
        turn.as_rotvec().astype(np.float32),
        place.astype(np.float32),
        np.full(frames, 1.5, np.float32),
        np.full(frames, 120.0, np.float32),
    )
    return seen, fitted, all_colours.clip(0, 255).astype(np.uint8)


def joined(*tracks: tuple[Seen, Fitted, np.ndarray]) -> tuple[Seen, Fitted, np.ndarray]:
    """Tracks one after the other, as of a tracker that went over to somebody else."""
    names: tuple[str, ...] = ("landmarks", "valid", "matrix", "score", "sharpness", "yaw_deg", "mouth_open")
    seen = replace(tracks[0][0], **{n: np.concatenate([getattr(s, n) for s, _, _ in tracks]) for n in names})
    names = ("valid", "rotation", "translation", "reprojection_px", "eye_distance_px")
    fitted = replace(tracks[0][1], **{n: np.concatenate([getattr(f, n) for _, f, _ in tracks]) for n in names})
    return seen, fitted, np.concatenate([c for _, _, c in tracks])
