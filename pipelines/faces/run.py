"""The work of the stage `faces`: follow the people, then cut out heads, mattes, a still and a preview."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import soundfile

from pipelines.faces.blendshapes import INDEX
from pipelines.faces.config import FacesConfig
from pipelines.faces.crop import Window, cut, extents, inside, union, window_in
from pipelines.faces.gaps import angles, fill_linear, fill_poses
from pipelines.faces.matte import enlarge
from pipelines.faces.nets import FaceDetector, FaceLandmarker, PersonSegmenter
from pipelines.faces.quality import sharpness, still_candidates
from pipelines.faces.seams import Panel, SeamFinder
from pipelines.faces.tracking import PeopleTracker, stack
from pipelines.ingest.media import SAMPLE_RATE, VideoWriter, iter_frames
from pipelines.ingest.timeline import load_recordings, read_offsets
from pipelines.stage import StageContext
from rsat_data.errors import SkippedClip

FPS = 25.0
_SEAM_FRAMES = 16
"""Frames of a clip, and up to twice as many, in which seams and bars are looked for."""
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


@dataclass
class View:
    """One camera's picture of a clip, and who is in it."""

    path: Path
    """The video."""
    start_s: float
    """When the clip begins, on the video's own time."""
    width: int
    """Upright width of its picture, px."""
    height: int
    """Upright height, px."""
    boxes: list[Any]
    """Where its people's faces are, source px."""
    recording: str = ""
    """The person whose own recording it is; empty where everybody is in one picture."""
    tracks: list[Track] = field(default_factory=list)
    """Its people, from left to right."""
    panels: list[Panel] = field(default_factory=list)
    """The part of the picture each belongs to."""
    windows: list[Window] = field(default_factory=list)
    """Their crops."""


