"""Codes of any rate, with gaps, to the dataset's 25 frames a second: rotations on the sphere, the rest linearly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rsat_data.dialects.track import FRAME_CODES, ROTATIONS, Track
from rsat_data.errors import UnsupportedSource

FPS = 25.0
_MAX_FRAMES = 2_000_000


@dataclass(frozen=True)
class Grid:
    """Where the dataset's frames lie among a track's own."""

    before: np.ndarray
    """(N,) the track's frame at or before each."""
    after: np.ndarray
    """(N,) the one after; the same at the end."""
    share: np.ndarray
    """(N,) how far between the two, in [0, 1)."""
    bridged: np.ndarray
    """(N,) whether frames are missing between the two."""

    @property
    def nearest(self) -> np.ndarray:
        """(N,) the track's frame nearest in time: its picture is shown."""
        return np.where(self.share < 0.5, self.before, self.after)

    @property
    def exact(self) -> bool:
        """Whether every frame of the dataset is a frame of the track."""
        return not self.share.any()


def grid_of(track: Track) -> Grid:
    """The 25 Hz grid from the track's first frame to the end of its last.

    Raises:
        UnsupportedSource: the rate cannot be, or the time steps cover an absurd span.
    """
    steps = np.arange(track.num_frames) if track.steps is None else track.steps
    if not 1.0 <= track.fps <= 1000.0:
        raise UnsupportedSource(f"{track.fps:g} frames a second cannot be right.", hint="Give the rate with --fps.")
    count = int(np.floor((steps[-1] - steps[0] + 1) * (FPS / track.fps) + 1e-6))
    if count < 1:
        raise UnsupportedSource(
            f"{track.num_frames} frames at {track.fps:g} a second are shorter than one frame of a dataset, 1/25 s.",
            hint="Leave that sequence out.",
        )
    if count > _MAX_FRAMES:
        raise UnsupportedSource(f"The time steps span {count} frames of 1/25 s, which cannot be right.")
    place = steps[0] + np.arange(count) * (track.fps / FPS)  # in the track's own steps
    before = np.clip(np.searchsorted(steps, place + 1e-9, side="right") - 1, 0, len(steps) - 1)
    after = np.minimum(before + 1, len(steps) - 1)
    gap = steps[after] - steps[before]
    share = np.where(gap > 0, (place - steps[before]) / np.maximum(gap, 1), 0.0)
    share = np.where(share < 1e-6, 0.0, np.minimum(share, 1.0 - 1e-9))
    after = np.where(share > 0, after, before)
    return Grid(before, after, share, (gap > 1) & (share > 0))


def resampled(track: Track, grid: Grid) -> Track:
    """The track at 25 frames a second, without gaps; bridged frames are not valid. Extras stay as they were.

    Where the grid is exact, the codes are the track's own, bit for bit.
    """
    valid = np.ones(track.num_frames, bool) if track.valid is None else track.valid
    codes = {name: _between(getattr(track, name), grid, name in ROTATIONS) for name in FRAME_CODES}
    kept = valid[grid.before] & valid[grid.after] & ~grid.bridged
    return track.replace(**codes, fps=FPS, steps=None, valid=kept)


def _between(code: np.ndarray, grid: Grid, turns: bool) -> np.ndarray:
    first = code[grid.before]
    if grid.exact:
        return first
    from model.fitting.rotations import slerp

    second = code[grid.after]
    if not turns:
        share = grid.share[:, None]
        return ((1.0 - share) * first + share * second).astype(np.float32)
    wide = [part.astype(np.float64).reshape(-1, 3) for part in (first, second)]
    share = np.repeat(grid.share, code.shape[1] // 3)
    mixed = np.where(share[:, None] > 0, slerp(wide[0], wide[1], share), wide[0])
    return mixed.reshape(first.shape).astype(np.float32)
