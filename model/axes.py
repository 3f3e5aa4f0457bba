"""Between this project's axes and those of other systems: FLAME's y-up frame, OpenGL cameras, 6D rotations.

FLAME's files and the tools around them have x to the subject's left, y up and z out of the face; OpenGL cameras look
along -z with y up. This project's head and camera frames are OpenCV's (x right in the image, y down, z away from the
camera). Both differ by the same half turn about x, Q = diag(1, -1, -1), which is its own inverse: see
docs/decisions/0001-head-frame.md. All functions are numpy, float64 inside, batched over leading axes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from model.camera import Camera
from model.fitting.rotations import exp, log

HALF_TURN = np.diag([1.0, -1.0, -1.0])
"""Q, the half turn about x between FLAME's or OpenGL's axes and OpenCV's."""
_SAME = 1e-7


def flip(vectors: np.ndarray) -> np.ndarray:
    """Turn points, translations or axis-angles (..., 3 k) between FLAME's and OpenCV's axes; its own inverse.

    An axis-angle w turns like a point, since exp(Q w) = Q exp(w) Q: turns about x keep their sign.
    """
    values = np.asarray(vectors)
    signs = np.tile(np.array([1.0, -1.0, -1.0], dtype=values.dtype), values.shape[-1] // 3)
    return values * signs


def sixd_to_matrix(sixd: np.ndarray) -> np.ndarray:
    """Rotation matrices (..., 3, 3) of 6D rotations (..., 6).

    The six numbers are the first two *rows*; Gram-Schmidt makes them orthonormal and the third row is their cross
    product (Zhou et al., "On the continuity of rotation representations in neural networks", CVPR 2019, with rows in
    place of columns, as in pytorch3d).
    """
    values = np.asarray(sixd, dtype=np.float64)
    first = values[..., :3] / np.linalg.norm(values[..., :3], axis=-1, keepdims=True)
    second = values[..., 3:] - (first * values[..., 3:]).sum(-1, keepdims=True) * first
    second = second / np.linalg.norm(second, axis=-1, keepdims=True)
    return np.stack([first, second, np.cross(first, second)], axis=-2)


def matrix_to_sixd(matrices: np.ndarray) -> np.ndarray:
    """The first two rows (..., 6) of rotation matrices (..., 3, 3)."""
    values = np.asarray(matrices)
    return values[..., :2, :].reshape(*values.shape[:-2], 6)


def sixd_to_axis_angle(sixd: np.ndarray) -> np.ndarray:
    """Axis-angles (..., 3 k) of k 6D rotations side by side (..., 6 k)."""
    values = np.asarray(sixd, dtype=np.float64)
    turns = log(sixd_to_matrix(values.reshape(*values.shape[:-1], -1, 6)))
    return turns.reshape(*values.shape[:-1], -1)


def axis_angle_to_sixd(vectors: np.ndarray) -> np.ndarray:
    """6D rotations (..., 6 k) of k axis-angles side by side (..., 3 k)."""
    values = np.asarray(vectors, dtype=np.float64)
    turns = matrix_to_sixd(exp(values.reshape(*values.shape[:-1], -1, 3)))
    return turns.reshape(*values.shape[:-1], -1)


def view_of_opengl_pose(c2w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The OpenCV view of cameras given as camera-to-world matrices in OpenGL's axes (NeRF's ``transform_matrix``).

    Args:
        c2w: (..., 4, 4), rigid.

    Returns:
        A (..., 3, 3) and b (..., 3) with x_opencv = A x_world + b.
    """
    poses = np.asarray(c2w, dtype=np.float64)
    rotation = HALF_TURN @ np.swapaxes(poses[..., :3, :3], -1, -2)
    return rotation, -(rotation @ poses[..., :3, 3:])[..., 0]


def opengl_pose_of_view(rotation: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Inverse of :func:`view_of_opengl_pose`: A (..., 3, 3), b (..., 3) to camera-to-world matrices (..., 4, 4)."""
    turned = np.asarray(rotation, dtype=np.float64)
    back = np.swapaxes(turned, -1, -2)
    pose = np.zeros((*turned.shape[:-2], 4, 4))
    pose[..., :3, :3] = back @ HALF_TURN
    pose[..., :3, 3] = -(back @ np.asarray(offset, dtype=np.float64)[..., None])[..., 0]
    pose[..., 3, 3] = 1.0
    return pose


def view_of_pytorch3d(rotation: np.ndarray, translation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The OpenCV view of pytorch3d cameras: x_p3d = x_world R + T with x left, y up, z away from the camera.

    Args:
        rotation: R (..., 3, 3), applied to row vectors.
        translation: T (..., 3).

    Returns:
        A (..., 3, 3) and b (..., 3) with x_opencv = A x_world + b.
    """
    signs = np.array([-1.0, -1.0, 1.0])
    turned = np.swapaxes(np.asarray(rotation, dtype=np.float64), -1, -2) * signs[:, None]
    return turned, np.asarray(translation, dtype=np.float64) * signs


def pytorch3d_of_view(rotation: np.ndarray, offset: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inverse of :func:`view_of_pytorch3d`."""
    signs = np.array([-1.0, -1.0, 1.0])
    turned = np.asarray(rotation, dtype=np.float64) * signs[:, None]
    return np.swapaxes(turned, -1, -2), np.asarray(offset, dtype=np.float64) * signs


def is_plain_view(rotation: np.ndarray) -> bool:
    """Whether every view rotation A (..., 3, 3) is the half turn: then folding it needs no root joint."""
    return bool(np.abs(np.asarray(rotation) - HALF_TURN).max(initial=0.0) < _SAME)


def fold_view(
    rotation: np.ndarray, translation: np.ndarray, view: np.ndarray, offset: np.ndarray, root: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """A head posed in FLAME's world and seen by a camera, as head pose in this project's camera frame.

    The world's vertices are R (v - J) + J + t, and a camera sees x_opencv = A x_world + b. With the head stored turned
    by Q, the same picture has R' = A R Q and t' = A (J + t) + b - Q J.

    Args:
        rotation: (T, 3) axis-angles R in FLAME's axes.
        translation: (T, 3) t, metres.
        view: (T, 3, 3) A.
        offset: (T, 3) b, metres.
        root: (3,) root joint J of the subject's own shape at rest, FLAME's axes; None is allowed where A is Q, for
            then J cancels.

    Returns:
        rotation (T, 3) and translation (T, 3) in OpenCV's axes.

    Raises:
        ValueError: the camera is turned and no root joint was given.
    """
    if is_plain_view(view):
        return flip(np.asarray(rotation, dtype=np.float64)), flip(np.asarray(translation, np.float64)) + offset
    if root is None:
        raise ValueError("a turned camera can be folded into the head's pose only about a known root joint")
    turned = view @ exp(np.asarray(rotation, dtype=np.float64)) @ HALF_TURN
    moved = (view @ (root + translation)[..., None])[..., 0] + offset - flip(root)
    return log(turned), moved


def unfold_view(
    rotation: np.ndarray, translation: np.ndarray, view: np.ndarray, offset: np.ndarray, root: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Inverse of :func:`fold_view`: head pose in FLAME's world, for given cameras A (T, 3, 3), b (T, 3)."""
    if is_plain_view(view):
        return flip(np.asarray(rotation, dtype=np.float64)), flip(np.asarray(translation, np.float64) - offset)
    if root is None:
        raise ValueError("a turned camera can be taken out of the head's pose only about a known root joint")
    back = np.swapaxes(np.asarray(view, dtype=np.float64), -1, -2)
    turned = back @ exp(np.asarray(rotation, dtype=np.float64)) @ HALF_TURN
    moved = (back @ (translation + flip(root) - offset)[..., None])[..., 0] - root
    return log(turned), moved


def turn_to_middle(camera: Camera) -> tuple[Camera, np.ndarray, np.ndarray]:
    """A camera at the same place that looks at the middle of the picture, with its principal point there.

    Args:
        camera: any pinhole camera.

    Returns:
        The new camera, of the same size and of the same scale in the middle of the picture; the turn (3, 3) with
        x_new = turn @ x_old in OpenCV camera frames; and the homography (3, 3) from old to new pixels (corner origin).
    """
    ray = np.array([(camera.width / 2 - camera.cx) / camera.fx, (camera.height / 2 - camera.cy) / camera.fy, 1.0])
    length = float(np.linalg.norm(ray))
    axis = np.cross(ray / length, [0.0, 0.0, 1.0])
    sine = float(np.linalg.norm(axis))
    turn = exp(axis / sine * np.arctan2(sine, 1.0 / length)) if sine > 1e-12 else np.eye(3)
    new = replace(camera, fx=camera.fx * length, fy=camera.fy * length, cx=camera.width / 2, cy=camera.height / 2)
    return new, turn, new.matrix() @ turn @ np.linalg.inv(camera.matrix())
