"""Codes of DECA, EMOCA, SPECTRE and SMIRK: dictionaries of arrays in npz, mat or torch files, or npy files in folders.

pose (T, 6) is the head's turn and the jaw's, axis-angle in FLAME's axes; shape and exp are FLAME 2020's first
components; cam (T, 3) = (s, tx, ty) is a weak-perspective camera of the network's own 224 px crop, which follows the
face: a point X of the head appears at s (X + tx) right and s (Y + ty) up, in units of half the crop.

A weak-perspective camera is a pinhole camera far away. Here it is one of ``FOCAL`` half-crops: the head stands at
depth FOCAL / s, so that scale and place are kept exactly at the depth of the head's origin, and points nearer or
farther by d appear larger or smaller by d s / FOCAL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rsat_data.dialects import files
from rsat_data.dialects.torch_files import read_torch
from rsat_data.dialects.track import BadDialectFile, ReadOptions, Recording, Track, Unit, fill
from rsat_data.errors import RsatError, UnreadableSource

if TYPE_CHECKING:
    from rsat_data.dialects.export_run import Export

CROP = 224
"""Side of the network's picture, pixels."""
FOCAL = 12.0
"""Focal length of the pinhole camera that stands for the weak-perspective one, in half-crops: 9.5 degrees across."""
SHAPE, EXPRESSION = 100, 50
"""Components that the family has."""
_SUFFIXES = (".npz", ".mat", ".pt", ".pth", ".tar")
_SAME = {
    "shape": ("shape", "shapecode", "shape_params", "betas"),
    "exp": ("exp", "expcode", "expression", "expression_params"),
    "pose": ("pose", "posecode"),
    "global": ("global_pose", "global_orient", "pose_params"),
    "jaw": ("jaw", "jaw_pose", "jaw_params"),
    "cam": ("cam", "camera"),
    "tex": ("tex", "texcode"),
    "light": ("light", "lightcode"),
    "eyelid": ("eyelid_params",),
}
_KEPT = ("shape", "cam", "tex", "light", "eyelid")


# Reading -----------------------------------------------------------------------------------------------------------


def find(path: Path) -> list[Unit]:
    """Files with all frames are a unit each; a folder of files (or folders of npy files) of one frame each is one."""
    if path.is_file():
        return [Unit(path.name, path, (path,))]
    units = []
    frames = [each for each in files.walk(path, "exp.npy")]
    for parent in sorted({each.parent.parent for each in frames}, key=files.natural):
        members = [each.parent for each in frames if each.parent.parent == parent]
        found = tuple(file for member in members for file in sorted(member.glob("*.npy")))
        units.append(Unit(parent.name, parent, found))
    others = [each for each in files.walk(path, "*") if each.suffix.lower() in _SUFFIXES]
    for folder in sorted({each.parent for each in others}, key=files.natural):
        members = [each for each in others if each.parent == folder]
        if len(members) > 1 and _single(members[0]):
            units.append(Unit(folder.name, folder, tuple(members)))
        else:
            units += [Unit(member.relative_to(path).as_posix(), member, (member,)) for member in members]
    return units


def _single(path: Path) -> bool:
    """Whether a file holds one frame; what cannot be read holds many, and is refused later by its name."""
    try:
        arrays = _named(_dictionary(path))
        return "exp" in arrays and (arrays["exp"].ndim == 1 or len(arrays["exp"]) == 1)
    except RsatError:
        return False


def read(unit: Unit, options: ReadOptions) -> Recording:
    """Read one person's codes.

    Raises:
        BadDialectFile, UnsafeSource, UnreadableSource: a file is not as the format promises.
    """
    steps: np.ndarray | None = None
    if unit.files and all(file.suffix == ".npy" for file in unit.files):
        folders = list(dict.fromkeys(file.parent for file in unit.files))
        parts = [_named({file.stem: _npy(file) for file in unit.files if file.parent == each}) for each in folders]
        steps = files.ascending([files.step_of(each.name, each) for each in folders], unit.path)
    elif len(unit.files) > 1:
        parts = [_named(_dictionary(file)) for file in unit.files]
        steps = files.ascending([files.step_of(file.stem, file) for file in unit.files], unit.path)
    else:
        parts = [_named(_dictionary(unit.path))]
    arrays = _joined(parts, unit) if steps is not None else _rows(parts[0])
    if steps is not None:
        order = np.argsort(steps)
        arrays, steps = {name: value[order] for name, value in arrays.items()}, steps[order] - steps.min()
    return Recording({"A": to_track(arrays, unit.path, options, fps=options.fps or 25.0, steps=steps)})


