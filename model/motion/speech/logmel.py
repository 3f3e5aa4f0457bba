"""Log-mel spectrogram, four columns a frame, that never looks ahead."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from model.motion.conversation import SAMPLE_RATE, SAMPLES_PER_FRAME

HOP, WINDOW, FFT = 160, 400, 512
"""Samples between columns, samples a column sees, length of its transform."""
FLOOR = 1e-6
"""Power below which all is silence: -60 dB of a full-scale sine in one band."""
OFFSET, SPREAD = 8.0, 6.0
"""Features are (ln power + OFFSET) / SPREAD: ln(1e-6) = -13.8 is silence, speech lies around -6."""


@dataclass(frozen=True)
class LogMel:
    """Natural logarithm of mel band powers, scaled to about [-1, 1].

    Column k sees the 400 samples that end at 160 (k + 1): so the four columns of frame i see nothing before sample
    640 i - 240 and nothing from 640 (i + 1) on, and a stream gives the same columns as a whole recording.
    """

    bands: int = 64
    """Mel bands between 50 Hz and 8 kHz; centres on O'Shaughnessy's scale, 2595 log10(1 + f / 700)."""

    @property
    def per_frame(self) -> int:
        """Columns a frame."""
        return SAMPLES_PER_FRAME // HOP

    @property
    def channels(self) -> int:
        """Bands."""
        return self.bands

    @property
    def causal(self) -> bool:
        """It looks at no later frame."""
        return True

    @property
    def key(self) -> str:
        """Kind and parameters."""
        return f"logmel-1-{self.bands}-{HOP}-{WINDOW}"

    @property
    def history(self) -> int:
        """Samples before a frame that its features look at."""
        return WINDOW - HOP

    def features(self, audio: np.ndarray) -> np.ndarray:
        """(640 T,) float32 -> (4 T, bands) float32. What lies before the first sample counts as silence."""
        return self.continued(np.concatenate([np.zeros(self.history, np.float32), audio]))

    def continued(self, audio: np.ndarray) -> np.ndarray:
        """Features of ``audio`` (history + 640 n,) without its first ``history`` samples: (4 n, bands)."""
        frames = np.lib.stride_tricks.sliding_window_view(audio.astype(np.float32, copy=False), WINDOW)[::HOP]
        rows = []
        for start in range(0, len(frames), 4096):  # bounded memory for long recordings
            spectrum = np.fft.rfft(frames[start : start + 4096] * np.hanning(WINDOW).astype(np.float32), FFT, axis=1)
            power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32) / (WINDOW / 4) ** 2
            rows.append(np.log(power @ _bands(self.bands) + FLOOR))
        return ((np.concatenate(rows) + OFFSET) / SPREAD).astype(np.float32)


@lru_cache
def _bands(count: int) -> np.ndarray:
    """(FFT / 2 + 1, count) triangular weights."""
    mel = np.linspace(2595 * np.log10(1 + 50 / 700), 2595 * np.log10(1 + 8000 / 700), count + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    hertz = np.fft.rfftfreq(FFT, 1 / SAMPLE_RATE)[:, None]
    up = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    down = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    weights = np.clip(np.minimum(up, down), 0.0, None)
    # Low bands are narrower than a bin: each takes at least its nearest one.
    nearest = np.abs(hertz - edges[1:-1]).argmin(axis=0)
    empty = weights.sum(axis=0) < 0.5
    weights[nearest[empty], np.flatnonzero(empty)] = 1.0
    return weights.astype(np.float32)
