"""The build driver: sources in, stages through an engine, rows out to the publisher. Thin on purpose."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.stage import Stage
from rsat_data.content import content_hash
from rsat_data.engine.local import LocalEngine
from rsat_data.engine.task import Outcome, Task, TaskError
from rsat_data.errors import DiskFullError, RsatError, SkippedClip, SkippedSource, SourceError, StageError
from rsat_data.gates import ERROR as GATED
from rsat_data.plan import (
    Recipe,
    Unit,
    clip_units,
    dataset_unit,
    make_task,
    read_parts,
    ready_stages,
    record_of,
    source_unit,
    unit_key,
)
from rsat_data.progress import Bar, Bars
from rsat_data.recordings import source_sha256
from rsat_data.sources import SourceFile
from rsat_data.workspace import Failure, Workspace

#: What is counted in a bar of a stage.
UNIT_WORDS = {"source": "files", "clip": "s", "dataset": "times"}
_SKIPS = (SkippedSource.__name__, SkippedClip.__name__, "DuplicateSource", GATED)


@dataclass
class BuildResult:
    """What a run of the line left behind."""

    clip_dirs: list[Path] = field(default_factory=list)
    """Folders with the last stage's artefacts, one a finished clip."""
    dataset_dirs: dict[str, Path] = field(default_factory=dict)
    """Stage over the dataset -> its artefacts."""
    failures: list[Failure] = field(default_factory=list)
    """Everything that has no result, with the reason."""
    sources: list[dict[str, Any]] = field(default_factory=list)
    """name, source_id, sha256, bytes, clips, metadata, notes (what its owner should know) of every source read."""
    units_run: int = 0
    """Units computed in this run."""
    units_found: int = 0
    """Units that were there already."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Stage name -> computing time in this run, summed over workers."""
    video_seconds: dict[str, float] = field(default_factory=dict)
    """Stage name -> seconds of video computed in this run."""

    @property
    def failed_sources(self) -> set[str]:
        """Names of sources with a failure that is not a skip."""
        return {failure.name for failure in self.failures if failure.error not in _SKIPS}


