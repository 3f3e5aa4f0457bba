"""The open head with a made texture, and pictures rendered with it: everything the refinement should find is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from benchmarks.gpu_scene import made_skin, pictures
from model.camera import Camera, project
from model.fitting.fit import FitResult, fit_landmarks
from model.head.load import HeadModel, load_head
from model.photometric import view
from model.photometric.refine import Landmarks
from model.photometric.surface import Surface, make_surface

CAMERA = Camera(560.0, 560.0, 66.0, 60.0, 128, 128)
FRAMES = 36


@dataclass(frozen=True)
class Scene:
    """A made clip of 128 x 128 pixels."""

    shape: np.ndarray
    codes: np.ndarray
    """(T, E + 15)."""
    root: np.ndarray
    skin: view.Skin
    frames: np.ndarray
    """(T, H, W, 3) uint8."""
    landmarks: Landmarks
    fast: FitResult


@pytest.fixture(scope="session")
def head() -> HeadModel:
    return load_head()


@pytest.fixture(scope="session")
def surface(head: HeadModel) -> Surface:
    return make_surface(head, 1500, 0.003)


def draw(surface: Surface, shape: np.ndarray, codes: np.ndarray, root: np.ndarray, skin: view.Skin, camera: Camera,
         gain: np.ndarray | None = None) -> np.ndarray:  # fmt: skip
    """Pictures (T, H, W, 3) uint8 of codes over a grey ground."""
    gain = np.ones((len(codes), 3)) if gain is None else gain
    return pictures(surface, surface.pose(shape, codes, root), skin, camera, gain)


@pytest.fixture(scope="session")
def scene(head: HeadModel, surface: Surface) -> Scene:
    """Talk, a blink, a nod; landmarks with errors of about 2 % of the eye distance that change from frame to frame."""
    rng = np.random.default_rng(11)
    t = np.arange(FRAMES) / 25
    e = head.num_expression
    codes = np.zeros((FRAMES, e + 15))
    codes[:, head.expression_index("mouthSmileLeft")] = 0.3 + 0.3 * np.sin(4 * t)
    codes[:, head.expression_index("browInnerUp")] = 0.3 + 0.3 * np.cos(3 * t)
    for side in ("Left", "Right"):
        codes[:, head.expression_index(f"eyeBlink{side}")] = np.exp(-np.square((t - 0.7) / 0.07))
    codes[:, e] = 0.1 + 0.1 * np.sin(9 * t)
    codes[:, e + 4] = codes[:, e + 7] = 0.15 * np.sin(2 * t)
    codes[:, e + 9 : e + 12] = np.stack([0.1 * np.sin(t), 0.3 * np.sin(2 * t), 0.05 * t], 1)
    codes[:, e + 12 :] = np.stack([0.01 * np.sin(t), 0.10 + 0 * t, 0.8 + 0.01 * np.cos(t)], 1)
    shape = 0.7 * rng.normal(size=head.num_shape)
    _, joints = head.shaped(torch.as_tensor(shape, dtype=torch.float32))
    root = joints[0, 0].numpy().astype(np.float64)
    at = torch.as_tensor(codes, dtype=torch.float32)
    vertices, _ = head.pose(
        torch.as_tensor(shape, dtype=torch.float32), at[:, :e], at[:, e : e + 3], None, at[:, e + 3 : e + 9],
        at[:, e + 9 : e + 12], at[:, e + 12 :] - torch.as_tensor(root, dtype=torch.float32),
    )  # fmt: skip
    points = project(head.landmark_points(vertices), CAMERA).numpy().astype(np.float64)
    eyes = np.linalg.norm(points[0, [33, 133]].mean(0) - points[0, [263, 362]].mean(0))
    # A detector's errors are shared by neighbours: every frame is shifted, stretched and bent a little as a whole.
    around = (points - points.mean(axis=1, keepdims=True)) / eyes
    bent = np.sin(3 * around @ rng.normal(size=(FRAMES, 2, 2)) + rng.uniform(0, 6, (FRAMES, 1, 2)))
    stretched = around @ (0.012 * rng.normal(size=(FRAMES, 2, 2)))
    points += eyes * (0.012 * rng.normal(size=(FRAMES, 1, 2)) + stretched + 0.012 * bent)
    points += rng.normal(size=points.shape) * 0.005 * eyes
    valid = np.ones(FRAMES, bool)
    skin = made_skin(surface)
    gain = 1 + 0.05 * np.sin(t)[:, None] * np.array([1.0, 0.8, 0.6])
    frames = draw(surface, shape, codes, root, skin, CAMERA, gain)
    landmarks = Landmarks(points, valid)
    fast = fit_landmarks(head, points, valid, CAMERA, shape=shape)
    return Scene(shape, codes, root, skin, frames, landmarks, fast)
