"""One voice a channel: separate sound files or recordings, put on one timeline and mixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from pipelines.ingest.audio import SAMPLE_RATE, iter_audio_16k
from pipelines.ingest.sound import to_int16
from pipelines.ingest.spans import FPS
from pipelines.ingest.timeline import Clock, on_shared
from pipelines.speech.isolate import levels_db

_HOP = SAMPLE_RATE // FPS
_BLOCK = 60 * SAMPLE_RATE
_CEILING = 32767 / 32768
SEPARATION_DB = 16.0
"""Separation (see `separation`) from which two channels have a person each. With less, whoever talks is heard in both,
and a channel would say that both talk."""


@dataclass(frozen=True)
class Voice:
    """One person's sound."""

    samples: np.ndarray
    """(N,) int16 at 16 kHz from the recording's own t = 0; a memory map."""
    clock: Clock = Clock()
    """When it ran on the shared timeline."""


def read_voice(path: Path, scratch: Path, max_duration_s: float) -> np.ndarray:
    """The sound of a file mixed to one channel, (N,) int16 at 16 kHz: a memory map of the file ``scratch``.

    Raises:
        NoAudioTrack, UnreadableSource: from the decoder.
    """
    length = 0
    with scratch.open("wb") as file:
        for mono, _ in iter_audio_16k(path):
            file.write(to_int16(mono).tobytes())
            length += len(mono)
            if length > max_duration_s * SAMPLE_RATE:
                break
    return np.memmap(scratch, np.int16, "r") if length else np.zeros(0, np.int16)


@dataclass(frozen=True)
class Written:
    """What was written."""

    loudness: np.ndarray
    """(frames,) float32: root mean square of the sum in every 1/25 s."""
    separation_db: float
    """How much the level of the first channel over the second changes with whoever talks: see `separation`."""
    balance_db: float
    """How much fainter the second microphone hears its own person than the first does: half-way between the levels of
    the first over the second while one and while the other talks. 0 where nobody's can be told."""


def write_voices(
    out: Path, voices: Sequence[Voice], until_s: float, *, from_s: float = 0.0, mixture: bool = True
) -> Written:
    """Write ``channels.flac``, a channel a voice in their order, and with ``mixture`` their sum as ``mixture.flac``.

    Both begin at t = 0 of the shared timeline and last to ``until_s`` and a frame more. The sum is turned down as a
    whole where it would clip; the channels are as loud as they were recorded. Levels are compared from ``from_s`` on.
    """
    frames = round(until_s * FPS) + 1
    blocks = [(start, min(_BLOCK, frames * _HOP - start)) for start in range(0, frames * _HOP, _BLOCK)]
    peak = 0.0  # of the sum: must be known before its first sample is written
    loudness, levels = [], []
    with soundfile.SoundFile(
        out / "channels.flac", "w", SAMPLE_RATE, len(voices), "PCM_16", format="FLAC"
    ) as separate:
        for start, count in blocks:
            channels = [on_shared(voice.samples, voice.clock, start, count) for voice in voices]
            separate.write(np.stack([to_int16(channel) for channel in channels], axis=1))
            total = np.sum(channels, axis=0, dtype=np.float32)
            peak = max(peak, float(np.abs(total).max(initial=0.0)))
            loudness.append(np.sqrt(np.square(total.reshape(-1, _HOP)).mean(axis=1)))
            levels.append(np.stack([levels_db(channel) for channel in channels]))
    if mixture:
        gain = np.float32(min(1.0, _CEILING / max(peak, 1e-9)) / 32768)
        with (
            soundfile.SoundFile(out / "channels.flac") as separate,
            soundfile.SoundFile(out / "mixture.flac", "w", SAMPLE_RATE, 1, "PCM_16", format="FLAC") as mixed,
        ):
            for block in separate.blocks(_BLOCK, dtype="int16", always_2d=True):
                mixed.write(to_int16(block.sum(axis=1, dtype=np.int32).astype(np.float32) * gain))
    both = np.concatenate(levels, axis=1)[:, round(from_s * 2 * FPS) : round(until_s * 2 * FPS)]
    return Written(np.concatenate(loudness).astype(np.float32), *separation(both))


def channel_facts(persons: Sequence[str], written: Written) -> dict[str, Any]:
    """What source.json says of channels with a person each: persons, balance_db, separation_db (null: not measured)."""
    apart = round(written.separation_db, 2) if np.isfinite(written.separation_db) else None
    return {"persons": list(persons), "balance_db": round(written.balance_db, 2), "separation_db": apart}


def separation(levels: np.ndarray) -> tuple[float, float]:
    """How far two channels are from being one sound, dB, and their balance (see `Written`).

    It is the spread of their difference in level while somebody talks, from the 3rd to the 97th percentile, so that a
    constant difference (another gain) does not count and a person who says little does. Two microphones that hear both
    voices 8 dB apart have 16 dB; one sound in both has its noise.

    Args:
        levels: (C, M) dB of every 20 ms; with other than two channels the answer is infinity and 0.
    """
    if len(levels) != 2:
        return float("inf"), 0.0
    loudest = levels.max(axis=0, initial=-120.0)
    loud = (loudest >= np.median(loudest)) & (loudest > -55.0) if levels.size else np.zeros(0, bool)
    if loud.sum() < 25:
        return float("inf"), 0.0
    low, high = np.percentile(levels[0, loud] - levels[1, loud], [3, 97])
    return float(high - low), float(high + low) / 2 if high - low >= SEPARATION_DB else 0.0
