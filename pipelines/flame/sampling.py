"""Colours and texture of a face, read from the head crop in one pass."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from model.fitting.regions import NUM_LANDMARKS
from pipelines.flame.texture import SIZE, Grid, warp


def sample_colours(video: Path, landmarks: np.ndarray) -> np.ndarray:
    """The colours alone of :func:`sample`."""
    return sample(video, landmarks, None, (0.0, 0.0, np.inf, np.inf))[0]


def sample(
    video: Path, landmarks: np.ndarray, grid: Grid | None, picture: tuple[float, float, float, float]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Colours of a face at its landmarks, means of 6 x 6 px of the crop; and the face laid flat.

    Args:
        video: the head crop, yuv420p, T frames.
        landmarks: (T, 478, 2 or 3) crop px; points outside take the nearest colour, NaN any.
        grid: layout of the flat face, or None.
        picture: left, top, right and bottom edge of the source's picture, px of the crop.

    Returns:
        (T, 478, 3) uint8: luma, blue and red difference; and (T, SIZE * SIZE) uint8, None without a grid. Frames that
        the file lacks are 0.

    Raises:
        OSError: the file cannot be read.
    """
    import av

    colours = np.zeros((len(landmarks), NUM_LANDMARKS, 3), np.uint8)
    texture = None if grid is None else np.zeros((len(landmarks), SIZE * SIZE), np.uint8)
    places = np.nan_to_num(landmarks[..., :2], posinf=0.0, neginf=0.0)
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        for t, frame in enumerate(container.decode(stream)):
            if t >= len(colours):
                break
            planes = frame.to_ndarray(format="yuv420p")
            height, width = frame.height, frame.width
            half = (width // 2, height // 2)
            quarter = height // 4 * width
            colour = planes[height:].reshape(-1)
            # Chroma is stored at half the size: luma is brought to it, so that one look-up gives all three.
            small = cv2.merge(
                [
                    cv2.resize(planes[:height], half, interpolation=cv2.INTER_AREA),
                    np.ascontiguousarray(colour[:quarter]).reshape(half[::-1]),
                    np.ascontiguousarray(colour[quarter : 2 * quarter]).reshape(half[::-1]),
                ]
            )
            mean = cv2.blur(small, (3, 3))
            x, y = np.clip(places[t] / 2, 0, np.array(half) - 1).astype(np.int64).T
            colours[t] = mean[y, x]
            if texture is not None and grid is not None:
                texture[t] = warp(np.ascontiguousarray(mean[..., 0]), places[t], grid, picture)
    return colours, texture
