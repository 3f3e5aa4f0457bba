"""Finished avatars into the dataset: files, columns, and back out again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rsat_data.amend import Amended, amend
from rsat_data.avatars.carry import columns_of
from rsat_data.avatars.jobs import STAGE, Job
from rsat_data.errors import WorkspaceError
from rsat_data.manifest import read_manifest
from rsat_data.workspace import Workspace
from rsat_data.writer import AVATARS


def folder_of(subject_id: str) -> str:
    """Where the avatar of a subject lies in a dataset, with a slash at the end."""
    return f"{AVATARS}{subject_id}/"


def publish_avatars(
    workspace: Workspace, jobs: Iterable[Job], progress: Callable[[float], None] = lambda share: None
) -> Amended:
    """Put finished avatars into the dataset in one step: their files, the manifest, the columns of their rows.

    What is there already stays as it lies.
    """
    out = workspace.out
    old = {entry.file: entry for entry in read_manifest(out)}
    values: dict[str, dict[str, Any]] = {}
    files: dict[str, Path | bytes] = {}
    remove: set[str] = set()
    for job in jobs:
        done = workspace.finished(STAGE, job.key)
        if done is None:
            raise WorkspaceError(f"The finished avatar of {job.subject.subject_id} is gone from {workspace.root}.")
        source, target = workspace.unit_dir(STAGE, job.key), folder_of(job.subject.subject_id)
        wanted = {target + name: (name, facts["sha256"]) for name, facts in done["files"].items()}
        for file, (name, sha256) in wanted.items():
            if file not in old or old[file].sha256 != sha256:
                files[file] = source / name
        remove |= {file for file in old if file.startswith(target) and file not in wanted}
        values.update(columns_of(json.loads((source / "avatar.json").read_text(encoding="utf-8"))))
    return amend(out, {"triplets": values}, files=files, remove=remove, progress=progress)
