"""Tracks of ARKit's 52 blendshapes: json {names, frames: [{weights}], fps}, or a csv with a column a blendshape.

They become codes of a head that has ARKit's expressions under ARKit's names, as the open head does; jaw and gaze, which
it does with joints, by the angle at which each blendshape has its full strength. There is neither identity nor camera:
the head is the average one, a metre before a nominal camera. The head's turn is not read: formats give it as three
numbers and do not say which angles in which order these are.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rsat_data.dialects import files
from rsat_data.dialects.track import BadDialectFile, HeadNeeded, ReadOptions, Recording, Unit, make_track, zeros
from rsat_data.errors import RsatError, UnreadableSource, UsageError

if TYPE_CHECKING:
    from model.head import HeadModel
    from rsat_data.dialects.export_run import Export

_MAX_WEIGHT = 1.5
_LEAST_NAMES = 10
_DISTANCE_M = 1.0


def find(path: Path) -> list[Unit]:
    """Every csv and json below a folder, or the file given."""
    found = [path] if path.is_file() else [*files.walk(path, "*.csv"), *files.walk(path, "*.json")]
    base = path.parent if path.is_file() else path
    return [Unit(each.relative_to(base).as_posix(), each, (each,)) for each in found]


def read(unit: Unit, options: ReadOptions) -> Recording:
    """Read one track.

    Raises:
        UsageError: neither the file nor the user says the rate.
        BadDialectFile: names or weights are not ARKit's.
        HeadNeeded: the head is not on this machine, or does not know ARKit's expressions.
    """
    path = unit.path
    names, weights, about = _csv(path) if path.suffix.lower() == ".csv" else _json(path)
    options = options.for_head(str(about.get("head_model", "")))
    if options.model is None:
        raise HeadNeeded(f"{unit.name}: the head {options.head} is not on this machine.", hint="Use --head open.")
    rate = options.fps or about.get("fps")
    if isinstance(rate, bool) or not isinstance(rate, int | float):
        raise UsageError(f"{unit.name} does not say its frames per second.", hint="Give them with --fps.")
    codes, lost = codes_of(options.model, names, weights, unit.name)
    codes["translation"][:, 2] = _DISTANCE_M
    notes = [f"{unit.name}: identity, head turn and camera are not known: the average head before a nominal camera"]
    if lost:
        notes.append(f"{unit.name}: the head {options.head} has nothing for {', '.join(lost)}")
    return Recording(
        {
            "A": make_track(
                codes,
                head=options.head,
                shape=np.zeros(options.model.num_shape, np.float32),
                fps=float(rate),
                notes=tuple(notes),
            )
        }
    )


def _table(names: Sequence[Any], rows: Sequence[Sequence[Any]], path: Path) -> tuple[list[str], np.ndarray]:
    known = [str(name)[:1].lower() + str(name)[1:] for name in names]
    if len(set(known)) != len(known):
        raise BadDialectFile(f"{path}: a blendshape is named twice.", path=path)
    if not rows or len({len(row) for row in rows} | {len(known)}) != 1:
        raise BadDialectFile(f"{path}: frames do not all have {len(known)} weights.", path=path)
    try:
        table = np.array(rows, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise BadDialectFile(f"{path}: a weight is not a number ({error}).", path=path) from error
    return known, table


def _json(path: Path) -> tuple[list[str], np.ndarray, dict[str, Any]]:
    content = files.read_json(path)
    names, frames = content.get("names"), content.get("frames")
    if not isinstance(names, list) or not isinstance(frames, list):
        raise BadDialectFile(f"{path} lacks the lists 'names' and 'frames'.", path=path)
    rows = [frame.get("weights") if isinstance(frame, dict) else frame for frame in frames]
    whole = [row for row in rows if isinstance(row, list)]
    if len(whole) != len(rows):
        raise BadDialectFile(f"{path}: a frame has no list 'weights'.", path=path)
    known, table = _table(names, whole, path)
    return known, table, content


def _csv(path: Path) -> tuple[list[str], np.ndarray, dict[str, Any]]:
    """Columns with a known name; time codes, counts and head angles are left out."""
    try:
        if path.stat().st_size > files.MAX_JSON_BYTES:
            raise BadDialectFile(f"{path} is larger than {files.MAX_JSON_BYTES >> 20} MiB.", path=path)
        with path.open(encoding="utf-8-sig", newline="") as stream:
            header, *lines = [line for line in csv.reader(stream) if line]
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise UnreadableSource(f"{path} is not a readable table ({error}).", path=path) from error
    from pipelines.faces.blendshapes import BLENDSHAPES

    known = {*BLENDSHAPES, "tongueOut"} - {"_neutral"}
    chosen = [number for number, name in enumerate(header) if name.strip()[:1].lower() + name.strip()[1:] in known]
    if any(len(line) != len(header) for line in lines):
        raise BadDialectFile(f"{path}: a line has not as many cells as the header.", path=path)
    rows = [[line[number] for number in chosen] for line in lines]
    names, table = _table([header[number].strip() for number in chosen], rows, path)
    return names, table, {}


def codes_of(
    model: HeadModel, names: Sequence[str], weights: np.ndarray, where: str
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Codes (T, D) of blendshape weights (T, N), and the names in use for which the head has nothing.

    ``where`` names the file in messages.

    Raises:
        BadDialectFile: hardly a name is ARKit's, or a weight is none.
        HeadNeeded: the head does not have ARKit's expressions.
    """
    if not np.isfinite(weights).all() or float(np.abs(weights).max(initial=0.0)) > _MAX_WEIGHT:
        raise BadDialectFile(
            f"{where}: a weight is not finite, or far outside 0 to 1.", hint="Weights are shares, 1 for full strength."
        )
    angles = model.full_strength_rad or {}
    places = {name: number for number, name in enumerate(model.expression_names)}
    if "mouthSmileLeft" not in places or "jawOpen" not in angles:
        raise HeadNeeded(f"The head {model.id} does not have ARKit's expressions.", hint="Use --head open.")
    matched = [name for name in names if name in places or name in angles]
    if len(matched) < _LEAST_NAMES:
        raise BadDialectFile(f"{where}: only {len(matched)} of {len(names)} names are ARKit's blendshapes.")
    frames = len(weights)
    codes = zeros(frames)
    codes["expression"] = np.zeros((frames, model.num_expression), np.float32)
    lost = []
    for number, name in enumerate(names):
        if name in places:
            codes["expression"][:, places[name]] = weights[:, number]
        elif name in angles:
            code, axis = _joint(name)
            codes[code][:, axis] += (angles[name] * weights[:, number]).astype(np.float32)
        elif float(np.abs(weights[:, number]).max()) > 0:
            lost.append(name)
    return codes, lost


