"""Axes: a head of FLAME's kind posed in FLAME's axes and in ours gives the same pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from model import axes
from model.camera import Camera, project
from model.fitting.rotations import exp, log
from model.head import load_head
from tests.flame_factory import make_codes, make_flame

seeds = st.integers(0, 2**32 - 1)


def turned(rng: np.random.Generator, count: int) -> np.ndarray:
    return Rotation.random(count, random_state=rng.integers(2**31)).as_matrix()


def opengl_pixels(points: np.ndarray, c2w: np.ndarray, camera: Camera) -> np.ndarray:
    """Pixels by OpenGL's own rules: look along -z, y up; no function of the code under test."""
    seen = np.linalg.solve(c2w, np.concatenate([points, np.ones((len(points), 1))], axis=1).T).T
    right, up, depth = seen[:, 0], seen[:, 1], -seen[:, 2]
    return np.stack([camera.cx + camera.fx * right / depth, camera.cy - camera.fy * up / depth], axis=1)


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_flip_turns_vectors_and_axis_angles_alike(seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(5, 3))
    np.testing.assert_allclose(exp(axes.flip(vectors)), axes.HALF_TURN @ exp(vectors) @ axes.HALF_TURN, atol=1e-12)
    np.testing.assert_array_equal(axes.flip(axes.flip(vectors)), vectors)


def test_flip_keeps_the_jaw_opening() -> None:
    np.testing.assert_array_equal(axes.flip(np.float32([[0.2, 0.1, 0.3]])), np.float32([[0.2, -0.1, -0.3]]))


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_six_numbers_and_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrices = turned(rng, 4)
    np.testing.assert_allclose(axes.sixd_to_matrix(axes.matrix_to_sixd(matrices)), matrices, atol=1e-12)
    # Any six numbers make a rotation.
    free = axes.sixd_to_matrix(rng.normal(size=(4, 6)))
    np.testing.assert_allclose(free @ free.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (4, 3, 3)), atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(free), 1)
    pairs = rng.uniform(-1, 1, (4, 6))
    np.testing.assert_allclose(axes.sixd_to_axis_angle(axes.axis_angle_to_sixd(pairs)), pairs, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_camera_matrices_and_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pose = np.tile(np.eye(4), (3, 1, 1))
    pose[:, :3, :3], pose[:, :3, 3] = turned(rng, 3), rng.normal(size=(3, 3))
    np.testing.assert_allclose(axes.opengl_pose_of_view(*axes.view_of_opengl_pose(pose)), pose, atol=1e-12)
    rotation, translation = turned(rng, 3), rng.normal(size=(3, 3))
    back = axes.pytorch3d_of_view(*axes.view_of_pytorch3d(rotation, translation))
    np.testing.assert_allclose(back[0], rotation, atol=1e-12)
    np.testing.assert_allclose(back[1], translation, atol=1e-12)


def test_pytorch3d_camera_that_looks_at_the_origin() -> None:
    """The view of look_at_view_transform(dist=1): R = diag(-1, 1, -1), T = (0, 0, 1)."""
    view, offset = axes.view_of_pytorch3d(np.diag([-1.0, 1.0, -1.0]), np.array([0.0, 0.0, 1.0]))
    np.testing.assert_array_equal(view, axes.HALF_TURN)
    np.testing.assert_array_equal(offset, [0, 0, 1])


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_fold_and_unfold(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rotation, translation = log(turned(rng, 4)), rng.normal(size=(4, 3))
    view, offset, root = turned(rng, 4), rng.normal(size=(4, 3)), rng.normal(size=3)
    ours = axes.fold_view(rotation, translation, view, offset, root)
    again = axes.unfold_view(*ours, view, offset, root)
    np.testing.assert_allclose(exp(again[0]), exp(rotation), atol=1e-9)
    np.testing.assert_allclose(again[1], translation, atol=1e-9)


def test_a_turned_camera_needs_the_root_joint() -> None:
    zero, turn = np.zeros((1, 3)), exp(np.array([[0.0, 0.1, 0.0]]))
    with pytest.raises(ValueError, match="root joint"):
        axes.fold_view(zero, zero, turn @ axes.HALF_TURN, zero, None)
    with pytest.raises(ValueError, match="root joint"):
        axes.unfold_view(zero, zero, turn @ axes.HALF_TURN, zero, None)


@pytest.mark.parametrize("turn", [0.0, 0.7])
def test_a_head_posed_both_ways_gives_the_same_pixels(tmp_path: Path, turn: float) -> None:
    """Once in FLAME's axes through an OpenGL camera, once in ours through an OpenCV camera."""
    made = make_flame(3)
    made.write(tmp_path / "head.safetensors", "flame2023")
    head = load_head(tmp_path / "head.safetensors")
    frames = 4
    codes = make_codes(frames, 5)
    camera = Camera(700.0, 690.0, 240.0, 270.0, 512, 512)
    pose = np.tile(np.eye(4), (frames, 1, 1))
    pose[:, :3, :3] = exp(turn * np.array([0.3, 1.0, 0.2]))
    pose[:, :3, 3] = exp(turn * np.array([0.3, 1.0, 0.2])) @ [0, 0, 1] + [0.02, 0, 0]
    view, offset = axes.view_of_opengl_pose(pose)
    rotation, translation = axes.fold_view(
        codes["rotation"], codes["translation"], view, offset, made.root(codes["shape"]) if turn else None
    )
    ours = {name: axes.flip(codes[name]) for name in ("jaw", "neck", "eyes")}
    ours |= {"expression": codes["expression"], "rotation": rotation, "translation": translation}
    vertices, _ = head.pose(
        torch.from_numpy(codes["shape"]), **{name: torch.from_numpy(np.float32(code)) for name, code in ours.items()}
    )
    pixels = project(vertices.numpy(), camera)
    moved = 0.0
    for frame in range(frames):
        posed = made.pose_y_up(
            codes["shape"],
            *(codes[name][frame] for name in ("expression", "jaw", "neck", "eyes", "rotation", "translation")),
        )
        expected = opengl_pixels(posed, pose[frame], camera)
        assert np.abs(pixels[frame] - expected).max() < 2e-3
        moved = max(moved, float(np.abs(expected - opengl_pixels(made.v_template, pose[frame], camera)).max()))
    assert moved > 50  # the head does move


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_turning_a_camera_to_the_middle_moves_pixels_by_its_homography(seed: int) -> None:
    rng = np.random.default_rng(seed)
    camera = Camera(*rng.uniform(500, 2000, 2), *rng.uniform(-300, 800, 2), 512, 480)
    new, turn, homography = axes.turn_to_middle(camera)
    assert (new.cx, new.cy, new.width, new.height) == (256.0, 240.0, 512, 480)
    points = rng.uniform(-0.1, 0.1, (20, 3)) + [*np.linalg.inv(camera.matrix())[:2] @ [256, 240, 1], 1]
    old = project(points, camera)
    warped = np.concatenate([old, np.ones((20, 1))], axis=1) @ homography.T
    np.testing.assert_allclose(project(points @ turn.T, new), warped[:, :2] / warped[:, 2:], atol=1e-6)
    middle = homography @ [256, 240, 1]
    np.testing.assert_allclose(middle[:2] / middle[2], [256, 240], atol=1e-6)
