"""Decoding sound to 16 kHz on the shared timeline."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np

from pipelines.ingest.container import Opened, open_media, unreadable

SAMPLE_RATE = 16_000
"""Hz of all sound in the workspace and the dataset."""

_RESYNC_S = 0.05
"""A timestamp further than this from where the samples so far end is a gap or an overlap, not rounding."""
_MAX_GAP_S = 3600.0


def iter_audio_16k(path: Path | str) -> Generator[tuple[np.ndarray, np.ndarray], None, None]:
    """The sound of ``path`` in blocks that follow each other without a hole, from t = 0 of the shared timeline.

    Silence fills the time before the first sample and gaps in the timestamps; overlapping samples are dropped.

    Yields:
        (mono (n,) float32, channels (C, n) float32), both in [-1, 1] at 16 kHz. Mono is the mean of one or two
        channels, and of more the standard downmix (centre before sides, no bass channel) scaled so that it cannot clip.

    Raises:
        NoAudioTrack, UnreadableSource: no audio stream, or nothing of it can be decoded.
    """
    with open_media(path) as opened:
        yield from _blocks(opened)


def read_audio_16k(path: Path | str) -> tuple[np.ndarray, np.ndarray]:
    """The whole sound of ``path``: (mono (N,) float32, channels (C, N) float32), 16 kHz, sample 0 at t = 0.

    Raises:
        NoAudioTrack, UnreadableSource: no audio stream, or nothing of it can be decoded.
    """
    blocks = list(iter_audio_16k(path))
    return np.concatenate([mono for mono, _ in blocks]), np.concatenate([channels for _, channels in blocks], axis=1)


def _blocks(opened: Opened) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    opened.need_audio()
    resamplers: list[av.AudioResampler] = []
    written = 0  # samples given out so far
    clock: float | None = None  # time at which the samples fed so far end
    skip = 0  # samples to drop because they lie before what was given out
    layout, rate, num_channels = "", 0, 0

    def pull(frame: av.AudioFrame | None) -> tuple[np.ndarray, np.ndarray]:
        channels = _joined(resamplers[0].resample(frame), num_channels)
        if num_channels <= 2:
            return channels.mean(axis=0, dtype=np.float32), channels
        mono = _joined(resamplers[1].resample(frame), 1)[0] / np.float32(32768.0)
        length = min(len(mono), channels.shape[1])
        return mono[:length], channels[:, :length]

    def take(block: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        nonlocal skip, written
        mono, channels = block[0][skip:], block[1][:, skip:]
        skip = max(0, skip - block[0].shape[0])
        written += mono.shape[0]
        return mono, channels

    frame: Any
    for frame in _decoded(opened):
        time = float(frame.pts * frame.time_base) - opened.origin if frame.pts is not None else clock
        if time is None:
            time = 0.0
        changed = frame.layout.name != layout or frame.sample_rate != rate
        if changed or clock is None or abs(time - clock) > _RESYNC_S:
            if resamplers:
                yield take(pull(None))
            if not num_channels:
                num_channels = frame.layout.nb_channels
                first_layout = frame.layout.name
            layout, rate = frame.layout.name, frame.sample_rate
            resamplers = [
                av.AudioResampler(format="fltp", layout=first_layout, rate=SAMPLE_RATE),
                # For floats the library does not scale its downmix and may exceed 1; for integers it does.
                av.AudioResampler(format="s16p", layout="mono", rate=SAMPLE_RATE),
            ]
            position = round(time * SAMPLE_RATE)
            if position - written > _MAX_GAP_S * SAMPLE_RATE:
                before = written / SAMPLE_RATE
                raise unreadable(opened.path, f"the sound's clock jumps from {before:.1f} to {time:.1f} s")
            skip = max(0, written - position)
            if position > written:
                gap = position - written
                yield take((np.zeros(gap, np.float32), np.zeros((num_channels, gap), np.float32)))
            clock = time
        clock = (clock if clock is not None else time) + frame.samples / frame.sample_rate
        yield take(pull(frame))
    if not resamplers:
        raise unreadable(opened.path, "its audio track cannot be decoded")
    yield take(pull(None))


def _joined(parts: list[av.AudioFrame], channels: int) -> np.ndarray:
    return np.concatenate([p.to_ndarray() for p in parts] or [np.zeros((channels, 0))], axis=1).astype(np.float32)


def _decoded(opened: Opened) -> Iterator[av.AudioFrame]:
    packets = opened.container.demux(opened.audio)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.error.InvalidDataError, av.error.EOFError):
            return
        try:
            yield from packet.decode()
        except (av.error.InvalidDataError, av.error.PatchWelcomeError, av.error.UndefinedError):
            continue  # the hole shows in the timestamps and is filled with silence
