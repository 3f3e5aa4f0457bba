"""The work of the stage `faces`: follow the people, then cut out heads, mattes, a still and a preview."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import soundfile

from pipelines.faces.blendshapes import INDEX
from pipelines.faces.config import FacesConfig
from pipelines.faces.crop import Window, cut, extents, fixed_window
from pipelines.faces.gaps import angles, fill_linear, fill_poses
from pipelines.faces.matte import enlarge
from pipelines.faces.nets import FaceDetector, FaceLandmarker, PersonSegmenter
from pipelines.faces.quality import sharpness, still_candidates
from pipelines.faces.tracking import PeopleTracker, stack
from pipelines.ingest.media import SAMPLE_RATE, VideoWriter, iter_frames
from pipelines.stage import StageContext
from rsat_data.errors import SkippedClip

FPS = 25.0
_CLOSE_IN_TIME = 4
"""Order is judged by frames in which all people were found; with fewer than this, by each person's own frames."""


@dataclass
class Track:
    """One person over a clip, in source px, complete in time."""

    landmarks: np.ndarray
    """(T, 478, 3) float64 source px."""
    blendshapes: np.ndarray
    """(T, 52) float32."""
    matrix: np.ndarray
    """(T, 4, 4) float32."""
    confidence: np.ndarray
    """(T,) float32."""
    valid: np.ndarray
    """(T,) bool."""

    @property
    def boxes(self) -> np.ndarray:
        """(T, 4) x, y, width, height of the landmarks' extent, source px."""
        edges = extents(self.landmarks)
        return np.concatenate([edges[:, :2], edges[:, 2:] - edges[:, :2]], axis=1)


