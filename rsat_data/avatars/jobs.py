"""Which avatars are wanted, and which of them are there already: content keys, finished units, places to compute."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pipelines.stage import Stage
from rsat_data.avatars.content import row_hash
from rsat_data.avatars.subjects import Subject
from rsat_data.config import as_mapping
from rsat_data.content import stage_key
from rsat_data.errors import HeadMismatch, UsageError
from rsat_data.machine import memory, usable_cores
from rsat_data.reader import Dataset

ADDRESS = "pipelines.avatar.stage:STAGE"
STAGE = "avatar"
#: Files of a finished avatar.
FILES = ("avatar.ply", "avatar.json", "preview.png")


@dataclass(frozen=True)
class Job:
    """One avatar that is wanted."""

    subject: Subject
    contents: Mapping[str, str]
    """row_id -> hash of what the avatar sees of it."""
    key: str
    """Content key."""
    head: str
    """Name under which the head of the codes is loaded here."""

    @property
    def avatar_id(self) -> str:
        """Name of the avatar, made from its content key."""
        return f"avatar_{self.key[:16]}"

    def unit(self) -> dict[str, Any]:
        """The subject as the stage sees it."""
        return {
            "subject_id": self.subject.subject_id,
            "rows": dict(self.contents),
            "head": self.head,
            "head_model": self.subject.head_model,
            "key": self.key,
            "avatar_id": self.avatar_id,
        }


def make_jobs(
    data: Dataset,
    subjects: Sequence[Subject],
    stage: Stage[Any],
    config: Any,
    model_hashes: Mapping[str, str],
    progress: Callable[[float], None] = lambda share: None,
) -> list[Job]:
    """Jobs for the subjects; reads codes and media of their rows once, in the order of the files.

    Raises:
        HeadMismatch: the codes belong to a head that is not on this machine.
    """
    name_of = cache(_head_name)
    owner = {position: subject for subject in subjects for position in subject.positions}
    contents: dict[str, dict[str, str]] = {subject.subject_id: {} for subject in subjects}
    ordered = sorted(owner)
    for done, row in enumerate(data.select(ordered)):
        contents[owner[ordered[done]].subject_id][row["row_id"]] = row_hash(row)
        progress((done + 1) / len(ordered))
    jobs = []
    for subject in subjects:
        hashes = {row: contents[subject.subject_id][row] for row in subject.rows}
        key = stage_key(
            stage=stage.name,
            version=stage.version,
            config=as_mapping(config),
            unit={"subject_id": subject.subject_id, "rows": hashes},
            inputs={},
            models=model_hashes,
            metadata={},
            material={"head": subject.head_model, **stage.key_material(config)},
        )
        jobs.append(Job(subject, hashes, key, name_of(subject.head_model)))
    return jobs


def _head_name(head_id: str) -> str:
    from rsat_data.preview.lookup import head_name

    try:
        return head_name(head_id)
    except HeadMismatch as error:
        raise HeadMismatch(
            error.message,
            hint="Build the dataset again with this installation, or import that head: rsat-data models import-flame.",
        ) from error


@dataclass(frozen=True)
class Places:
    """Where fits run at the same time: a device each, and the threads of each process."""

    devices: tuple[str, ...]
    threads: int
    memory_gb: float


def find_places(device: str, workers: int | None, count: int) -> Places:
    """One process a GPU; or, without any, processes that share the cores.

    A fit works for a given time, so it is better with more threads: on a CPU a process gets four cores where there are
    as many.

    Args:
        device: auto, cpu, cuda (all of them) or cuda:N.
        workers: how many processes; None to choose.
        count: how many avatars are to be fitted.

    Raises:
        UsageError: the device is unknown, or not there.
    """
    cores, memory_gb = usable_cores(), 0.8 * (memory()[0] or 4 << 30) / 1e9
    gpus = _gpus(device)
    if gpus:
        devices = tuple(gpus[: max(1, min(workers or len(gpus), count))])
    else:
        fitting = max(1, min(cores // 4, int(memory_gb // 3)))
        devices = ("cpu",) * max(1, min(workers or fitting, count))
    return Places(devices, max(1, cores // len(devices)), memory_gb)


def _gpus(device: str) -> list[str]:
    """The GPUs meant; none for the CPU."""
    kind, _, number = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (number and (kind != "cuda" or not number.isdecimal())):
        raise UsageError(f"--device {device!r} is unknown.", hint="One of: auto, cpu, cuda, cuda:0, cuda:1, ...")
    if kind == "cpu" or (kind == "auto" and not os.path.exists("/dev/nvidiactl")):
        return []
    import torch

    there = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    if kind == "auto" or (not number and there):
        return there
    if device not in there:
        known = f"Here: {', '.join(there)}." if there else "torch sees no GPU on this machine; use --device cpu."
        raise UsageError(f"--device {device}: there is no such GPU.", hint=known)
    return [device]


def state_dir(work: Path, job: Job) -> Path:
    """Where the fit of a job keeps what it needs to go on."""
    return work / "state" / STAGE / f"{job.subject.subject_id}-{job.key}"
