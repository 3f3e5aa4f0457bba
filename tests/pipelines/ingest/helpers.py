"""Running a stage on one file, as the engine does."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
import pytest

from pipelines.stage import Stage, StageContext
from rsat_data.errors import ModelFileError
from rsat_data.registry import model_path


def need_model(name: str) -> Path:
    """A model file, or a skip with the reason."""
    try:
        return model_path(name)
    except ModelFileError as error:
        pytest.skip(f"no model file {name}: {error.message}")


def run_stage(
    stage: Stage[Any],
    source: Path,
    out: Path,
    *,
    unit: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Path] | None = None,
    metadata: Mapping[str, Any] | None = None,
    **config: Any,
) -> Mapping[str, Any]:
    """Run ``stage`` on ``source`` into the new folder ``out``; the rest are fields of its config."""
    out.mkdir(parents=True)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    context = StageContext(
        source=source,
        unit={"sha256": digest, "name": source.name, "source_id": digest[:16], **(unit or {})},
        inputs=inputs or {},
        out=out,
        model=need_model,
        metadata=metadata or {},
    )
    return stage.run(context, stage.config(**config))


def first_seconds(source: Path, target: Path, seconds: float) -> Path:
    """Copy the beginning of a file, packet by packet, without encoding anything anew."""
    with source.open("rb") as read, target.open("wb") as write, av.open(read) as before, av.open(
        write, "w", format="mp4"
    ) as after:
        streams = {s.index: after.add_stream_from_template(s) for s in before.streams if s.type in ("video", "audio")}
        for packet in before.demux(*(before.streams[i] for i in streams)):
            if packet.dts is not None and packet.pts * packet.time_base < seconds - 1e-6:
                packet.stream = streams[packet.stream.index]
                after.mux(packet)
    return target