def run(context: StageContext, config: FacesConfig) -> Mapping[str, Any]:
    """Process one clip; see docs/pipeline_ingest_faces.md for the files written.

    Returns:
        {"persons": [...], "valid": {person: share of frames}}.

    Raises:
        SkippedClip: a person was found in too few frames.
    """
    unit = context.unit
    num_frames, start_s = int(unit["num_frames"]), float(unit["start_s"])
    source = json.loads((context.inputs["ingest"] / "source.json").read_text(encoding="utf-8"))
    width, height = int(source["video"]["width"]), int(source["video"]["height"])
    cv2.setNumThreads(max(1, context.threads))

    tracks = follow(context, config, start_s, num_frames)
    names = [chr(ord("A") + i) for i in range(len(tracks))]
    shares = {name: float(track.valid.mean()) for name, track in zip(names, tracks, strict=True)}
    lost = [name for name, share in shares.items() if share < config.min_valid]
    if lost:
        raise SkippedClip(
            f"{context.source.name!r} from {start_s:.2f} s: person {lost[0]} was found in "
            f"{shares[lost[0]]:.0%} of {num_frames} frames, {config.min_valid:.0%} needed",
            hint="faces turned away or covered cannot be used; the limit is faces.min_valid",
            path=context.source,
        )
    visible = [track.landmarks[track.valid] for track in tracks]
    windows = [
        fixed_window(mine, width, height, [o for k, o in enumerate(visible) if k != i])
        for i, mine in enumerate(visible)
    ]
    blur = write_media(context, config, tracks, windows, names, start_s, num_frames, (width, height))
    persons = []
    for name, track, window, sharp in zip(names, tracks, windows, blur, strict=True):
        content: Any = arrays(track, window, sharp, config.crop_size)
        np.savez(context.out / f"{name}.npz", **content)
        face = track.boxes[track.valid]
        persons.append(
            {
                "person": name,
                "crop": {"x0": window.x0, "y0": window.y0, "side": window.side, "size": config.crop_size},
                "face_px": round(float(np.median(np.sqrt(face[:, 2] * face[:, 3]))), 2),
                "valid": round(shares[name], 6),
            }
        )
    record = {"width": width, "height": height, "fps": FPS, "num_frames": num_frames, "persons": persons}
    (context.out / "faces.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    context.progress(1.0)
    return {"persons": names, "valid": {n: round(s, 4) for n, s in shares.items()}}


def follow(context: StageContext, config: FacesConfig, start_s: float, num_frames: int) -> list[Track]:
    """Track the clip's people and return them from left to right.

    Raises:
        SkippedClip: one of them was never found.
    """
    model = context.model("face_landmarker")
    with (
        FaceDetector(model, min_confidence=config.min_confidence) as detector,
        FaceLandmarker(model, min_confidence=config.min_confidence) as landmarker,
    ):
        tracker = PeopleTracker(
            context.unit["boxes"], detector, landmarker, window_factor=config.window_factor
        )
        frames = iter_frames(context.source, start_s, num_frames, FPS, threads=context.threads)
        for index, picture in enumerate(frames):
            tracker.step(picture)
            context.progress(0.5 * (index + 1) / num_frames)
    tracks = []
    for found in tracker.found:
        landmarks, blendshapes, matrix, confidence, valid = stack(found)
        if not valid.any():
            raise SkippedClip(
                f"{context.source.name!r} from {start_s:.2f} s: a face seen at a glance could not be found again",
                hint="such faces are blurred, covered or turned away; nothing to do",
                path=context.source,
            )
        tracks.append(
            Track(
                fill_linear(landmarks, valid),
                fill_linear(blendshapes, valid),
                fill_poses(matrix, valid),
                confidence,
                valid,
            )
        )
    return left_to_right(tracks)


def left_to_right(tracks: list[Track]) -> list[Track]:
    """Tracks sorted by the median of the face's middle, over frames in which everybody was found."""
    together = np.logical_and.reduce([t.valid for t in tracks])

    def middle(track: Track) -> float:
        frames = together if together.sum() >= _CLOSE_IN_TIME else track.valid
        boxes = track.boxes[frames]
        return float(np.median(boxes[:, 0] + boxes[:, 2] / 2))

    return sorted(tracks, key=middle)


def arrays(track: Track, window: Window, blur: np.ndarray, size: int) -> dict[str, np.ndarray]:
    """Content of P.npz."""
    yaw, pitch, roll = angles(track.matrix)
    return {
        "landmarks": window.to_crop(track.landmarks, size).astype(np.float32),
        "blendshapes": track.blendshapes,
        "matrix": track.matrix,
        "valid": track.valid,
        "confidence": track.confidence,
        "blur": blur,
        "yaw_deg": yaw,
        "pitch_deg": pitch,
        "roll_deg": roll,
        "box": track.boxes.astype(np.float32),
    }


def write_media(
    context: StageContext,
    config: FacesConfig,
    tracks: list[Track],
    windows: list[Window],
    names: list[str],
    start_s: float,
    num_frames: int,
    size: tuple[int, int],
) -> list[np.ndarray]:
    """Write P.mp4, P_matte.mp4, P.jpg for every person and preview.mp4, in one pass over the frames.

    Returns:
        Sharpness (T,) float32 of each person's face.
    """
    out = context.out
    preview_size = fit_height(size, config.preview_height)
    blur = [np.zeros(num_frames, np.float32) for _ in tracks]
    candidates = []
    for track in tracks:
        yaw, pitch, _ = angles(track.matrix)
        blink = track.blendshapes[:, [INDEX["eyeBlinkLeft"], INDEX["eyeBlinkRight"]]].max(axis=1)
        candidates.append(still_candidates(yaw, pitch, blink, track.valid, config.frontal_yaw_deg))
    stills: list[tuple[float, np.ndarray] | None] = [None] * len(tracks)
    boxes = [track.boxes for track in tracks]
    with ExitStack() as stack_:
        segmenter = stack_.enter_context(PersonSegmenter(context.model("selfie_segmenter")))
        crops = [stack_.enter_context(VideoWriter(out / f"{n}.mp4", FPS, config.crop_crf)) for n in names]
        mattes = [stack_.enter_context(VideoWriter(out / f"{n}_matte.mp4", FPS, config.matte_crf)) for n in names]
        sound = clip_sound(context.inputs["ingest"] / "mixture.flac", start_s, num_frames)
        preview = stack_.enter_context(VideoWriter(out / "preview.mp4", FPS, config.preview_crf, audio=sound))
        frames = iter_frames(context.source, start_s, num_frames, FPS, threads=context.threads)
        for index, picture in enumerate(frames):
            preview.add(cv2.resize(picture, preview_size, interpolation=cv2.INTER_AREA))
            for i, window in enumerate(windows):
                crop = cut(picture, window, config.crop_size)
                crops[i].add(crop)
                mattes[i].add(enlarge(segmenter(crop), config.crop_size))
                sharp = sharpness(picture, boxes[i][index])
                blur[i][index] = sharp
                best = stills[i]
                if candidates[i][index] and (best is None or sharp > best[0]):
                    stills[i] = (sharp, crop)
            context.progress(0.5 + 0.5 * (index + 1) / num_frames)
    for name, still in zip(names, stills, strict=True):
        assert still is not None  # still_candidates always names a frame
        write_jpeg(out / f"{name}.jpg", still[1], config.jpeg_quality)
    return blur


def fit_height(size: tuple[int, int], height: int) -> tuple[int, int]:
    """(width, height) with even sides, scaled down to at most ``height`` rows; never enlarged."""
    scale = min(1.0, height / size[1])
    width, rows = (max(2, 2 * math.floor(scale * s / 2 + 1e-9)) for s in size)
    return width, rows


def clip_sound(path: Path, start_s: float, num_frames: int) -> np.ndarray:
    """Samples (T * 640,) int16 of a clip, silence where the file ends early."""
    count = round(num_frames * SAMPLE_RATE / FPS)
    with soundfile.SoundFile(path) as file:
        file.seek(min(round(start_s * SAMPLE_RATE), file.frames))
        samples = file.read(count, dtype="int16", always_2d=True)[:, 0]
    return np.pad(samples, (0, count - len(samples)))


def write_jpeg(path: Path, picture: np.ndarray, quality: int) -> None:
    """Write (H, W, 3) uint8 RGB as a JPEG file."""
    done, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    path.write_bytes(data.tobytes())
