"""Reading and writing media, for every stage: probe, iter_frames, read_audio_16k, write_video.

All times are on the shared timeline of `pipelines.ingest.container`: t = 0 at the earliest stream start.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av.error

from pipelines.ingest.audio import SAMPLE_RATE, iter_audio_16k, read_audio_16k
from pipelines.ingest.container import Opened, frame_rate, open_media, pixel_aspect, unreadable
from pipelines.ingest.encode import VideoWriter, write_video
from pipelines.ingest.frames import iter_decoded, iter_frames, to_rgb, upright_of

__all__ = [
    "SAMPLE_RATE",
    "AudioInfo",
    "MediaInfo",
    "VideoInfo",
    "VideoWriter",
    "iter_audio_16k",
    "iter_decoded",
    "iter_frames",
    "open_media",
    "probe",
    "read_audio_16k",
    "to_rgb",
    "upright_of",
    "write_video",
]


@dataclass(frozen=True)
class VideoInfo:
    """What a file's header and first frame say about its picture."""

    codec: str
    """Codec name, e.g. h264."""
    coded_width: int
    """Width of a decoded frame in px, before rotation and pixel aspect."""
    coded_height: int
    """Height of a decoded frame in px."""
    width: int
    """Upright width in square px; 0 if no frame was decoded (``first_frame=False``)."""
    height: int
    """Upright height in square px; 0 likewise."""
    rotation: int
    """Degrees counterclockwise by which the coded picture is turned to stand upright: 0, 90, 180, 270."""
    sar: float
    """Pixel width over pixel height."""
    fps: float
    """Average frames/s as declared."""
    pix_fmt: str
    """Pixel format, e.g. yuv420p10le."""
    start_s: float
    """Time of the stream's start on the shared timeline."""
    declared_end_s: float | None
    """Time at which the header says the stream ends; None where it says nothing."""


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header says about its sound."""

    codec: str
    """Codec name, e.g. aac."""
    channels: int
    """Number of channels."""
    sample_rate: int
    """Hz."""
    start_s: float
    """Time of the stream's start on the shared timeline."""


@dataclass(frozen=True)
class MediaInfo:
    """What a file's header says."""

    container: str
    """Demuxer name."""
    duration_s: float | None
    """Declared length from t = 0; None where the header says nothing."""
    video: VideoInfo | None
    """The picture, or None."""
    audio: AudioInfo | None
    """The sound, or None."""


def probe(path: Path | str, *, first_frame: bool = True) -> MediaInfo:
    """What the header of ``path`` says and, with ``first_frame``, what its first frame adds (upright size, rotation).

    Raises:
        UnreadableSource: not a media file, or no frame of its picture can be decoded.
        UnsupportedSource: a kind of file that is not accepted.
    """
    with open_media(path) as opened:
        container = opened.container
        duration = None
        if container.duration:
            start = (container.start_time or 0) / av.time_base
            duration = start + container.duration / av.time_base - opened.origin
        return MediaInfo(
            container=container.format.name,
            duration_s=duration,
            video=_video_info(opened, first_frame) if opened.video is not None else None,
            audio=_audio_info(opened) if opened.audio is not None else None,
        )


def _start(opened: Opened, stream: Any) -> float:
    return 0.0 if stream.start_time is None else float(stream.start_time * stream.time_base) - opened.origin


def _video_info(opened: Opened, first_frame: bool) -> VideoInfo:
    stream = opened.video
    context = stream.codec_context
    width = height = rotation = 0
    if first_frame:
        _, frame = next(iter_decoded(opened), (math.nan, None))
        if frame is None:
            raise unreadable(opened.path, "no frame of its video track can be decoded")
        upright = upright_of(opened, frame)
        width, height, rotation = upright.width, upright.height, upright.rotation
    start = _start(opened, stream)
    return VideoInfo(
        codec=context.name,
        coded_width=context.width,
        coded_height=context.height,
        width=width,
        height=height,
        rotation=rotation,
        sar=float(pixel_aspect(stream)),
        fps=frame_rate(stream),
        pix_fmt=context.pix_fmt or "unknown",
        start_s=start,
        declared_end_s=_declared_end(stream, start),
    )


def _declared_end(stream: Any, start: float) -> float | None:
    if stream.duration:
        return start + float(stream.duration * stream.time_base)
    # Matroska keeps a stream's length as text: HH:MM:SS.fraction, counted from the file's zero.
    tag = next((v for k, v in stream.metadata.items() if k.upper().startswith("DURATION")), "")
    match = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", tag.strip())
    return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3]) if match else None


def _audio_info(opened: Opened) -> AudioInfo:
    context = opened.audio.codec_context
    return AudioInfo(
        codec=context.name,
        channels=context.channels,
        sample_rate=context.sample_rate,
        start_s=_start(opened, opened.audio),
    )
