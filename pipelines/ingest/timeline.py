"""When a recording ran, on a timeline it shares with another one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Clock:
    """A recording's clock: own time = (shared time - offset_s) (1 + drift_ppm / 1e6).

    The offset is when the recording starts on the shared timeline; a positive drift means that its own clock counts
    faster, so that the same talk lasts longer in it.
    """

    offset_s: float = 0.0
    """Seconds."""
    drift_ppm: float = 0.0
    """Parts per million."""

    @property
    def rate(self) -> float:
        """Own seconds per shared second."""
        return 1.0 + self.drift_ppm * 1e-6

    def own(self, shared: float) -> float:
        """Own time of a moment of the shared timeline."""
        return (shared - self.offset_s) * self.rate

    def shared(self, own: float) -> float:
        """Time on the shared timeline of a moment of the recording."""
        return own / self.rate + self.offset_s

    def offset_near(self, shared: float) -> float:
        """The offset with which own = shared - offset at this moment: what holds for a clip around it."""
        return shared - self.own(shared)

    def after(self, inner: Clock) -> Clock:
        """The clock of a recording whose clock on this one's own timeline is ``inner``."""
        return Clock(self.offset_s + inner.offset_s / self.rate, (self.rate * inner.rate - 1.0) * 1e6)

    def inverse(self) -> Clock:
        """The clock by which the shared timeline runs on the recording's."""
        return Clock(-self.offset_s * self.rate, (1.0 / self.rate - 1.0) * 1e6)


_TAPS = 32
_PHASES = 512


def _kernel() -> np.ndarray:
    """(_PHASES + 1, _TAPS) float32: sinc under a Kaiser window for every fraction of a sample, each of sum 1."""
    place = np.arange(_TAPS) - (_TAPS // 2 - 1)
    fraction = np.arange(_PHASES + 1)[:, None] / _PHASES
    distance = place - fraction
    window = np.i0(8.0 * np.sqrt(np.clip(1 - (distance / (_TAPS / 2)) ** 2, 0, None))) / np.i0(8.0)
    taps = np.sinc(distance) * window
    return (taps / taps.sum(axis=1, keepdims=True)).astype(np.float32)


def on_shared(samples: np.ndarray, clock: Clock, start: int, count: int, rate: int = 16_000) -> np.ndarray:
    """A stretch of a recording's sound, (count,) float32, on the shared timeline from its sample ``start`` on.

    Without drift samples are shifted by whole ones; with it they are interpolated (32 taps). Silence outside.

    Args:
        samples: (N,) int16 or float of the recording, from its own t = 0; may be a memory map.
        clock: the recording's clock.
        start: first sample on the shared timeline.
        count: number of samples.
        rate: samples per second.
    """
    scale = np.float32(1 / 32768) if samples.dtype == np.int16 else np.float32(1)
    out = np.zeros(count, np.float32)
    if clock.drift_ppm == 0.0:
        first = start - round(clock.offset_s * rate)
        low, high = max(first, 0), min(first + count, len(samples))
        if high > low:
            out[low - first : high - first] = samples[low:high] * scale
        return out
    taps = _kernel()
    for begin in range(0, count, 1 << 16):
        number = np.arange(begin, min(begin + (1 << 16), count), dtype=np.float64)
        place = (start + number - clock.offset_s * rate) * clock.rate
        whole = np.floor(place).astype(np.int64)
        phase = np.rint((place - whole) * _PHASES).astype(np.int64)
        low, high = int(whole[0]) - _TAPS // 2 + 1, int(whole[-1]) + _TAPS // 2 + 1
        block = np.zeros(high - low, np.float32)
        inside = slice(max(low, 0), max(0, min(high, len(samples))))
        if inside.stop > inside.start:
            block[inside.start - low : inside.stop - low] = samples[inside] * scale
        near = np.lib.stride_tricks.sliding_window_view(block, _TAPS)[whole - whole[0]]
        out[begin : begin + len(number)] = np.einsum("nt,nt->n", near, taps[phase])
    return out


def read_offsets(unit: Mapping[str, Any]) -> dict[str, float]:
    """Person -> how far their video lies behind the shared timeline during a clip; empty for an ordinary clip."""
    return {str(person): float(value) for person, value in (unit.get("offsets") or {}).items()}


def load_recordings(folder: Path) -> dict[str, Any]:
    """recordings.json of an ingest folder; empty for an ordinary source."""
    path = folder / "recordings.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
