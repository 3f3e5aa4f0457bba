"""Declaration of the stage ``avatar``: one subject of a published dataset in, Gaussians bound to its head out.

Artefacts: ``avatar.ply`` and ``avatar.json`` (and ``avatar.npz`` for an avatar with offsets), see model.avatar.files;
``preview.png``. It is no part of the line, because it reads the published dataset; rsat_data.avatars runs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model.avatar.config import AvatarConfig
from pipelines.stage import Resources, Stage, StageContext


def _run(ctx: StageContext, config: AvatarConfig) -> Mapping[str, Any]:
    from pipelines.avatar.run import run

    return run(ctx, config)


STAGE: Stage[AvatarConfig] = Stage(
    name="avatar",
    version="2",
    unit="subject",
    config=AvatarConfig,
    run=_run,
    resources=Resources(memory_gb=2.0),
)
