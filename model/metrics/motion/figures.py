"""A figure, or why there is none; and which frames count."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

FPS = 25.0
"""Frames a second of every motion."""
MIN_FRAMES = 10
"""Fewer frames (0.4 s) have no mean or spread worth the name."""


class NoFigure(ValueError):  # noqa: N818 - it is an answer, not a failure
    """A metric is not defined on what it was given; the message says why, in a few words."""


@dataclass(frozen=True)
class Figure:
    """What a metric says of one person in one conversation."""

    value: float | None
    """The figure; None where it is not defined."""
    weight: float = 1.0
    """Its share in a mean over conversations: 1, or what it counts in (events, minutes)."""
    reason: str = ""
    """Why there is no value."""


def chosen(*motions: Floats, mask: Bools | None, least: int = MIN_FRAMES) -> list[Floats]:
    """The frames that count, of one or several motions (T, d) of the same length, as float64.

    Raises:
        NoFigure: there are fewer than ``least``.
        ValueError: the motions differ in length, or values of chosen frames are not finite.
    """
    lengths = {len(motion) for motion in motions} | ({len(mask)} if mask is not None else set())
    if len(lengths) != 1:
        raise ValueError(f"Motions and mask have different numbers of frames: {sorted(lengths)}")
    picked = [np.asarray(motion if mask is None else motion[mask], np.float64) for motion in motions]
    if len(picked[0]) < least:
        raise NoFigure(f"{len(picked[0])} frames, {least} needed")
    if not all(np.isfinite(one).all() for one in picked):
        raise ValueError("A motion holds values that are not finite in frames that count")
    return picked


def neighbours(mask: Bools) -> Bools:
    """(T - 1,) whether frame t and t + 1 both count: where a velocity exists."""
    both: Bools = mask[1:] & mask[:-1]
    return both


def runs(flags: Bools) -> list[tuple[int, int]]:
    """[start, stop) of every run of True."""
    edges = np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8))
    starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return [(int(start), int(stop)) for start, stop in zip(starts, stops, strict=True)]
