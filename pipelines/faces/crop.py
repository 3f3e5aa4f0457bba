"""The fixed square around a person's head, and cutting it out.

One window serves a person for a whole clip. A window that followed the head would be a camera that turns with it; with
a fixed one, one pinhole camera with an off-centre principal point holds for all frames:
crop px = (source px - (x0, y0)) * size / side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from model.camera import Camera
from pipelines.faces.boxes import cut_square
from pipelines.faces.seams import Panel

# The head around the landmarks' extent (w, h), which reaches from the hairline to the chin: hair and ears need room.
_SIDE, _TOP, _BOTTOM = 0.28, 0.55, 0.25
_PERCENT = 1.0
_KEEP = 0.06
"""Least margin around the face itself that a window has when another face is near, in face lengths."""


def picture_size(faces: Mapping[str, Any], entry: Mapping[str, Any]) -> tuple[int, int]:
    """(width, height) of the upright picture a person is seen in: their own recording's, or the source's.

    Args:
        faces: content of faces.json.
        entry: the person's in it.
    """
    return int(entry.get("width", faces["width"])), int(entry.get("height", faces["height"]))


def crop_camera(width: int, height: int, crop: Mapping[str, float], focal: float) -> Camera:
    """Camera of a head crop: the source's pinhole camera with its principal point in the middle, cut and scaled.

    Args:
        width: source width, upright pixels.
        height: source height.
        crop: x0, y0, side in source pixels, and size of the crop in its own pixels.
        focal: focal length in units of the source's longer side.
    """
    pixels = focal * max(width, height)
    source = Camera(pixels, pixels, width / 2, height / 2, width, height)
    return source.crop_square(float(crop["x0"]), float(crop["y0"]), float(crop["side"]), int(crop["size"]))


@dataclass(frozen=True)
class Window:
    """A square in the upright source picture; it may reach over the picture's edge."""

    x0: int
    """Left edge, source px."""
    y0: int
    """Upper edge, source px."""
    side: int
    """Length of a side, source px."""

    def to_crop(self, points: np.ndarray, size: int) -> np.ndarray:
        """Points (..., 2 or 3) in source px as crop px; a third coordinate is only scaled."""
        scale = size / self.side
        offset = np.array([self.x0, self.y0, 0.0])[: points.shape[-1]]
        return (points - offset) * scale


def extents(points: np.ndarray) -> np.ndarray:
    """(T, 4) left, top, right, bottom of landmarks (T, N, 2+)."""
    return np.concatenate([points[..., :2].min(axis=1), points[..., :2].max(axis=1)], axis=1)


def union(edges: np.ndarray) -> np.ndarray:
    """(4,) left, top, right, bottom that hold (T, 4) edges in all but the outermost percent of the frames."""
    low = np.percentile(edges[:, :2], _PERCENT, axis=0)
    high = np.percentile(edges[:, 2:], 100 - _PERCENT, axis=0)
    return np.concatenate([low, high])


def head_edges(face: np.ndarray) -> np.ndarray:
    """Face edges (T, 4) grown to hold hair, ears and the chin's shadow."""
    size = face[:, 2:] - face[:, :2]
    grow = np.stack(
        [-_SIDE * size[:, 0], -_TOP * size[:, 1], _SIDE * size[:, 0], _BOTTOM * size[:, 1]], axis=1
    )
    return face + grow


def fixed_window(
    landmarks: np.ndarray, width: int, height: int, others: list[np.ndarray] | None = None
) -> Window:
    """The window of one person for a clip.

    Args:
        landmarks: (T, 478, 3) source px of the frames in which the person was found.
        width, height: of the source picture, px.
        others: the same of other people; their faces are kept out where the window can shrink or shift enough.

    Returns:
        A square that holds the head in (nearly) all frames. It stays inside the picture where it fits.
    """
    face = extents(landmarks)
    head = union(head_edges(face))
    tight = union(face)
    margin = _KEEP * float(np.median(face[:, 3] - face[:, 1]))
    tight = tight + np.array([-margin, -margin, margin, margin])
    side = float(max(head[2] - head[0], head[3] - head[1]))
    least = float(max(tight[2] - tight[0], tight[3] - tight[1]))
    if side > min(width, height):  # Hair may be cut before black borders are added; the face may not.
        side = max(float(min(width, height)), least)
    centre = (head[:2] + head[2:]) / 2
    x0, y0 = centre[0] - side / 2, centre[1] - side / 2
    for other in others or []:
        edges = union(extents(other))
        if edges[0] >= x0 + side or edges[2] <= x0 or edges[1] >= y0 + side or edges[3] <= y0:
            continue
        # Shift away from the other face, and shrink only where the picture's edge is in the way.
        if tight[2] <= edges[0]:
            side = float(np.clip(edges[0], least, side))
            x0 = edges[0] - side
        elif tight[0] >= edges[2]:
            side = float(np.clip(width - edges[2], least, side))
            x0 = edges[2]
        else:
            continue  # one above the other, or overlapping: no square holds one without the other
        y0 = float(np.clip(centre[1] - side / 2, tight[3] - side, tight[1]))
    length = max(2, round(side))
    return Window(_inside(x0, length, width), _inside(y0, length, height), length)


def window_in(landmarks: np.ndarray, panel: Panel, others: list[np.ndarray] | None = None) -> Window:
    """`fixed_window` within a part of the picture, as if that part were all of it."""
    corner = np.array([panel.x0, panel.y0, 0.0])
    window = fixed_window(landmarks - corner, panel.width, panel.height, [other - corner for other in others or []])
    return Window(window.x0 + panel.x0, window.y0 + panel.y0, window.side)


def inside(window: Window, panel: Panel, size: int) -> np.ndarray | None:
    """(size, size) uint8, 1 where the crop shows the panel and 0 beyond it; None where it shows nothing else."""
    scale = size / window.side
    x0, x1 = (scale * (x - window.x0) for x in (panel.x0, panel.x1))
    y0, y1 = (scale * (y - window.y0) for y in (panel.y0, panel.y1))
    if x0 <= 0 and y0 <= 0 and x1 >= size and y1 >= size:
        return None
    middle = np.arange(size) + 0.5
    across, down = (middle >= x0) & (middle < x1), (middle >= y0) & (middle < y1)
    return (down[:, None] & across[None]).astype(np.uint8)


def _inside(start: float, length: int, limit: int) -> int:
    if length <= limit:
        return round(float(np.clip(start, 0, limit - length)))
    return round((limit - length) / 2)


def cut(picture: np.ndarray, window: Window, size: int, panel: Panel | None = None) -> np.ndarray:
    """The window of a picture (H, W, 3) as (size, size, 3); black outside the picture, or outside of ``panel``."""
    if panel is None:
        panel = Panel(0, 0, picture.shape[1], picture.shape[0])
    part = picture[panel.y0 : panel.y1, panel.x0 : panel.x1]
    square = cut_square(part, window.x0 - panel.x0, window.y0 - panel.y0, window.side)
    if window.side == size:
        return np.ascontiguousarray(square)
    kind = cv2.INTER_AREA if window.side > size else cv2.INTER_CUBIC
    return cv2.resize(square, (size, size), interpolation=kind)
