"""Planning: from a source and what is finished to the tasks that have become possible.

Pure bookkeeping over content keys; the engine runs what comes out, the workspace remembers what was done.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.stage import PARTS_FILE, Stage, UnitKind
from rsat_data.config import as_mapping
from rsat_data.content import clip_id, content_hash, file_sha256, source_id, stage_key
from rsat_data.engine.task import Task
from rsat_data.errors import StageError
from rsat_data.sources import SourceFile
from rsat_data.workspace import Workspace

#: What stands for the name of a source where a unit covers all of them.
ALL_CLIPS = "(all clips)"


@dataclass(frozen=True)
class Recipe:
    """What is run: stages in order, their configs, their model files."""

    addresses: Mapping[str, str]
    """Stage name -> import address."""
    stages: Mapping[str, Stage[Any]]
    """Stage name -> declaration, in order."""
    configs: Mapping[str, Any]
    """Stage name -> config dataclass."""
    model_paths: Mapping[str, Path]
    """Model file name -> verified path."""
    model_hashes: Mapping[str, str]
    """Model file name -> sha256."""
    tool_version: str
    """Version of this program."""

    def provenance(self) -> dict[str, Any]:
        """version, config_hash and model_hashes, as stored in every row."""
        configs = {name: as_mapping(self.configs[name]) for name in self.stages}
        return {
            "version": self.tool_version,
            "config_hash": content_hash(configs, length=16),
            "model_hashes": dict(sorted(self.model_hashes.items())),
        }

    def models_of(self, stage: Stage[Any]) -> list[str]:
        """Names of the model files a stage is handed: all it needs, and of the others those that could be had."""
        config = self.configs[stage.name]
        return [*stage.models(config), *(n for n in stage.optional_models(config) if n in self.model_paths)]

    def of_unit(self, kind: str) -> list[str]:
        """Names of the stages that run on sources, on clips, or on the dataset."""
        return [name for name, stage in self.stages.items() if stage.unit == kind]


@dataclass
class Unit:
    """One source, one clip of it, or all clips together, on their way through the line."""

    source: SourceFile
    identity: dict[str, Any]
    """What of the unit enters its content keys."""
    fields: dict[str, Any]
    """The unit as stages see it."""
    kind: UnitKind = "source"
    """What it covers."""
    keys: dict[str, str] = field(default_factory=dict)
    """Stage name -> content key, for stages that are done."""
    started: set[str] = field(default_factory=set)
    """Stages done, queued, running or failed."""
    parts: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """Of a clip: stage over the dataset -> this clip's part of its result."""
    members: Sequence[Unit] = ()
    """Of a dataset: its clips, ordered by clip_id."""
    failed: bool = False

    @property
    def duration_s(self) -> float:
        """Length of a clip in seconds; 0 for a source."""
        return float(self.fields["end_s"] - self.fields["start_s"]) if "end_s" in self.fields else 0.0


def source_unit(source: SourceFile, sha256: str) -> Unit:
    """The unit of a whole source."""
    return Unit(
        source,
        {"sha256": sha256},
        {"source_id": source_id(sha256), "sha256": sha256, "name": source.name, "clip_id": ""},
    )


def clip_units(parent: Unit, summary: Mapping[str, Any]) -> Iterator[Unit]:
    """The clips that ingest found in a source."""
    sha256 = parent.fields["sha256"]
    for index, clip in enumerate(summary.get("clips", [])):
        start_s, end_s = float(clip["start_s"]), float(clip["end_s"])
        identity = {"sha256": sha256, "start_s": start_s, "end_s": end_s}
        fields = {**clip, **{key: parent.fields[key] for key in ("source_id", "sha256", "name")}}
        fields |= {"clip_id": clip_id(sha256, start_s, end_s), "index": index, "start_s": start_s, "end_s": end_s}
        yield Unit(parent.source, identity, fields, kind="clip", keys=dict(parent.keys))


def dataset_unit(stage: Stage[Any], clips: Iterable[Unit]) -> Unit:
    """The unit of a stage over the dataset: all clips that have its inputs. Which they are, it does not matter when."""
    members = sorted(
        (clip for clip in clips if all(name in clip.keys for name in stage.inputs)),
        key=lambda clip: str(clip.fields["clip_id"]),
    )
    identity = {
        "members": [
            {
                "unit": clip.identity,
                "inputs": {name: clip.keys[name] for name in stage.inputs},
                "metadata": stage_metadata(clip, stage),
            }
            for clip in members
        ]
    }
    fields = {"source_id": "", "sha256": "", "name": ALL_CLIPS, "clip_id": ""}
    return Unit(SourceFile(Path(), ALL_CLIPS), identity, fields, kind="dataset", members=members)


