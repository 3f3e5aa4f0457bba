"""Which frames of a row say most about how good it is, and why."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rsat_data.preview.paint import runs

MIN_GAP = 3
"""Frames nearer to each other than this, or than a fiftieth of the clip, show the same thing: they share a cell."""


@dataclass(frozen=True)
class Tracks:
    """What is known of every one of T frames; NaN, or None as a whole, where it is not."""

    valid: npt.NDArray[np.bool_]
    """(T,)."""
    reasons: tuple[str, ...]
    """(T,) why a frame is invalid; empty for valid frames and where nothing is known."""
    reprojection_px: np.ndarray
    """(T,) pixels of the video."""
    confidence: np.ndarray | None
    """(T,) in [0, 1]."""
    photometric: np.ndarray | None
    """(T,)."""
    speaking: npt.NDArray[np.bool_]
    """(T,)."""
    mouth: np.ndarray
    """(T,) how far the mouth is open, as a share of the distance between the eyes' outer corners."""
    lids: np.ndarray
    """(T,) how far the eyes are open, likewise."""
    turn_deg: np.ndarray
    """(T,) angle between where the face points and the way to the camera."""
    gaze_deg: np.ndarray
    """(T,) angle between gaze and face; NaN where the eyes are shut."""
    expression: np.ndarray
    """(T,) length of the expression code."""
    motion_mm: np.ndarray
    """(T,) mean distance that landmarks moved since the frame before."""


@dataclass(frozen=True)
class Telling:
    """One frame of a contact sheet."""

    frame: int
    reasons: tuple[str, ...]
    """Why it was chosen, shortest words."""


def choose(tracks: Tracks, count: int = 12) -> list[Telling]:
    """At most ``count`` telling frames in the order of time.

    First come the ends, one frame of every kind of invalid span (the longest first, at most three) and the extremes of
    the valid frames; what room is left goes to frames spread over the clip. A frame that is telling for several
    reasons, or a neighbour of it, is shown once, with all of them.
    """
    num = len(tracks.valid)
    picked: dict[int, list[str]] = {}
    gap = max(MIN_GAP, num // 50)

    def add(frame: int, reason: str, momentary: bool = False) -> None:
        # Lips and lids open and close within a few frames: only the very next ones show the same.
        near = [other for other in picked if abs(other - frame) < (2 if momentary else gap)]
        if reason.startswith("invalid"):  # a neighbour would not show what is wrong
            near = [other for other in near if not tracks.valid[other]]
        if near:
            picked[min(near, key=lambda other: abs(other - frame))].append(reason)
        elif len(picked) < count:
            picked[frame] = [reason]

    add(0, "first")
    if num > 1:
        add(num - 1, "last")
    for frame, reason in _invalid(tracks)[:3]:
        add(frame, reason)
    usable = tracks.valid if tracks.valid.any() else np.ones(num, bool)

    def extreme(
        values: np.ndarray | None, words: str, *, lowest: bool = False, floor: float = -np.inf, momentary: bool = False
    ) -> None:
        if values is None:
            return
        held = np.where(usable & np.isfinite(values), values, np.nan)
        if not np.isfinite(held).any():
            return
        frame = int(np.nanargmin(held) if lowest else np.nanargmax(held))
        if lowest or held[frame] > floor:
            add(frame, words.format(held[frame]), momentary)

    extreme(tracks.mouth, "mouth widest", floor=0.0, momentary=True)
    extreme(tracks.lids, "eyes closed", lowest=True, momentary=True)
    extreme(tracks.reprojection_px, "worst reprojection {:.1f} px")
    extreme(tracks.turn_deg, "most turned {:.0f}\u00b0")
    extreme(tracks.confidence, "least confident {:.2f}", lowest=True)
    extreme(tracks.photometric, "worst photometric")
    extreme(tracks.gaze_deg, "eyes aside {:.0f}\u00b0")
    extreme(tracks.motion_mm, "fastest {:.0f} mm/frame")
    extreme(tracks.expression, "strongest expression")
    typical = tracks.reprojection_px[usable]
    if np.isfinite(typical).any():
        extreme(-np.abs(tracks.reprojection_px - np.nanmedian(typical)), "typical")
    while len(picked) < min(count, num):
        away = np.abs(np.arange(num)[:, None] - np.array(sorted(picked))).min(axis=1)
        if away.max() < gap:
            break
        add(int(away.argmax()), "between")
    return [Telling(frame, tuple(dict.fromkeys(picked[frame]))) for frame in sorted(picked)]


def _invalid(tracks: Tracks) -> list[tuple[int, str]]:
    """The middle of the longest invalid span of every reason, longest first."""
    spans: dict[str, tuple[int, int]] = {}
    for span in runs(~tracks.valid):
        names = np.array([tracks.reasons[frame] for frame in range(span.start, span.stop)])
        for name in dict.fromkeys(names.tolist()):
            for run in runs(names == name):
                length, middle = run.stop - run.start, span.start + (run.start + run.stop - 1) // 2
                if length > spans.get(name, (0, 0))[0]:
                    spans[name] = (length, middle)
    ordered = sorted(spans.items(), key=lambda item: (-item[1][0], item[1][1]))
    return [(middle, f"invalid: {name}" if name else "invalid") for name, (_, middle) in ordered]
