"""The work of the stage `flame`: read the faces of a clip, fit the head to each person, write the codes.

The profile `fast` fits landmarks (``model.fitting``); `full` goes on with the pictures (``model.photometric``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numba
import numpy as np

from model.camera import Camera
from model.fitting.backend import solver_for
from model.fitting.fit import FitResult, fit_landmarks
from model.fitting.landmark_model import LandmarkModel, landmark_model
from model.head import HeadModel, load_head
from model.photometric.refine import Landmarks, PhotometricFit, refine
from pipelines.faces.blendshapes import BLENDSHAPES
from pipelines.faces.crop import crop_camera, picture_size
from pipelines.flame.config import FlameConfig
from pipelines.flame.judging import judge_person, judged_arrays, reprojection_of, require_enough
from pipelines.flame.pictures import Frames
from pipelines.flame.validity import Judgement
from pipelines.stage import StageContext
from rsat_data.errors import SkippedClip, StageError, UnreadableSource

_MAX_THREADS = int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]


@lru_cache(maxsize=2)
def _head(name: str) -> tuple[HeadModel, LandmarkModel]:
    """A head and its landmark model; kept between clips of one process."""
    head = load_head(name)
    return head, landmark_model(head)


def run(context: StageContext, config: FlameConfig) -> Mapping[str, Any]:
    """Fit every person of a clip.

    Writes ``flame.json`` {head_model, profile, persons: {P: {camera, reprojection, valid_fraction, photometric}}} and
    ``P.npz`` with the arrays of ``FitResult`` and, with the profile `full`, of ``PhotometricFit``; see
    docs/tracking.md and docs/photometric.md. ``photometric`` is the median over valid frames, null with `fast`.

    Returns:
        {"profile", "persons": {P: {"reprojection": share of the distance between the eyes, "valid": share of frames,
        "photometric": mean difference of colours in [0, 1] or None}}}.

    Raises:
        SkippedClip: too few frames of a person can be trusted.
        StageError: the faces stage left something this stage cannot read.
    """
    folder = context.inputs["faces"]
    faces = json.loads((folder / "faces.json").read_text(encoding="utf-8"))
    numba.set_num_threads(max(1, min(context.threads, _MAX_THREADS)))
    head, model = _head(config.head)
    record: dict[str, Any] = {"head_model": head.id, "profile": config.profile, "persons": {}}
    people = faces["persons"]
    # Without the stage `subjects` (a clip on its own), the shape is this clip's and the focal length the default.
    alone: Mapping[str, Any] = {"focal": config.focal, "shapes": {}}
    given = context.parts["subjects"]["fit"] if "subjects" in context.parts else alone
    for number, entry in enumerate(people):
        person = str(entry["person"])
        camera = crop_camera(*picture_size(faces, entry), entry["crop"], _focal(given, person))
        refined = None
        try:
            seen = _landmarks(folder / f"{person}.npz")
            result = _fit(folder / f"{person}.npz", seen, model, camera, config, given["shapes"].get(person))
            if config.profile == "full":
                share = _Share(context.progress, number, len(people))
                refined = _refine(folder, person, head, result, seen, camera, config, context.threads, share)
                result = refined.codes
            fitted = arrays(result)
            judgement = _judge(folder, person, faces, fitted, refined, config)
            require_enough(judgement, config.validity)
        except SkippedClip as error:
            start = float(context.unit["start_s"])
            raise SkippedClip(
                f"{context.source.name!r} from {start:.2f} s: person {person}: {error.message}",
                hint=error.hint,
                path=context.source,
            ) from error
        # Compressed: nine tenths of a texture in the head's own layout are empty.
        save = np.savez if refined is None else np.savez_compressed
        save(context.out / f"{person}.npz", **judged_arrays(fitted, judgement), **_appearance(refined, config))  # type: ignore[arg-type]
        record["persons"][person] = {
            "camera": {name: getattr(camera, name) for name in ("fx", "fy", "cx", "cy", "width", "height")},
            "reprojection": round(reprojection_of(fitted, judgement), 6),
            "valid_fraction": round(float(judgement.valid.mean()), 6),
            "reasons": judgement.shares(),
            "hidden": {
                name: round(float(np.mean(judgement.measures[f"hidden_{name}"] > 0.5)), 6) for name in ("eyes", "mouth")
            },
            "glasses": round(float(np.mean(judgement.measures["glasses"])), 6),
            "photometric": None if refined is None else _median(refined.residual[judgement.valid]),
        }
        context.progress((number + 1) / len(people))
    (context.out / "flame.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    names = {"reprojection": "reprojection", "valid": "valid_fraction", "photometric": "photometric"}
    return {
        "profile": config.profile,
        "persons": {
            person: {name: entry[key] for name, key in names.items()} for person, entry in record["persons"].items()
        },
    }


def _focal(given: Mapping[str, Any], person: str) -> float:
    """The focal length of the camera that filmed a person: their own recording's, or the source's."""
    return float((given.get("focals") or {}).get(person, given["focal"]))


@dataclass(frozen=True)
class _Share:
    """Progress of one person among several."""

    report: Callable[[float], None]
    number: int
    count: int

    def __call__(self, done: float) -> None:
        self.report((self.number + done) / self.count)


def _unusable(path: Path, error: Exception) -> StageError:
    return StageError(
        f"{path.name} of the faces stage cannot be used ({error})",
        hint="Run the build again; if it persists, delete the clip's faces folder in the workspace.",
        path=path,
    )


def _landmarks(path: Path) -> Landmarks:
    """What the faces stage saw of one person.

    Raises:
        StageError: the file cannot be read, or an array is missing.
    """
    try:
        with np.load(path) as stored:
            points, scores, valid = stored["landmarks"], stored["blendshapes"], stored["valid"]
        return Landmarks(points[..., :2], valid.astype(bool), scores, BLENDSHAPES)
    except (OSError, KeyError, ValueError) as error:
        raise _unusable(path, error) from error


def _fit(
    path: Path,
    seen: Landmarks,
    model: LandmarkModel,
    camera: Camera,
    config: FlameConfig,
    shape: Sequence[float] | None,
) -> FitResult:
    """Fit one person from the artefact of the faces stage; ``shape`` is the subject's, where it is known.

    Raises:
        StageError: an array has another shape than expected.
    """
    try:
        return fit_landmarks(
            model,
            seen.points,
            seen.valid,
            camera,
            blendshapes=seen.blendshapes,
            blendshape_names=seen.names,
            config=config,
            shape=None if shape is None else np.asarray(shape, dtype=np.float64),
            solve=solver_for(config.device),
        )
    except ValueError as error:
        raise _unusable(path, error) from error


def _refine(
    folder: Path,
    person: str,
    head: HeadModel,
    result: FitResult,
    seen: Landmarks,
    camera: Camera,
    config: FlameConfig,
    threads: int,
    progress: Callable[[float], None],
) -> PhotometricFit:
    """Go on with the pictures.

    Raises:
        StageError: the person's video or its matte cannot be read.
    """
    num = len(seen.valid)
    crop, matte = folder / f"{person}.mp4", folder / f"{person}_matte.mp4"
    try:
        return refine(
            head, result, seen, Frames(crop, num), Frames(matte, num, grey=True), camera,
            fit=config, config=config.photometric, device=config.device, threads=threads, progress=progress,
        )  # fmt: skip
    except (OSError, UnreadableSource) as error:
        raise _unusable(crop, error) from error


def _appearance(refined: PhotometricFit | None, config: FlameConfig) -> dict[str, np.ndarray]:
    """What ``P.npz`` holds besides with the profile `full`."""
    if refined is None:
        return {}
    return {
        "photometric": refined.residual,
        "texture": refined.texture(config.photometric.texture_size),
        "light": refined.light,
        "gain": refined.gain.astype(np.float16),
    }


def _median(residual: np.ndarray) -> float | None:
    """Median of what was measured, six digits; None where nothing was."""
    known = residual[np.isfinite(residual)]
    return round(float(np.median(known)), 6) if len(known) else None


def _judge(
    folder: Path,
    person: str,
    faces: Mapping[str, Any],
    fitted: Mapping[str, np.ndarray],
    refined: PhotometricFit | None,
    config: FlameConfig,
) -> Judgement:
    """Judge the fit of one person.

    Raises:
        StageError: the person's video cannot be read, or an array has another shape than expected.
    """
    residual = {} if refined is None else {"photometric": refined.residual}
    try:
        return judge_person(folder, person, faces, {**fitted, **residual}, config.validity)
    except (OSError, KeyError, ValueError) as error:
        raise _unusable(folder / f"{person}.mp4", error) from error


def arrays(result: FitResult) -> dict[str, np.ndarray]:
    """What ``P.npz`` holds."""
    codes = ("shape", "expression", "jaw", "neck", "eyes", "rotation", "translation")
    return {name: getattr(result, name) for name in (*codes, "valid", "reprojection_px", "eye_distance_px")}
