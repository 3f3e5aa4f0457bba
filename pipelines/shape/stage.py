"""Declaration of the stage `shape`; cheap to import."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.flame.stage import key_material as head_material
from pipelines.shape.config import ShapeConfig
from pipelines.stage import Resources, Stage, StageContext


def key_material(config: ShapeConfig) -> Mapping[str, str]:
    """Evidence belongs to one head: its name, version and hash."""
    from pipelines.flame.config import FlameConfig

    return {"head": head_material(FlameConfig(head=config.head))["head"]}


def optional_models(config: ShapeConfig) -> tuple[str, ...]:
    """The speaker embedding: without it there are no voices, and all else goes on."""
    return ("speaker-embedding",) if config.voice == "auto" else ()


def run(context: StageContext, config: ShapeConfig) -> Mapping[str, Any]:
    """See `pipelines.shape.run.run`."""
    from pipelines.shape.run import run as work

    return work(context, config)


STAGE: Stage[ShapeConfig] = Stage(
    name="shape",
    version="4",
    unit="clip",
    config=ShapeConfig,
    run=run,
    inputs=("faces", "speech"),
    optional_models=optional_models,
    key_material=key_material,
    options_of="flame",
    resources=Resources(cpu=1.0, memory_gb=1.5, timeout_s=1800.0),
)
