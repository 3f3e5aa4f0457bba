"""Faces through time within one shot, from looks a fraction of a second apart. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pipelines.faces.boxes import assign, motion_cost
from pipelines.faces.tracking import appearance_distance

_MAX_COST = 1.5
"""Largest `motion_cost` between two looks at one face: for example a shift by one and a half face widths."""
_OTHER = 0.35
"""Appearance distance from which a face at the same place is somebody else's: a cut that was not noticed."""
_APPEARANCE_WEIGHT = 2.0
_BEHIND = 0.65
"""Width, as a share of the second widest face of the time, below which a third face is background."""


@dataclass(frozen=True)
class Look:
    """The faces found at one moment."""

    time: float
    """Seconds on the source's timeline."""
    boxes: np.ndarray
    """(N, 4) float64 x, y, width, height in source px."""
    checks: np.ndarray | None = None
    """(N,) bool, whether the landmarker too saw a face there; None where it was not asked."""
    appearances: np.ndarray | None = None
    """(N, 512) histograms by `pipelines.faces.tracking.appearance`; None: faces are told apart by place alone."""


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
    looks: np.ndarray | None = None
    """(512,) mean colour histogram of the last looks."""

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
    """Join the faces of successive looks to tracks by least total motion and change of appearance.

    A track ends when missed for too long, or where its face becomes another one: who is at the same place after a cut
    that was not noticed begins a track of their own.

    Args:
        looks: in order of time, of one shot.
        max_miss_s: how long a face may be missing and still be taken for the same.

    Returns:
        All tracks in the order of their beginning.
    """
    tracks: list[Track] = []
    for look in looks:
        live = [t for t in tracks if look.time - t.end <= max_miss_s + 1e-6]
        cost = motion_cost(np.array([t.boxes[-1] for t in live]).reshape(-1, 4), look.boxes)
        far = cost > _MAX_COST
        if look.appearances is not None:
            change = _changes(live, look.appearances)
            cost = np.where(far | (change > _OTHER), np.inf, cost + _APPEARANCE_WEIGHT * change)
        pairs = assign(cost, _MAX_COST + _APPEARANCE_WEIGHT * _OTHER if look.appearances is not None else _MAX_COST)
        matched = {column: live[row] for row, column in pairs}
        for column, box in enumerate(look.boxes):
            track = matched.get(column)
            if track is None:
                track = Track()
                tracks.append(track)
            track.times.append(look.time)
            track.boxes.append(box)
            if look.appearances is not None:
                seen = look.appearances[column]
                track.looks = seen if track.looks is None else 0.7 * track.looks + 0.3 * seen
            if look.checks is not None:
                track.asked += 1
                track.agreed += bool(look.checks[column])
    return tracks


def _changes(tracks: Sequence[Track], appearances: np.ndarray) -> np.ndarray:
    """Appearance distance (N, M) of tracks and faces; 0 to a track of which none is known."""
    return np.array(
        [[0.0 if t.looks is None else appearance_distance(t.looks, seen) for seen in appearances] for t in tracks]
    ).reshape(len(tracks), len(appearances))


def real_faces(tracks: Sequence[Track], *, min_track_s: float, background_ratio: float) -> list[Track]:
    """Tracks that count: long enough, confirmed where the landmarker was asked, and not background.

    Background is a face narrower than ``background_ratio`` of the widest that is seen at the same time, or, beside two
    wider ones, narrower than 0.65 of the second of them: the two in front talk, who sits behind them listens.
    """
    lasting = [t for t in tracks if t.end - t.start >= min_track_s and (t.agreed > 0 or t.asked == 0)]
    front = []
    for track in lasting:
        widths = sorted((o.width for o in lasting if o.start <= track.end and track.start <= o.end), reverse=True)
        third = len(widths) > 2 and track.width < _BEHIND * widths[1]
        if track.width >= background_ratio * widths[0] and not third:
            front.append(track)
    return front