def _joint(name: str) -> tuple[str, int]:
    """Code and axis that a jaw or gaze blendshape turns."""
    if name.startswith("jaw"):
        return "jaw", 0 if name == "jawOpen" else 1
    side = 0 if name.endswith("Left") else 3
    return "eyes", side + (0 if "Up" in name or "Down" in name else 1)


def weights_of(model: HeadModel, export: Export) -> tuple[list[str], np.ndarray]:
    """Names and weights (T, N) of a row: the inverse of :func:`codes_of`, opposite blendshapes never both.

    Raises:
        RsatError: the head does not have ARKit's expressions.
    """
    angles = model.full_strength_rad or {}
    if "jawOpen" not in angles:
        raise RsatError(
            f"{export.name}: the head {model.id} does not have ARKit's expressions.", hint="Convert with --head open."
        )
    names = sorted({*model.expression_names, *angles})
    weights = np.zeros((export.track.num_frames, len(names)))
    for number, name in enumerate(names):
        if name in model.expression_names:
            weights[:, number] = export.track.expression[:, model.expression_index(name)]
        else:
            code, axis = _joint(name)
            share = getattr(export.track, code)[:, axis] / angles[name]
            weights[:, number] = share if name == "jawOpen" else np.maximum(share, 0.0)
    return names, weights


def write(export: Export, folder: Path) -> list[str]:
    """Write one row as ``arkit.json``."""
    if export.model is None:
        raise export.head_needed("jaw and gaze become blendshapes by its angles")
    names, weights = weights_of(export.model, export)
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "names": names,
        "fps": export.track.fps,
        "head_model": export.track.head,
        "frames": [{"weights": [round(float(value), 7) for value in row]} for row in weights],
    }
    (folder / "arkit.json").write_text(json.dumps(content) + "\n", encoding="utf-8")
    return ["identity, head turn, place and camera have no place in this format and are lost"]
