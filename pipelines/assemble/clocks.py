"""How long the media in a cell are, read from their containers without decoding."""

from __future__ import annotations

import io
from dataclasses import dataclass


@dataclass(frozen=True)
class AudioLength:
    """What the header of a sound file says."""

    samples: int
    """Samples a channel."""
    sample_rate: int
    """Samples per second."""
    channels: int
    """Number of channels."""
    format: str
    """Container, e.g. FLAC."""


def audio_length(data: bytes) -> AudioLength:
    """Read the header of a sound file held in memory.

    Raises:
        ValueError: it is not a sound file libsndfile can read.
    """
    import soundfile

    try:
        info = soundfile.info(io.BytesIO(data))
    except soundfile.LibsndfileError as error:
        raise ValueError(f"is not a readable sound file ({error.error_string})") from error
    return AudioLength(info.frames, info.samplerate, info.channels, info.format)


@dataclass(frozen=True)
class VideoLength:
    """What the container of a video says."""

    frames: int
    """Frames of the first video stream, counted packet by packet."""
    fps: float
    """Mean frame rate."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""


def video_length(data: bytes) -> VideoLength:
    """Count the frames of a video held in memory.

    Raises:
        ValueError: it is not a video FFmpeg can read.
    """
    import av

    try:
        with av.open(io.BytesIO(data), "r", metadata_errors="ignore") as container:
            if not container.streams.video:
                raise ValueError("holds no video track")
            stream = container.streams.video[0]
            frames = len([packet for packet in container.demux(stream) if packet.size])
            return VideoLength(frames, float(stream.average_rate or 0), stream.codec_context.width, stream.height)
    except av.FFmpegError as error:
        raise ValueError(f"is not a readable video ({error.strerror})") from error
