"""The work of the stage `ingest`: bounds, sound, shots, faces, clips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.faces.nets import FaceDetector, FaceLandmarker
from pipelines.ingest.config import IngestConfig
from pipelines.ingest.media import MediaInfo, probe
from pipelines.ingest.records import (
    check_bounds,
    clip_record,
    faces_of_shot,
    no_clip,
    rounded,
    source_record,
    write_json,
)
from pipelines.ingest.scan import scan_video
from pipelines.ingest.sound import write_sound
from pipelines.ingest.spans import Clip, Skipped, clips_of_shot, runs_of_same_faces
from pipelines.stage import StageContext


def run(context: StageContext, config: IngestConfig) -> Mapping[str, Any]:
    """Look through one source; write source.json, mixture.flac, channels.flac, shots.json and clips.json.

    Sound files that the sidecar names become the channels, one a person, and the mixture where the video is silent. A
    conversation of several recordings is taken by `pipelines.ingest.recordings`.

    Returns:
        {"clips": [...], "skipped": [...]}, as in clips.json.

    Raises:
        UnreadableSource, NoVideoTrack, NoAudioTrack, UnsupportedSource: the file cannot be used.
        SkippedSource: it can, but no span of it is a clip.
    """
    if context.metadata.get("recordings"):
        from pipelines.ingest.recordings import run as run_recordings

        return run_recordings(context, config)
    path = context.source
    given = {person: Path(file) for person, file in sorted((context.metadata.get("audio") or {}).items())}
    info = check_bounds(path, probe(path, first_frame=False), config, need_audio=not given)
    info = check_bounds(path, probe(path), config, need_audio=not given)
    model = context.model("face_landmarker")
    with (
        FaceDetector(model, min_confidence=config.min_face_score) as detector,
        FaceLandmarker(model) as landmarker,
    ):
        scan = scan_video(path, info, config, detector, landmarker, lambda x: context.progress(0.95 * x))
    loudness, channels = _sound(context, config, info, given, scan.end_s)
    clips: list[Clip] = []
    skipped: list[Skipped] = []
    for start, end in scan.shots:
        looks, tracks = faces_of_shot(scan, start, end, config)
        runs = runs_of_same_faces(start, end, [look.time for look in looks], tracks)
        found, left_out = clips_of_shot(
            start,
            end,
            runs,
            loudness,
            min_clip_s=config.min_clip_s,
            max_clip_s=config.max_clip_s,
            min_face_px=config.min_face_px,
        )
        clips += found
        skipped += left_out
    result = {"clips": [clip_record(c) for c in clips], "skipped": [rounded(asdict(s)) for s in skipped]}
    record = source_record(path, context, info, scan)
    if channels:
        record["audio"] = {**(record["audio"] or {}), **channels}
    write_json(context.out / "source.json", record)
    write_json(context.out / "shots.json", [[round(a, 6), round(b, 6)] for a, b in scan.shots])
    write_json(context.out / "clips.json", result)
    if not clips:
        raise no_clip(path, skipped, config)
    context.progress(1.0)
    return result


def _sound(
    context: StageContext, config: IngestConfig, info: MediaInfo, given: Mapping[str, Path], until_s: float
) -> tuple[np.ndarray, dict[str, Any]]:
    """Write mixture.flac and, where channels differ or each person's sound was given, channels.flac.

    Returns:
        (frames,) float32 loudness of the mixture at 25 frames/s; what source.json says of given sounds.
    """
    loudness, channels = None, {}
    if info.audio is not None:
        loudness = write_sound(
            context.source,
            context.out,
            until_s=until_s,
            channel_difference=config.channel_difference,
            max_duration_s=config.max_duration_s,
        ).loudness
    if given:
        from pipelines.ingest.voices import Voice, channel_facts, read_voice, write_voices

        scratch = {person: context.out / f".audio-{person}.pcm" for person in given}
        try:
            voices = [
                Voice(read_voice(file, scratch[person], config.max_duration_s)) for person, file in given.items()
            ]
            written = write_voices(context.out, voices, until_s, mixture=loudness is None)
        finally:
            for path in scratch.values():
                path.unlink(missing_ok=True)
        loudness = written.loudness if loudness is None else loudness
        channels = channel_facts(list(given), written)
    assert loudness is not None
    return loudness, channels
