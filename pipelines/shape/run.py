"""The work of the stage `shape`: evidence of shape and focal length, and descriptors of face and voice."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numba
import numpy as np
import soundfile

from model.fitting.evidence import ShapeEvidence, shape_evidence
from model.fitting.landmark_model import LandmarkModel, landmark_model
from model.head.load import load_head
from pipelines.faces.blendshapes import BLENDSHAPES, INDEX
from pipelines.faces.crop import crop_camera, picture_size
from pipelines.ingest.media import iter_frames
from pipelines.shape.appearance import align, colour_vector, regions, texture
from pipelines.shape.config import ShapeConfig
from pipelines.shape.pack import pack
from pipelines.stage import StageContext
from rsat_data.errors import SkippedClip, StageError

if TYPE_CHECKING:
    from model.speech.ge2e import SpeakerEncoder

VOICE_MODEL = "speaker-embedding"
FPS = 25.0
_SAMPLES_PER_FRAME = 640
_MAX_THREADS = int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]


@lru_cache(maxsize=2)
def _head(name: str) -> tuple[str, LandmarkModel]:
    head = load_head(name)
    return head.id, landmark_model(head)


@lru_cache(maxsize=1)
def _encoder(path: Path) -> SpeakerEncoder:
    from model.speech.ge2e import load_encoder

    return load_encoder(path)


def run(context: StageContext, config: ShapeConfig) -> Mapping[str, Any]:
    """Measure every person of a clip.

    Writes ``shape.json`` {head_model, focals, shape_sd, pictures, persons: {P: {yaw_deg, voice_s}}}, ``P.npz`` (see
    docs/subjects.md) and ``P.png``, the aligned face that was described.

    Returns:
        {"persons": {P: {"voice_s": seconds of own speech}}}.

    Raises:
        SkippedClip: no frame of a person can be used.
        StageError: an input cannot be read.
    """
    folder = context.inputs["faces"]
    faces = json.loads((folder / "faces.json").read_text(encoding="utf-8"))
    numba.set_num_threads(max(1, min(context.threads, _MAX_THREADS)))
    cv2.setNumThreads(max(1, context.threads))
    head_id, model = _head(config.head)
    people = [str(entry["person"]) for entry in faces["persons"]]
    record: dict[str, Any] = {"head_model": head_id, "focals": list(config.focals), "persons": {}}
    record |= {"shape_sd": config.shape_sd, "pictures": config.shape_evidence}
    for number, entry in enumerate(faces["persons"]):
        person = people[number]
        try:
            with np.load(folder / f"{person}.npz") as stored:
                seen = {name: stored[name] for name in ("landmarks", "blendshapes", "valid", "yaw_deg", "pitch_deg")}
        except (OSError, KeyError, ValueError) as error:
            raise StageError(
                f"{person}.npz of the faces stage cannot be used ({error})",
                hint="Run the build again; if it persists, delete the clip's faces folder in the workspace.",
                path=folder / f"{person}.npz",
            ) from error
        try:
            evidence = shape_evidence(
                model,
                seen["landmarks"][..., :2],
                seen["valid"],
                [crop_camera(*picture_size(faces, entry), entry["crop"], focal) for focal in config.focals],
                blendshapes=seen["blendshapes"],
                blendshape_names=BLENDSHAPES,
                # Without the detector's errors: what tells people and focal lengths apart was measured without them.
                config=replace(
                    config,
                    shape_frames=min(config.shape_frames, config.evidence_frames),
                    offsets=0,
                    noise_modes=0,
                ),
            )
        except SkippedClip as error:
            raise SkippedClip(
                f"{context.source.name!r} from {float(context.unit['start_s']):.2f} s: person {person}: "
                f"{error.message}",
                hint=error.hint,
                path=context.source,
            ) from error
        context.progress((number + 0.5) / len(people))
        face = look(folder, person, seen, config)
        voice, voice_s = listen(context, person, people, config)
        content = arrays(evidence) | {"texture": texture(face.mean), "colours": colour_vector(face.colours)}
        content["voice"] = voice
        np.savez(context.out / f"{person}.npz", **content)  # type: ignore[arg-type]
        cv2.imwrite(str(context.out / f"{person}.png"), np.round(face.mean).astype(np.uint8)[..., ::-1])
        record["persons"][person] = {"yaw_deg": round(face.yaw_deg, 2), "voice_s": round(voice_s, 2)}
        if "recording" in entry:  # a camera of their own
            record["persons"][person]["recording"] = entry["recording"]
        context.progress((number + 1) / len(people))
    (context.out / "shape.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return {"persons": {person: {"voice_s": entry["voice_s"]} for person, entry in record["persons"].items()}}


def arrays(evidence: list[ShapeEvidence]) -> dict[str, np.ndarray]:
    """Evidence of one person at every candidate focal length, as ``P.npz`` holds it."""
    return {
        "cost": np.array([one.cost for one in evidence]),
        "information": np.stack([pack(one.information) for one in evidence]),
        "vector": np.stack([one.vector for one in evidence]),
        "num_seen": np.array(evidence[0].num_seen),
    }


@dataclass(frozen=True)
class Look:
    """A face averaged over a clip."""

    mean: np.ndarray
    """(128, 112, 3) float32 in [0, 255]: mean of the aligned frames."""
    colours: np.ndarray
    """(4, 3) float64 linear light; NaN where nothing was seen."""
    yaw_deg: float
    """Median turn of the frames used, to either side."""


def best_frames(seen: Mapping[str, np.ndarray], count: int) -> np.ndarray:
    """Numbers of the ``count`` valid frames that show a face best: least turned, eyes open, mouth shut; ascending."""
    busy = seen["blendshapes"][:, [INDEX[name] for name in ("eyeBlinkLeft", "eyeBlinkRight", "jawOpen")]].max(axis=1)
    valid = seen["valid"].astype(bool)
    tilt = np.abs(seen["pitch_deg"] - np.median(seen["pitch_deg"][valid]))
    order = np.argsort(np.where(valid, np.abs(seen["yaw_deg"]) + 0.5 * tilt + 40.0 * busy, np.inf), kind="stable")
    return np.sort(order[: min(count, int(valid.sum()))])


def look(folder: Path, person: str, seen: Mapping[str, np.ndarray], config: ShapeConfig) -> Look:
    """Average a person's face over the best frames of a clip."""
    frames = best_frames(seen, config.face_frames)
    last = int(frames[-1]) + 1
    faces, colours = [], []
    pictures = iter_frames(folder / f"{person}.mp4", 0.0, last, FPS)
    mattes = iter_frames(folder / f"{person}_matte.mp4", 0.0, last, FPS)
    wanted = set(frames.tolist())
    for index, (picture, matte) in enumerate(zip(pictures, mattes, strict=True)):
        if index in wanted:
            landmarks = seen["landmarks"][index]
            faces.append(align(picture, landmarks))
            colours.append(regions(picture, matte[..., 0], landmarks))
    known = np.isfinite(colours).any(axis=0)
    median = np.full(known.shape, np.nan)
    median[known] = np.nanmedian(np.asarray(colours)[:, known], axis=0)
    yaw = float(np.median(np.abs(seen["yaw_deg"][frames])))
    mean: np.ndarray = np.stack(faces).mean(axis=0, dtype=np.float64).astype(np.float32)
    return Look(mean, median, yaw)


def listen(
    context: StageContext, person: str, people: list[str], config: ShapeConfig
) -> tuple[np.ndarray, float]:
    """A person's voice, (256,) float32 or (0,), and the seconds of speech it was made of.

    Only frames count in which this person alone speaks. Without the network's file there is no voice.
    """
    folder = context.inputs["speech"]
    with np.load(folder / "speech.npz") as stored:
        talks = {name: stored[f"speaking_{name}"].astype(bool) for name in people}
    alone = talks[person].copy()
    for other in people:
        if other != person:
            alone &= ~talks[other]
    samples, _ = soundfile.read(folder / f"{person}.flac", dtype="float32")
    speech = samples[np.repeat(alone, _SAMPLES_PER_FRAME)[: len(samples)]]
    seconds = len(speech) / 16000
    if seconds < config.voice_min_s or VOICE_MODEL not in context.available or not np.abs(speech).max() > 1e-4:
        return np.zeros(0, np.float32), seconds
    import torch

    from model.speech.ge2e import embed

    before = torch.get_num_threads()
    torch.set_num_threads(max(1, context.threads))
    try:
        return embed(_encoder(context.model(VOICE_MODEL)), speech), seconds
    finally:
        torch.set_num_threads(before)
