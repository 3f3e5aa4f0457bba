"""Options of the stage `faces`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FacesConfig:
    """How faces are tracked, cropped and written."""

    crop_size: int = 512
    """Side of the head crop videos in px; even."""
    crop_crf: int = 18
    """x264 rate factor of the head crops: 18 is visually lossless."""
    matte_crf: int = 20
    """x264 rate factor of the mattes."""
    preview_height: int = 360
    """Largest height of the preview in px."""
    preview_crf: int = 28
    """x264 rate factor of the preview."""
    window_factor: float = 2.0
    """Side of the window in which a face is looked for, in lengths of the face."""
    min_confidence: float = 0.5
    """Least score of detector and landmarker, in [0, 1]."""
    min_valid: float = 0.7
    """Share of frames in which each person must have been found; less and the clip is skipped."""
    frontal_yaw_deg: float = 15.0
    """Largest turn of the head to a side in the still image, where such a frame exists."""
    jpeg_quality: int = 95
    """Quality of the still image, 1 to 100."""
