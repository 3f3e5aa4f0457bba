"""Vertices alone, (T, V, 3) or (T, 3 V) in npy or npz: what VOCASET-style data and many generators have.

Written: ``vertices.npy`` (T, V, 3) float32, camera frame of OpenCV, metres, beside ``vertices.json`` with the head's
id, the camera and the rate, and ``faces.npy`` (F, 3). Read: codes are solved by least squares for the head that
``--head`` names or the json states; a file without a json is taken to be in FLAME's axes (y up), in model space, and
is put one metre before a nominal camera.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rsat_data.dialects import files
from rsat_data.dialects.heads import require_head
from rsat_data.dialects.track import (
    FRAME_CODES,
    IMPLIED_FOCAL,
    BadDialectFile,
    HeadNeeded,
    ReadOptions,
    Recording,
    Unit,
    make_track,
)
from rsat_data.errors import UnsafeSource

if TYPE_CHECKING:
    import torch

    from model.camera import Camera
    from model.head import HeadModel
    from rsat_data.dialects.export_run import Export

NAME = "vertices"
_KEYS = ("vertices", "verts", "array")
_CHUNK = 64
_DISTANCE_M = 1.0
_FAR_MM = 3.0


def find(path: Path) -> list[Unit]:
    """Every npy or npz below a folder, but those that hold faces."""
    found = [each for each in files.walk(path, "*.np[yz]") if each.name != "faces.npy"]
    base = path.parent if path.is_file() else path
    units = []
    for each in found:
        about = each.with_suffix(".json")
        units.append(Unit(each.relative_to(base).as_posix(), each, (each, about) if about.is_file() else (each,)))
    return units


def read(unit: Unit, options: ReadOptions) -> Recording:
    """Solve codes for the vertices of a file.

    Raises:
        HeadNeeded: the head is not on this machine.
        BadDialectFile: shapes, values or number of vertices are wrong.
    """
    about = files.read_json(unit.files[1]) if len(unit.files) > 1 else {}
    options = options.for_head(str(about.get("head_model", "")))
    require_head({options.head}, unit, "vertices")
    if options.model is None:
        raise HeadNeeded(
            f"{unit.path}: codes are solved with the head {options.head}, which is not on this machine.",
            hint="Import it once (rsat-data models import-flame --help), or name another head with --head.",
        )
    model = options.model
    points = _open(unit.path, model)
    axes = str(about.get("axes", options.axes))
    camera, distance = _camera(about, unit.path)
    rate = options.fps or about.get("fps", 25.0)
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 1 <= rate <= 1000:
        raise BadDialectFile(f"{unit.files[-1]}: fps is {rate!r}.", path=unit.path)
    codes, residual = solve(model, points, turn=axes == "flame", path=unit.path)
    codes["translation"][:, 2] += distance
    mean, worst = float(residual.mean()), float(residual.max())
    notes = [f"{unit.name}: codes leave the vertices by {mean:.2f} mm in the mean, {worst:.2f} mm in the worst frame"]
    if mean > _FAR_MM:
        notes.append(f"{unit.name}: that is a lot: is {options.head} the head they were made with, in metres?")
    return Recording(
        {
            "A": make_track(
                codes,
                head=options.head,
                camera=camera,
                fps=float(rate),
                extras={"vertex_residual_mm": residual.astype(np.float32)},
                notes=tuple(notes),
            )
        }
    )


def _open(path: Path, model: HeadModel) -> np.ndarray:
    """(T, V, 3); an npy stays on the disk and is read piece by piece."""
    if path.suffix == ".npy":
        try:
            loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            if "Array can't be memory-mapped: Python objects" in str(error) or "allow_pickle" in str(error):
                raise UnsafeSource(f"{path} holds Python objects, which are not read.", path=path) from error
            raise BadDialectFile(f"{path} is not a readable array file ({error}).", path=path) from error
    else:
        arrays = files.read_npz(path)
        name = next((key for key in _KEYS if key in arrays), None)
        if name is None:
            raise BadDialectFile(f"{path} lacks the array 'vertices'; it holds {', '.join(sorted(arrays))}.", path=path)
        loaded = arrays[name]
    if loaded.dtype.kind != "f":
        raise BadDialectFile(f"{path} holds {loaded.dtype}, expected real numbers.", path=path)
    count = model.num_vertices
    if loaded.ndim == 2 and loaded.shape[1] == 3 * count:
        loaded = loaded.reshape(len(loaded), count, 3)
    if loaded.ndim != 3 or loaded.shape[1:] != (count, 3) or len(loaded) == 0:
        raise BadDialectFile(
            f"{path} has shape {loaded.shape}; the head {model.id} has vertices of shape (T, {count}, 3).",
            hint="Name the head that has this mesh with --head.",
            path=path,
        )
    return loaded


def solve(model: HeadModel, points: np.ndarray, *, turn: bool, path: Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Codes (float32, by name) and mean distance (T,) in millimetres; the shape from frames over the whole span.

    Args:
        model: the head.
        points: (T, V, 3).
        turn: whether they are in FLAME's axes.
        path: for messages.

    Raises:
        BadDialectFile: a vertex is not finite.
    """
    import torch

    from model.axes import flip
    from model.head.vertex_codes import codes_from_vertices

    def taken(rows: Any) -> torch.Tensor:
        chosen = np.array(points[rows], dtype=np.float32)
        if not np.isfinite(chosen).all():
            bad = int(np.argwhere(~np.isfinite(chosen).all(axis=(1, 2)))[0][0])
            frame = range(len(points))[rows][bad] if isinstance(rows, slice) else rows[bad]
            raise BadDialectFile(f"{path}: frame {frame} holds vertices that are not finite.", path=path)
        return torch.from_numpy(np.ascontiguousarray(flip(chosen) if turn else chosen))

    some = np.unique(np.linspace(0, len(points) - 1, min(12, len(points))).round().astype(int)).tolist()
    shape = codes_from_vertices(model, taken(some)).shape
    parts, residual = [], []
    for start in range(0, len(points), _CHUNK):
        found = codes_from_vertices(model, taken(slice(start, start + _CHUNK)), shape=shape)
        parts.append({name: getattr(found, name).numpy() for name in FRAME_CODES})
        residual.append(found.residual_mm.numpy())
    codes = {name: np.concatenate([part[name] for part in parts]).astype(np.float32) for name in FRAME_CODES}
    return {"shape": shape.numpy().astype(np.float32), **codes}, np.concatenate(residual)


