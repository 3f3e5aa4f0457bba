"""From shots and tracks to clips. Pure functions on times; everything that is left out has a reason."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.ingest.tracks import Track

FPS = 25
"""Clips lie on a grid of 1/25 s of the source's timeline."""

_EPS = 1e-6


@dataclass(frozen=True)
class Skipped:
    """A span that becomes no clip."""

    start_s: float
    """Seconds."""
    end_s: float
    """Seconds."""
    reason: str
    """One of shot_too_short, no_face, too_many_faces, span_too_short, face_too_small."""
    detail: str
    """What was seen, for a person to read."""


@dataclass(frozen=True)
class Clip:
    """A span in which the same one or two faces stay."""

    start_frame: int
    """First frame on the 1/25 s grid of the source."""
    num_frames: int
    """Length in frames."""
    boxes: tuple[tuple[float, float, float, float], ...]
    """Median box of each face from left to right, source px."""

    @property
    def start_s(self) -> float:
        """Seconds."""
        return self.start_frame / FPS

    @property
    def end_s(self) -> float:
        """Seconds."""
        return (self.start_frame + self.num_frames) / FPS


@dataclass(frozen=True)
class Run:
    """A span within a shot in which the set of faces does not change."""

    start_s: float
    """Seconds."""
    end_s: float
    """Seconds."""
    tracks: tuple[Track, ...]
    """The faces."""


def runs_of_same_faces(start_s: float, end_s: float, look_times: Sequence[float], tracks: Sequence[Track]) -> list[Run]:
    """Cut a shot where a face comes or goes.

    A run reaches from its first to its last look, the first and last run to the shot's edges; what lies between two
    runs is nobody's.

    Args:
        start_s, end_s: the shot, seconds.
        look_times: when faces were looked for in it, rising.
        tracks: the faces that count.
    """
    if not look_times:
        return [Run(start_s, end_s, ())]
    step = float(np.median(np.diff(look_times))) if len(look_times) > 1 else end_s - start_s
    edge = 2.5 * step  # a face that is missed in the first or last two looks of a shot was there all the same
    spans = [
        (
            start_s if t.start - look_times[0] <= edge else t.start,
            end_s if look_times[-1] - t.end <= edge else t.end,
        )
        for t in tracks
    ]
    present = [
        tuple(t for t, (low, high) in zip(tracks, spans, strict=True) if low - _EPS <= time <= high + _EPS)
        for time in look_times
    ]
    runs: list[Run] = []
    first = 0
    for i in range(1, len(look_times) + 1):
        if i < len(look_times) and _same(present[i], present[first]):
            continue
        low = start_s if first == 0 else look_times[first]
        high = end_s if i == len(look_times) else look_times[i - 1]
        runs.append(Run(low, high, present[first]))
        first = i
    return runs


def _same(a: tuple[Track, ...], b: tuple[Track, ...]) -> bool:
    return len(a) == len(b) and all(x is y for x, y in zip(a, b, strict=True))


def cut_evenly(num_frames: int, loudness: np.ndarray, min_frames: int, max_frames: int) -> list[int]:
    """Cut points that make pieces of at most ``max_frames``, each at the quietest frame near an even division.

    Args:
        num_frames: length of the span.
        loudness: (num_frames,) of every frame, any rising scale.
        min_frames, max_frames: bounds of a piece; 2 * min_frames <= max_frames.

    Returns:
        Frames at which a new piece begins, rising, without 0. Every piece lies within the bounds when the span does.
    """
    pieces = math.ceil(num_frames / max_frames)
    cuts: list[int] = []
    start = 0
    for left in range(pieces - 1, 0, -1):  # pieces still to come after this one
        rest = num_frames - start
        even = rest / (left + 1)
        low = max(start + min_frames, num_frames - left * max_frames, math.ceil(start + 0.7 * even))
        high = min(start + max_frames, num_frames - left * min_frames, math.floor(start + 1.3 * even))
        low = min(low, start + max_frames)
        high = max(high, low)
        start = low + int(np.argmin(loudness[low : high + 1]))
        cuts.append(start)
    return cuts


def clips_of_shot(
    start_s: float,
    end_s: float,
    runs: Sequence[Run],
    loudness: np.ndarray,
    *,
    min_clip_s: float,
    max_clip_s: float,
    min_face_px: float,
) -> tuple[list[Clip], list[Skipped]]:
    """Clips of a shot, and why the rest of it is left out.

    Args:
        start_s, end_s: the shot, seconds.
        runs: its spans of unchanging faces.
        loudness: (frames of the source,) loudness at 25 frames/s, for cutting long runs at quiet moments.
        min_clip_s, max_clip_s: length of a clip, seconds.
        min_face_px: smallest median width of a face, source px.
    """
    if end_s - start_s < min_clip_s - 0.5 / FPS:
        detail = f"a shot of {end_s - start_s:.1f} s, {min_clip_s:g} s needed"
        return [], [Skipped(start_s, end_s, "shot_too_short", detail)]
    clips: list[Clip] = []
    skipped: list[Skipped] = []
    min_frames, max_frames = math.ceil(min_clip_s * FPS - _EPS), math.floor(max_clip_s * FPS + _EPS)
    for run in runs:
        why = _refusal(run, min_clip_s, min_face_px)
        first = math.ceil(run.start_s * FPS - _EPS)
        count = math.floor(run.end_s * FPS + _EPS) - first
        if why is None and count < min_frames:
            why = ("span_too_short", _too_short(run, min_clip_s))
        if why is not None:
            skipped.append(Skipped(run.start_s, run.end_s, *why))
            continue
        level = np.zeros(count)
        known = loudness[first : first + count]
        level[: len(known)] = known
        edges = [0, *cut_evenly(count, level, min_frames, max_frames), count]
        for low, high in zip(edges, edges[1:], strict=False):
            clips.append(_clip(first + low, high - low, run.tracks))
    return clips, skipped


def _too_short(run: Run, min_clip_s: float) -> str:
    faces = "the same face stays" if len(run.tracks) == 1 else f"the same {len(run.tracks)} faces stay"
    return f"{faces} for {run.end_s - run.start_s:.1f} s, {min_clip_s:g} s needed"


def _refusal(run: Run, min_clip_s: float, min_face_px: float) -> tuple[str, str] | None:
    length = run.end_s - run.start_s
    if not run.tracks:
        return "no_face", f"no face for {length:.1f} s"
    if len(run.tracks) > 2:
        return "too_many_faces", f"{len(run.tracks)} faces for {length:.1f} s, at most two are allowed"
    if length < min_clip_s - 0.5 / FPS:
        return "span_too_short", _too_short(run, min_clip_s)
    boxes = [track.box_between(run.start_s, run.end_s) for track in run.tracks]
    smallest = min((float(b[2]) for b in boxes if b is not None), default=0.0)
    if smallest < min_face_px:
        return "face_too_small", f"a face of {smallest:.0f} px in {length:.1f} s, {min_face_px:g} px needed"
    return None


def _clip(first: int, count: int, tracks: Sequence[Track]) -> Clip:
    boxes = []
    for track in tracks:
        box = track.box_between(first / FPS, (first + count) / FPS)
        boxes.append(np.median(track.boxes, axis=0) if box is None else box)
    boxes.sort(key=lambda b: b[0] + b[2] / 2)
    return Clip(first, count, tuple(tuple(round(float(v), 1) for v in b) for b in boxes))  # type: ignore[misc]
