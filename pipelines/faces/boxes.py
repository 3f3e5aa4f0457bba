"""Boxes and who is who: overlap, merging of double detections, assignment between frames.

A box is (x, y, width, height) in source pixels, (x, y) its top left corner.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment


def centres(boxes: np.ndarray) -> np.ndarray:
    """Middle points (N, 2) of boxes (N, 4)."""
    return boxes[..., :2] + 0.5 * boxes[..., 2:]


def intersections(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Area (N, M) in px^2 that boxes ``a`` (N, 4) and ``b`` (M, 4) share."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, :2] + a[:, None, 2:], b[None, :, :2] + b[None, :, 2:])
    return np.prod(np.clip(high - low, 0.0, None), axis=-1)


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union (N, M) of boxes ``a`` (N, 4) and ``b`` (M, 4); 0 for empty boxes."""
    shared = intersections(a, b)
    union = np.prod(a[:, 2:], axis=1)[:, None] + np.prod(b[:, 2:], axis=1)[None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def merge_detections(boxes: np.ndarray, scores: np.ndarray, *, limit: float = 0.5) -> np.ndarray:
    """Indices of the detections to keep, best first: one that shares ``limit`` of the smaller box is a double.

    The smaller box and not the union is the measure, because a tile that cuts a face gives a smaller box of it.
    """
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    for i in order:
        if kept:
            shared = intersections(boxes[i : i + 1], boxes[kept])[0]
            smaller = np.minimum(np.prod(boxes[i, 2:]), np.prod(boxes[kept, 2:], axis=1))
            if np.any(shared > limit * np.maximum(smaller, 1e-9)):
                continue
        kept.append(int(i))
    return np.asarray(kept, dtype=np.int64)


def assign(cost: np.ndarray, limit: float) -> list[tuple[int, int]]:
    """Pairs (row, column) of least total cost, leaving out pairs above ``limit``.

    Args:
        cost: (N, M), finite or inf.
        limit: largest cost of a pair, and the price of leaving a row and a column alone.
    """
    if cost.size == 0:
        return []
    rows, columns = linear_sum_assignment(np.minimum(cost, limit))
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if cost[r, c] <= limit]


def motion_cost(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Cost (N, M) that face ``before`` (N, 4) became ``after`` (M, 4): distance in face widths, plus change of size.

    distance of the centres / mean width + 2 |ln(ratio of the widths)|. It behaves like overlap for near boxes, and
    goes on where boxes no longer touch.
    """
    wide_a, wide_b = np.maximum(before[:, 2], 1e-6), np.maximum(after[:, 2], 1e-6)
    distance = np.linalg.norm(centres(before)[:, None] - centres(after)[None], axis=-1)
    mean = 0.5 * (wide_a[:, None] + wide_b[None])
    return distance / mean + 2.0 * np.abs(np.log(wide_a[:, None] / wide_b[None]))


def square_around(box: np.ndarray, factor: float) -> tuple[float, float, float]:
    """(x0, y0, side) of the square about a box's centre whose side is ``factor`` times its longer side."""
    side = float(max(box[2], box[3])) * factor
    cx, cy = centres(box)
    return float(cx) - side / 2, float(cy) - side / 2, side


def cut_square(picture: np.ndarray, x0: int, y0: int, side: int) -> np.ndarray:
    """The square (side, side, 3) of ``picture`` at (x0, y0); what lies outside the picture is black."""
    height, width = picture.shape[:2]
    if x0 >= 0 and y0 >= 0 and x0 + side <= width and y0 + side <= height:
        return picture[y0 : y0 + side, x0 : x0 + side]
    out = np.zeros((side, side, *picture.shape[2:]), picture.dtype)
    left, top = max(x0, 0), max(y0, 0)
    right, bottom = min(x0 + side, width), min(y0 + side, height)
    if left < right and top < bottom:
        out[top - y0 : bottom - y0, left - x0 : right - x0] = picture[top:bottom, left:right]
    return out
