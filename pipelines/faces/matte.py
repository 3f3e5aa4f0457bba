"""A soft foreground mask at crop size from the segmenter's 256 px."""

from __future__ import annotations

import cv2
import numpy as np

_RADIUS = 5
_EPSILON = 2e-4


def refine(mask: np.ndarray, guide: np.ndarray) -> np.ndarray:
    """Enlarge a mask to its picture and let its edge follow the picture's edges.

    A guided filter (He, Sun, Tang 2013, eqs. 5, 6, 8) with the luma as guide and a box of 11 px; its coefficients are
    found at the mask's size and enlarged (He, Sun 2015), a quarter of the work at four times the pixels.

    Args:
        mask: (S, S) float32 in [0, 1].
        guide: (H, W, 3) uint8 RGB.

    Returns:
        (H, W) uint8, 255 for foreground.
    """
    height, width = guide.shape[:2]
    luma = cv2.cvtColor(guide, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255.0
    small = cv2.resize(luma, mask.shape[::-1], interpolation=cv2.INTER_AREA)
    size = (2 * _RADIUS + 1, 2 * _RADIUS + 1)
    mean_i, mean_p = cv2.blur(small, size), cv2.blur(mask, size)
    covariance = cv2.blur(small * mask, size) - mean_i * mean_p
    variance = cv2.blur(small * small, size) - mean_i * mean_i
    slope = covariance / (variance + _EPSILON)
    offset = mean_p - slope * mean_i
    slope, offset = (
        cv2.resize(cv2.blur(c, size), (width, height), interpolation=cv2.INTER_LINEAR) for c in (slope, offset)
    )
    return cv2.convertScaleAbs(np.clip(slope * luma + offset, 0.0, 1.0), alpha=255.0)
