"""What ``rsat-data avatar fit`` does, from options to exit code."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from pipelines.line import load_stage
from pipelines.stage import Stage
from rsat_data import registry
from rsat_data.amend import finish_interrupted
from rsat_data.avatars.budget import clock, parse_budget
from rsat_data.avatars.jobs import ADDRESS, STAGE, Job, Places, find_places, make_jobs, state_dir
from rsat_data.avatars.place import publish_avatars
from rsat_data.avatars.queue import Queue, QueueResult
from rsat_data.avatars.subjects import Subject, find_subject, list_subjects, open_rows
from rsat_data.config import resolve
from rsat_data.errors import EXIT_OK, EXIT_QUARANTINE, ModelFileError, SkippedSubject
from rsat_data.progress import Bars
from rsat_data.run_build import check_space, parse_max_failed, terminate_as_interrupt
from rsat_data.workspace import Workspace

#: What fitting takes beside its budget: start of the process, and per frame decoding, preparation and judging.
#: Measured on two cores with python -m benchmarks.avatar; see docs/avatar_commands.md.
START_S, PER_FRAME_S = 8.0, 0.12
#: Bytes of a finished avatar, in the workspace and in the dataset; and of the pictures kept while it is fitted.
AVATAR_BYTES = 6_000_000


@dataclass(frozen=True)
class FitOptions:
    """Options of the command, as given."""

    out: Path
    subjects: Sequence[str] = ()
    budget: str | None = None
    size: int | None = None
    device: str = "auto"
    settings: Sequence[str] = ()
    workers: int | None = None
    max_failed: str = "5%"
    offline: bool = False
    dry_run: bool = False
    as_json: bool = False
    quiet: bool = False


@dataclass(frozen=True)
class Plan:
    """What would be done, in numbers."""

    subjects: int
    frames: int
    valid_frames: int
    finished: int
    resumed: int
    """Begun earlier: only what is left of their budget is spent."""
    refused: int
    wall_s: float
    disk_bytes: int
    workers: int
    threads: int
    device: str

    def describe(self) -> str:
        """Lines for people."""
        lines = [
            f"{self.subjects} subjects, {self.frames} frames, {self.valid_frames} of them valid",
            f"{self.finished} avatars are there already, {self.resumed} are begun, {self.refused} are known to fail",
            f"about {clock(self.wall_s)} on {self.device}, {self.workers} at a time with {self.threads} threads each",
            f"disk {self.disk_bytes / 1e6:.0f} MB",
        ]
        return "\n".join(lines)


def make_config(options: FitOptions, stage: Stage[Any]) -> Any:
    """The stage's config: its defaults, ``--set`` and the options that have a name of their own."""
    config = resolve({STAGE: stage.config}, None, options.settings)[STAGE]
    changes: dict[str, Any] = {}
    if options.budget is not None:
        changes["budget_s"] = parse_budget(options.budget)
    if options.size is not None:
        changes["size"] = options.size
    return replace(config, **changes) if changes else config


def run_fit(options: FitOptions, config: Any = None, address: str = ADDRESS) -> int:
    """Fit avatars to subjects of the dataset, put them into it, and return the exit code.

    Args:
        options: of the command.
        config: of the stage; None to make it of the options.
        address: where the stage is declared.

    Raises:
        RsatError: nothing or not all was done; finished work is kept.
    """
    allowed = parse_max_failed(options.max_failed)
    stage = load_stage(address)
    config = make_config(options, stage) if config is None else config
    finish_interrupted(options.out)
    data = open_rows(options.out)
    everybody = list_subjects(data)
    chosen = _choose(everybody, options)
    places = find_places(options.device, options.workers, len(chosen))
    with Bars(enabled=not options.quiet and not options.as_json) as bars:
        models = _models(stage, config, options.offline)
        hashes = {name: registry.model_hash(name) for name in models}
        reading = bars.bar("rows", float(sum(len(subject.rows) for subject in chosen)), "rows")
        jobs = make_jobs(data, chosen, stage, config, hashes, lambda share: reading.set(share * (reading.total or 1.0)))
        if options.dry_run:
            plan = make_plan(Workspace(options.out), jobs, config, places)
            click.echo(json.dumps(vars(plan), indent=1) if options.as_json else plan.describe())
            return EXIT_OK
        with Workspace(options.out) as workspace, terminate_as_interrupt():
            check_space(options.out)
            queue = Queue(
                workspace,
                options.out,
                stage,
                config,
                places,
                bars,
                models,
                lambda result: _publish(workspace, result, None),
                address,
            )
            result = queue.run(jobs)
            _publish(workspace, result, bars)
            if not options.subjects:
                _forget_states(workspace, jobs)
    report(options, result)
    failed = result.failed(count_skipped=bool(options.subjects))
    return EXIT_OK if allowed(failed, len(jobs)) else EXIT_QUARANTINE


