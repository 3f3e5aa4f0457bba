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


def shots_between(cuts: Sequence[int], times: Sequence[float], end_s: float, fps: float = 25.0) -> list[list[float]]:
    """Shots [[start_s, end_s], ...] of a video whose frame i was shown from times[i], without the frames at cuts.

    Args:
        cuts: numbers of the frames that begin a shot, rising, without 0.
        times: (N,) seconds of the frames given to the detectors, rising.
        end_s: when the last frame stops being shown.
        fps: rate by which the guard at a cut is measured.
    """
    edges = [times[0], *(times[c] for c in cuts), end_s]
    guard = _GUARD_FRAMES / fps
    shots = []
    for i, (low, high) in enumerate(zip(edges, edges[1:], strict=False)):
        start = low + (guard if i > 0 else 0.0)
        end = high - (guard if i < len(edges) - 2 else 0.0)
        if end > start:
            shots.append([start, end])
    return shots