class _Barriers:
    """What still holds up the stages over the dataset: sources not yet cut, clips without one of their inputs."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.clips: list[Unit] = []
        self.waiting: dict[str, set[int]] = {name: set() for name in recipe.of_unit("dataset")}
        self.started: set[str] = set()

    def enter(self, unit: Unit) -> None:
        """A source or clip that may yet bring something."""
        if unit.kind == "clip":
            self.clips.append(unit)
        for holding in self.waiting.values():
            holding.add(id(unit))
        self.settle(unit)

    def settle(self, unit: Unit) -> None:
        """Let go where the unit has brought what is needed, or never will."""
        stages = self.recipe.stages
        for name, holding in self.waiting.items():
            needed = self.recipe.of_unit("source") if unit.kind == "source" else stages[name].inputs
            if unit.failed or all(stage in unit.keys for stage in needed):
                holding.discard(id(unit))

    def open(self) -> Stage[Any] | None:
        """A stage that nothing holds up and that was not started."""
        for name, holding in self.waiting.items():
            if not holding and name not in self.started:
                self.started.add(name)
                return self.recipe.stages[name]
        return None


class Line:
    """Runs a recipe over sources. Holds the state of one run."""

    def __init__(
        self, workspace: Workspace, recipe: Recipe, engine: LocalEngine, bars: Bars, command: str = ""
    ) -> None:
        self.workspace, self.recipe, self.engine, self.bars = workspace, recipe, engine, bars
        self.command = command
        self.result = BuildResult()
        self.units: dict[str, tuple[Unit, str]] = {}
        self.running: dict[str, float] = {}
        self.counts = {name: {"done": 0.0, "total": 0.0, "units": 0, "failed": 0} for name in recipe.stages}
        self.stage_bars: dict[str, Bar] = {}
        self.last = list(recipe.stages)[-1]
        self.barriers = _Barriers(recipe)
        self.conversations = 0
        self.started, self._saved = time.time(), 0.0

    def run(self, sources: Iterable[SourceFile]) -> BuildResult:
        """Take every source through the line."""
        for name, stage in self.recipe.stages.items():
            self.stage_bars[name] = self.bars.bar(name, 0.0, UNIT_WORDS[stage.unit])
        for name in self.recipe.of_unit("dataset"):
            self.counts[name]["total"] += 1.0
            self.counts[name]["units"] += 1
        status = "failed"
        try:
            tasks = [*self._source_tasks(sources), *self._open_barriers()]
            self.engine.run(tasks, self._on_done, self._on_progress)
            status = "computed"
        except KeyboardInterrupt:
            status = "interrupted"
            raise
        finally:
            self._save_state(status, force=True)
            self.workspace.save_hashes()
        self.result.clip_dirs.sort()
        self.result.failures.sort(key=lambda f: (f.name, f.start_s, f.stage, f.key))
        self.result.sources.sort(key=lambda s: str(s["name"]))
        return self.result

    def finish(self) -> None:
        """Note that the dataset was published."""
        self._save_state("done", force=True)

    # Planning --------------------------------------------------------------------------------------------------

    def _source_tasks(self, sources: Iterable[SourceFile]) -> Iterable[Task]:
        seen: dict[str, str] = {}
        for source in sources:
            if source.error is not None:
                self._refuse(source, type(source.error).__name__, source.error)
                continue
            try:
                sha256 = source_sha256(source, self.workspace.source_sha256)
            except SourceError as error:
                self._refuse(source, type(error).__name__, error)
                continue
            except OSError as error:
                self._refuse(source, "UnreadableSource", RsatError(f"{source.name} cannot be read: {error.strerror}."))
                continue
            if sha256 in seen:
                same = RsatError(
                    f"{source.name} holds the same bytes as {seen[sha256]}.", hint="One of them is enough."
                )
                self._refuse(source, "DuplicateSource", same)
                continue
            seen[sha256] = source.name
            self.conversations += "recordings" in source.metadata
            unit = source_unit(source, sha256)
            self.barriers.enter(unit)
            self._enter(unit)
            yield from self._advance(unit)

    def _advance(self, unit: Unit) -> Iterable[Task]:
        """Tasks that can start now; what is finished already is passed through at once."""
        while True:
            stages = [] if unit.failed else ready_stages(self.recipe, unit)
            if not stages:
                return
            for stage in stages:
                yield from self._start(unit, stage)

    def _start(self, unit: Unit, stage: Stage[Any]) -> Iterable[Task]:
        """The task of one stage; nothing where it is finished, or known to fail."""
        unit.started.add(stage.name)
        key = unit_key(self.recipe, unit, stage)
        done = self.workspace.finished(stage.name, key)
        failure = None if done else self.workspace.failure(stage.name, key)
        if done is not None:
            self.result.units_found += 1
            yield from self._succeed(unit, stage.name, key, done["summary"])
        elif failure is not None and failure.permanent:
            self._fail(unit, failure)
        else:
            task = make_task(self.recipe, self.workspace, unit, stage, key)
            self.units[task.task_id] = (unit, key)
            yield task

    def _open_barriers(self) -> Iterable[Task]:
        """Start the stages over the dataset that nothing holds up any more."""
        while (stage := self.barriers.open()) is not None:
            unit = dataset_unit(stage, self.barriers.clips)
            if unit.members:
                yield from self._start(unit, stage)
            else:  # no clip came as far: nothing to do, and nobody waits for it
                self.counts[stage.name]["total"] -= 1.0
                self.counts[stage.name]["units"] -= 1

    def _hand_out(self, unit: Unit, stage: str, key: str) -> Iterable[Task]:
        """Give every clip its part of the result of a stage over the dataset, and let it go on."""
        folder = self.workspace.unit_dir(stage, key)
        self.result.dataset_dirs[stage] = folder
        parts = read_parts(folder)
        for clip in unit.members:
            part = parts.get(clip.fields["clip_id"])
            if part is None:
                raise StageError(f"The stage {stage} left nothing for {clip.source.name}, {clip.fields['clip_id']}.")
            clip.parts[stage], clip.keys[stage] = part, key
            self.barriers.settle(clip)
            yield from self._advance(clip)

    def _take_notes(self, unit: Unit, summary: Mapping[str, Any]) -> None:
        """What the owner of the clip's recording should know, once a recording."""
        source = next(one for one in self.result.sources if one["source_id"] == unit.fields["source_id"])
        source["notes"] += [note for note in summary.get("notes", ()) if note not in source["notes"]]

    def _succeed(self, unit: Unit, stage: str, key: str, summary: Mapping[str, Any]) -> Iterable[Task]:
        unit.keys[stage] = key
        self._count(stage, unit)
        if unit.kind == "dataset":
            yield from self._hand_out(unit, stage, key)
            return
        if unit.kind == "clip":
            self._take_notes(unit, summary)
        if stage == self.last:
            self.result.clip_dirs.append(self.workspace.unit_dir(stage, key))
        if "clips" in summary:
            metadata = dict(unit.source.metadata)
            clips = list(clip_units(unit, summary))
            self.result.sources.append(
                {
                    "source_id": unit.fields["source_id"],
                    "name": unit.source.name,
                    "sha256": unit.fields["sha256"],
                    "bytes": sum(path.stat().st_size for path in unit.source.files),
                    "artefacts": self.workspace.unit_dir(stage, key),
                    "clips": len(clips),
                    "metadata": metadata,
                    "notes": list(summary.get("notes", [])),
                }
            )
            for span in summary.get("skipped", []):
                self.result.failures.append(self._skipped_span(unit, stage, key, span))
            for clip in clips:
                self.barriers.enter(clip)
                self._enter(clip)
            for clip in clips:
                yield from self._advance(clip)
        self.barriers.settle(unit)

    # Engine callbacks ------------------------------------------------------------------------------------------

    def _on_progress(self, task: Task, share: float) -> None:
        self.running[task.task_id] = share
        stage = task.task_id.partition("-")[0]
        self._show(stage)
        self._save_state("running")

    def _on_done(self, outcome: Outcome) -> Iterable[Task]:
        task = outcome.task
        unit, key = self.units.pop(task.task_id)
        self.running.pop(task.task_id, None)
        stage = task.task_id.partition("-")[0]
        folder = Path(task.out)
        self.result.seconds[stage] = self.result.seconds.get(stage, 0.0) + outcome.seconds
        if outcome.error is None:
            assert outcome.summary is not None
            record = record_of(unit, outcome.seconds, outcome.cpu_seconds, outcome.summary)
            self.workspace.publish_unit(stage, key, folder, record)
            self.result.units_run += 1
            self.result.video_seconds[stage] = self.result.video_seconds.get(stage, 0.0) + unit.duration_s
            tasks = [*self._succeed(unit, stage, key, outcome.summary)]
            if unit.kind != "dataset":
                tasks += self._advance(unit)
        else:
            self.workspace.discard_unit(folder)
            error = outcome.error
            if unit.kind == "dataset" and not error.disk_full:
                raise self._dataset_failed(stage, error)
            if error.disk_full:
                raise DiskFullError(
                    f"No space is left on the disk of {self.workspace.out} (stage {stage}, {unit.source.name}).",
                    hint="Free some space and run the same command again: finished work is kept.",
                    path=self.workspace.out,
                )
            failure = self.workspace.record_failure(
                Failure(
                    stage=stage,
                    key=key,
                    name=unit.source.name,
                    source_id=unit.fields["source_id"],
                    clip_id=unit.fields["clip_id"],
                    error=error.error,
                    message=error.message,
                    hint=error.hint,
                    permanent=error.source_fault,
                    start_s=float(unit.fields.get("start_s", 0.0)),
                    end_s=float(unit.fields.get("end_s", 0.0)),
                    trace_hash=content_hash(error.trace, length=12) if error.trace else "",
                    stderr_tail=error.stderr_tail or ("" if error.source_fault else error.trace),
                )
            )
            self._fail(unit, failure)
            tasks = []
        tasks += self._open_barriers()
        self._save_state("running")
        return tasks

    # Failures --------------------------------------------------------------------------------------------------

    def _dataset_failed(self, stage: str, error: TaskError) -> StageError:
        """No clip can go on without it, so the build stops; it is no clip's fault, so none goes to quarantine."""
        self.counts[stage]["failed"] += 1
        return StageError(
            f"The stage {stage}, which joins all clips, failed: {error.message}",
            hint=error.hint or "Run the same command again: finished work is kept. " + error.stderr_tail[-500:],
        )

    def _fail(self, unit: Unit, failure: Failure) -> None:
        unit.failed = True
        self.barriers.settle(unit)
        self._enter(unit, sign=-1)  # the stages behind this one will not see it
        self.counts[failure.stage]["failed"] += 1
        self._count(failure.stage, unit)
        self._report(failure)

    def _report(self, failure: Failure) -> None:
        self.result.failures.append(failure)
        word = "skipped" if failure.error in _SKIPS else "failed"
        where = f" [{failure.start_s:.2f}-{failure.end_s:.2f} s]" if failure.clip_id else ""
        self.bars.say(
            f"{word}: {failure.name}{where}: {failure.message}" + (f" {failure.hint}" if failure.hint else "")
        )

    def _refuse(self, source: SourceFile, kind: str, error: RsatError) -> None:
        key = content_hash([source.name, kind, error.message])
        self._report(Failure("scan", key, source.name, "", "", kind, error.message, error.hint, permanent=True))

    def _skipped_span(self, unit: Unit, stage: str, key: str, span: Mapping[str, Any]) -> Failure:
        start_s, end_s = float(span["start_s"]), float(span["end_s"])
        return Failure(
            stage=stage,
            key=content_hash([key, start_s, end_s]),
            name=unit.source.name,
            source_id=unit.fields["source_id"],
            clip_id="",
            error=SkippedClip.__name__,
            message=f"{unit.source.name} from {start_s:.2f} s to {end_s:.2f} s: {span.get('detail') or span['reason']}",
            hint="",
            permanent=True,
            start_s=start_s,
            end_s=end_s,
        )

    # What is shown ---------------------------------------------------------------------------------------------

    def _weight(self, stage: str, unit: Unit) -> float:
        return unit.duration_s if self.recipe.stages[stage].unit == "clip" else 1.0

    def _enter(self, unit: Unit, sign: int = 1) -> None:
        """Count a new unit in the totals of every stage it will pass, so that the time left is honest."""
        for name in self.recipe.of_unit(unit.kind):
            if name not in unit.started:
                self.counts[name]["total"] += sign * self._weight(name, unit)
                self.counts[name]["units"] += sign
                self._show(name)

    def _count(self, stage: str, unit: Unit) -> None:
        self.counts[stage]["done"] += self._weight(stage, unit)
        self._show(stage)

    def _show(self, stage: str) -> None:
        part = sum(
            share * self._weight(stage, self.units[task][0])
            for task, share in self.running.items()
            if task.startswith(f"{stage}-") and task in self.units
        )
        count = self.counts[stage]
        note = f"{count['failed']:.0f} quarantined" if count["failed"] else ""
        self.stage_bars[stage].set(count["done"] + part, total=count["total"], note=note)

    def _save_state(self, status: str, *, force: bool = False) -> None:
        if not force and time.time() - self._saved < 1.0:
            return
        self._saved = time.time()
        self.workspace.save_state(
            {
                "status": status,
                "command": self.command,
                "started": self.started,
                "stages": {
                    name: {**count, "unit": self.recipe.stages[name].unit} for name, count in self.counts.items()
                },
                "running": [
                    {
                        "stage": task.partition("-")[0],
                        "name": unit.source.name,
                        "clip_id": unit.fields["clip_id"],
                        "share": self.running.get(task, 0.0),
                    }
                    for task, (unit, _) in self.units.items()
                    if task in self.running
                ],
                "queued": len(self.units) - len(self.running),
                "conversations": self.conversations,
                "quarantined": [
                    {"name": f.name, "stage": f.stage, "error": f.error, "message": f.message, "attempts": f.attempts}
                    for f in self.result.failures
                ],
            }
        )
