"""The stage contract: what a stage declares, what it is handed, what it may do.

A stage is a frozen config dataclass, a pure function and a declaration. It reads only ``StageContext.source`` and the
folders in ``StageContext.inputs``, writes only into ``StageContext.out``, and returns a small JSON-able summary. Where
and how often it runs, and what is cached, is none of its business.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

ConfigT = TypeVar("ConfigT")

UnitKind = Literal["source", "clip", "dataset", "subject"]

#: What a stage over the whole dataset leaves for its readers: {clip_id: {field: JSON-able value}}.
PARTS_FILE = "parts.json"


@dataclass(frozen=True)
class Resources:
    """What one unit of a stage needs while it runs."""

    cpu: float = 1.0
    """CPU cores."""
    gpu: float = 0.0
    """Share of one GPU; 0 for none."""
    memory_gb: float = 1.5
    """Peak memory of the process in GB, models included."""
    timeout_s: float = 3600.0
    """Wall clock after which a unit is stopped and quarantined."""


@dataclass(frozen=True)
class Member:
    """One clip, as a stage over the whole dataset sees it."""

    unit: Mapping[str, Any]
    """The clip: as ``StageContext.unit`` of a stage over clips."""
    inputs: Mapping[str, Path]
    """Finished artefact folders of the clip for every stage named in ``Stage.inputs``. Read-only."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """What the user said about the clip's source, cut down to ``Stage.metadata_fields``."""


@dataclass(frozen=True)
class StageContext:
    """Everything a stage may look at for one unit of work."""

    source: Path
    """The video file. Its bytes are those whose sha256 is ``unit["sha256"]``. Empty for a whole dataset; the folder of
    the published dataset for a subject."""
    unit: Mapping[str, Any]
    """source_id, sha256, name; for a clip also clip_id, start_s, end_s, num_frames, index, num_faces, boxes."""
    inputs: Mapping[str, Path]
    """Finished artefact folder of every stage named in ``Stage.inputs``. Read-only."""
    out: Path
    """An empty folder of this unit's own. Published by a rename when the stage returns."""
    model: Callable[[str], Path]
    """Path of a verified model file, by its name in the registry; must be one the stage declared."""
    available: Collection[str] = ()
    """Names of the model files that ``model`` can give."""
    members: Sequence[Member] = ()
    """For a stage over the whole dataset: every clip that has all its inputs, ordered by clip_id."""
    parts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """For a stage over clips that reads one over the dataset: that stage's name -> this clip's part of its result, cut
    down to ``Stage.part_fields``."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """What the user said about the source (its sidecar), cut down to ``Stage.metadata_fields``."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """version, config_hash and model_hashes of the whole build; only for stages that write rows."""
    state: Path | None = None
    """A folder that outlives an interrupted run: what a long stage keeps here it finds again at the next attempt at the
    same unit. None where the stage's unit has none."""
    device: str = "auto"
    """Where tensors are to be computed, for stages that can choose: auto, cpu, cuda or cuda:N."""
    threads: int = 1
    """How many threads the stage may keep busy."""
    progress: Callable[[float], None] = lambda fraction: None
    """Call with the done share in [0, 1]; cheap enough to call for every frame."""


@dataclass(frozen=True)
class Stage(Generic[ConfigT]):
    """Declaration of a stage. Importing the module that holds one must stay cheap: heavy imports go inside ``run``."""

    name: str
    """Short name; also the config section and the folder name."""
    version: str
    """Raised whenever the same inputs would give other results."""
    unit: UnitKind
    """What one run covers: a whole source, one clip of it, all clips of the dataset together, or the rows of one
    subject of a published dataset (such a stage is no part of the line; rsat_data.avatars runs it).

    A stage over the dataset runs once every clip that can has its inputs; clips in quarantine hold up nobody. It writes
    ``PARTS_FILE``, and a stage over clips that names it among its inputs is handed its own clip's part alone: so a part
    that stays the same re-runs nothing, whatever became of the others.
    """
    config: type[ConfigT]
    """Frozen dataclass with defaults for every field."""
    run: Callable[[StageContext, ConfigT], Mapping[str, Any]]
    """The work. Returns a small JSON-able summary."""
    inputs: tuple[str, ...] = ()
    """Names of the stages whose artefacts it reads."""
    models: Callable[[ConfigT], tuple[str, ...]] = lambda config: ()
    """Names of the model files it needs under a config. Their hashes go into the content key."""
    optional_models: Callable[[ConfigT], tuple[str, ...]] = lambda config: ()
    """Names of model files it uses where they can be had; ``StageContext.available`` says which were."""
    options_of: str | None = None
    """Another stage, whose options of the same name hold here too, so that the two cannot contradict each other."""
    key_material: Callable[[ConfigT], Mapping[str, str]] = lambda config: {}
    """Anything else that decides the result: chosen backend and its version, head model id, ..."""
    part_fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """For every stage over the dataset among the inputs: the fields of the clip's part this stage reads; only these
    enter its content key."""
    metadata_fields: tuple[str, ...] = ()
    """Fields of the sidecar this stage reads; only these enter its content key."""
    resources: Resources = field(default_factory=Resources)
    """What a run needs."""
