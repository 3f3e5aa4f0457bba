"""The sound of a source, streamed to FLAC files, and what is learned on the way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from pipelines.ingest.audio import SAMPLE_RATE, iter_audio_16k
from pipelines.ingest.spans import FPS

_HOP = SAMPLE_RATE // FPS
_MAX_FLAC_CHANNELS = 8


@dataclass(frozen=True)
class Sound:
    """What was written."""

    num_samples: int
    """Length of the sound itself at 16 kHz, before padding."""
    loudness: np.ndarray
    """(frames,) float32 root mean square of every 1/25 s."""
    differing: bool
    """Whether the channels differ and ``channels.flac`` was kept."""


def to_int16(samples: np.ndarray) -> np.ndarray:
    """Float samples in [-1, 1] as int16 of the same shape, rounded; louder ones are clipped."""
    return np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)


def write_sound(source: Path, out: Path, *, until_s: float, channel_difference: float, max_duration_s: float) -> Sound:
    """Write ``mixture.flac`` and, where channels differ, ``channels.flac`` (16 kHz, int16, from t = 0) into ``out``.

    Both are padded with silence to ``until_s``, so that every clip of the video finds its samples.

    Args:
        source: the media file.
        out: folder to write into.
        until_s: end of the video, seconds.
        channel_difference: see `IngestConfig.channel_difference`.
        max_duration_s: stop reading after this, seconds.

    Raises:
        NoAudioTrack, UnreadableSource: from the decoder.
    """
    blocks = iter_audio_16k(source)
    mono, channels = next(blocks)
    count = channels.shape[0]
    keep = 1 < count <= _MAX_FLAC_CHANNELS
    path = out / "channels.flac"
    length, loud = 0, []
    rest: np.ndarray = np.zeros(0, np.float32)
    energy, difference = 0.0, np.zeros(count)
    with (
        soundfile.SoundFile(out / "mixture.flac", "w", SAMPLE_RATE, 1, "PCM_16", format="FLAC") as mixture,
        soundfile.SoundFile(path, "w", SAMPLE_RATE, count if keep else 1, "PCM_16", format="FLAC") as separate,
    ):
        while True:
            mixture.write(to_int16(mono))
            length += len(mono)
            if keep:
                separate.write(np.ascontiguousarray(to_int16(channels).T))
                energy += float(np.square(channels).sum(dtype=np.float64)) / count
                difference += np.square(channels - channels[:1]).sum(axis=1, dtype=np.float64)
            rest = np.concatenate([rest, mono])
            whole = len(rest) // _HOP
            loud.append(np.sqrt(np.square(rest[: whole * _HOP].reshape(whole, _HOP)).mean(axis=1)))
            rest = rest[whole * _HOP :]
            block = next(blocks, None)
            if block is None or length > max_duration_s * SAMPLE_RATE:
                break
            mono, channels = block
        padding = max(0, round(until_s * SAMPLE_RATE) + _HOP - length)
        mixture.write(np.zeros(padding, np.int16))
        if keep:
            separate.write(np.zeros((padding, count), np.int16))
    blocks.close()
    # Two channels of the same energy and no relation differ by the sum of their energies: a share of 1.
    differing = keep and energy > 0 and float(difference.max()) / (2 * energy) > channel_difference
    if not differing:
        path.unlink()
    return Sound(length, np.concatenate(loud).astype(np.float32), differing)