def run(context: StageContext, config: FacesConfig) -> Mapping[str, Any]:
    """Process one clip; see docs/pipeline_ingest_faces.md for the files written.

    Returns:
        {"persons": [...], "valid": {person: share of frames}}.

    Raises:
        SkippedClip: a person was found in too few frames.
    """
    unit = context.unit
    num_frames, start_s = int(unit["num_frames"]), float(unit["start_s"])
    views = views_of(context)
    cv2.setNumThreads(max(1, context.threads))

    for number, view in enumerate(views):
        view.tracks = follow(context, config, view, number / len(views), len(views))
    people = [(view, track) for view in views for track in view.tracks]
    names = [chr(ord("A") + i) for i in range(len(people))]
    shares = {name: float(track.valid.mean()) for name, (_, track) in zip(names, people, strict=True)}
    lost = [name for name, share in shares.items() if share < config.min_valid]
    if lost:
        view = people[names.index(lost[0])][0]
        raise SkippedClip(
            f"{view.path.name!r} from {view.start_s:.2f} s: person {lost[0]} was found in "
            f"{shares[lost[0]]:.0%} of {num_frames} frames, {config.min_valid:.0%} needed",
            hint="faces turned away or covered cannot be used; the limit is faces.min_valid",
            path=view.path,
        )
    for view in views:
        visible = [track.landmarks[track.valid] for track in view.tracks]
        view.windows = [
            window_in(mine, view.panels[i], [o for k, o in enumerate(visible) if k != i])
            for i, mine in enumerate(visible)
        ]
    blur = write_media(context, config, views, names, start_s, num_frames)
    windows = [window for view in views for window in view.windows]
    panels = [panel for view in views for panel in view.panels]
    persons = []
    for name, (view, track), window, panel, sharp in zip(names, people, windows, panels, blur, strict=True):
        content: Any = arrays(track, window, sharp, config.crop_size)
        np.savez(context.out / f"{name}.npz", **content)
        face = track.boxes[track.valid]
        own: dict[str, Any] = {}
        if view.recording:
            own = {"recording": view.recording, "width": view.width, "height": view.height}
        if panel != Panel(0, 0, view.width, view.height):
            own["panel"] = [panel.x0, panel.y0, panel.x1, panel.y1]
        persons.append(
            {
                "person": name,
                "crop": {"x0": window.x0, "y0": window.y0, "side": window.side, "size": config.crop_size},
                "face_px": round(float(np.median(np.sqrt(face[:, 2] * face[:, 3]))), 2),
                "valid": round(shares[name], 6),
                **own,
            }
        )
    first = views[0]
    record = {"width": first.width, "height": first.height, "fps": FPS, "num_frames": num_frames, "persons": persons}
    (context.out / "faces.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    context.progress(1.0)
    return {"persons": names, "valid": {n: round(s, 4) for n, s in shares.items()}}


def views_of(context: StageContext) -> list[View]:
    """The videos a clip is seen in: the source, or one recording a person."""
    folder, unit = context.inputs["ingest"], context.unit
    start_s, boxes = float(unit["start_s"]), list(unit["boxes"])
    offsets = read_offsets(unit)
    if not offsets:
        source = json.loads((folder / "source.json").read_text(encoding="utf-8"))
        width, height = int(source["video"]["width"]), int(source["video"]["height"])
        return [View(context.source, start_s, width, height, boxes)]
    facts, stated = load_recordings(folder), context.metadata["recordings"]
    return [
        View(
            Path(stated[person]["video"]),
            start_s - offset,
            int(facts[person]["width"]),
            int(facts[person]["height"]),
            [box],
            person,
        )
        for (person, offset), box in zip(sorted(offsets.items()), boxes, strict=True)
    ]


def follow(context: StageContext, config: FacesConfig, view: View, done: float, parts: int) -> list[Track]:
    """Track the people of one view and return them from left to right.

    Args:
        context, config: of the stage.
        view: where to look.
        done: share of the stage's first half that is done already.
        parts: how many views there are.

    Raises:
        SkippedClip: one of them was never found.
    """
    model = context.model("face_landmarker")
    num_frames = int(context.unit["num_frames"])
    with (
        FaceDetector(model, min_confidence=config.min_confidence) as detector,
        FaceLandmarker(model, min_confidence=config.min_confidence) as landmarker,
    ):
        tracker = PeopleTracker(view.boxes, detector, landmarker, window_factor=config.window_factor)
        frames = iter_frames(view.path, view.start_s, num_frames, FPS, threads=context.threads)
        seams, step = SeamFinder(view.width, view.height), max(1, num_frames // _SEAM_FRAMES)
        for index, picture in enumerate(frames):
            tracker.step(picture)
            if index % step == 0:
                seams.add(picture)
            context.progress(0.5 * (done + (index + 1) / num_frames / parts))
    tracks = []
    for found in tracker.found:
        landmarks, blendshapes, matrix, confidence, valid = stack(found)
        if not valid.any():
            raise SkippedClip(
                f"{view.path.name!r} from {view.start_s:.2f} s: a face seen at a glance could not be found again",
                hint="such faces are blurred, covered or turned away; nothing to do",
                path=view.path,
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
    tracks = left_to_right(tracks)
    view.panels = [seams.panel(union(extents(track.landmarks[track.valid]))) for track in tracks]
    return tracks


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
    context: StageContext, config: FacesConfig, views: list[View], names: list[str], start_s: float, num_frames: int
) -> list[np.ndarray]:
    """Write P.mp4, P_matte.mp4, P.jpg for every person and preview.mp4, in one pass over the frames of all views.

    Returns:
        Sharpness (T,) float32 of each person's face.
    """
    out = context.out
    people = [
        (number, track, window, panel)
        for number, view in enumerate(views)
        for track, window, panel in zip(view.tracks, view.windows, view.panels, strict=True)
    ]
    shown = [inside(window, panel, config.crop_size) for _, _, window, panel in people]
    blur = [np.zeros(num_frames, np.float32) for _ in people]
    candidates = []
    for _, track, _, _ in people:
        yaw, pitch, _ = angles(track.matrix)
        blink = track.blendshapes[:, [INDEX["eyeBlinkLeft"], INDEX["eyeBlinkRight"]]].max(axis=1)
        candidates.append(still_candidates(yaw, pitch, blink, track.valid, config.frontal_yaw_deg))
    stills: list[tuple[float, np.ndarray] | None] = [None] * len(people)
    boxes = [track.boxes for _, track, _, _ in people]
    sizes = preview_sizes(views, config.preview_height)
    with ExitStack() as stack_:
        segmenter = stack_.enter_context(PersonSegmenter(context.model("selfie_segmenter")))
        crops = [stack_.enter_context(VideoWriter(out / f"{n}.mp4", FPS, config.crop_crf)) for n in names]
        mattes = [stack_.enter_context(VideoWriter(out / f"{n}_matte.mp4", FPS, config.matte_crf)) for n in names]
        sound = clip_sound(context.inputs["ingest"] / "mixture.flac", start_s, num_frames)
        preview = stack_.enter_context(VideoWriter(out / "preview.mp4", FPS, config.preview_crf, audio=sound))
        frames = [iter_frames(view.path, view.start_s, num_frames, FPS, threads=context.threads) for view in views]
        for index, pictures in enumerate(zip(*frames, strict=True)):
            small = [
                cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
                for picture, size in zip(pictures, sizes, strict=True)
            ]
            preview.add(small[0] if len(small) == 1 else np.concatenate(small, axis=1))
            for i, (number, _, window, panel) in enumerate(people):
                crop = cut(pictures[number], window, config.crop_size, panel)
                crops[i].add(crop)
                matte, part = enlarge(segmenter(crop), config.crop_size), shown[i]
                mattes[i].add(matte if part is None else matte * (part if matte.ndim == 2 else part[..., None]))
                sharp = sharpness(pictures[number], boxes[i][index])
                blur[i][index] = sharp
                best = stills[i]
                if candidates[i][index] and (best is None or sharp > best[0]):
                    stills[i] = (sharp, crop)
            context.progress(0.5 + 0.5 * (index + 1) / num_frames)
    for name, still in zip(names, stills, strict=True):
        assert still is not None  # still_candidates always names a frame
        write_jpeg(out / f"{name}.jpg", still[1], config.jpeg_quality)
    return blur


def preview_sizes(views: list[View], height: int) -> list[tuple[int, int]]:
    """(width, height) of every view in the preview: side by side, all of one height."""
    if len(views) == 1:
        return [fit_height((views[0].width, views[0].height), height)]
    rows = 2 * (min(height, *(view.height for view in views)) // 2)
    return [(max(2, 2 * round(view.width * rows / view.height / 2)), rows) for view in views]


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
