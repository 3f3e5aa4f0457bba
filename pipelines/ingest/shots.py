"""Where one shot ends and the next begins: scenedetect's detectors, fed frame by frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scenedetect import AdaptiveDetector, ContentDetector, FrameTimecode

_WINDOW = 4
"""Frames on either side whose change a relative cut is compared with."""
_GUARD_FRAMES = 1
"""Frames taken off at a cut on either side: a cut may be blended into its neighbours."""


class CutFinder:
    """Collects cuts from small frames given one by one.

    Two detectors vote and either is enough: a large change of colour from one frame to the next, or a smaller one that
    stands out from its surroundings (which a moving camera does not).
    """

    def __init__(self, *, threshold: float, ratio: float, min_change: float, fps: float = 25.0) -> None:
        self._fps = fps
        minimum = max(2, round(0.2 * fps))
        self._detectors = (
            ContentDetector(threshold=threshold, min_scene_len=minimum),
            AdaptiveDetector(
                adaptive_threshold=ratio, min_content_val=min_change, min_scene_len=minimum, window_width=_WINDOW
            ),
        )
        self._cuts: set[int] = set()
        self._count = 0

    def add(self, picture: np.ndarray) -> None:
        """Look at the next frame (H, W, 3) uint8 BGR, some 300 px wide."""
        code = FrameTimecode(self._count, self._fps)
        for detector in self._detectors:
            self._cuts.update(int(cut.frame_num) for cut in detector.process_frame(code, picture))
        self._count += 1

    def cuts(self) -> list[int]:
        """Numbers of the frames with which a new shot begins, rising; call once, at the end."""
        if self._count:
            code = FrameTimecode(self._count - 1, self._fps)
            for detector in self._detectors:
                self._cuts.update(int(cut.frame_num) for cut in detector.post_process(code))
        cuts = sorted(c for c in self._cuts if 0 < c < self._count)
        # The detectors may place one cut a frame apart.
        return [c for i, c in enumerate(cuts) if i == 0 or c - cuts[i - 1] > 2]


def shots_between(
    cuts: Sequence[int], times: Sequence[float], end_s: float, fps: float = 25.0, max_hold_s: float = 0.5
) -> list[list[float]]:
    """Shots [[start_s, end_s], ...] of a video whose frame i was shown from times[i].

    The frames next to a cut are left out, and a shot ends where a picture stands still for longer than ``max_hold_s``
    because no new frame comes (a stalled recording): nobody's face can be followed through that.

    Args:
        cuts: numbers of the frames that begin a shot, rising, without 0.
        times: (N,) seconds of the frames given to the detectors, rising.
        end_s: when the last frame stops being shown.
        fps: rate by which the guard at a cut is measured.
        max_hold_s: longest time without a new frame.
    """
    guard = _GUARD_FRAMES / fps
    stalls = {i for i in range(1, len(times)) if times[i] - times[i - 1] > max_hold_s}
    edges = sorted({0, len(times), *cuts, *stalls})
    shots = []
    for first, after in zip(edges, edges[1:], strict=False):
        start = times[first] + (guard if first in cuts else 0.0)
        if after == len(times):
            end = end_s
        else:
            end = times[after - 1] + 1.0 / fps if after in stalls else times[after] - guard
        if end > start:
            shots.append([start, end])
    return shots
