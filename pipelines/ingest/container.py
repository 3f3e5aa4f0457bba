"""Opening a media file safely, and the timeline all stages share.

A file is handed to the demuxer as an open file object. No name ever reaches the media library, so nothing in a name
(a protocol prefix, a pattern, a newline) can mean anything; the demuxer must be one of `DEMUXERS`, so playlists and
image patterns are refused; and the list of protocols is empty, so nothing else can be opened from inside a file.

Timeline: t = 0 s is the earliest start of the first video and the first audio stream.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
from av.container import InputContainer

from rsat_data.errors import NoAudioTrack, NoVideoTrack, RsatError, UnreadableSource, UnsupportedSource

DEMUXERS: tuple[str, ...] = (
    "mov", "mp4", "matroska", "webm", "avi", "mpegts", "mpeg", "flv", "asf", "mxf", "ogg", "mpegvideo", "h264", "hevc",
    # Sound alone: listed so that the answer is "no video track", and because a sound file may lie beside a video.
    "wav", "w64", "flac", "mp3", "aac", "aiff", "caf",
)  # fmt: skip
"""Demuxers that may run. Each reads one file and nothing else."""

_FORBIDDEN = re.compile(r"hls|dash|concat|image2|sdp|rtsp|applehttp", re.IGNORECASE)

RE_ENCODE_HINT = "re-encode it: ffmpeg -i IN -c:v libx264 -pix_fmt yuv420p -c:a aac OUT.mp4"


@dataclass(frozen=True)
class Opened:
    """An open container with its chosen streams and the shared timeline."""

    path: Path
    container: InputContainer
    video: Any
    """First real video stream (cover art is not one), or None."""
    audio: Any
    """Default audio stream, or None."""
    origin: float
    """Seconds on the container's own clock at which t = 0."""

    def need_video(self) -> Any:
        """The video stream; raises NoVideoTrack where there is none."""
        if self.video is None:
            raise NoVideoTrack(
                f"{self.path.name!r} has no video track",
                hint="give a file that holds picture and sound, or take it out of the folder",
                path=self.path,
            )
        return self.video

    def need_audio(self) -> Any:
        """The audio stream; raises NoAudioTrack where there is none."""
        if self.audio is None:
            raise NoAudioTrack(
                f"{self.path.name!r} has no audio track",
                hint="give a file that holds picture and sound, or name its sound file in the sidecar",
                path=self.path,
            )
        return self.audio


def unreadable(path: Path, why: str, hint: str = RE_ENCODE_HINT) -> UnreadableSource:
    """An UnreadableSource that names the file and says why."""
    return UnreadableSource(f"{path.name!r} cannot be read: {why}", hint=hint, path=path)


def reason(error: BaseException) -> str:
    """What the media library said, as a short phrase in one line without the file's name."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0].strip().lower() or type(error).__name__


@contextmanager
def open_media(path: Path | str, *, threads: int = 0) -> Iterator[Opened]:
    """Open ``path`` for reading, restricted as the module says.

    Args:
        path: the file.
        threads: decoder threads; 0 lets the library choose.

    Raises:
        UnreadableSource: missing, empty, forbidden, or not a media file (any media error inside the block too).
        UnsupportedSource: a media file of a kind that is not on the list.
    """
    path = Path(path)
    try:
        handle = path.open("rb")
    except OSError as error:
        raise unreadable(path, reason(error), "check the name and the permissions") from error
    with handle:
        try:
            size = path.stat().st_size
        except OSError as error:
            raise unreadable(path, reason(error), "check the permissions") from error
        if size == 0:
            raise unreadable(path, "the file is empty (0 bytes)", "copy or download it again")
        try:
            container = av.open(
                handle,
                mode="r",
                container_options={"format_whitelist": ",".join(DEMUXERS), "protocol_whitelist": "none"},
                metadata_errors="replace",
                buffer_size=1 << 18,
            )
        except av.error.FFmpegError as error:
            raise _open_error(path, error) from error
        except (OSError, ValueError, UnicodeError) as error:
            raise unreadable(path, reason(error)) from error
        try:
            with container:
                names = set(container.format.name.split(","))
                if not names & set(DEMUXERS) or _FORBIDDEN.search(container.format.name):
                    raise UnsupportedSource(
                        f"{path.name!r} is of a kind that is not accepted ({container.format.name})",
                        hint=RE_ENCODE_HINT,
                        path=path,
                    )
                yield _opened(path, container, threads)
        except RsatError:
            raise
        except av.error.FFmpegError as error:
            raise unreadable(path, reason(error)) from error


def _open_error(path: Path, error: av.error.FFmpegError) -> RsatError:
    # A demuxer that is off the list is reported as "invalid argument"; content that nothing recognises as invalid data.
    if isinstance(error, av.error.ArgumentError):
        return UnsupportedSource(
            f"{path.name!r} is of a kind that is not accepted (a playlist, an image or a rare container)",
            hint=RE_ENCODE_HINT,
            path=path,
        )
    if isinstance(error, av.error.InvalidDataError):
        return unreadable(
            path,
            "it is not a video, or its header is damaged or missing (a recording or copy that was cut off?)",
            "play it to check; copy or download it again",
        )
    return unreadable(path, reason(error))


def _opened(path: Path, container: InputContainer, threads: int) -> Opened:
    video = next((s for s in container.streams.video if not _is_cover(s)), None)
    audio = container.streams.best("audio") if container.streams.audio else None
    for stream in (video, audio):
        if stream is not None and stream.codec_context is None:
            raise unreadable(path, f"no decoder for its {stream.type} codec")
    if video is not None:
        video.thread_type = "AUTO"
        if threads:
            video.codec_context.thread_count = threads
    streams: tuple[Any, ...] = (video, audio)
    starts = [float(s.start_time * s.time_base) for s in streams if s is not None and s.start_time is not None]
    return Opened(path, container, video, audio, min(starts, default=0.0))


def _is_cover(stream: Any) -> bool:
    return "attached_pic" in str(stream.disposition)


def pixel_aspect(stream: Any) -> Fraction:
    """Width of a pixel over its height; 1 where the stream does not say, or says nonsense."""
    value = stream.sample_aspect_ratio
    if not value or value <= 0 or not Fraction(1, 8) <= value <= 8:
        return Fraction(1)
    return Fraction(value)


def frame_rate(stream: Any) -> float:
    """Average frame rate in frames/s; 25 where nothing sensible is declared."""
    for value in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if value and 0.1 < float(value) <= 1000:
            return float(value)
    return 25.0
