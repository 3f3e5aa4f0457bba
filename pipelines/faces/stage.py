"""Declaration of the stage `faces`; cheap to import."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.faces.config import FacesConfig
from pipelines.stage import Resources, Stage, StageContext


def run(context: StageContext, config: FacesConfig) -> Mapping[str, Any]:
    """See `pipelines.faces.run.run`."""
    from pipelines.faces.run import run as work

    return work(context, config)


STAGE: Stage[FacesConfig] = Stage(
    name="faces",
    version="2",
    unit="clip",
    config=FacesConfig,
    run=run,
    inputs=("ingest",),
    models=lambda config: ("face_landmarker", "selfie_segmenter"),
    metadata_fields=("recordings",),
    resources=Resources(cpu=1.0, memory_gb=1.5, timeout_s=3600.0),
)