def _choose(everybody: Sequence[Subject], options: FitOptions) -> list[Subject]:
    if not options.subjects:
        return list(everybody)
    by_name = {subject.subject_id: subject for subject in everybody}
    names = [find_subject(wanted, list(by_name), options.out) for wanted in options.subjects]
    return [by_name[name] for name in dict.fromkeys(names)]


def _models(stage: Stage[Any], config: Any, offline: bool) -> dict[str, Path]:
    """Model files of the stage, fetched and verified; those it can do without are passed over where they are absent."""
    names = list(stage.models(config))
    models = dict(zip(names, registry.ensure(names, offline=offline), strict=True)) if names else {}
    for name in stage.optional_models(config):
        try:
            models[name] = registry.model_path(name, offline)
        except ModelFileError as error:
            click.echo(f"going on without {name}: {error.message} {error.hint}", err=True)
    return models


def make_plan(workspace: Workspace, jobs: Sequence[Job], config: Any, places: Places) -> Plan:
    """Estimate time and disk; nothing is started."""
    finished = [job for job in jobs if workspace.finished(STAGE, job.key) is not None]
    failures = [(job, workspace.failure(STAGE, job.key)) for job in jobs if job not in finished]
    refused = [job for job, failure in failures if failure is not None and failure.permanent]
    todo = [job for job in jobs if job not in finished and job not in refused]
    begun = [job for job in todo if any(state_dir(workspace.root, job).glob("*"))]
    frames = sum(min(job.subject.valid, config.max_frames) for job in todo)
    seconds = len(todo) * (config.budget_s + START_S) + frames * PER_FRAME_S * (config.size / 256) ** 2
    at_once = min(len(places.devices), max(len(todo), 1))
    pictures = min(max((job.subject.valid for job in todo), default=0), config.max_frames) * 4 * config.size**2
    return Plan(
        subjects=len(jobs),
        frames=sum(job.subject.frames for job in jobs),
        valid_frames=sum(job.subject.valid for job in jobs),
        finished=len(finished),
        resumed=len(begun),
        refused=len(refused),
        wall_s=seconds / at_once,
        disk_bytes=2 * AVATAR_BYTES * len(todo) + at_once * pictures,
        workers=at_once,
        threads=places.threads,
        device=", ".join(dict.fromkeys(places.devices)),
    )


def _publish(workspace: Workspace, result: QueueResult, bars: Bars | None) -> None:
    if not result.done:
        return
    bar = None if bars is None else bars.bar("publish", 1.0, "datasets")
    publish_avatars(workspace, result.done, (lambda share: None) if bar is None else bar.set)


def _forget_states(workspace: Workspace, jobs: Sequence[Job]) -> None:
    """After a run over all subjects: states of fits that nobody will go on with."""
    wanted = {state_dir(workspace.root, job) for job in jobs}
    for state in (workspace.root / "state" / STAGE).glob("*"):
        if state not in wanted:
            shutil.rmtree(state, ignore_errors=True)


def report(options: FitOptions, result: QueueResult) -> None:
    """Print what was done."""
    fitted = {job.subject.subject_id for job in result.fitted}
    avatars = [
        {
            "subject_id": job.subject.subject_id,
            "avatar_id": job.avatar_id,
            "fitted": job.subject.subject_id in fitted,
            "path": str(options.out / "avatars" / job.subject.subject_id),
            **_facts(result.summaries[job.subject.subject_id]),
        }
        for job in sorted(result.done, key=lambda job: job.subject.subject_id)
    ]
    failures = [
        {
            "subject_id": job.subject.subject_id,
            "skipped": failure.error == SkippedSubject.__name__,
            "error": failure.error,
            "message": failure.message,
            "hint": failure.hint,
            "attempts": failure.attempts,
        }
        for job, failure in result.failures
    ]
    if options.as_json:
        click.echo(json.dumps({"out": str(options.out), "avatars": avatars, "failures": failures}, indent=1))
        return
    click.echo(f"{len(result.fitted)} avatars fitted, {len(result.reused)} found finished, in {options.out}/avatars")
    for avatar in avatars:
        click.echo(f"  {avatar['subject_id']}  {result.summaries[str(avatar['subject_id'])]['says']}")
    if failures:
        click.echo(f"{len(failures)} subjects have none:")
        for item in failures:
            click.echo(f"  {item['subject_id']}  {item['error']}: {item['message']} {item['hint']}".rstrip())
    if avatars:
        first = avatars[0]["subject_id"]
        click.echo(f"Next: rsat-data avatar render {options.out} --subject {first} --turntable --out turn.mp4")


def _facts(summary: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in summary.items() if name != "says"}
