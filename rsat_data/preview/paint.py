"""Text, lines and colours on uint8 RGB pictures."""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Picture = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

PAPER: Colour = (21, 23, 28)
PANEL: Colour = (33, 36, 43)
INK: Colour = (232, 234, 238)
FAINT: Colour = (150, 156, 166)
GRID: Colour = (58, 62, 72)
GOOD: Colour = (104, 196, 140)
BAD: Colour = (240, 84, 84)
REPROJECTION: Colour = (255, 190, 92)
CONFIDENCE: Colour = (110, 178, 255)
PHOTOMETRIC: Colour = (205, 140, 240)
SPEECH: Colour = (86, 150, 120)

_SUBPIXEL = 4
"""Bits of OpenCV's fixed-point coordinates."""


@lru_cache(maxsize=32)
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """DejaVu Sans of matplotlib (Latin, Greek, Cyrillic...) where it is installed, else Pillow's own font."""
    spec = importlib.util.find_spec("matplotlib")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        file = Path(folder) / "mpl-data" / "fonts" / "ttf" / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")
        if file.is_file():
            return ImageFont.truetype(str(file), size)
    return ImageFont.load_default(size)


def width_of(words: str, size: int, bold: bool = False) -> int:
    """Width of a line of text, pixels."""
    return int(np.ceil(font(size, bold).getlength(words)))


def fit(words: str, size: int, room: int, bold: bool = False) -> str:
    """``words``, cut with an ellipsis to what ``room`` pixels hold."""
    if width_of(words, size, bold) <= room:
        return words
    while words and width_of(words + "\u2026", size, bold) > room:
        words = words[:-1]
    return words.rstrip() + "\u2026"


@lru_cache(maxsize=512)
def _stamp(words: str, size: int, bold: bool) -> npt.NDArray[np.float32]:
    """Coverage (h, w, 1) of a line of text in [0, 1], its height the same for all words of a size."""
    face = font(size, bold)
    picture = Image.new("L", (max(1, width_of(words, size, bold)), round(1.35 * size)))
    ImageDraw.Draw(picture).text((0, round(0.1 * size)), words, fill=255, font=face)
    return (np.asarray(picture, np.float32) / 255.0)[..., None]


def text(
    picture: Picture, at: tuple[int, int], words: str, size: int = 15, colour: Colour = INK, *, bold: bool = False
) -> int:
    """Write a line whose top left corner lies at (x, y); returns the x behind it. What sticks out is cut off."""
    stamp = _stamp(words, size, bold)
    x, y = at
    x0, y0 = max(x, 0), max(y, 0)
    x1, y1 = min(x + stamp.shape[1], picture.shape[1]), min(y + stamp.shape[0], picture.shape[0])
    if x1 > x0 and y1 > y0:
        cover = stamp[y0 - y : y1 - y, x0 - x : x1 - x]
        part = picture[y0:y1, x0:x1]
        part[:] = (part + cover * (np.asarray(colour, np.float32) - part)).astype(np.uint8)
    return x + stamp.shape[1]


def tag(picture: Picture, at: tuple[int, int], words: str, size: int, ink: Colour, ground: Colour) -> int:
    """Write a line on a ground of its own; returns the x behind it."""
    x, y = at
    pad = size // 3
    right = x + width_of(words, size, True) + 2 * pad
    cv2.rectangle(picture, (x, y), (right - 1, y + round(1.35 * size) + 1), ground, -1)
    text(picture, (x + pad, y + 1), words, size, ink, bold=True)
    return right


def canvas(height: int, width: int, colour: Colour = PAPER) -> Picture:
    """A picture of one colour."""
    return np.full((height, width, 3), colour, np.uint8)


def frame_in(picture: Picture, colour: Colour, thickness: int = 4) -> None:
    """Draw a border inside the edge."""
    t = thickness
    for part in (picture[:t], picture[-t:], picture[:, :t], picture[:, -t:]):
        part[:] = colour


def polyline(picture: Picture, points: np.ndarray, colour: Colour, thickness: int = 1, *, closed: bool = False) -> None:
    """Draw a smooth line through (N, 2) continuous image coordinates (corner origin), without parts not finite."""
    whole = np.isfinite(points).all(axis=1)
    if whole.all():
        cv2.polylines(picture, [_fixed(points)[:, None]], closed, colour, thickness, cv2.LINE_AA, _SUBPIXEL)
        return
    for run in runs(whole):
        cv2.polylines(picture, [_fixed(points[run])[:, None]], False, colour, thickness, cv2.LINE_AA, _SUBPIXEL)


def strokes(picture: Picture, lines: np.ndarray, colour: Colour, thickness: int = 1) -> None:
    """Draw smooth lines (M, N, 2) of one colour; one with a point that is not finite is left out."""
    whole = np.isfinite(lines).all(axis=(1, 2))
    cv2.polylines(picture, list(_fixed(lines[whole])[:, :, None]), False, colour, thickness, cv2.LINE_AA, _SUBPIXEL)


def dots(picture: Picture, points: np.ndarray, radius: float, colour: Colour) -> None:
    """Draw discs of ``radius`` pixels at (N, 2) continuous image coordinates, without those not finite."""
    size = round(radius * (1 << _SUBPIXEL))
    for centre in _fixed(points[np.isfinite(points).all(axis=1)]).tolist():
        cv2.circle(picture, centre, size, colour, -1, cv2.LINE_AA, _SUBPIXEL)


def _fixed(points: np.ndarray) -> npt.NDArray[np.int32]:
    """OpenCV's fixed-point coordinates, whose origin is the centre of the first pixel."""
    return np.round((np.clip(points, -1e4, 1e4) - 0.5) * (1 << _SUBPIXEL)).astype(np.int32)


@lru_cache(maxsize=1024)
def mix(first: Colour, second: Colour, share: float) -> Colour:
    """``first`` with ``share`` of ``second``."""
    a, b, c = (round(p + share * (q - p)) for p, q in zip(first, second, strict=True))
    return a, b, c


def runs(mask: npt.NDArray[np.bool_]) -> list[slice]:
    """Spans of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [slice(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
