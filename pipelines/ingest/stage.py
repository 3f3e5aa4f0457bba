"""Declaration of the stage `ingest`; cheap to import."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.ingest.config import IngestConfig
from pipelines.stage import Resources, Stage, StageContext


def run(context: StageContext, config: IngestConfig) -> Mapping[str, Any]:
    """See `pipelines.ingest.run.run`."""
    from pipelines.ingest.run import run as work

    return work(context, config)


STAGE: Stage[IngestConfig] = Stage(
    name="ingest",
    version="2",
    unit="source",
    config=IngestConfig,
    run=run,
    models=lambda config: ("face_landmarker",),
    metadata_fields=("audio", "recordings"),
    resources=Resources(cpu=1.0, memory_gb=1.5, timeout_s=4 * 3600.0),
)
