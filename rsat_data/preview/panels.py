"""The four panels of a frame, and the curves of a row."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from model.fitting.regions import BROWS, LEFT_EYE, LIPS_INNER, LIPS_OUTER, OVAL, RIGHT_EYE
from model.raster.jit import kernel
from rsat_data.preview import paint
from rsat_data.preview.paint import Colour, Picture
from rsat_data.preview.scene import Posed
from rsat_data.preview.telling import Tracks

TITLES = ("crop", "mesh over face", "mesh", "landmarks and gaze")
TRAIL = 10
"""Frames that the trails of a few landmarks reach back."""

_LIP: Colour = (255, 122, 140)
_EYE: Colour = (120, 214, 255)
_BROW: Colour = (186, 160, 255)
_OVAL: Colour = (140, 150, 165)
_POINT: Colour = (220, 230, 240)
_GAZE: Colour = (255, 216, 90)
_TRACE: Colour = (130, 240, 160)
_CONTOURS: tuple[tuple[tuple[int, ...], bool, Colour], ...] = (
    (OVAL, True, _OVAL),
    (LIPS_OUTER, True, _LIP),
    (LIPS_INNER, True, _LIP),
    (RIGHT_EYE, True, _EYE),
    (LEFT_EYE, True, _EYE),
    (BROWS[:5], False, _BROW),
    (BROWS[5:10], False, _BROW),
    (BROWS[10:15], False, _BROW),
    (BROWS[15:], False, _BROW),
)
_TRAILED = (1, 61, 291, 152, 105, 334)
"""Nose tip, mouth corners, chin, brows."""


@kernel
def _blend(colour, picture, ground, over, alone):  # type: ignore[no-untyped-def]
    """Fill over and alone (H, W, 3) from colour (H, W, 4); ``picture`` (H, W, 3) lies behind ``over``."""
    height, width = colour.shape[:2]
    for y in range(height):
        for x in range(width):
            alpha = colour[y, x, 3]
            for c in range(3):
                behind = picture[y, x, c]
                if alpha > 0.0:
                    over[y, x, c] = np.uint8(behind + alpha * (colour[y, x, c] - behind))
                    alone[y, x, c] = np.uint8(colour[y, x, c])
                else:
                    over[y, x, c] = behind
                    alone[y, x, c] = ground[c]


def mesh_panels(picture: Picture | None, colour: np.ndarray) -> tuple[Picture, Picture]:
    """The mesh over the face, and the mesh on a plain ground, (H, W, 3) uint8 each.

    Args:
        picture: the frame; without one the first panel equals the second.
        colour: (H, W, 4) of :class:`Posed`.
    """
    over = np.empty((*colour.shape[:2], 3), np.uint8)
    alone = np.empty_like(over)
    ground = np.asarray(paint.PANEL, np.uint8)
    behind = over if picture is None else np.ascontiguousarray(picture)
    _blend(colour, behind, ground, over, alone)
    return (alone if picture is None else over), alone


def landmarks(picture: Picture | None, posed: Posed, index: int, trail: Sequence[np.ndarray] = ()) -> Picture:
    """The mesh's landmarks as points and contours, faded where the mesh hides them, with gaze rays.

    Args:
        picture: the frame behind them, darkened; None for a plain ground.
        posed: the batch that holds the frame.
        index: its place in the batch.
        trail: landmarks (L, 2) of the frames before, oldest first: where a few points came from.
    """
    height, width = posed.colour.shape[1:3]
    base = paint.canvas(height, width, paint.PANEL) if picture is None else cv2.convertScaleAbs(picture, alpha=0.42)
    points, hidden = posed.points[index], posed.hidden[index]
    unit = width / 400
    if len(points):
        for ids, closed, colour in _CONTOURS:
            # Faded as one where most of it is hidden.
            share = 0.72 if hidden[list(ids)].mean() > 0.5 else 0.0
            paint.polyline(base, points[list(ids)], paint.mix(colour, paint.PANEL, share), 1, closed=closed)
        paint.dots(base, points[hidden], 0.75 * unit, paint.mix(_POINT, paint.PANEL, 0.7))
        paint.dots(base, points[~hidden], 1.15 * unit, _POINT)
        past = np.stack([*trail[-TRAIL:], points])[:, list(_TRAILED)]
        for age in range(len(past) - 1):
            colour = paint.mix(_TRACE, paint.PANEL, 1 - (age + 1) / len(past))
            paint.strokes(base, past[age : age + 2].swapaxes(0, 1), colour)
    rays = posed.gaze[index]
    steps = rays[:, :1] + (rays[:, 1:] - rays[:, :1]) * np.linspace(0, 1, 9)[:, None]  # (2, 9, 2)
    for number in range(8):
        colour = paint.mix(_GAZE, paint.PANEL, number / 9)
        paint.strokes(base, steps[:, number : number + 2], colour, 2 if number < 5 else 1)
    paint.dots(base, rays[:, 0], 2.2 * unit, _GAZE)
    return base


def no_video(height: int, width: int) -> Picture:
    """What stands where the crop would be in a row without video."""
    picture = paint.canvas(height, width, paint.PANEL)
    size = max(11, width // 22)
    for number, words in enumerate(("no video in this row", "codes and sound only")):
        x = (width - paint.width_of(words, size)) // 2
        paint.text(picture, (x, height // 2 + round((number - 1) * 1.5 * size)), words, size, paint.FAINT)
    return picture


def curves(
    tracks: Tracks, width: int, height: int, fps: float, marks: Sequence[int] = (), *, size: int = 13
) -> tuple[Picture, tuple[int, int]]:
    """Reprojection, confidence and photometric residual over time, with invalid and spoken spans.

    Args:
        tracks: of the row.
        width: pixels.
        height: pixels.
        fps: frames/s, for the axis.
        marks: frames to be numbered 1, 2, ... above the curves.
        size: of the letters, pixels.

    Returns:
        The picture, and the x of the first frame's left and the last frame's right edge.
    """
    picture = paint.canvas(height, width)
    left, right = 4 * size, width - size
    top, bottom = round((3.4 if len(marks) else 2.0) * size), height - round(2.6 * size)
    num = len(tracks.valid)

    def x_of(frame: float) -> float:
        return left + (right - left) * frame / num

    picture[top:bottom, left:right] = paint.PANEL
    for share in (0.25, 0.5, 0.75):
        y = round(bottom - share * (bottom - top))
        picture[y, left:right] = paint.GRID
    for span in paint.runs(~tracks.valid):
        part = picture[top:bottom, round(x_of(span.start)) : max(round(x_of(span.stop)), round(x_of(span.start)) + 2)]
        part[:] = (0.62 * part + 0.38 * np.asarray(paint.BAD)).astype(np.uint8)
    for span in paint.runs(tracks.speaking):
        picture[bottom + 2 : bottom + 2 + size // 3, round(x_of(span.start)) : round(x_of(span.stop))] = paint.SPEECH
    centres = np.array([x_of(frame + 0.5) for frame in range(num)])

    def draw(values: np.ndarray, high: float, colour: Colour) -> None:
        y = bottom - np.clip(values / max(high, 1e-9), 0, 1) * (bottom - top - 2) - 1
        paint.polyline(picture, np.stack([centres, y], axis=1), colour, 1 if height < 120 else 2)

    x = left
    known = tracks.reprojection_px[np.isfinite(tracks.reprojection_px)]
    limit = float(np.ceil(max(known.max(initial=0.0) * 1.05, 1e-3) * 2) / 2)
    legend: list[tuple[str, Colour]] = []
    if len(known):
        draw(tracks.reprojection_px, limit, paint.REPROJECTION)
        legend.append((f"reprojection, top {limit:g} px", paint.REPROJECTION))
        paint.text(picture, (4, top - size // 2), f"{limit:g} px", size, paint.REPROJECTION)
        paint.text(picture, (4, bottom - size), "0", size, paint.REPROJECTION)
    if tracks.confidence is not None and np.isfinite(tracks.confidence).any():
        draw(tracks.confidence, 1.0, paint.CONFIDENCE)
        legend.append(("confidence, top 1", paint.CONFIDENCE))
    if tracks.photometric is not None and np.isfinite(tracks.photometric).any():
        peak = float(np.nanmax(tracks.photometric))
        draw(tracks.photometric, peak, paint.PHOTOMETRIC)
        legend.append((f"photometric, top {peak:.3g}", paint.PHOTOMETRIC))
    legend.append(("speaking", paint.SPEECH))
    legend.append(("invalid", paint.BAD))
    for words, colour in legend:
        cv2.rectangle(picture, (x, size // 2), (x + size // 2, size), colour, -1)
        x = paint.text(picture, (x + size, size // 6), words, size, paint.FAINT) + 2 * size
    free = 0
    for number, frame in enumerate(marks):
        place = round(x_of(frame + 0.5))
        picture[top - 3 : bottom, place] = paint.FAINT
        words = str(number + 1)
        at = max(free, place - paint.width_of(words, size) // 2)
        free = paint.text(picture, (at, top - 3 - round(1.4 * size)), words, size) + size // 3
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 1e9) if num / fps / s <= 10)
    for second in np.arange(0, num / fps + 1e-6, step).tolist():
        place = min(round(x_of(second * fps)), right - 2 * size)
        paint.text(picture, (place, height - round(1.5 * size)), f"{second:g} s", size, paint.FAINT)
    return picture, (left, right)
