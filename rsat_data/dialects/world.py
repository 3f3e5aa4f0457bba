"""VHAP's world: codes in FLAME's axes under VHAP's names, seen by cameras in OpenGL's axes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rsat_data.dialects.track import ReadOptions, Track

WIDTHS = {"translation": 3, "rotation": 3, "neck_pose": 3, "jaw_pose": 3, "eyes_pose": 6}
"""VHAP's names of the codes that every head has alike, and their sizes."""
NAMES = {
    "translation": "translation",
    "rotation": "rotation",
    "neck": "neck_pose",
    "jaw": "jaw_pose",
    "eyes": "eyes_pose",
}
"""Names in a dataset -> VHAP's."""
PLAIN = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1]])
"""Camera to world (4, 4) of the one camera of a monocular sequence: at (0, 0, 1), looking along -z."""


def fold(
    codes: Mapping[str, np.ndarray], poses: np.ndarray, shape: np.ndarray, options: ReadOptions, where: str
) -> dict[str, np.ndarray]:
    """Codes (T, D) of VHAP's world to this project's names and axes, the cameras folded into the head's pose.

    Args:
        codes: by VHAP's names.
        poses: (T, 4, 4) camera to world, OpenGL axes.
        shape: (S,) the subject's, for the root joint of a turned camera.
        options: holds the head.
        where: for messages.

    Raises:
        HeadNeeded: the camera is turned, and the head is not on this machine.
    """
    from model.axes import flip, fold_view, is_plain_view, view_of_opengl_pose

    view, offset = view_of_opengl_pose(poses)
    root = None
    if not is_plain_view(view):
        root = options.root(shape, f"{where}: the camera is turned and has to be folded into the head's pose")
    rotation, translation = fold_view(codes["rotation"], codes["translation"], view, offset, root)
    same = {ours: flip(codes[NAMES[ours]]).astype(np.float32) for ours in ("jaw", "neck", "eyes")}
    return {**same, "rotation": rotation.astype(np.float32), "translation": translation.astype(np.float32)}


def unfold(track: Track, pose: np.ndarray = PLAIN, root: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Codes (T, D) float64 of a track in VHAP's names and axes, in front of one camera.

    Args:
        track: the codes.
        pose: (4, 4) camera to world, OpenGL axes.
        root: (3,) root joint in FLAME's axes, needed where the camera is turned.
    """
    from model.axes import flip, unfold_view, view_of_opengl_pose

    view, offset = view_of_opengl_pose(np.broadcast_to(pose, (track.num_frames, 4, 4)))
    rotation, translation = unfold_view(track.rotation, track.translation.astype(np.float64), view, offset, root)
    same = {NAMES[ours]: flip(getattr(track, ours).astype(np.float64)) for ours in ("jaw", "neck", "eyes")}
    return {"translation": translation, "rotation": rotation, **same, "expr": track.expression.astype(np.float64)}
