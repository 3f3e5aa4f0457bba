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
from rsat_data.avatars.subjects import Subject, list_subjects, open_rows
from rsat_data.config import resolve
from rsat_data.errors import EXIT_OK, EXIT_QUARANTINE, ModelFileError, SkippedSubject, WorkspaceError
from rsat_data.find_id import find_id
from rsat_data.long_runs import check_space, parse_max_failed, terminate_as_interrupt
from rsat_data.manifest import read_manifest
from rsat_data.progress import Bars
from rsat_data.workspace import Workspace

#: What fitting takes beside its budget: start of the process, and per frame decoding, preparation and judging. For
#: the estimate of a dry run alone; two busy cores took about so long.
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


def run_fit(options: FitOptions, address: str = ADDRESS) -> int:
    """Do what the command says, print what was done, and return the exit code.

    Raises:
        RsatError: nothing or not all was done; finished work is kept.
    """
    stage = load_stage(address)
    config = make_config(options, stage)
    if options.dry_run:
        _, jobs, places = _prepare(options, stage, config, Bars(enabled=False))
        plan = make_plan(Workspace(options.out), jobs, config, places)
        click.echo(json.dumps(vars(plan), indent=1) if options.as_json else plan.describe())
        return EXIT_OK
    facts, code = fit_subjects(options, config, address)
    if options.as_json:
        click.echo(json.dumps(facts, indent=1))
    else:
        print_facts(facts)
    return code


def fit_subjects(options: FitOptions, config: Any, address: str = ADDRESS) -> tuple[dict[str, Any], int]:
    """Fit avatars to subjects of the dataset and put them into it.

    Args:
        options: of the command; what is in ``config`` is not looked at.
        config: of the stage.
        address: where the stage is declared.

    Returns:
        What was done, as plain values, and the exit code.

    Raises:
        RsatError: nothing or not all was done; finished work is kept.
    """
    allowed = parse_max_failed(options.max_failed)
    stage = load_stage(address)
    with Bars(enabled=not options.quiet and not options.as_json) as bars:
        finish_interrupted(options.out)
        before = read_manifest(options.out)
        models, jobs, places = _prepare(options, stage, config, bars)
        with Workspace(options.out) as workspace, terminate_as_interrupt():
            if read_manifest(options.out) != before:
                raise WorkspaceError(
                    f"{options.out} was published anew while its rows were read.", hint="Run the same command again."
                )
            check_space(options.out)

            def publish(result: QueueResult) -> None:
                _publish(workspace, result, None)

            queue = Queue(workspace, options.out, stage, config, places, bars, models, publish, address)
            result = queue.run(jobs)
            _publish(workspace, result, bars)
            if not options.subjects:
                _forget_states(workspace, jobs)
    failed = result.failed(count_skipped=bool(options.subjects))
    return facts_of(options, result), EXIT_OK if allowed(failed, len(jobs)) else EXIT_QUARANTINE


def _prepare(
    options: FitOptions, stage: Stage[Any], config: Any, bars: Bars
) -> tuple[dict[str, Path], list[Job], Places]:
    """Model files, jobs and places; everything that can be refused is refused here."""
    finish_interrupted(options.out)
    data = open_rows(options.out)
    chosen = _choose(list_subjects(data), options)
    places = find_places(options.device, options.workers, len(chosen))
    models = _models(stage, config, options.offline)
    hashes = {name: registry.model_hash(name) for name in models}
    total = float(sum(len(subject.rows) for subject in chosen))
    bar = bars.bar("rows", total, "rows")
    jobs = make_jobs(data, chosen, stage, config, hashes, lambda share: bar.set(share * total))
    return models, jobs, places


def _choose(everybody: Sequence[Subject], options: FitOptions) -> list[Subject]:
    if not options.subjects:
        return list(everybody)
    by_name = {subject.subject_id: subject for subject in everybody}
    names = [find_id("subject", wanted, list(by_name), options.out) for wanted in options.subjects]
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


def facts_of(options: FitOptions, result: QueueResult) -> dict[str, Any]:
    """What was done, as plain values."""
    fitted = {job.subject.subject_id for job in result.fitted}
    avatars = [
        {
            "subject_id": job.subject.subject_id,
            "avatar_id": job.avatar_id,
            "fitted": job.subject.subject_id in fitted,
            "path": str(options.out / "avatars" / job.subject.subject_id),
            **result.summaries[job.subject.subject_id],
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
    return {"out": str(options.out), "avatars": avatars, "failures": failures}


def print_facts(facts: Mapping[str, Any]) -> None:
    """What was done, for people."""
    avatars, failures, out = facts["avatars"], facts["failures"], facts["out"]
    fitted = sum(avatar["fitted"] for avatar in avatars)
    click.echo(f"{fitted} avatars fitted, {len(avatars) - fitted} found finished, in {out}/avatars")
    for avatar in avatars:
        click.echo(f"  {avatar['subject_id']}  {avatar['says']}")
    low = [avatar["subject_id"] for avatar in avatars if not avatar.get("above_floors", True)]
    if low:
        click.echo(
            f"warning: {len(low)} of {len(avatars)} avatars are not above all floors ({', '.join(low[:5])}"
            f"{', ...' if len(low) > 5 else ''}): a trick without any avatar shows these people as well. A longer "
            "--budget may help, or preview.png may show what is wrong with the footage.",
            err=True,
        )
    if failures:
        click.echo(f"{len(failures)} subjects have none:")
    for item in failures:
        click.echo(f"  {item['subject_id']}  {item['error']}: {item['message']} {item['hint']}".rstrip())
    if avatars:
        first = avatars[0]["subject_id"]
        click.echo(f"Next: rsat-data avatar render {out} --subject {first} --turntable --out turn.mp4")