def _camera(about: dict[str, Any], path: Path) -> tuple[Camera, float]:
    """The camera stated, or a nominal one and how far to move the head away to stand before it."""
    from model.camera import Camera

    stated = about.get("camera")
    if stated is None:
        return Camera(IMPLIED_FOCAL * 512, IMPLIED_FOCAL * 512, 256.0, 256.0, 512, 512), _DISTANCE_M
    try:
        values = {name: float(stated[name]) for name in ("fx", "fy", "cx", "cy")}
        return Camera(**values, width=int(stated["width"]), height=int(stated["height"])), 0.0
    except (KeyError, TypeError, ValueError) as error:
        raise BadDialectFile(f"{path.with_suffix('.json')}: 'camera' is not one ({error}).", path=path) from error


def write(export: Export, folder: Path) -> list[str]:
    """Write one row's posed vertices, a few frames in memory at a time.

    Raises:
        HeadNeeded: the head is not on this machine.
    """
    import torch

    track, model = export.track, export.model
    if model is None:
        raise export.head_needed("vertices are posed with it")
    folder.mkdir(parents=True, exist_ok=True)
    shape = torch.from_numpy(np.ascontiguousarray(track.shape))
    size = (track.num_frames, model.num_vertices, 3)
    target = np.lib.format.open_memmap(folder / f"{NAME}.npy", mode="w+", dtype=np.float32, shape=size)
    for start in range(0, track.num_frames, _CHUNK):
        span = slice(start, start + _CHUNK)
        codes = {name: torch.from_numpy(np.array(getattr(track, name)[span])) for name in FRAME_CODES}
        with torch.no_grad():
            target[span] = model.pose(shape, **codes)[0].numpy()
    target.flush()
    del target
    np.save(folder / "faces.npy", model.faces.numpy().astype(np.int32))
    about = {
        "head_model": track.head,
        "axes": "opencv",
        "unit": "m",
        "fps": track.fps,
        "num_frames": track.num_frames,
        "row_id": export.row_id,
        "camera": None if track.camera is None else asdict(track.camera),
    }
    (folder / f"{NAME}.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return []
