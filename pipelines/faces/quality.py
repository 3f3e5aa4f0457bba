"""Measures of a face in a frame, and the choice of the still image."""

from __future__ import annotations

import cv2
import numpy as np

_PATCH = 128
_BLINK = 0.5


def sharpness(picture: np.ndarray, box: np.ndarray) -> float:
    """Variance of the Laplacian of a face's luma (0 to 255), at a face size of 128 x 128 px; higher is sharper.

    Scaling every face to one size makes values of near and far faces comparable: a face of fewer pixels is blurred by
    enlarging it, and that counts.

    Args:
        picture: (H, W, 3) uint8 RGB.
        box: (4,) x, y, width, height in its px.

    Returns:
        0 where the box lies outside the picture.
    """
    height, width = picture.shape[:2]
    x0, y0 = np.clip(np.floor(box[:2]).astype(int), 0, [width, height])
    x1, y1 = np.clip(np.ceil(box[:2] + box[2:]).astype(int), 0, [width, height])
    if x1 - x0 < 2 or y1 - y0 < 2:
        return 0.0
    grey = cv2.cvtColor(np.ascontiguousarray(picture[y0:y1, x0:x1]), cv2.COLOR_RGB2GRAY)
    kind = cv2.INTER_AREA if min(grey.shape) > _PATCH else cv2.INTER_LINEAR
    grey = cv2.resize(grey, (_PATCH, _PATCH), interpolation=kind)
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())


def still_candidates(
    yaw: np.ndarray, pitch: np.ndarray, blink: np.ndarray, valid: np.ndarray, max_yaw: float
) -> np.ndarray:
    """Frames (T,) bool from which the sharpest becomes the still image.

    Valid frames with open eyes and a head turned by at most ``max_yaw`` degrees to a side and, from its usual height,
    up or down. Where there is none, the tenth of the valid frames that is turned least.
    """
    level = np.abs(pitch - np.median(pitch[valid]))
    good = valid & (np.abs(yaw) <= max_yaw) & (level <= max_yaw) & (blink < _BLINK)
    if good.any():
        return good
    turn = np.where(valid, np.abs(yaw) + 0.5 * level + 20.0 * (blink >= _BLINK), np.inf)
    return valid & (turn <= np.percentile(turn[valid], 10))
