"""Faces through time within one shot, from looks a fraction of a second apart. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pipelines.faces.boxes import assign, motion_cost

_MAX_COST = 1.5
"""Largest `motion_cost` between two looks at one face: for example a shift by one and a half face widths."""


@dataclass(frozen=True)
class Look:
    """The faces found at one moment."""

    time: float
    """Seconds on the source's timeline."""
    boxes: np.ndarray
    """(N, 4) float64 x, y, width, height in source px."""
    checks: np.ndarray | None = None
    """(N,) bool, whether the landmarker too saw a face there; None where it was not asked."""


@dataclass
class Track:
    """One face through a shot."""

    times: list[float] = field(default_factory=list)
    """When it was seen, seconds."""
    boxes: list[np.ndarray] = field(default_factory=list)
    """Where, (4,) each, source px."""
    asked: int = 0
    """How often the landmarker was asked."""
    agreed: int = 0
    """How often it agreed."""

    @property
    def start(self) -> float:
        """First time seen."""
        return self.times[0]

    @property
    def end(self) -> float:
        """Last time seen."""
        return self.times[-1]

    @property
    def width(self) -> float:
        """Median width in px."""
        return float(np.median([b[2] for b in self.boxes]))

    def box_between(self, start: float, end: float) -> np.ndarray | None:
        """Median box (4,) over the looks in [start, end]; None where there was none."""
        inside = [b for t, b in zip(self.times, self.boxes, strict=True) if start <= t <= end]
        return np.median(inside, axis=0) if inside else None


def link(looks: Sequence[Look], max_miss_s: float) -> list[Track]:
    """Join the faces of successive looks to tracks by least total motion; a track ends when missed for too long.

    Args:
        looks: in order of time, of one shot.
        max_miss_s: how long a face may be missing and still be taken for the same.

    Returns:
        All tracks in the order of their beginning.
    """
    tracks: list[Track] = []
    for look in looks:
        live = [t for t in tracks if look.time - t.end <= max_miss_s + 1e-6]
        pairs = assign(motion_cost(np.array([t.boxes[-1] for t in live]).reshape(-1, 4), look.boxes), _MAX_COST)
        matched = {column: live[row] for row, column in pairs}
        for column, box in enumerate(look.boxes):
            track = matched.get(column)
            if track is None:
                track = Track()
                tracks.append(track)
            track.times.append(look.time)
            track.boxes.append(box)
            if look.checks is not None:
                track.asked += 1
                track.agreed += bool(look.checks[column])
    return tracks


def real_faces(tracks: Sequence[Track], *, min_track_s: float, background_ratio: float) -> list[Track]:
    """Tracks that count: long enough, confirmed where the landmarker was asked, and not background.

    Background is a face narrower than ``background_ratio`` of the widest that is seen at the same time.
    """
    lasting = [t for t in tracks if t.end - t.start >= min_track_s and (t.agreed > 0 or t.asked == 0)]
    return [
        t
        for t in lasting
        if t.width >= background_ratio * max(o.width for o in lasting if o.start <= t.end and t.start <= o.end)
    ]
