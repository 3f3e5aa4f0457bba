"""Fitting many avatars: jobs through an engine, a free place each, failures set apart. Thin on purpose."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.stage import Stage
from rsat_data.avatars.jobs import ADDRESS, STAGE, Job, Places, state_dir
from rsat_data.config import as_mapping
from rsat_data.content import content_hash
from rsat_data.engine.local import LocalEngine
from rsat_data.engine.task import Outcome, Task
from rsat_data.errors import DiskFullError, SkippedSubject
from rsat_data.progress import Bars
from rsat_data.workspace import Failure, Workspace

#: A fit that runs longer than so many times its budget, and this much more, has gone wrong.
TIMEOUT_FACTOR, TIMEOUT_EXTRA_S, TIMEOUT_PER_FRAME_S = 3.0, 1800.0, 2.0
#: In a long run, what is finished is published about so often.
PUBLISH_EVERY_S = 900.0


@dataclass
class QueueResult:
    """What became of the jobs."""

    fitted: list[Job] = field(default_factory=list)
    """Computed in this run."""
    reused: list[Job] = field(default_factory=list)
    """There already, under the same content key."""
    failures: list[tuple[Job, Failure]] = field(default_factory=list)
    """Without a result, with the reason."""
    summaries: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """subject_id -> what the stage returned."""

    @property
    def done(self) -> list[Job]:
        """All that have an avatar."""
        return [*self.fitted, *self.reused]

    def failed(self, count_skipped: bool) -> int:
        """How many failed; skipped subjects count only if asked for."""
        return sum(count_skipped or failure.error != SkippedSubject.__name__ for _, failure in self.failures)


class Queue:
    """Runs jobs. Holds the state of one run.

    Args:
        source: folder of the dataset.
        publish: called with the result now and then and must put what is done into the dataset.
        address: where the stage is declared.
    """

    def __init__(
        self,
        workspace: Workspace,
        source: Path,
        stage: Stage[Any],
        config: Any,
        places: Places,
        bars: Bars,
        models: Mapping[str, Path],
        publish: Callable[[QueueResult], None],
        address: str = ADDRESS,
    ) -> None:
        self.workspace, self.source, self.stage, self.config = workspace, source, stage, config
        self.places, self.bars, self.models, self.publish = places, bars, models, publish
        self.address = address
        self.result = QueueResult()
        self.waiting: list[Job] = []
        self.running: dict[str, tuple[Job, str]] = {}
        self.shares: dict[str, float] = {}
        self.published_at, self.publish_cost = time.monotonic(), 0.0

    def run(self, jobs: Sequence[Job]) -> QueueResult:
        """Fit what is not there yet."""
        for job in jobs:
            self._sort_in(job)
        bar = self.bar = self.bars.bar("avatars", float(len(jobs)), "avatars")
        bar.set(self._settled())
        if self.waiting:
            # A process a subject: whatever libraries leak, and a GPU's memory, goes with it.
            engine = LocalEngine(len(self.places.devices), self.places.threads, self.places.memory_gb, recycle_after=1)
            engine.run([*self._next(self.places.devices)], self._on_done, self._on_progress)
        return self.result

    def _sort_in(self, job: Job) -> None:
        done = self.workspace.finished(STAGE, job.key)
        failure = None if done else self.workspace.failure(STAGE, job.key)
        if done is not None:
            self.result.reused.append(job)
            self.result.summaries[job.subject.subject_id] = done["summary"]
        elif failure is not None and failure.permanent:
            self._failed(job, failure)
        else:
            self.waiting.append(job)

    def _next(self, devices: Iterable[str]) -> Iterable[Task]:
        """A task for every free place, while there are jobs."""
        for device in devices:
            if self.waiting:
                job = self.waiting.pop(0)
                task = self._task(job, device)
                self.running[task.task_id] = (job, device)
                yield task

    def _task(self, job: Job, device: str) -> Task:
        state = state_dir(self.workspace.root, job)
        for other in state.parent.glob(f"{job.subject.subject_id}-*"):
            if other != state:  # begun with other options or rows: nobody will go on with it
                shutil.rmtree(other, ignore_errors=True)
        state.mkdir(parents=True, exist_ok=True)
        limit = TIMEOUT_FACTOR * self.config.budget_s + TIMEOUT_EXTRA_S + TIMEOUT_PER_FRAME_S * job.subject.frames
        return Task(
            task_id=f"{STAGE}-{job.key}",
            stage=self.address,
            config=as_mapping(self.config),
            source=os.fsencode(self.source.resolve()).hex(),
            unit=job.unit(),
            inputs={},
            out=str(self.workspace.open_unit(STAGE, job.key)),
            models={name: str(path) for name, path in self.models.items()},
            state=str(state),
            device=device,
            timeout_s=limit,
            memory_gb=self.stage.resources.memory_gb,
        )

    def _on_progress(self, task: Task, share: float) -> None:
        self.shares[task.task_id] = share
        self._show()

    def _on_done(self, outcome: Outcome) -> Iterable[Task]:
        task = outcome.task
        job, device = self.running.pop(task.task_id)
        self.shares.pop(task.task_id, None)
        name = job.subject.subject_id
        if outcome.error is None:
            assert outcome.summary is not None
            record = {
                "unit": {"subject_id": name, "rows": list(job.subject.rows)},
                "seconds": round(outcome.seconds, 3),
                "cpu_seconds": round(outcome.cpu_seconds, 3),
                "summary": dict(outcome.summary),
            }
            self.workspace.publish_unit(STAGE, job.key, Path(task.out), record)
            shutil.rmtree(task.state, ignore_errors=True)
            self.result.fitted.append(job)
            self.result.summaries[name] = outcome.summary
            self.bars.say(f"{name}: {outcome.summary['says']}")
        else:
            self._on_error(job, outcome)
        self._show()
        self._publish_now_and_then()
        return self._next([device])

    def _on_error(self, job: Job, outcome: Outcome) -> None:
        error = outcome.error
        assert error is not None
        self.workspace.discard_unit(Path(outcome.task.out))
        if error.source_fault:  # not tried again
            shutil.rmtree(outcome.task.state, ignore_errors=True)
        name = job.subject.subject_id
        if error.disk_full:
            raise DiskFullError(
                f"No space is left on the disk of {self.workspace.out} (avatar of {name}).",
                hint="Free some space and run the same command again: finished work is kept.",
                path=self.workspace.out,
            )
        failure = Failure(
            stage=STAGE,
            key=job.key,
            name=name,
            source_id="",
            clip_id="",
            error=error.error,
            message=error.message,
            hint=error.hint,
            permanent=error.source_fault,
            trace_hash=content_hash(error.trace, length=12) if error.trace else "",
            stderr_tail=error.stderr_tail or ("" if error.source_fault else error.trace),
        )
        self._failed(job, self.workspace.record_failure(failure))

    def _failed(self, job: Job, failure: Failure) -> None:
        self.result.failures.append((job, failure))
        word = "skipped" if failure.error == SkippedSubject.__name__ else "failed"
        hint = f" {failure.hint}" if failure.hint else ""
        self.bars.say(f"{word}: {job.subject.subject_id}: {failure.error}: {failure.message}{hint}")

    def _publish_now_and_then(self) -> None:
        """So that a run of days has something to show, and rewriting shards takes a small part of the time."""
        since = time.monotonic() - self.published_at
        if self.waiting and since > max(PUBLISH_EVERY_S, 20 * self.publish_cost):
            started = time.monotonic()
            self.publish(self.result)
            self.published_at = time.monotonic()
            self.publish_cost = self.published_at - started

    def _settled(self) -> float:
        return float(len(self.result.done) + len(self.result.failures))

    def _show(self) -> None:
        running = [
            f"{job.subject.subject_id} {self.shares.get(task, 0):.0%}" for task, (job, _) in self.running.items()
        ]
        note = ", ".join(running[:3]) + (f" and {len(running) - 3} more" if len(running) > 3 else "")
        self.bar.set(self._settled() + sum(self.shares.values()), note=note)
