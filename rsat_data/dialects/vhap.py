"""VHAP's NeRF-style folder, which GaussianAvatars trains on.

``images/{t:05d}_{c:02d}.png``, ``fg_masks/`` alike, ``flame_param/{t:05d}.npz``, ``canonical_flame_param.npz``,
``transforms.json`` and its parts train, val, test. World: FLAME's axes, y up; cameras: camera-to-world matrices in
OpenGL's axes. Rules of the published exporter that are kept here: a single camera stands at (0, 0, 1); the mean of
``translation`` over the sequence is subtracted from it and from every camera's position; the first 70 % of the time
steps are train, the others test, and val is empty for one camera.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rsat_data.dialects import files, world
from rsat_data.dialects.track import BadDialectFile, ReadOptions, Recording, Unit, fill, make_track
from rsat_data.dialects.vhap_write import INDEX, write
from rsat_data.errors import UnsupportedSource

__all__ = ["find", "read", "write"]

_KEPT = ("static_offset",)


# Reading -----------------------------------------------------------------------------------------------------------


def find(path: Path) -> list[Unit]:
    """Every folder at or below ``path`` that holds a ``transforms.json`` or one of its parts."""
    indices = files.walk(path, "transforms*.json") if path.is_dir() else [path]
    folders = sorted({index.parent for index in indices}, key=files.natural)
    return [Unit(folder.name, folder, tuple(_index_files(folder))) for folder in folders]


def _index_files(folder: Path) -> list[Path]:
    whole = folder / INDEX
    if whole.is_file():
        return [whole]
    return [
        part for part in (folder / f"transforms_{name}.json" for name in ("train", "val", "test")) if part.is_file()
    ]


def read(unit: Unit, options: ReadOptions) -> Recording:
    """Read one sequence, as seen by one camera.

    Raises:
        BadDialectFile: keys, shapes, values or files are not as the layout promises; several cameras and none chosen.
        UnsafeSource: a file outside the folder is named.
        HeadNeeded: the camera is turned, and the head is not on this machine.
    """
    folder, index = unit.path, unit.files[0] if unit.files else unit.path / INDEX
    frames = _frames(unit)
    frames = _one_camera(frames, options.camera, index)
    steps = files.ascending([_whole(frame, "timestep_index", index) for frame in frames], index)
    order = np.argsort(steps, kind="stable")
    frames, steps = [frames[number] for number in order], steps[order]
    params: list[dict[str, np.ndarray]] = []
    for frame in frames:
        values = _params(folder, frame, index)
        if params:  # one for the whole sequence: thousands of copies would fill the memory
            values.pop("static_offset", None)
        params.append(values)
    shape, spread = _shape([values["shape"] for values in params])
    notes = [] if spread == 0 else [f"{unit.name}: shape differs between frames (up to {spread:.3g}); the mean is kept"]
    if any("dynamic_offset" in values for values in params):
        notes.append(f"{unit.name}: dynamic_offset has no place in a dataset and is left out")
    views = np.stack([_matrix(frame, index) for frame in frames])
    camera = _camera(frames, index)
    options = options.for_head(next((text for v in params if (text := files.text_of(v.get("head_model", "")))), ""))
    codes = {name: np.concatenate([values[name] for values in params]) for name in world.WIDTHS}
    pose = world.fold(codes, views, shape, options, str(index))
    return Recording(
        {
            "A": make_track(
                pose,
                head=options.head,
                shape=fill(shape, options.widths[0], "shape", str(index)),
                expression=fill(
                    np.concatenate([values["expr"] for values in params]), options.widths[1], "expr", str(index)
                ),
                camera=camera,
                fps=options.fps or 25.0,
                steps=steps - steps[0],
                pictures=_pictures(folder, frames, "file_path", index),
                masks=_pictures(folder, frames, "fg_mask_path", index),
                extras={name: params[0][name] for name in _KEPT if name in params[0]},
                notes=tuple(notes),
            )
        }
    )


def _frames(unit: Unit) -> list[dict[str, Any]]:
    """The frames of all index files, each with the file's own defaults filled in."""
    result = []
    for path in unit.files:
        content = files.read_json(path)
        frames = content.get("frames")
        if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
            raise BadDialectFile(f"{path} has no list 'frames'.", path=path)
        shared = {key: value for key, value in content.items() if key in ("cx", "cy", "fl_x", "fl_y", "h", "w")}
        result += [{**shared, **frame} for frame in frames]
    if not result:
        raise BadDialectFile(f"{unit.path} lists no frame.", path=unit.path)
    return result


