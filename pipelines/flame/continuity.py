"""What is impossible from frame to frame: jumps of a track, another person on it, slow drift off the face."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.ndimage import median_filter

_LEAST_IDENTITY = 8
"""Frames a stretch needs for its identity to be judged: a hand may pass in fewer."""
_JUMP_OVER_USUAL = 10.0
"""A jump exceeds the clip's usual unexplained step by this factor as well."""
_DRIFT_FRAMES = 25


def runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Maximal runs [first, end) of True in (T,) bool."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def unexplained_steps(points: np.ndarray, seen: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """How far the step into each frame differs from the steps around it, mean over points, in units of ``scale``.

    Args:
        points: (T, N, 2) px.
        seen: (T,) bool.
        scale: (T,) px.

    Returns:
        (T,) float64; 0 where the frame or the one before was not seen.
    """
    count = len(points)
    out = np.zeros(count)
    if count < 2:
        return out
    both = seen[1:] & seen[:-1]
    steps = np.where(both[:, None, None], points[1:] - points[:-1], np.nan)
    padded = np.pad(steps, ((2, 2), (0, 0), (0, 0)), constant_values=np.nan)
    around = np.stack([padded[k : k + count - 1] for k in (0, 1, 3, 4)])
    there = np.isfinite(around[:, :, 0, 0])
    # A median of up to four that passes over what is missing: no neighbours means no motion is expected.
    usual = np.zeros_like(steps)
    for number in range(1, 5):
        these = there.sum(axis=0) == number
        if these.any():
            usual[these] = np.nanmedian(around[:, these], axis=0)
    size = np.linalg.norm(steps - usual, axis=2).mean(axis=1) / np.maximum(np.minimum(scale[1:], scale[:-1]), 1e-6)
    out[1:] = np.where(both, size, 0.0)
    return out


def find_jumps(
    points: np.ndarray, seen: np.ndarray, scale: np.ndarray, limit: float, short: int
) -> tuple[np.ndarray, np.ndarray]:
    """Frames between which nothing alive moves like this.

    A stretch of at most ``short`` frames between two jumps, from which the face comes back to where it was, is marked
    as a whole; of other jumps the frame before and the one after, whose codes the smoothing has mixed.

    Args:
        points: (T, N, 2) px.
        seen: (T,) bool.
        scale: (T,) px, the distance between the eyes.
        limit: least size of a jump, in units of ``scale``.
        short: see above.

    Returns:
        jumped (T,) bool, and cuts: the frames with which something new may begin (after a jump or a gap), sorted.
    """
    size = unexplained_steps(points, seen, scale)
    usual = float(np.median(size[seen])) if seen.any() else 0.0
    steps = np.flatnonzero(size > max(limit, _JUMP_OVER_USUAL * usual))
    jumped = np.zeros(len(points), bool)
    left = list(steps)
    cuts = []
    while left:
        at = int(left.pop(0))
        back = next((int(other) for other in left if other - at <= short), None)
        if back is not None and at > 0 and back < len(points):
            away = np.linalg.norm(points[at] - points[at - 1], axis=1).mean()
            home = np.linalg.norm(points[back] - points[at - 1], axis=1).mean()
            if home < 0.5 * away:
                jumped[at:back] = True
                left = [other for other in left if other > back]
                continue
        jumped[[at - 1, at]] = True
        cuts.append(at)
    after_gap = np.flatnonzero(seen[1:] & ~seen[:-1]) + 1
    first = int(np.flatnonzero(seen)[0]) if seen.any() else 0
    return jumped & seen, np.array(sorted({*cuts, *(int(t) for t in after_gap if t > first)}), dtype=np.int64)


def find_swaps(cuts: np.ndarray, judged: np.ndarray, apart: Callable[[np.ndarray, np.ndarray], bool]) -> np.ndarray:
    """Frames (T,) bool that show another person than most of the clip does.

    Between two ``cuts`` a track shows one person. The stretches are put together to people, the person seen in most
    frames is the clip's own, and all others are swaps.

    Args:
        cuts: frames with which a stretch may begin.
        judged: (T,) bool, frames fit to tell people apart.
        apart: tells whether two sets of frames (indices) show different people.
    """
    swapped = np.zeros(len(judged), bool)
    if not len(cuts):
        return swapped
    edges = [0, *(int(c) for c in cuts), len(judged)]
    spans = [(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True) if b > a]
    frames = [np.flatnonzero(judged[a:b]) + a for a, b in spans]
    order = sorted((k for k in range(len(spans)) if len(frames[k]) >= _LEAST_IDENTITY), key=lambda k: -len(frames[k]))
    people: list[list[int]] = []
    for k in order:
        mine = next((group for group in people if not apart(frames[group[0]], frames[k])), None)
        if mine is None:
            people.append([k])
        else:
            mine.append(k)
    if len(people) < 2:
        return swapped
    people.sort(key=lambda group: -sum(len(frames[k]) for k in group))
    for group in people[1:]:
        for k in group:
            swapped[slice(*spans[k])] = True
    return swapped


def find_drift(
    error: np.ndarray, judged: np.ndarray, ratio: float, rise: float, frames: int = _DRIFT_FRAMES
) -> np.ndarray:
    """Frames (T,) bool where an error has grown slowly and stays grown.

    The running median over ``frames`` exceeds ``ratio`` times its best fifth, and that fifth by ``rise``, for at least
    ``frames`` frames; and it came there gradually: on the way, it was well above the best for a good part of the time.

    Args:
        error: (T,) any unit; frames that are not ``judged`` are passed over.
        judged: (T,) bool.
        ratio: see above.
        rise: in the unit of ``error``.
        frames: length of the running median, and of the shortest drift.
    """
    out = np.zeros(len(error), bool)
    known = np.flatnonzero(judged)
    if len(known) < 3 * frames:
        return out
    filled = np.interp(np.arange(len(error)), known, error[known])
    smooth = median_filter(filled, frames, mode="nearest")
    best = float(np.percentile(smooth[known], 20))
    raised = smooth > max(ratio * best, best + rise)
    limit = max(ratio * best, best + rise)
    for first, end in runs(raised):
        if end - first < frames:
            continue
        before = smooth[max(0, first - frames) : first]
        gradual = len(before) > 0 and np.mean(before > best + 0.3 * (limit - best)) > 0.4
        if gradual:
            out[first:end] = True
    return out & judged