def _npy(path: Path) -> np.ndarray:
    return files.read_npz(path)["array"]


def _dictionary(path: Path) -> dict[str, Any]:
    kind = path.suffix.lower()
    if kind in (".npz", ".npy"):
        return dict(files.read_npz(path))
    if kind == ".mat":
        return _mat(path)
    return read_torch(path)


def _mat(path: Path) -> dict[str, Any]:
    import scipy.io

    try:
        files.check_size(path, path.stat().st_size)
        loaded = scipy.io.loadmat(path)
    except (ValueError, TypeError, OSError, NotImplementedError, KeyError) as error:
        raise UnreadableSource(f"{path} is not a readable MATLAB file ({error}).", path=path) from error
    return {name: value for name, value in loaded.items() if not name.startswith("__")}


def _named(arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Arrays under the family's own names; others are left out."""
    result: dict[str, np.ndarray] = {}
    for name, others in _SAME.items():
        found = next((other for other in others if other in arrays), None)
        if found is not None:
            result[name] = np.asarray(arrays[found])
    if "head_model" in arrays:
        result["head_model"] = np.asarray(arrays["head_model"])
    return result


def _rows(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A single frame without a first axis gets one."""
    one = {name: value for name, value in arrays.items() if value.ndim == 1 and name in ("exp", "pose", "cam", "jaw")}
    return {name: value[None] if name in one or (one and name == "shape") else value for name, value in arrays.items()}


def _joined(parts: Sequence[Mapping[str, np.ndarray]], unit: Unit) -> dict[str, np.ndarray]:
    """One frame a part to arrays over time."""
    if len({frozenset(part) for part in parts}) != 1:
        raise BadDialectFile(f"{unit.path}: the files do not hold the same arrays.", path=unit.path)
    result = {}
    for name in parts[0]:
        values = [part[name][0] if part[name].ndim > 1 and len(part[name]) == 1 else part[name] for part in parts]
        if len({value.shape for value in values}) != 1:
            raise BadDialectFile(f"{unit.path}: '{name}' has different shapes in different frames.", path=unit.path)
        result[name] = np.stack(values) if name != "head_model" else values[0]
    return result


def to_track(
    arrays: Mapping[str, np.ndarray], path: Path, options: ReadOptions, *, fps: float, steps: np.ndarray | None = None
) -> Track:
    """A track of the family's arrays.

    Args:
        arrays: shape (T, n), exp (T, n), pose (T, 6) or global (T, 3) and jaw (T, 3); cam (T, 3), tex, light optional.
        path: for messages.
        options: the head.
        fps: frames per second.
        steps: time steps of the frames.
    """
    from model.axes import flip

    options = options.for_head(files.text_of(arrays.get("head_model", "")))
    codes = {name: files.numbers(arrays, name, path, (None, None)) for name in ("shape", "exp")}
    if "pose" in arrays:
        pose = files.numbers(arrays, "pose", path, (None, 6))
        codes |= {"global": pose[:, :3], "jaw": pose[:, 3:]}
    else:
        missing = {"pose": arrays} if "global" not in arrays or "jaw" not in arrays else {}
        for held in missing.values():
            files.numbers(held, "pose", path, (None, 6))  # raises, naming what is there
        codes |= {name: files.numbers(arrays, name, path, (None, 3)) for name in ("global", "jaw")}
    if "cam" in arrays:
        codes["cam"] = files.numbers(arrays, "cam", path, (None, 3))
    kept = {
        name: files.numbers(arrays, name, path, [None] * np.asarray(arrays[name]).ndim)
        for name in _KEPT
        if name in arrays
    }
    if len(codes["shape"]) == 1 and len(codes["exp"]) > 1:  # one identity for all frames
        codes["shape"] = np.repeat(codes["shape"], len(codes["exp"]), axis=0)
        kept["shape"] = codes["shape"]
    frames = files.same_length({**codes, **{f"{name} ": value for name, value in kept.items()}}, path)
    mean = codes["shape"].astype(np.float64).mean(0).astype(np.float32)
    spread = float(np.abs(codes["shape"] - mean).max())
    notes = []
    if spread > 1e-6:
        notes.append(
            f"{path.name}: shape changes from frame to frame (up to {spread:.2f} from its mean, which becomes the "
            "subject's; the frames' own are kept in meta/imported)"
        )
    if "eyelid" in kept:
        notes.append(f"{path.name}: eyelids are no code of FLAME; they are kept in meta/imported")
    if "cam" in codes and float(codes["cam"][:, 0].min()) <= 0:
        raise BadDialectFile(f"{path}: 'cam' has a scale that is not positive.", path=path)
    return Track(
        head=options.head,
        shape=fill(mean, options.widths[0], "shape", str(path)),
        expression=fill(codes["exp"], options.widths[1], "exp", str(path)),
        jaw=flip(codes["jaw"]),
        neck=np.zeros((frames, 3), np.float32),
        eyes=np.zeros((frames, 6), np.float32),
        rotation=flip(codes["global"]),
        translation=translation_of_cam(codes["cam"])
        if "cam" in codes
        else np.tile(np.array([0, 0, 1.3], np.float32), (frames, 1)),
        camera=crop_camera(),
        fps=fps,
        steps=steps,
        extras=kept,
        notes=tuple(notes),
        given=codes["exp"].shape[1],
    )


def crop_camera() -> Any:
    """The pinhole camera that stands for the network's weak-perspective one."""
    from model.camera import Camera

    half = CROP / 2
    return Camera(FOCAL * half, FOCAL * half, half, half, CROP, CROP)


def translation_of_cam(cam: np.ndarray) -> np.ndarray:
    """Translation (T, 3) in metres, OpenCV axes, before :func:`crop_camera`, of weak-perspective cameras (T, 3)."""
    scale, right, up = cam.astype(np.float64).T
    return np.stack([right, -up, FOCAL / scale], axis=-1).astype(np.float32)


def cam_of_translation(translation: np.ndarray, camera: Any) -> np.ndarray:
    """Weak-perspective cameras (T, 3) of heads (T, 3) seen by a pinhole camera, exact at the depth of the origin.

    The crop is the camera's own picture; its longer side counts, as if it were square about its middle.
    """
    x, y, z = translation.astype(np.float64).T
    half = max(camera.width, camera.height) / 2
    scale = camera.fx / half / z
    right = x + (camera.cx - camera.width / 2) * z / camera.fx
    down = y + (camera.cy - camera.height / 2) * z / camera.fy
    return np.stack([scale, right, -down], axis=-1).astype(np.float32)


# Writing -----------------------------------------------------------------------------------------------------------


def from_track(export: Export) -> tuple[dict[str, np.ndarray], list[str]]:
    """The family's arrays of a row, and sentences on what they cannot hold."""
    from model.axes import flip

    track, notes = export.track, []
    frames = track.num_frames
    if track.camera is None or float(track.translation[:, 2].min()) <= 0:
        raise RsatError(f"{export.name}: the head is not before a camera; this format needs one.")
    sizes = {"shape": len(track.shape), "exp": track.expression.shape[1]}
    if not export.own_codes:
        sizes = {"shape": SHAPE, "exp": EXPRESSION}
    shape = track.extras.get("shape")
    if shape is None or shape.shape[0] != frames:
        shape = np.tile(fit(track.shape, sizes["shape"]), (frames, 1))
    for name, code in (("shape", track.shape), ("exp", track.expression)):
        lost = float(np.abs(code[..., sizes[name] :]).max(initial=0.0))
        if lost > 0:
            notes.append(f"{name} codes past {sizes[name]} are cut, the largest is {lost:.2f}")
    for name in ("neck", "eyes"):
        if float(np.abs(getattr(track, name)).max()) > 1e-6:
            notes.append(f"{name} has no place in this format and is lost")
    cam = track.extras.get("cam")
    if cam is None or cam.shape != (frames, 3):
        cam = cam_of_translation(track.translation, track.camera)
    arrays = {
        "shape": shape.astype(np.float32),
        "exp": fit(track.expression, sizes["exp"]),
        "pose": np.concatenate([flip(track.rotation), flip(track.jaw)], axis=1).astype(np.float32),
        "cam": cam,
    }
    for name in ("tex", "light"):
        if name in track.extras and len(track.extras[name]) == frames:
            arrays[name] = track.extras[name]
    if export.own_codes:
        arrays["head_model"] = np.array(track.head)
    return arrays, notes


def fit(codes: np.ndarray, width: int) -> np.ndarray:
    """Codes (..., n) cut or filled up with zeros to (..., width) float32."""
    result = np.zeros((*codes.shape[:-1], width), np.float32)
    count = min(width, codes.shape[-1])
    result[..., :count] = codes[..., :count]
    return result


def write(export: Export, folder: Path) -> list[str]:
    """Write one row as ``codes.npz``."""
    arrays, notes = from_track(export)
    folder.mkdir(parents=True, exist_ok=True)
    files.save_npz(folder / "codes.npz", arrays)
    return notes
