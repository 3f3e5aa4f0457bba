"""metrical-tracker's frames: ``checkpoint/{t:05d}.frame``, a torch file a frame, for INSTA, FlashAvatar, RGBAvatar.

A frame holds flame {exp (1, 100), shape (1, 300), tex, sh (1, 9, 3), eyes (1, 12), eyelids (1, 2), jaw (1, 6)},
camera {R (1, 6), t (1, 3), fl (1, 1), pp (1, 2)}, opencv {R (1, 3, 3), t (1, 3), K (1, 3, 3)} and img_size (h, w).
The head stands still at FLAME's origin and the camera moves; rotations have six numbers. Here the camera's turn is
folded into the head's pose, which takes the root joint and so the head model itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rsat_data.dialects import files
from rsat_data.dialects.torch_files import read_torch
from rsat_data.dialects.track import BadDialectFile, ReadOptions, Recording, Track, Unit, fill, root_joint
from rsat_data.errors import RsatError, UnsupportedSource

if TYPE_CHECKING:
    from model.camera import Camera
    from rsat_data.dialects.export_run import Export

_FOLDER = "checkpoint"


def find(path: Path) -> list[Unit]:
    """Every folder that holds ``.frame`` files; it is named after the folder above ``checkpoint``."""
    frames = files.walk(path, "*.frame")
    units = []
    for folder in sorted({each.parent for each in frames}, key=files.natural):
        actor = folder.parent if folder.name == _FOLDER else folder
        units.append(Unit(actor.name, actor, tuple(each for each in frames if each.parent == folder)))
    return units


def read(unit: Unit, options: ReadOptions) -> Recording:
    """Read the frames of one sequence.

    Raises:
        UnsafeSource: a frame carries code or objects.
        BadDialectFile: keys, shapes or values are not as the format promises; a frame is there twice.
        HeadNeeded: the head is not on this machine.
    """
    from model.axes import flip, fold_view, sixd_to_axis_angle

    steps = files.ascending([files.step_of(file.stem, file) for file in unit.files], unit.path)
    parts = [_frame(file) for file in unit.files]
    order = np.argsort(steps)
    parts, steps = [parts[number] for number in order], steps[order]
    first, where = unit.files[0], str(unit.path)
    if len({part["head_model"] for part in parts}) > 1:
        raise BadDialectFile(f"{where}: the frames belong to different heads.", path=unit.path)
    options = options.for_head(parts[0]["head_model"])
    joined: dict[str, np.ndarray] = {}
    for name in ("shape", "exp", "jaw", "eyes", "R", "t", "eyelids", "sh", "tex"):
        values = [part[name] for part in parts if name in part]
        if not values:
            continue
        if len(values) != len(parts) or len({value.shape for value in values}) > 1:
            raise BadDialectFile(f"{where}: '{name}' has different shapes in different frames.", path=unit.path)
        joined[name] = np.concatenate(values)
    shape = joined["shape"].astype(np.float64).mean(0).astype(np.float32)
    notes = []
    spread = float(np.abs(joined["shape"] - shape).max())
    if spread > 1e-6:
        notes.append(
            f"{unit.name}: shape changes from frame to frame (up to {spread:.3g} from its mean, which is kept)"
        )
    if "eyelids" in joined and float(np.abs(joined["eyelids"]).max()) > 0:
        notes.append(f"{unit.name}: eyelids are no code of FLAME; they are kept in meta/imported")
    count = len(parts)
    root = options.root(shape, f"{where}: the moving camera has to be folded into the head's pose")
    rotation, translation = fold_view(np.zeros((count, 3)), np.zeros((count, 3)), joined["R"], joined["t"], root)
    return Recording(
        {
            "A": Track(
                head=options.head,
                shape=fill(shape, options.widths[0], "shape", where),
                expression=fill(joined["exp"], options.widths[1], "exp", where),
                jaw=flip(sixd_to_axis_angle(joined["jaw"])).astype(np.float32),
                neck=np.zeros((count, 3), np.float32),
                eyes=flip(sixd_to_axis_angle(joined["eyes"])).astype(np.float32),
                rotation=rotation.astype(np.float32),
                translation=translation.astype(np.float32),
                camera=_one_camera([part["camera"] for part in parts], first),
                fps=options.fps or 25.0,
                steps=steps - steps[0],
                extras={name: joined[name] for name in ("eyelids", "sh", "tex") if name in joined},
                notes=tuple(notes),
            )
        }
    )


def _section(content: dict[str, Any], name: str, path: Path) -> dict[str, Any]:
    value = content.get(name)
    if not isinstance(value, dict):
        raise BadDialectFile(f"{path} lacks the dictionary '{name}'.", path=path)
    return value


def _frame(path: Path) -> dict[str, Any]:
    """One frame, checked; its camera as the view x_opencv = R x + t and intrinsics."""
    from model.axes import sixd_to_matrix, view_of_pytorch3d

    content = read_torch(path)
    flame = _section(content, "flame", path)
    result: dict[str, Any] = {
        name: files.numbers(flame, name, path, (1, width))
        for name, width in (("shape", None), ("exp", None), ("jaw", 6), ("eyes", 12))
    }
    for name, sizes in (("eyelids", (1, 2)), ("sh", (1, 9, 3)), ("tex", (1, None))):
        if name in flame:
            result[name] = files.numbers(flame, name, path, sizes)
    result["head_model"] = str(content.get("head_model", ""))
    size = files.numbers({"img_size": np.asarray(content.get("img_size", ())).reshape(-1)}, "img_size", path, (2,))
    height, width = (round(float(value)) for value in size)
    if "opencv" in content:
        view = _section(content, "opencv", path)
        rotation = files.numbers(view, "R", path, (1, 3, 3)).astype(np.float64)
        offset = files.numbers(view, "t", path, (1, 3)).astype(np.float64)
        k = files.numbers(view, "K", path, (1, 3, 3))[0].astype(np.float64)
        camera = (k[0, 0], k[1, 1], k[0, 2], k[1, 2])
    else:
        view = _section(content, "camera", path)
        turned = sixd_to_matrix(files.numbers(view, "R", path, (1, 6)))
        rotation, offset = view_of_pytorch3d(turned, files.numbers(view, "t", path, (1, 3)))
        focal = files.numbers({"fl": np.asarray(view.get("fl", ())).reshape(-1)}, "fl", path, (1,))
        middle = files.numbers({"pp": np.asarray(view.get("pp", ())).reshape(-1)}, "pp", path, (2,))
        # pytorch3d's normalised units: half the shorter side, x and y to the left and up.
        half = min(height, width) / 2
        camera = (focal[0] * half, focal[0] * half, width / 2 - middle[0] * half, height / 2 - middle[1] * half)
    if np.abs(rotation @ np.swapaxes(rotation, 1, 2) - np.eye(3)).max() > 1e-3 or np.linalg.det(rotation[0]) < 0:
        raise BadDialectFile(f"{path}: the camera's R is not a rotation.", path=path)
    return {**result, "R": rotation, "t": offset, "camera": (*map(float, camera), width, height)}


def _one_camera(cameras: list[tuple[Any, ...]], path: Path) -> Camera:
    from model.camera import Camera

    values = np.array(cameras, dtype=np.float64)
    if np.abs(values - values[0]).max() > 1e-2:
        raise UnsupportedSource(
            f"{path.parent}: focal length, principal point or size change during the sequence; a row has one camera.",
            path=path,
        )
    fx, fy, cx, cy, width, height = cameras[0]
    if min(fx, fy, width, height) <= 0:
        raise BadDialectFile(f"{path}: the camera is not one: {cameras[0]}.", path=path)
    return Camera(fx, fy, cx, cy, int(width), int(height))


def write(export: Export, folder: Path) -> list[str]:
    """Write one row as ``checkpoint/{t:05d}.frame``, t from 0."""
    import torch

    from model.axes import HALF_TURN, axis_angle_to_sixd, flip, matrix_to_sixd, pytorch3d_of_view
    from model.fitting.rotations import exp

    track = export.track
    camera = track.camera
    if camera is None:
        raise RsatError(f"{export.name} has no camera.")
    if export.model is None:
        raise export.head_needed("the head's pose has to be turned into a camera's")
    notes = []
    if float(np.abs(track.neck).max()) > 1e-6:
        notes.append("neck has no place in this format and is lost")
    if abs(camera.fx - camera.fy) > 1e-3 * camera.fx:
        notes.append("camera.fl has one focal length, the camera has two; opencv.K is exact")
    root = root_joint(export.model, track.shape)
    turned = exp(track.rotation.astype(np.float64))
    offsets = track.translation - (turned @ root - root)
    views = turned @ HALF_TURN
    p3d_r, p3d_t = pytorch3d_of_view(views, offsets)
    half = min(camera.width, camera.height) / 2
    k = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]], np.float32)
    eyes, jaw = axis_angle_to_sixd(flip(track.eyes)), axis_angle_to_sixd(flip(track.jaw))
    place = folder / _FOLDER
    place.mkdir(parents=True)
    for step in range(track.num_frames):
        span = slice(step, step + 1)

        def kept(name: str, default: tuple[int, ...], at: slice = span) -> np.ndarray:
            value = track.extras.get(name)
            rows = track.num_frames
            return (
                np.zeros(default, np.float32) if value is None or len(value) != rows else value[at].astype(np.float32)
            )

        frame: dict[str, Any] = {
            "flame": {
                "exp": track.expression[span].astype(np.float32),
                "shape": track.shape[None].astype(np.float32),
                "tex": kept("tex", (1, 140)),
                "sh": kept("sh", (1, 9, 3)),
                "eyes": eyes[span].astype(np.float32),
                "eyelids": kept("eyelids", (1, 2)),
                "jaw": jaw[span].astype(np.float32),
            },
            "camera": {
                "R": matrix_to_sixd(p3d_r[span]).astype(np.float32),
                "t": p3d_t[span].astype(np.float32),
                "fl": np.array([[camera.fx / half]], np.float32),
                "pp": np.array(
                    [[(camera.width / 2 - camera.cx) / half, (camera.height / 2 - camera.cy) / half]], np.float32
                ),
            },
            "opencv": {"R": views[span].astype(np.float32), "t": offsets[span].astype(np.float32), "K": k[None]},
            "img_size": np.array([camera.height, camera.width], np.int32),
            "frame_id": f"{step:05d}",
            "global_step": step,
        }
        if export.own_codes:
            frame["head_model"] = track.head
        torch.save(frame, place / f"{step:05d}.frame")
    return notes
