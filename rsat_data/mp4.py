"""Writing H.264 MP4 files whose bytes depend on nothing but the frames and the settings."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Colorspace, Interpolation

_AUDIO_FRAME = 1024


def write_video(
    path: Path | str,
    frames: Iterable[np.ndarray],
    fps: float = 25.0,
    crf: int = 18,
    *,
    preset: str = "veryfast",
    audio: np.ndarray | None = None,
    sample_rate: int = 16_000,
) -> int:
    """Write ``frames`` as H.264 yuv420p (BT.709, limited range) in an MP4 file.

    One encoder thread and no timestamps of the day: the same frames give the same bytes.

    Args:
        path: the file to write.
        frames: (H, W, 3) uint8 RGB or (H, W) uint8 grey, all of one size, both sides even.
        fps: frames/s.
        crf: constant rate factor of x264, 0 (lossless) to 51.
        preset: x264's speed preset.
        audio: optional mono (N,) or stereo (2, N), float in [-1, 1] or int16, written as AAC from the first frame on.
        sample_rate: of ``audio``, Hz.

    Returns:
        The number of frames written.

    Raises:
        ValueError: no frame, an odd side, or frames of different sizes.
    """
    with VideoWriter(path, fps, crf, preset=preset, audio=audio, sample_rate=sample_rate) as writer:
        for frame in frames:
            writer.add(frame)
        if not writer.num_frames:
            raise ValueError(f"no frames to write to {path}")
        return writer.num_frames


def _as_float(samples: np.ndarray) -> np.ndarray:
    """Samples (C, N) as float32 in [-1, 1]; int16 is scaled by 2^-15."""
    scaled = samples.astype(np.float32) / 32768.0 if samples.dtype == np.int16 else samples.astype(np.float32)
    return scaled if scaled.ndim == 2 else scaled[None]


class VideoWriter:
    """`write_video` for callers that have several files open at once; see there for the arguments."""

    def __init__(
        self,
        path: Path | str,
        fps: float = 25.0,
        crf: int = 18,
        *,
        preset: str = "veryfast",
        audio: np.ndarray | None = None,
        sample_rate: int = 16_000,
    ) -> None:
        self.num_frames = 0
        self._path = Path(path)
        self._handle = self._path.open("wb")  # a file object: no name reaches the media library
        self._container = av.open(
            self._handle,
            mode="w",
            format="mp4",
            container_options={"movflags": "+faststart", "fflags": "+bitexact"},
        )
        self._rate = Fraction(fps).limit_denominator(1001)
        self._crf, self._preset = crf, preset
        self._audio = None if audio is None else _as_float(audio)
        self._audio_done, self._sample_rate = 0, sample_rate
        self._size: tuple[int, ...] | None = None

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def add(self, frame: np.ndarray) -> None:
        """Encode one more frame."""
        if self._size is None:
            self._start(frame)
        if frame.shape[:2] != self._size:
            raise ValueError(f"frame {self.num_frames} is {frame.shape[:2]}, the first was {self._size}")
        picture = av.VideoFrame.from_ndarray(
            np.ascontiguousarray(frame), format="rgb24" if frame.ndim == 3 else "gray"
        ).reformat(
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range="MPEG",
            interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND,
            threads=1,
        )
        picture.pts = self.num_frames
        picture.time_base = 1 / self._rate
        self._container.mux(self._video.encode(picture))
        self.num_frames += 1
        self._write_audio(until_s=float(self.num_frames / self._rate))

    def add_sound(self, audio: np.ndarray) -> None:
        """More sound behind what there is, with as many channels; for writers that were made with ``audio``."""
        assert self._audio is not None
        self._audio = np.concatenate([self._audio, _as_float(audio)], axis=1)

    def close(self) -> None:
        """Flush the encoders and finish the file."""
        try:
            if self.num_frames:
                self._container.mux(self._video.encode(None))
                self._write_audio(until_s=None)
            self._container.close()
        finally:
            self._handle.close()

    def _start(self, frame: np.ndarray) -> None:
        self._size = frame.shape[:2]
        height, width = self._size
        if height % 2 or width % 2:
            raise ValueError(f"{self._path.name}: both sides must be even, not {width}x{height}")
        self._video = self._container.add_stream("libx264", rate=self._rate)
        self._video.width, self._video.height = width, height
        self._video.pix_fmt = "yuv420p"
        context = self._video.codec_context
        context.thread_count = 1  # x264's decisions depend on the number of threads
        context.colorspace, context.color_range = 1, 1  # BT.709, limited
        context.color_primaries, context.color_trc = 1, 1
        context.options = {"crf": str(self._crf), "preset": self._preset, "flags": "+bitexact"}
        if self._audio is not None:
            self._sound = self._container.add_stream("aac", rate=self._sample_rate)
            self._sound.codec_context.layout = "mono" if len(self._audio) == 1 else "stereo"
            self._sound.codec_context.options = {"flags": "+bitexact"}
            self._sound.bit_rate = 64_000 * len(self._audio)

    def _write_audio(self, until_s: float | None) -> None:
        """Encode sound up to a time, so that it lies beside the picture in the file; None for all of it."""
        if self._audio is None:
            return
        left = self._audio.shape[1]
        if until_s is not None:
            left = min(left, int(until_s * self._sample_rate) - self._audio_done)
        while left >= _AUDIO_FRAME or (until_s is None and left > 0):
            block = self._audio[:, :_AUDIO_FRAME]
            layout = self._sound.codec_context.layout.name
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), format="fltp", layout=layout)
            frame.sample_rate = self._sample_rate
            frame.pts = self._audio_done
            frame.time_base = Fraction(1, self._sample_rate)
            self._container.mux(self._sound.encode(frame))
            # What was written is let go of: a view of the rest.
            self._audio = self._audio[:, block.shape[1] :]
            self._audio_done += block.shape[1]
            left -= block.shape[1]
        if until_s is None:
            self._container.mux(self._sound.encode(None))
