"""Declaration of the stage `flame`; cheap to import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.fitting.config import FitConfig
from pipelines.stage import Resources, Stage, StageContext


@dataclass(frozen=True)
class FlameConfig(FitConfig):
    """Which head is fitted, through which camera, and all settings of the fit."""

    head: str = "open"
    """The open head that comes with the project, or the path of another head file."""
    focal: float = 1.6
    """Focal length of the source's camera, in units of the longer side of its picture: 35 degrees across."""


def key_material(config: FlameConfig) -> Mapping[str, str]:
    """Codes belong to one head: its name, version and hash."""
    from model.head.file import read_head_file
    from model.head.load import OPEN_HEAD

    _, metadata, sha256 = read_head_file(OPEN_HEAD if config.head == "open" else Path(config.head))
    return {"head": f"{metadata['name']}-{metadata['version']}@{sha256[:12]}"}


def run(context: StageContext, config: FlameConfig) -> Mapping[str, Any]:
    """See `pipelines.flame.run.run`."""
    from pipelines.flame.run import run as work

    return work(context, config)


STAGE: Stage[FlameConfig] = Stage(
    name="flame",
    version="1",
    unit="clip",
    config=FlameConfig,
    run=run,
    inputs=("faces",),
    key_material=key_material,
    resources=Resources(cpu=1.0, memory_gb=1.5, timeout_s=1800.0),
)
