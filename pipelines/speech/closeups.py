"""Close-ups of a face as the active speaker network was shown them: grey, square, from the brows to below the chin."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from model.speech.light_asd import SIDE

_STEADY_FRAMES = 13
"""Place and size of a face are medians over this many frames: a detector's jitter is no movement."""
_SIDE = 1.4
"""Side of the square, in halves of the landmarks' extent."""
_BELOW = 0.4
"""How far its middle lies below that of the landmarks, in the same unit."""
_BORDER = 110
"""Grey beyond the picture."""


def squares(landmarks: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Where to cut: (T, 3) float64 left, top, side in pixels.

    Args:
        landmarks: (T, 478, 3) px.
        valid: (T,) bool; frames that are not are passed over by the medians where others are near.
    """
    from scipy.ndimage import median_filter

    points = landmarks[..., :2].astype(np.float64)
    low, high = points.min(axis=1), points.max(axis=1)
    half = (high - low).max(axis=1) / 2
    values = np.concatenate([(low + high) / 2, half[:, None]], axis=1)
    if valid.any() and not valid.all():
        frames = np.arange(len(values))
        values = np.stack([np.interp(frames, frames[valid], column[valid]) for column in values.T], axis=1)
    steady = median_filter(values, size=(min(_STEADY_FRAMES, len(values)), 1), mode="nearest")
    side = _SIDE * steady[:, 2]
    return np.stack(
        [steady[:, 0] - side / 2, steady[:, 1] + _BELOW * steady[:, 2] - side / 2, np.maximum(side, 2.0)], axis=1
    )


def closeups(folder: Path, person: str) -> np.ndarray:
    """(T, 112, 112) uint8 of one person, from the artefacts of the stage `faces`."""
    from pipelines.ingest.media import iter_decoded, open_media

    with np.load(folder / f"{person}.npz") as arrays:
        places = squares(arrays["landmarks"], arrays["valid"].astype(bool))
    found = np.full((len(places), SIDE, SIDE), _BORDER, np.uint8)
    with open_media(folder / f"{person}.mp4") as opened:
        for index, (_, frame) in enumerate(iter_decoded(opened)):
            if index >= len(places):
                break
            found[index] = close_up(frame.to_ndarray(format="gray"), places[index])
    return found


def close_up(picture: np.ndarray, square: np.ndarray) -> np.ndarray:
    """(112, 112) uint8 of a (H, W) uint8 picture; ``square`` is left, top, side."""
    left, top, side = (float(value) for value in square)
    scale = SIDE / side
    move = np.array([[scale, 0.0, -left * scale], [0.0, scale, -top * scale]])
    how = cv2.INTER_AREA if side > SIDE else cv2.INTER_LINEAR
    return np.asarray(cv2.warpAffine(picture, move, (SIDE, SIDE), flags=how, borderValue=_BORDER))
