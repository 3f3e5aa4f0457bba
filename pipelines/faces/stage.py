"""Declaration of the stage `faces`; cheap to import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.stage import Resources, Stage, StageContext


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


def run(context: StageContext, config: FacesConfig) -> Mapping[str, Any]:
    """See `pipelines.faces.run.run`."""
    from pipelines.faces.run import run as work

    return work(context, config)


STAGE: Stage[FacesConfig] = Stage(
    name="faces",
    version="1",
    unit="clip",
    config=FacesConfig,
    run=run,
    inputs=("ingest",),
    models=lambda config: ("face_landmarker", "selfie_segmenter"),
    resources=Resources(cpu=1.0, memory_gb=1.5, timeout_s=3600.0),
)
