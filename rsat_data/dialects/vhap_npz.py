"""VHAP's own result of a sequence: one ``tracked_flame_params_*.npz`` with every frame, and no pictures.

rotation (T, 3), translation (T, 3), neck_pose (T, 3), jaw_pose (T, 3), eyes_pose (T, 6), shape (300,), expr (T, 100),
timestep_id (T,), focal_length (1,) in units of the picture's longer side, image_size (2,) height and width,
static_offset (1, 5143, 3), lights, tex_extra. The camera stands at (0, 0, 1) in FLAME's axes and looks along -z.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rsat_data.dialects import files, world
from rsat_data.dialects.track import BadDialectFile, ReadOptions, Recording, Unit, fill, make_track
from rsat_data.errors import RsatError

if TYPE_CHECKING:
    from model.camera import Camera
    from rsat_data.dialects.export_run import Export

_KEPT = ("static_offset", "lights")
_MOST_KEPT = 4 << 20


def find(path: Path) -> list[Unit]:
    """Every ``tracked_flame_params*.npz`` below a folder, or the file given."""
    return [Unit(each.name, each, (each,)) for each in files.walk(path, "tracked_flame_params*.npz")]


def read(unit: Unit, options: ReadOptions) -> Recording:
    """Read one sequence.

    Raises:
        BadDialectFile, UnsafeSource, UnreadableSource: the file is not as the format promises.
    """
    path = unit.path
    arrays = files.read_npz(path)
    options = options.for_head(files.text_of(arrays.get("head_model", "")))
    codes = {name: files.numbers(arrays, name, path, (None, width)) for name, width in world.WIDTHS.items()}
    codes["expr"] = files.numbers(arrays, "expr", path, (None, None))
    steps, kept = None, dict(codes)
    if "timestep_id" in arrays:
        texts = np.asarray(arrays["timestep_id"]).reshape(-1)
        kept["timestep_id"] = texts
        files.same_length(kept, path)
        steps = files.ascending([files.step_of(str(text), path) for text in texts], path)
        if (np.diff(steps) <= 0).any():
            raise BadDialectFile(f"{path}: timestep_id is not in ascending order.", path=path)
        steps = steps - steps[0]
    frames = files.same_length(kept, path)
    flat = {"shape": np.asarray(arrays["shape"]).reshape(-1)} if "shape" in arrays else arrays
    shape = files.numbers(flat, "shape", path, (None,))
    pose = world.fold(codes, np.broadcast_to(world.PLAIN, (frames, 4, 4)), shape, options, str(path))
    extras, notes = {}, []
    for name in sorted(set(arrays) - set(codes) - {"shape", "timestep_id", "n_processed_frames", "head_model"}):
        value = arrays[name]
        if name in ("focal_length", "image_size", "principal_point"):
            continue
        if name in _KEPT and value.dtype.kind == "f" and value.nbytes <= _MOST_KEPT:
            extras[name] = value
        else:
            notes.append(f"{unit.name}: {name} has no place in a dataset and is left out")
    camera = _camera(arrays, path)
    if camera is None:
        notes.append(f"{unit.name}: no focal_length and image_size; a nominal camera is assumed")
    return Recording(
        {
            "A": make_track(
                pose,
                head=options.head,
                shape=fill(shape, options.widths[0], "shape", str(path)),
                expression=fill(codes["expr"], options.widths[1], "expr", str(path)),
                camera=camera,
                fps=options.fps or 25.0,
                steps=steps,
                extras=extras,
                notes=tuple(notes),
            )
        }
    )


def _camera(arrays: dict[str, np.ndarray], path: Path) -> Camera | None:
    from model.camera import Camera

    if "focal_length" not in arrays or "image_size" not in arrays:
        return None
    focal = files.numbers({"focal_length": arrays["focal_length"].reshape(-1)}, "focal_length", path, (None,))
    size = files.numbers({"image_size": arrays["image_size"].reshape(-1)}, "image_size", path, (2,))
    height, width = (float(value) for value in size)
    if len(focal) not in (1, 2) or focal.min() <= 0 or min(width, height) < 1 or max(width, height) > 16384:
        raise BadDialectFile(f"{path}: focal_length {focal} and image_size {size} make no camera.", path=path)
    longer = max(width, height)
    centre = np.array([width / 2, height / 2])
    if "principal_point" in arrays:
        flat = {"principal_point": arrays["principal_point"].reshape(-1)}
        centre = files.numbers(flat, "principal_point", path, (2,)).astype(np.float64)
    fx, fy = float(focal[0]) * longer, float(focal[-1]) * longer
    return Camera(fx, fy, float(centre[0]), float(centre[1]), int(width), int(height))


def write(export: Export, folder: Path) -> list[str]:
    """Write one row as ``tracked_flame_params_0.npz``. ``principal_point`` (2,) pixels is this project's addition."""
    track = export.track
    camera = track.camera
    if camera is None:
        raise RsatError(f"{export.name} has no camera.")
    longer = max(camera.width, camera.height)
    arrays = {name: code.astype(np.float32) for name, code in world.unfold(track).items()}
    arrays["shape"] = track.shape.astype(np.float32)
    arrays["timestep_id"] = np.array([f"{step:05d}" for step in range(track.num_frames)])
    arrays["n_processed_frames"] = np.array(track.num_frames)
    focal = [camera.fx / longer] if camera.fx == camera.fy else [camera.fx / longer, camera.fy / longer]
    arrays["focal_length"] = np.array(focal, dtype=np.float32)
    arrays["image_size"] = np.array([camera.height, camera.width])
    arrays["principal_point"] = np.array([camera.cx, camera.cy], dtype=np.float32)
    arrays |= {name: track.extras[name] for name in _KEPT if name in track.extras}
    if export.own_codes:
        arrays["head_model"] = np.array(track.head)
    folder.mkdir(parents=True, exist_ok=True)
    files.save_npz(folder / "tracked_flame_params_0.npz", arrays)
    return []
