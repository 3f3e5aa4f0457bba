"""Pictures of a head crop, span by span, from the artefacts of the stage `faces`; decoded forwards, never kept."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np

from pipelines.ingest.media import iter_frames


class Frames:
    """Spans of a video's frames, as ``model.photometric.refine.refine`` asks for them.

    Spans with growing starts are read in one pass, overlaps included; a span before the last one starts a new pass.
    Only the frames of the last span are held.

    Args:
        path: a video of the stage `faces`.
        num_frames: T, how many frames it has.
        grey: give the first channel alone, (n, H, W) instead of (n, H, W, 3).
    """

    def __init__(self, path: Path, num_frames: int, *, grey: bool = False) -> None:
        self._path, self._num, self._grey = path, num_frames, grey
        self._source: Iterator[np.ndarray] | None = None
        self._held: list[np.ndarray] = []
        self._first = 0

    def __call__(self, start: int, stop: int) -> np.ndarray:
        """Frames start <= t < stop, uint8.

        Raises:
            IndexError: the span reaches beyond the video.
            UnreadableSource: the video cannot be decoded.
        """
        if not 0 <= start < stop <= self._num:
            raise IndexError(f"{self._path.name} has {self._num} frames, {start} to {stop} were asked for")
        if self._source is None or start < self._first:
            self._source, self._held, self._first = iter_frames(self._path, 0.0, self._num), [], 0
        while self._first < start and self._held:
            self._held.pop(0)
            self._first += 1
        while self._first < start:
            next(self._source)
            self._first += 1
        while len(self._held) < stop - start:
            frame = next(self._source)
            self._held.append(np.ascontiguousarray(frame[..., 0]) if self._grey else frame)
        if self._first + len(self._held) == self._num and isinstance(self._source, Generator):
            self._source.close()  # the file is not held open between passes
        return np.stack(self._held[: stop - start])
