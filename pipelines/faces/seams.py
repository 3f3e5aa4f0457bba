"""The part of a picture that belongs to one person's camera: without black bars, without a split screen's other half.

Bars are rows and columns at the picture's edge that stay dark for the whole clip; a seam is a straight vertical or
horizontal edge that does not move, from one end of the picture (or of its part between seams) to the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

_EDGE = 8
"""Least step of grey (of 255) across a seam."""
_STEADY = 0.8
"""Share of the frames looked at in which a pixel of a seam must show the step."""
_WHOLE = 0.9
"""Share of a line's pixels that must be steady. The edge of a door or a wall is seldom upright to the pixel."""
_DARK = 24
"""Brightest grey of a black bar (video black is 16 in some files), but for one pixel in a hundred."""
_INSIDE = 2
"""Pixels taken off inside of a seam or bar: scaling and coding have mixed both sides there."""
_LEAST_FRAMES = 4


@dataclass(frozen=True)
class Panel:
    """A rectangle of the upright source picture; right and bottom are the first px outside."""

    x0: int
    """Left, px."""
    y0: int
    """Top, px."""
    x1: int
    """Right, px."""
    y1: int
    """Bottom, px."""

    @property
    def width(self) -> int:
        """Width in px."""
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        """Height in px."""
        return self.y1 - self.y0


class SeamFinder:
    """Give it some frames spread over a clip with `add`; then `panel` tells what belongs to a face."""

    def __init__(self, width: int, height: int) -> None:
        self._width, self._height = width, height
        self._across = np.zeros((height, max(width - 1, 0)), np.uint16)
        self._down = np.zeros((max(height - 1, 0), width), np.uint16)
        self._brightest = np.zeros((height, width), np.uint8)
        self._count = 0

    def add(self, picture: np.ndarray) -> None:
        """Look at a frame (H, W, 3) uint8 RGB."""
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        self._across += cv2.absdiff(grey[:, 1:], grey[:, :-1]) > _EDGE
        self._down += cv2.absdiff(grey[1:], grey[:-1]) > _EDGE
        np.maximum(self._brightest, grey, out=self._brightest)
        self._count += 1

    def panel(self, face: np.ndarray) -> Panel:
        """The part of the picture around a face.

        Args:
            face: (4,) left, top, right, bottom in px of what must stay inside.

        Returns:
            The whole picture where there is no bar and no seam, or where too few frames were seen.
        """
        x0, y0, x1, y1 = 0, 0, self._width, self._height
        if self._count < _LEAST_FRAMES:
            return Panel(x0, y0, x1, y1)
        # Upright lines first, then level ones between them, then upright ones between those: panels nest.
        for _ in range(2):
            steady = self._across[y0:y1] >= _STEADY * self._count
            lines = np.flatnonzero(steady.mean(axis=0) >= _WHOLE) + 1
            dark = np.percentile(self._brightest[y0:y1], 99, axis=0) <= _DARK
            x0, x1 = _between(lines, dark, float(face[0]), float(face[2]), x0, x1)
            steady = self._down[:, x0:x1] >= _STEADY * self._count
            lines = np.flatnonzero(steady.mean(axis=1) >= _WHOLE) + 1
            dark = np.percentile(self._brightest[:, x0:x1], 99, axis=1) <= _DARK
            y0, y1 = _between(lines, dark, float(face[1]), float(face[3]), y0, y1)
        return Panel(x0, y0, x1, y1)


def _between(lines: np.ndarray, dark: np.ndarray, low: float, high: float, start: int, stop: int) -> tuple[int, int]:
    """[start, stop) narrowed to the nearest lines and dark bars on either side of [low, high]."""
    before = lines[lines + _INSIDE <= low]
    after = lines[lines - _INSIDE >= high]
    if len(before):
        start = max(start, int(before[-1]) + _INSIDE)
    if len(after):
        stop = min(stop, int(after[0]) - _INSIDE)
    light = np.flatnonzero(~dark)
    if len(light):
        first, last = int(light[0]), int(light[-1]) + 1
        if first > start and first + _INSIDE <= low:
            start = first + _INSIDE
        if last < stop and last - _INSIDE >= high:
            stop = last - _INSIDE
    return start, stop