def read_parts(folder: Path) -> dict[str, dict[str, Any]]:
    """clip_id -> part, as a stage over the dataset left them.

    Raises:
        StageError: the file is missing or is no such mapping.
    """
    path = folder / PARTS_FILE
    try:
        parts = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(parts, dict) or not all(isinstance(part, dict) for part in parts.values()):
            raise ValueError("it does not hold a part a clip")
    except (OSError, ValueError) as error:
        raise StageError(
            f"{path} cannot be read: {error}.", hint=f"Remove {folder} and run the same command again.", path=path
        ) from error
    return parts


def own_part(unit: Unit, stage: Stage[Any], name: str) -> dict[str, Any]:
    """What ``stage`` reads of the unit's part of the result of the stage ``name``."""
    return {key: unit.parts[name].get(key) for key in stage.part_fields.get(name, ())}


def input_key(unit: Unit, stage: Stage[Any], name: str) -> str:
    """What identifies the input ``name``: its content key, or the hash of what is read of the unit's own part."""
    return content_hash(own_part(unit, stage, name)) if name in unit.parts else unit.keys[name]


def unit_key(recipe: Recipe, unit: Unit, stage: Stage[Any]) -> str:
    """Content key of ``stage`` on ``unit``; all its inputs must be done."""
    config = recipe.configs[stage.name]
    material = dict(stage.key_material(config))
    metadata = stage_metadata(unit, stage)
    if "audio" in metadata:  # a path says nothing about the sound in the file
        metadata = {**metadata, "audio": {who: file_sha256(Path(path)) for who, path in metadata["audio"].items()}}
    if "recordings" in metadata:  # their content is in the unit's sha256 already
        given = {who: own["offset_s"] for who, own in metadata["recordings"].items()}
        metadata = {**metadata, "recordings": given}
    if "provenance" in stage.metadata_fields:
        material["provenance"] = content_hash(recipe.provenance())
    return stage_key(
        stage=stage.name,
        version=stage.version,
        config=as_mapping(config),
        unit=unit.identity,
        inputs={} if unit.kind == "dataset" else {name: input_key(unit, stage, name) for name in stage.inputs},
        models={name: recipe.model_hashes[name] for name in recipe.models_of(stage)},
        metadata=metadata,
        material=material,
    )


def stage_metadata(unit: Unit, stage: Stage[Any]) -> dict[str, Any]:
    """The sidecar fields that ``stage`` declares."""
    return {key: value for key, value in unit.source.metadata.items() if key in stage.metadata_fields}


def ready_stages(recipe: Recipe, unit: Unit) -> list[Stage[Any]]:
    """Stages of this unit, a source or a clip, whose inputs are done and which were not started."""
    return [
        recipe.stages[name]
        for name in recipe.of_unit(unit.kind)
        if name not in unit.started and all(needed in unit.keys for needed in recipe.stages[name].inputs)
    ]


def make_task(recipe: Recipe, workspace: Workspace, unit: Unit, stage: Stage[Any], key: str) -> Task:
    """The task that computes ``stage`` on ``unit``, with an empty folder to write in."""
    config = recipe.configs[stage.name]
    return Task(
        task_id=f"{stage.name}-{key}",
        stage=recipe.addresses[stage.name],
        config=as_mapping(config),
        source=os.fsencode(unit.source.path).hex(),
        unit=unit.fields,
        inputs={} if unit.kind == "dataset" else _folders(workspace, unit, stage),
        members=[
            {
                "unit": clip.fields,
                "inputs": _folders(workspace, clip, stage),
                "metadata": stage_metadata(clip, stage),
            }
            for clip in unit.members
        ],
        parts={name: own_part(unit, stage, name) for name in stage.inputs if name in unit.parts},
        out=str(workspace.open_unit(stage.name, key)),
        models={name: str(recipe.model_paths[name]) for name in recipe.models_of(stage)},
        metadata=stage_metadata(unit, stage),
        provenance=recipe.provenance() if "provenance" in stage.metadata_fields else {},
        priority=list(recipe.stages).index(stage.name),
        timeout_s=stage.resources.timeout_s,
        memory_gb=stage.resources.memory_gb,
    )


def _folders(workspace: Workspace, unit: Unit, stage: Stage[Any]) -> dict[str, str]:
    """Stage name -> folder of the artefacts that a unit's own stages left."""
    names = [name for name in stage.inputs if name not in unit.parts]
    return {name: str(workspace.unit_dir(name, unit.keys[name])) for name in names}


def record_of(unit: Unit, seconds: float, cpu_seconds: float, summary: Mapping[str, Any]) -> dict[str, Any]:
    """What done.json keeps beside the files."""
    return {
        "unit": {key: unit.fields[key] for key in ("source_id", "clip_id", "sha256")}
        | ({"num_clips": len(unit.members)} if unit.kind == "dataset" else unit.identity),
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu_seconds, 3),
        "summary": dict(summary),
    }
