"""The target's reference: where a face rests and how lively it is, from a few seconds of its codes."""

from __future__ import annotations

import numpy as np

from model.motion.conversation import FPS

MIN_FRAMES = 5
"""With fewer valid frames there is no reference."""


def reference_frames(num_frames: int, reference_s: float) -> int:
    """Frames at a clip's beginning that are its reference: at most half of it."""
    return min(round(reference_s * FPS), num_frames // 2)


def describe(motion: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, bool]:
    """Mean and standard deviation (2, D) of the valid frames of ``motion`` (T, D), and whether there are enough.

    Without enough frames, zeros.
    """
    chosen = motion[valid]
    if len(chosen) < MIN_FRAMES:
        return np.zeros((2, motion.shape[1]), np.float32), False
    return np.stack([chosen.mean(axis=0), chosen.std(axis=0)]).astype(np.float32), True
