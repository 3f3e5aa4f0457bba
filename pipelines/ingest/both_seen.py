"""Clips of two recordings: spans of the shared timeline in which both show their one main face."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipelines.ingest.config import IngestConfig
from pipelines.ingest.records import clip_record, faces_of_shot
from pipelines.ingest.scan import Scan
from pipelines.ingest.spans import Clip, Run, Skipped, clips_of_shot, runs_of_same_faces
from pipelines.ingest.timeline import Clock
from pipelines.ingest.tracks import Track

_RIVAL = 0.8
"""A second face of this share of the main one's width, for half its time, leaves open who the person is."""


@dataclass(frozen=True)
class Seen:
    """A span of one recording, on the shared timeline."""

    start_s: float
    """Seconds."""
    end_s: float
    """Seconds."""
    face: Track | None
    """The person's face, times on the shared timeline; None where there is none."""
    why: str = "no_face"
    """Why there is none: no_face or too_many_faces."""


def both_seen(
    recordings: Mapping[str, tuple[Scan, Clock]], span: tuple[float, float], loudness: np.ndarray, config: IngestConfig
) -> tuple[list[dict[str, Any]], list[Skipped]]:
    """Clips in which both persons' main faces stay, and why the rest is left out.

    Args:
        recordings: person -> what was found in their video, and when it ran; two, in the order A, B.
        span: when both ran, seconds on the shared timeline.
        loudness: (frames,) of the mixture at 25 frames/s.
        config: limits.

    Returns:
        Records as in clips.json, their boxes in the persons' order; skipped spans.
    """
    (name_a, seen_a), (name_b, seen_b) = (
        (person, main_faces(scan, clock, config)) for person, (scan, clock) in recordings.items()
    )
    clips: list[dict[str, Any]] = []
    skipped: list[Skipped] = []
    for a in seen_a:
        for b in seen_b:
            start, end = max(a.start_s, b.start_s, span[0]), min(a.end_s, b.end_s, span[1])
            if end <= start:
                continue
            missing = [(name, one) for name, one in ((name_a, a), (name_b, b)) if one.face is None]
            if missing:
                name, one = missing[0]
                what = "no face" if one.why == "no_face" else "two faces of like size"
                skipped.append(Skipped(start, end, one.why, f"{what} in {name}'s recording for {end - start:.1f} s"))
                continue
            assert a.face is not None and b.face is not None
            if end - start < config.min_clip_s - 0.02:
                detail = f"both faces stay for {end - start:.1f} s, {config.min_clip_s:g} s needed"
                skipped.append(Skipped(start, end, "span_too_short", detail))
                continue
            faces = (a.face, b.face)
            found, left_out = clips_of_shot(
                start,
                end,
                [Run(start, end, faces)],
                loudness,
                min_clip_s=config.min_clip_s,
                max_clip_s=config.max_clip_s,
                min_face_px=config.min_face_px,
            )
            # What cuts shots into clips puts faces from left to right; here each is in a picture of its own.
            clips += [clip_record(replace(clip, boxes=_boxes(clip, faces))) for clip in found]
            skipped += left_out
    return sorted(clips, key=lambda clip: float(clip["start_s"])), sorted(skipped, key=lambda span: span.start_s)


def _boxes(clip: Clip, faces: tuple[Track, Track]) -> tuple[tuple[float, float, float, float], ...]:
    boxes = []
    for face in faces:
        box = face.box_between(clip.start_s, clip.end_s)
        x, y, width, height = (float(v) for v in (np.median(face.boxes, axis=0) if box is None else box))
        boxes.append((round(x, 1), round(y, 1), round(width, 1), round(height, 1)))
    return tuple(boxes)


def main_faces(scan: Scan, clock: Clock, config: IngestConfig) -> list[Seen]:
    """Spans of a recording with its main face or without, in order, on the shared timeline.

    In each shot it is the face that is largest for longest; smaller ones at the same time are background.
    """
    spans = []
    for start, end in scan.shots:
        looks, tracks = faces_of_shot(scan, start, end, config)
        weights = {id(track): track.width * len(track.times) for track in tracks}
        main: list[Track] = []
        for track in sorted(tracks, key=lambda track: -weights[id(track)]):
            if all(_common(track, other) <= 0.0 for other in main):
                main.append(track)
        doubtful = {id(one) for one in main if any(_rivals(one, other) for other in tracks if other is not one)}
        for run in runs_of_same_faces(start, end, [look.time for look in looks], sorted(main, key=lambda t: t.start)):
            face = run.tracks[0] if len(run.tracks) == 1 else None
            why = "no_face"
            if face is not None and id(face) in doubtful:
                face, why = None, "too_many_faces"
            if face is not None:
                face = replace(face, times=[clock.shared(time) for time in face.times])
            spans.append(Seen(clock.shared(run.start_s), clock.shared(run.end_s), face, why))
    return spans


def _common(a: Track, b: Track) -> float:
    """Seconds for which both are there; negative where they are apart."""
    return min(a.end, b.end) - max(a.start, b.start)


def _rivals(main: Track, other: Track) -> bool:
    return other.width >= _RIVAL * main.width and _common(main, other) >= 0.5 * (main.end - main.start)
