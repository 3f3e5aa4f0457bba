"""Makes small ordinary, odd and broken media files for tests, with PyAV alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

Picture = Callable[[int], np.ndarray]


def test_card(width: int, height: int) -> Picture:
    """A picture that tells its own orientation and number.

    The upper left quarter is red, the upper right green, the lower left blue, the lower right grey; a white bar in
    the middle row moves by 2 px a frame.
    """

    def draw(index: int) -> np.ndarray:
        picture = np.empty((height, width, 3), np.uint8)
        top, left = height // 2, width // 2
        picture[:top, :left] = (200, 30, 30)
        picture[:top, left:] = (30, 180, 30)
        picture[top:, :left] = (30, 30, 200)
        picture[top:, left:] = (110, 110, 110)
        x = (2 * index) % max(1, width - 8)
        picture[top - height // 16 - 1 : top + height // 16 + 1, x : x + 8] = 255
        return picture

    return draw


test_card.__test__ = False  # type: ignore[attr-defined]


def grey_levels(width: int, height: int) -> Picture:
    """Frame i is flat grey of level 16 + 4 i (modulo 200): its number can be read from any pixel."""

    def draw(index: int) -> np.ndarray:
        return np.full((height, width, 3), 16 + (4 * index) % 200, np.uint8)

    return draw


def tone(seconds: float, rate: int = 48_000, hertz: float = 440.0, channels: int = 1) -> np.ndarray:
    """(channels, N) float32: a sine of amplitude 0.4; channel k has (k + 1) times the pitch."""
    time = np.arange(round(seconds * rate)) / rate
    return np.stack([0.4 * np.sin(2 * np.pi * hertz * (k + 1) * time) for k in range(channels)]).astype(np.float32)


def make_video(
    path: Path,
    picture: Picture | Iterable[np.ndarray],
    *,
    num_frames: int = 100,
    times: Sequence[float] | None = None,
    fps: float | Fraction = 25,
    audio: np.ndarray | None = None,
    audio_rate: int = 48_000,
    audio_start_s: float = 0.0,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    audio_codec: str = "aac",
    rotation: int = 0,
    mirror: bool = False,
    sar: Fraction | None = None,
    faststart: bool = False,
    gop: int = 25,
    container: str | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Write a file with picture, sound or both.

    Args:
        path: file to write; its suffix names the container unless ``container`` does.
        picture: frame number -> (H, W, 3) uint8 RGB, or the frames themselves; ``num_frames=0`` for sound alone.
        times: when each frame is shown, seconds; default at ``fps`` from 0.
        audio: (C, N) float32, or None for a file without sound.
        audio_start_s: time of the first sample.
        rotation: degrees counterclockwise by which a player turns the coded picture.
        mirror: a player also flips it left to right.
        sar: pixel width over height.
        faststart: put an MP4 file's index first, so that a truncated copy still opens.
        gop: frames between key frames.
        options: encoder options.
    """
    frames = (picture(i) for i in range(num_frames)) if callable(picture) else iter(picture)
    rate = Fraction(fps).limit_denominator(1001)
    base = 1 / rate if times is None else Fraction(1, 90_000)
    flags = {"movflags": "+faststart"} if faststart else {}
    with path.open("wb") as handle, av.open(
        handle, "w", format=container or _FORMATS[path.suffix], container_options=flags
    ) as out:
        video = sound = None
        first = next(frames, None) if num_frames else None
        if first is not None:
            video = out.add_stream(codec, rate=rate)
            video.height, video.width = first.shape[:2]
            video.pix_fmt = pix_fmt
            video.codec_context.time_base = base
            video.codec_context.thread_count = 1
            video.codec_context.gop_size = gop
            if sar:
                video.codec_context.sample_aspect_ratio = sar
            video.codec_context.options = options or _OPTIONS.get(codec, {})
            if rotation or mirror:
                video.set_display_rotation(rotation, hflip=mirror)
        if audio is not None:
            sound = out.add_stream(audio_codec, rate=audio_rate)
            sound.codec_context.layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(audio)]
        index = 0
        while video is not None and first is not None:
            frame = av.VideoFrame.from_ndarray(first, format="rgb24").reformat(format=pix_fmt)
            time = times[index] if times is not None else index / float(rate)
            frame.pts, frame.time_base = round(time / base), base
            out.mux(video.encode(frame))
            index += 1
            first = next(frames, None) if index < num_frames else None
        if video is not None:
            out.mux(video.encode(None))
        if sound is not None and audio is not None:
            for start in range(0, audio.shape[1], 1024):
                block = av.AudioFrame.from_ndarray(
                    np.ascontiguousarray(audio[:, start : start + 1024]),
                    format="fltp",
                    layout=sound.codec_context.layout.name,
                )
                block.sample_rate = audio_rate
                block.pts, block.time_base = start + round(audio_start_s * audio_rate), Fraction(1, audio_rate)
                out.mux(sound.encode(block))
            out.mux(sound.encode(None))
    return path


_FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".avi": "avi", ".webm": "webm", ".ts": "mpegts"}
_OPTIONS = {
    "libx264": {"preset": "ultrafast", "crf": "12"},
    "libx265": {"preset": "ultrafast", "crf": "12", "x265-params": "log-level=none:pools=1:frame-threads=1"},
}


def truncate(source: Path, target: Path, share: float) -> Path:
    """The first ``share`` of a file's bytes."""
    data = source.read_bytes()
    target.write_bytes(data[: int(len(data) * share)])
    return target


def damage(source: Path, target: Path, start: float, stop: float, seed: int = 0) -> Path:
    """A copy whose bytes between two shares of its length are noise."""
    data = bytearray(source.read_bytes())
    low, high = int(len(data) * start), int(len(data) * stop)
    data[low:high] = np.random.default_rng(seed).integers(0, 256, high - low, dtype=np.uint8).tobytes()
    target.write_bytes(bytes(data))
    return target
