"""Who speaks, from the loudness of a person's own track alone, without looking ahead: for streams."""

from __future__ import annotations

import numpy as np

from model.motion.conversation import SAMPLES_PER_FRAME

ABOVE_DB = 12.0
"""Speech is this much louder than the background."""
QUIET_DB = -50.0
"""Nothing below this level (RMS of a frame, dB of full scale) is speech."""
HANG_FRAMES = 6
"""Frames that still count as speech after the last loud one: pauses between words are no turns."""
_LOWEST_DB, _HIGHEST_DB = -90.0, -40.0
_RISE_DB = 0.02
"""How fast the background may be taken to have grown, dB a frame: half a dB a second."""


class VoiceActivity:
    """Speech in 40 ms frames of one track, as it arrives: piece by piece or at once gives the same."""

    def __init__(self) -> None:
        self._floor: float | None = None
        self._hang = 0

    def push(self, samples: np.ndarray) -> np.ndarray:
        """(640 n,) float32 at 16 kHz -> (n,) bool: speech in the next n frames."""
        return np.array([self._next(level) for level in frame_levels_db(samples)], bool)

    def _next(self, level: float) -> bool:
        if self._floor is None:
            # What comes first may be a voice: the background is not taken to be that loud.
            self._floor = min(level, _HIGHEST_DB)
        self._floor = float(np.clip(min(level, self._floor + _RISE_DB), _LOWEST_DB, _HIGHEST_DB))
        if level > max(self._floor + ABOVE_DB, QUIET_DB):
            self._hang = HANG_FRAMES
            return True
        self._hang -= 1
        return self._hang > 0


def frame_levels_db(samples: np.ndarray) -> np.ndarray:
    """(640 n,) -> (n,) float64: RMS of every frame, dB of full scale, at least -120."""
    frames = samples.reshape(-1, SAMPLES_PER_FRAME).astype(np.float64)
    return 10.0 * np.log10(np.maximum(np.square(frames).mean(axis=1), 1e-12))
