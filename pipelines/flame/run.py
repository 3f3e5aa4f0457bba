"""The work of the stage `flame`: read the faces of a clip, fit the head to each person, write the codes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numba
import numpy as np

from model.camera import Camera
from model.fitting.fit import FitResult, fit_landmarks
from model.fitting.landmark_model import LandmarkModel, landmark_model
from model.head.load import load_head
from pipelines.faces.blendshapes import BLENDSHAPES
from pipelines.flame.config import FlameConfig
from pipelines.stage import StageContext
from rsat_data.errors import SkippedClip, StageError

_MAX_THREADS = int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]


@lru_cache(maxsize=2)
def _head(name: str) -> tuple[str, LandmarkModel]:
    """Id and landmark model of a head; kept between clips of one process."""
    head = load_head(name)
    return head.id, landmark_model(head)


def crop_camera(width: int, height: int, crop: Mapping[str, float], focal: float) -> Camera:
    """Camera of a head crop: the source's pinhole camera with its principal point in the middle, cut and scaled.

    Args:
        width: source width, upright pixels.
        height: source height.
        crop: x0, y0, side in source pixels, and size of the crop in its own pixels.
        focal: focal length in units of the source's longer side.
    """
    pixels = focal * max(width, height)
    source = Camera(pixels, pixels, width / 2, height / 2, width, height)
    return source.crop_square(float(crop["x0"]), float(crop["y0"]), float(crop["side"]), int(crop["size"]))


def run(context: StageContext, config: FlameConfig) -> Mapping[str, Any]:
    """Fit every person of a clip.

    Writes ``flame.json`` {head_model, persons: {P: {camera, reprojection, valid_fraction}}} and ``P.npz`` with the
    arrays of ``FitResult``; see docs/tracking.md.

    Returns:
        {"persons": {P: {"reprojection": share of the distance between the eyes, "valid": share of frames}}}.

    Raises:
        SkippedClip: the head fits no frame of a person.
        StageError: the faces stage left something this stage cannot read.
    """
    folder = context.inputs["faces"]
    faces = json.loads((folder / "faces.json").read_text(encoding="utf-8"))
    numba.set_num_threads(max(1, min(context.threads, _MAX_THREADS)))
    head_id, model = _head(config.head)
    record: dict[str, Any] = {"head_model": head_id, "persons": {}}
    people = faces["persons"]
    for number, entry in enumerate(people):
        person = str(entry["person"])
        camera = crop_camera(int(faces["width"]), int(faces["height"]), entry["crop"], config.focal)
        try:
            result = _fit(folder / f"{person}.npz", model, camera, config)
        except SkippedClip as error:
            start = float(context.unit["start_s"])
            raise SkippedClip(
                f"{context.source.name!r} from {start:.2f} s: person {person}: {error.message}",
                hint=error.hint,
                path=context.source,
            ) from error
        np.savez(context.out / f"{person}.npz", **arrays(result))  # type: ignore[arg-type]
        record["persons"][person] = {
            "camera": {name: getattr(camera, name) for name in ("fx", "fy", "cx", "cy", "width", "height")},
            "reprojection": round(result.reprojection, 6),
            "valid_fraction": round(float(result.valid.mean()), 6),
        }
        context.progress((number + 1) / len(people))
    (context.out / "flame.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return {
        "persons": {
            person: {"reprojection": entry["reprojection"], "valid": entry["valid_fraction"]}
            for person, entry in record["persons"].items()
        }
    }


def _fit(path: Path, model: LandmarkModel, camera: Camera, config: FlameConfig) -> FitResult:
    """Fit one person from the artefact of the faces stage.

    Raises:
        StageError: an array is missing or has another shape.
    """
    try:
        with np.load(path) as stored:
            landmarks, scores, valid = stored["landmarks"], stored["blendshapes"], stored["valid"]
        return fit_landmarks(
            model,
            landmarks[..., :2],
            valid,
            camera,
            blendshapes=scores,
            blendshape_names=BLENDSHAPES,
            config=config,
        )
    except (OSError, KeyError, ValueError) as error:
        raise StageError(
            f"{path.name} of the faces stage cannot be used ({error})",
            hint="Run the build again; if it persists, delete the clip's faces folder in the workspace.",
            path=path,
        ) from error


def arrays(result: FitResult) -> dict[str, np.ndarray]:
    """What ``P.npz`` holds."""
    names = ("shape", "expression", "jaw", "neck", "eyes", "rotation", "translation", "valid", "reprojection_px")
    return {name: getattr(result, name) for name in names}
