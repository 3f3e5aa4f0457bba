"""A soft foreground mask at crop size from the segmenter's 256 px."""

from __future__ import annotations

import cv2
import numpy as np

_RADIUS = 9
_EPSILON = 2e-4


def refine(mask: np.ndarray, guide: np.ndarray) -> np.ndarray:
    """Enlarge a mask to its picture and let its edge follow the picture's edges.

    A guided filter (He, Sun, Tang 2013, eqs. 5, 6, 8) with the luma as guide, box of 19 px.

    Args:
        mask: (S, S) float32 in [0, 1].
        guide: (H, W, 3) uint8 RGB.

    Returns:
        (H, W) uint8, 255 for foreground.
    """
    height, width = guide.shape[:2]
    luma = cv2.cvtColor(guide, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255.0
    large = cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR)
    size = (2 * _RADIUS + 1, 2 * _RADIUS + 1)
    mean_i, mean_p = cv2.blur(luma, size), cv2.blur(large, size)
    covariance = cv2.blur(luma * large, size) - mean_i * mean_p
    variance = cv2.blur(luma * luma, size) - mean_i * mean_i
    slope = covariance / (variance + _EPSILON)
    offset = mean_p - slope * mean_i
    soft = cv2.blur(slope, size) * luma + cv2.blur(offset, size)
    return np.clip(np.rint(soft * 255.0), 0, 255).astype(np.uint8)
