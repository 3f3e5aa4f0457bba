"""Options of the stage `ingest`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class IngestConfig:
    """How a source is cut into clips."""

    min_clip_s: float = 3.0
    """Shortest clip in seconds; less holds no exchange of words."""
    max_clip_s: float = 30.0
    """Longest clip in seconds; a longer span is cut at its quietest moments."""
    min_side_px: int = 64
    """Smallest side of a video that is looked at, in upright px."""
    max_side_px: int = 8192
    """Largest side of a video, in px."""
    max_pixels: int = 40_000_000
    """Largest number of pixels of a frame (8K is 33 million)."""
    min_fps: float = 10.0
    """Lowest frame rate in frames/s; below it lips cannot be followed."""
    max_duration_s: float = 7200.0
    """Longest source in seconds; split longer recordings."""
    scan_fps: float = 5.0
    """How often a second faces are looked for."""
    min_face_px: float = 100.0
    """Smallest face, brows to chin, in source px (median over a span). At 100 px the mouth is some 30 px wide and the
    512 px head crop enlarges the picture about twice; below that lips can no longer be read."""
    background_ratio: float = 0.4
    """A face narrower than this share of the largest one at the same time is background (audience, a picture)."""
    max_miss_s: float = 1.0
    """A face that is not found for longer than this has left."""
    min_track_s: float = 0.5
    """A face seen for less than this is an accident and does not count."""
    min_face_score: float = 0.5
    """Least score of the face detector, in [0, 1]."""
    cut_threshold: float = 27.0
    """Mean change of hue, saturation and lightness (0 to 255) that is a cut in any case."""
    cut_ratio: float = 3.0
    """Change in relation to the frames around it that makes a cut of a smaller change."""
    min_cut_change: float = 18.0
    """Least change for such a relative cut."""
    max_missing_frames: float = 2.0
    """How many frames may be missing at the end or at damage before a source counts as truncated."""
    channel_difference: float = 0.05
    """Energy of the difference of two channels, as a share of their energy, from which they are kept apart."""
