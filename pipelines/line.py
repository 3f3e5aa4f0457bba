"""The line: which stages there are, in order. Importing this imports no stage."""

from __future__ import annotations

import importlib
from typing import Any

from pipelines.stage import Stage

#: Stage name -> where its declaration lies. A stage comes after all its inputs.
LINE: dict[str, str] = {
    "ingest": "pipelines.ingest.stage:STAGE",
    "faces": "pipelines.faces.stage:STAGE",
    "speech": "pipelines.speech.stage:STAGE",
    "shape": "pipelines.shape.stage:STAGE",
    "subjects": "pipelines.subjects.stage:STAGE",
    "flame": "pipelines.flame.stage:STAGE",
    "assemble": "pipelines.assemble.stage:STAGE",
}


def load_stage(address: str) -> Stage[Any]:
    """Import one stage declaration by its address ``package.module:ATTRIBUTE``."""
    module, attribute = address.split(":")
    stage = getattr(importlib.import_module(module), attribute)
    assert isinstance(stage, Stage), address
    return stage


def load_line() -> dict[str, Stage[Any]]:
    """All declarations, in order, keyed by stage name."""
    return {name: load_stage(address) for name, address in LINE.items()}
