"""What one recording and several have in common at the stage `ingest`: bounds, faces that count, what is written."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.ingest.config import IngestConfig
from pipelines.ingest.container import RE_ENCODE_HINT
from pipelines.ingest.media import MediaInfo
from pipelines.ingest.scan import Scan, too_long
from pipelines.ingest.spans import Clip, Skipped
from pipelines.ingest.tracks import Look, Track, link, real_faces
from pipelines.stage import StageContext
from rsat_data.errors import NoAudioTrack, NoVideoTrack, SkippedSource, UnsupportedSource

REASONS = {
    "shot_too_short": "shot too short",
    "no_face": "no face",
    "too_many_faces": "three faces or more",
    "span_too_short": "same faces for too short a time",
    "face_too_small": "face too small",
}
"""Reason of a skipped span -> the words for it."""


def faces_of_shot(scan: Scan, start: float, end: float, config: IngestConfig) -> tuple[list[Look], list[Track]]:
    """The looks taken in a shot, and the faces that count in it."""
    looks = [look for look in scan.looks if start - 1e-6 <= look.time < end]
    tracks = real_faces(
        link(looks, config.max_miss_s), min_track_s=config.min_track_s, background_ratio=config.background_ratio
    )
    return looks, tracks


def check_bounds(path: Path, info: MediaInfo, config: IngestConfig, *, need_audio: bool = True) -> MediaInfo:
    """``info`` itself, if the source has both tracks and lies within the bounds of ``config``.

    ``need_audio=False`` where the sound may come from other files.

    Raises:
        NoVideoTrack, NoAudioTrack, UnsupportedSource: it has not, or does not.
    """
    if info.video is None:
        raise NoVideoTrack(
            f"{path.name!r} has no video track",
            hint="give a file that holds picture and sound, or take it out of the folder",
            path=path,
        )
    if info.audio is None and need_audio:
        raise NoAudioTrack(
            f"{path.name!r} has no audio track",
            hint="give a file that holds picture and sound, or name the persons' sound files in its sidecar",
            path=path,
        )
    video = info.video
    width, height = video.width or video.coded_width, video.height or video.coded_height
    wrong = ""
    if min(width, height) < config.min_side_px:
        wrong = f"smaller than {config.min_side_px} px"
    elif max(width, height) > config.max_side_px or width * height > config.max_pixels:
        wrong = f"larger than {config.max_side_px} px a side or {config.max_pixels / 1e6:g} million pixels"
    if wrong:
        raise UnsupportedSource(
            f"{path.name!r} is {width} x {height} px, {wrong}",
            hint=RE_ENCODE_HINT.replace("-c:v", "-vf scale=1280:-2 -c:v"),
            path=path,
        )
    if video.fps < config.min_fps:
        raise UnsupportedSource(
            f"{path.name!r} has {video.fps:.3g} frames a second, at least {config.min_fps:g} are needed",
            hint="lips cannot be followed at that rate: give the original recording",
            path=path,
        )
    if info.duration_s is not None and info.duration_s > config.max_duration_s:
        raise too_long(path, info.duration_s, config)
    return info


def no_clip(path: Path, skipped: Sequence[Skipped], config: IngestConfig) -> SkippedSource:
    """The error of a source without a clip: how often each reason occurred, and the longest span refused for it."""
    counts = Counter(s.reason for s in skipped)
    longest = {r: max((s for s in skipped if s.reason == r), key=lambda s: s.end_s - s.start_s).detail for r in counts}
    seen = "; ".join(f"{REASONS[r]} ({n} span{'s' if n > 1 else ''}: {longest[r]})" for r, n in counts.most_common())
    return SkippedSource(
        f"{path.name!r} has no span of {config.min_clip_s:g} s in which the same one or two faces stay: {seen}",
        hint="nothing to do if it is no conversation; the limits are ingest.min_clip_s and ingest.min_face_px",
        path=path,
    )


def source_record(path: Path, context: StageContext, info: MediaInfo, scan: Scan) -> dict[str, Any]:
    """Content of source.json."""
    assert info.video is not None
    return {
        "sha256": context.unit["sha256"],
        "bytes": path.stat().st_size,
        "container": info.container,
        "duration_s": round(info.duration_s if info.duration_s is not None else scan.end_s, 6),
        "video": {
            "codec": info.video.codec,
            "width": scan.upright.width,
            "height": scan.upright.height,
            "rotation": scan.upright.rotation,
            "sar": round(info.video.sar, 6),
            "fps": round(info.video.fps, 6),
            "vfr": scan.vfr,
            "pix_fmt": info.video.pix_fmt,
            "num_frames": scan.num_frames,
            "start_s": round(scan.start_s, 6),
            "end_s": round(scan.end_s, 6),
        },
        "audio": None
        if info.audio is None
        else {
            "codec": info.audio.codec,
            "channels": info.audio.channels,
            "sample_rate": info.audio.sample_rate,
            "start_s": round(info.audio.start_s, 6),
        },
    }


def clip_record(clip: Clip) -> dict[str, Any]:
    """A clip as in clips.json."""
    return {
        "start_s": clip.start_s,
        "end_s": clip.end_s,
        "num_frames": clip.num_frames,
        "num_faces": len(clip.boxes),
        "boxes": [list(box) for box in clip.boxes],
    }


def rounded(record: dict[str, Any]) -> dict[str, Any]:
    """A record with its floats rounded to 0.1 ms."""
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in record.items()}


def write_json(path: Path, content: Any) -> None:
    """Write JSON for people to read."""
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
