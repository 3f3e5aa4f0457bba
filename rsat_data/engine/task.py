"""What an engine is handed and what it gives back. Everything here is JSON-able: nothing is pickled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Task:
    """One run of one stage over one unit."""

    task_id: str
    """Unique in the run."""
    stage: str
    """Where the stage is declared: ``package.module:ATTRIBUTE``."""
    config: Mapping[str, Any]
    """The stage's config as a mapping; the worker rebuilds the dataclass."""
    source: str
    """The source file, as hex of its path's bytes (a path need not be text)."""
    unit: Mapping[str, Any]
    """The unit as the stage sees it."""
    inputs: Mapping[str, str]
    """Stage name -> artefact folder."""
    out: str
    """Folder to write in; exists and is empty."""
    models: Mapping[str, str]
    """Model file name -> path."""
    members: Sequence[Mapping[str, Any]] = ()
    """For a stage over the dataset: unit, inputs and metadata of every clip."""
    parts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """For a stage over clips: name of a stage over the dataset -> the clip's part of its result."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Sidecar fields for the stage."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Provenance for stages that write rows."""
    state: str = ""
    """Folder that outlives an interrupted run; empty for none."""
    device: str = "auto"
    """Device for tensors."""
    threads: int = 1
    """Threads the stage may use."""
    priority: int = 0
    """Higher runs first."""
    timeout_s: float = 3600.0
    """Wall clock limit."""
    memory_gb: float = 1.5
    """Expected peak memory."""


@dataclass(frozen=True)
class TaskError:
    """A failure, as data."""

    error: str
    """Class name."""
    message: str
    hint: str = ""
    source_fault: bool = False
    """The error is a :class:`rsat_data.errors.SourceError`: the input's fault, the same at every attempt."""
    disk_full: bool = False
    """No space was left: the whole build must stop."""
    trace: str = ""
    """Traceback text."""
    stderr_tail: str = ""
    """Last lines of the worker's standard error."""


@dataclass(frozen=True)
class Outcome:
    """The end of a task: a summary, or an error."""

    task: Task
    seconds: float
    """Wall clock in the worker."""
    cpu_seconds: float
    """Processor time in the worker, all threads."""
    summary: Mapping[str, Any] | None = None
    """What the stage returned; None when it failed."""
    error: TaskError | None = None
