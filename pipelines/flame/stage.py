"""Declaration of the stage `flame`; cheap to import."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.flame.config import FlameConfig
from pipelines.stage import Resources, Stage, StageContext


def key_material(config: FlameConfig) -> Mapping[str, str]:
    """Codes belong to one head: its name, version and hash."""
    from model.head.file import read_head_file
    from model.head.store import head_path

    _, metadata, sha256 = read_head_file(head_path(config.head))
    return {"head": f"{metadata['name']}-{metadata['version']}@{sha256[:12]}"}


def run(context: StageContext, config: FlameConfig) -> Mapping[str, Any]:
    """See `pipelines.flame.run.run`."""
    from pipelines.flame.run import run as work

    return work(context, config)


STAGE: Stage[FlameConfig] = Stage(
    name="flame",
    version="12",
    unit="clip",
    config=FlameConfig,
    run=run,
    inputs=("faces", "subjects"),
    part_fields={"subjects": ("fit",)},
    key_material=key_material,
    # For the profile `full`, which may take a tenth of a second a frame and person; `fast` needs a hundredth of that.
    resources=Resources(cpu=1.0, memory_gb=1.5, timeout_s=7200.0),
)
