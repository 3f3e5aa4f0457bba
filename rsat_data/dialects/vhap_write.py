"""Writing VHAP's NeRF-style folder: see :mod:`rsat_data.dialects.vhap` for the layout and its rules."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rsat_data.dialects import files, world
from rsat_data.dialects.track import Track
from rsat_data.errors import RsatError

if TYPE_CHECKING:
    from model.camera import Camera
    from rsat_data.dialects.export_run import Export

INDEX = "transforms.json"
TRAIN_SHARE = 0.7
CANONICAL_JAW = 0.3
VERTICES = 5143
"""Vertices of VHAP's FLAME with its 120 teeth vertices: the size of ``static_offset``."""
_OFF_PX = 0.5
"""A principal point nearer than this to the middle is in the middle."""


def write(export: Export, folder: Path) -> list[str]:
    """Write one row as a sequence into an empty folder.

    Frames are streamed: one picture is in memory at a time. The picture is the row's video on white, its alpha the
    row's matte; pictures are written once and never changed. GaussianAvatars reads fields of view and no principal
    point: so the camera is turned about its own centre until the middle of the picture is its principal point,
    pictures are warped accordingly (a homography, no parallax) and ``transform_matrix`` says where the camera looks.
    With ``export.keep_crop``, pictures and camera stay as they are.

    Returns:
        Sentences on what was lost or has to be known.

    Raises:
        RsatError: the row has no video.
    """
    from model.axes import opengl_pose_of_view, turn_to_middle, view_of_opengl_pose

    track = export.track
    camera = track.camera
    if not export.has_video or camera is None:
        raise RsatError(
            f"{export.name} has no video, and this layout is made of pictures.",
            hint="Use --format vhap-npz for codes alone.",
        )
    codes = world.unfold(track)
    mean = codes["translation"].mean(0)
    codes["translation"] = codes["translation"] - mean
    view, offset = view_of_opengl_pose(world.PLAIN)
    off = max(abs(camera.cx - camera.width / 2), abs(camera.cy - camera.height / 2))
    notes, homography = [], None
    if off > _OFF_PX and export.keep_crop:
        notes.append(
            f"the principal point lies {off:.0f} px off the middle: cx and cy say so, but GaussianAvatars does not "
            "read them"
        )
    elif off > _OFF_PX:
        camera, turn, homography = turn_to_middle(camera)
        view, offset = turn @ view, turn @ offset
    pose = opengl_pose_of_view(view, offset)
    pose[:3, 3] -= mean
    for name in ("images", "fg_masks", "flame_param"):
        (folder / name).mkdir(parents=True)
    for step, (picture, mask) in enumerate(_warped(export.frames(), homography)):
        _write_png(folder / "images" / f"{step:05d}_00.png", _on_white(picture, mask))
        _write_png(folder / "fg_masks" / f"{step:05d}_00.png", mask)
        of_step = {name: code[step : step + 1] for name, code in codes.items()}
        _save(folder / "flame_param" / f"{step:05d}.npz", track, of_step, export)
    _write_canonical(folder, track, export)
    _write_indices(folder, track.num_frames, camera, pose, mean)
    if track.valid is not None and not track.valid.all():
        invalid = int((~track.valid).sum())
        notes.append(f"{invalid} frames are not valid in the dataset; the layout has no place to say so")
    return notes


def _warped(
    frames: Iterator[tuple[np.ndarray, np.ndarray]], homography: np.ndarray | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pictures and masks seen by the turned camera; beyond the old picture's edge nothing is foreground."""
    if homography is None:
        yield from frames
        return
    import cv2

    # OpenCV counts pixels from their centres, the homography from the picture's corner.
    shift = np.array([[1.0, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    matrix = np.linalg.inv(shift) @ homography @ shift
    for picture, mask in frames:
        size = (picture.shape[1], picture.shape[0])
        turned = cv2.warpPerspective(picture, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        yield turned, cv2.warpPerspective(np.ascontiguousarray(mask), matrix, size, flags=cv2.INTER_LINEAR)


def _save(path: Path, track: Track, codes: Mapping[str, np.ndarray], export: Export) -> None:
    arrays: dict[str, Any] = {name: np.asarray(code, dtype=np.float32) for name, code in codes.items()}
    arrays["shape"] = track.shape.astype(np.float32)
    arrays["static_offset"] = track.extras.get("static_offset", np.zeros((1, VERTICES, 3), np.float32))
    if export.own_codes:
        del arrays["static_offset"]
        arrays["head_model"] = np.array(track.head)
    files.save_npz(path, arrays)


def _write_canonical(folder: Path, track: Track, export: Export) -> None:
    rest = {name: np.zeros((1, width)) for name, width in world.WIDTHS.items()}
    rest["jaw_pose"][0, 0] = CANONICAL_JAW
    _save(
        folder / "canonical_flame_param.npz", track, {**rest, "expr": np.zeros((1, track.expression.shape[1]))}, export
    )


def _write_indices(folder: Path, frames: int, camera: Camera, pose: np.ndarray, mean: np.ndarray) -> None:
    intrinsics = {
        "cx": camera.cx,
        "cy": camera.cy,
        "fl_x": camera.fx,
        "fl_y": camera.fy,
        "h": camera.height,
        "w": camera.width,
        "camera_angle_x": 2 * math.atan(camera.width / (2 * camera.fx)),
        "camera_angle_y": 2 * math.atan(camera.height / (2 * camera.fy)),
    }
    steps = range(frames)

    def frame(step: int, matrix: np.ndarray) -> dict[str, Any]:
        return {
            "timestep_index": step,
            "timestep_index_original": step,
            "timestep_id": f"{step:05d}",
            "camera_index": 0,
            "camera_id": "0",
            **intrinsics,
            "transform_matrix": matrix.tolist(),
            "file_path": f"images/{step:05d}_00.png",
            "fg_mask_path": f"fg_masks/{step:05d}_00.png",
            "flame_param_path": f"flame_param/{step:05d}.npz",
        }

    def index(chosen: Sequence[int], matrix: np.ndarray) -> dict[str, Any]:
        return {
            "frames": [frame(step, matrix) for step in chosen],
            **intrinsics,
            "timestep_indices": list(chosen),
            "camera_indices": [0],
        }

    whole = index(steps, pose)
    # The exporter's own backups: the cameras before the mean translation, and the final state.
    before = pose.copy()
    before[:3, 3] += mean
    plain = index(steps, before)
    for entry in plain["frames"]:
        del entry["flame_param_path"]
    count = int(len(steps) * TRAIN_SHARE)
    parts = {"train": steps[:count], "val": (), "test": steps[count:]}
    contents = {INDEX: whole, "transforms_backup.json": plain, "transforms_backup_flame.json": whole}
    contents |= {f"transforms_{name}.json": index(chosen, pose) for name, chosen in parts.items()}
    for name, content in contents.items():
        (folder / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _on_white(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    alpha = mask[..., None].astype(np.uint16)
    mixed: np.ndarray = ((picture.astype(np.uint16) * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return mixed


def _write_png(path: Path, picture: np.ndarray) -> None:
    import cv2

    shown = picture[..., ::-1] if picture.ndim == 3 else picture
    if not cv2.imwrite(str(path), np.ascontiguousarray(shown), [cv2.IMWRITE_PNG_COMPRESSION, 3]):
        raise RsatError(f"{path} cannot be written.", path=path)
