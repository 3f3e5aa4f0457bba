"""The segmenter's mask at crop size."""

from __future__ import annotations

import cv2
import numpy as np

_SOFTEN = 1.5


def enlarge(mask: np.ndarray, size: int) -> np.ndarray:
    """A mask (S, S) float32 in [0, 1] as (size, size) uint8, 255 for foreground.

    The segmenter's mask is nearly binary at 256 px, so its steps are smoothed after enlarging (Gaussian of 1.5 px). A
    guided filter was tried in its place and left a haze of background around hair.
    """
    large = cv2.resize(mask, (size, size), interpolation=cv2.INTER_LINEAR)
    soft = cv2.GaussianBlur(large, (0, 0), _SOFTEN)
    return cv2.convertScaleAbs(np.clip(soft, 0.0, 1.0), alpha=255.0)