def _one_camera(frames: list[dict[str, Any]], chosen: str | None, index: Path) -> list[dict[str, Any]]:
    names = {str(frame.get("camera_id", frame.get("camera_index", 0))) for frame in frames}
    if chosen is None and len(names) > 1:
        raise BadDialectFile(
            f"{index} holds {len(names)} cameras: {', '.join(sorted(names))}; a row has one.",
            hint="Name one with --camera.",
            path=index,
        )
    if chosen is not None and len(names) > 1:
        kept = [f for f in frames if chosen in (str(f.get("camera_id", "")), str(f.get("camera_index", "")))]
        if not kept:
            raise BadDialectFile(f"{index} has no camera {chosen!r}, it has {', '.join(sorted(names))}.", path=index)
        return kept
    return frames


def _whole(frame: Mapping[str, Any], key: str, index: Path) -> int:
    value = frame.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 31:
        raise BadDialectFile(f"{index}: a frame's {key} is {value!r}, expected a whole number.", path=index)
    return value


def _real(frame: Mapping[str, Any], key: str, index: Path) -> float:
    value = frame.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadDialectFile(f"{index}: a frame's {key} is {value!r}, expected a number.", path=index)
    return float(value)


def _matrix(frame: Mapping[str, Any], index: Path) -> np.ndarray:
    try:
        matrix = np.array(frame.get("transform_matrix"), dtype=np.float64)
    except (TypeError, ValueError):
        matrix = np.zeros(0)
    rigid = matrix.shape == (4, 4) and np.isfinite(matrix).all()
    rigid = (
        rigid
        and np.abs(matrix[:3, :3] @ matrix[:3, :3].T - np.eye(3)).max() < 1e-3
        and np.linalg.det(matrix[:3, :3]) > 0
    )
    if not rigid:
        raise BadDialectFile(f"{index}: a transform_matrix is not a rigid 4 x 4 matrix.", path=index)
    return matrix


def _camera(frames: Sequence[Mapping[str, Any]], index: Path) -> Any:
    from model.camera import Camera

    keys = ("fl_x", "fl_y", "cx", "cy", "w", "h")
    values = np.array([[_real(frame, key, index) for key in keys] for frame in frames])
    if np.abs(values - values[0]).max() > 1e-3:
        raise UnsupportedSource(
            f"{index}: the camera's focal length or size changes during the sequence; a row has one camera.", path=index
        )
    fx, fy, cx, cy, width, height = values[0]
    if min(fx, fy, width, height) <= 0 or max(width, height) > 16384:
        raise BadDialectFile(
            f"{index}: the camera is not one: fl {fx:g} {fy:g}, size {width:g} x {height:g}.", path=index
        )
    return Camera(float(fx), float(fy), float(cx), float(cy), round(width), round(height))


def _params(folder: Path, frame: Mapping[str, Any], index: Path) -> dict[str, np.ndarray]:
    path = files.inside(frame.get("flame_param_path"), folder, index)
    if not path.is_file():
        raise BadDialectFile(f"{index} names {frame['flame_param_path']}, which is not there.", path=index)
    arrays = files.read_npz(path)
    result = {name: files.numbers(arrays, name, path, (1, width)) for name, width in world.WIDTHS.items()}
    result["shape"] = files.numbers(
        {"shape": np.asarray(arrays["shape"]).reshape(-1)} if "shape" in arrays else arrays, "shape", path, (None,)
    )
    result["expr"] = files.numbers(arrays, "expr", path, (1, None))
    for name in ("static_offset", "dynamic_offset"):
        if name in arrays:
            offset = files.numbers(arrays, name, path, (1, None, 3))
            result[name] = offset if name == "static_offset" else offset[:, :0]
    if "head_model" in arrays:
        result["head_model"] = arrays["head_model"]
    return result


def _shape(shapes: Sequence[np.ndarray]) -> tuple[np.ndarray, float]:
    stacked = np.stack(shapes) if len({len(shape) for shape in shapes}) == 1 else None
    if stacked is None:
        raise BadDialectFile("shape has different lengths in different frames.")
    spread = float(np.abs(stacked - stacked[0]).max())
    return (stacked[0] if spread == 0 else stacked.mean(0)).astype(np.float32), spread


def _pictures(folder: Path, frames: Sequence[Mapping[str, Any]], key: str, index: Path) -> tuple[Path, ...]:
    """The pictures of every frame; none where the folder has none of them."""
    if all(frame.get(key) is None for frame in frames):
        return ()
    paths = [files.inside(frame.get(key), folder, index) for frame in frames]
    missing = [path for path in paths if not path.is_file()]
    if len(missing) == len(paths):
        return ()
    if missing:
        raise BadDialectFile(
            f"{index}: {len(missing)} of {len(paths)} files under {key} are missing, the first is {missing[0].name}.",
            path=index,
        )
    return tuple(paths)
