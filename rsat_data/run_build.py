"""What ``rsat-data build`` does, from options to exit code."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import click

from pipelines.stage import Stage
from rsat_data import __version__, registry
from rsat_data.build import BuildResult, Line
from rsat_data.card import DatasetInfo
from rsat_data.config import DatasetConfig, as_mapping, resolve
from rsat_data.engine.local import LocalEngine
from rsat_data.errors import EXIT_OK, EXIT_QUARANTINE, ConfigError, ModelFileError, UsageError
from rsat_data.estimate import counted, estimate
from rsat_data.gates import Gated, apply_gates, parse_gates
from rsat_data.long_runs import check_space, parse_max_failed, terminate_as_interrupt
from rsat_data.machine import memory, usable_cores
from rsat_data.plan import Recipe
from rsat_data.progress import Bars
from rsat_data.publish import Published, publish
from rsat_data.recordings import find_recordings, named_files
from rsat_data.sources import SourceFile, find_sources
from rsat_data.workspace import Failure, Workspace


@dataclass(frozen=True)
class BuildOptions:
    """Options of the command, as given."""

    videos: Path | None
    out: Path
    manifest: Path | None = None
    config_file: Path | None = None
    settings: Sequence[str] = ()
    gates: Sequence[str] = ()
    workers: int | None = None
    max_failed: str = "5%"
    offline: bool = False
    avatars: bool = False
    avatar_budget: str | None = None
    dry_run: bool = False
    as_json: bool = False
    quiet: bool = False

    def command(self) -> str:
        """The command line that does the same again."""
        words = ["rsat-data", "build"]
        if self.videos:
            words += ["--videos", str(self.videos)]
        if self.manifest:
            words += ["--manifest", str(self.manifest)]
        words += ["--out", str(self.out)]
        if self.config_file:
            words += ["--config", str(self.config_file)]
        for setting in self.settings:
            words += ["--set", setting]
        for gate in self.gates:
            words += ["--gate", gate]
        if self.workers:
            words += ["--workers", str(self.workers)]
        if self.max_failed != BuildOptions.max_failed:
            words += ["--max-failed", self.max_failed]
        if self.offline:
            words.append("--offline")
        if self.avatars:
            words.append("--avatars")
        if self.avatar_budget:
            words += ["--avatar-budget", self.avatar_budget]
        return shlex.join(words)


def run_build(options: BuildOptions) -> int:
    """Run a build and return its exit code.

    Raises:
        RsatError: nothing or not all was done; finished work is kept.
    """
    allowed = parse_max_failed(options.max_failed)
    sources = all_sources(options)
    recipe, dataset, avatar = make_recipe(options)
    workers, threads, memory_gb = processes(options.workers)
    if options.dry_run:
        plan = estimate(sources, Workspace(options.out), workers, recipe.configs["flame"].profile)
        click.echo(plan.as_json() if options.as_json else plan.describe())
        if options.avatars and not options.as_json:
            click.echo(f"and then avatars: about {avatar.budget_s:.0f} s for each subject that is found")
        return EXIT_OK
    with Workspace(options.out) as workspace, terminate_as_interrupt():
        check_space(options.out)
        recipe = with_models(recipe, offline=options.offline)
        with Bars(enabled=not options.quiet) as bars:
            line = Line(workspace, recipe, LocalEngine(workers, threads, memory_gb), bars, command=options.command())
            result = line.run(sources)
            gated = gate_result(result, dataset)
            published = publish_result(options.out, result, recipe, dataset, avatar, bars)
        line.finish()
    facts = report(options, result, published, gated)
    failed, total = len(result.failed_sources), len(sources)
    code = EXIT_OK if allowed(failed, total) else EXIT_QUARANTINE
    if options.avatars and any(published.rows.values()):
        code = max(code, fit_avatars(options, avatar, facts))
    if options.as_json:
        click.echo(json.dumps(facts, indent=1))
    return code


def all_sources(options: BuildOptions) -> list[SourceFile]:
    """The videos of the folder and the conversations of the table; what the table names is no video on its own.

    Raises:
        UsageError: neither was given, one of them cannot be read, or the dataset would be written among them.
    """
    if options.videos is None and options.manifest is None:
        raise UsageError(
            "Nothing to build from.", hint="--videos names a folder of videos, --manifest a CSV of recordings."
        )
    found = find_sources(options.videos) if options.videos is not None else []
    if options.manifest is not None:
        named = named_files(options.manifest)
        found = [source for source in found if source.error is not None or source.path not in named]
        found += find_recordings(options.manifest)
    places = {"--videos": options.videos, "--manifest": options.manifest and options.manifest.parent}
    for option, place in places.items():
        if place is not None and options.out.resolve() == place.resolve():
            what = "folder than --videos" if option == "--videos" else "folder than that of --manifest"
            raise UsageError(f"--out must be another {what}.", hint="For example: --out my_dataset")
    return found


def fit_avatars(options: BuildOptions, config: Any, facts: dict[str, Any]) -> int:
    """The step after publication: an avatar of every subject. Adds to the facts of the build; returns its exit code."""
    from rsat_data.avatars.fit import FitOptions, fit_subjects, print_facts

    fit = FitOptions(
        options.out, max_failed=options.max_failed, workers=None, offline=options.offline, quiet=options.quiet
    )
    done, code = fit_subjects(fit, config)
    facts["avatars"] = done
    if not options.as_json:
        print_facts(done)
    return code


def make_recipe(options: BuildOptions) -> tuple[Recipe, DatasetConfig, Any]:
    """Stages and configs, those of the dataset and of avatars; model files are looked up later, by :func:`with_models`.

    Raises:
        ConfigError, UsageError: an option is wrong.
    """
    from pipelines.avatar.stage import STAGE as AVATAR
    from pipelines.line import LINE, load_line

    stages = load_line()
    sections: dict[str, type[Any]] = {name: stage.config for name, stage in stages.items()}
    sections |= {"dataset": DatasetConfig, AVATAR.name: AVATAR.config}
    configs = resolve(sections, options.config_file, options.settings)
    dataset, avatar = configs.pop("dataset"), configs.pop(AVATAR.name)
    if options.gates:
        dataset = replace(dataset, gate=tuple(options.gates))
    parse_gates(dataset.gate)  # what is written wrong is said before hours of work
    if options.avatar_budget is not None:
        from rsat_data.avatars.budget import parse_budget

        if not options.avatars:
            raise UsageError("--avatar-budget goes with --avatars.", hint="Give both, or neither.")
        avatar = replace(avatar, budget_s=parse_budget(options.avatar_budget))
    configs = share_options(stages, configs)
    return Recipe(LINE, stages, configs, {}, {}, __version__), dataset, avatar


def share_options(stages: Mapping[str, Stage[Any]], configs: Mapping[str, Any]) -> dict[str, Any]:
    """Configs in which every stage with ``options_of`` has that stage's values for the options both have.

    Raises:
        ConfigError: such an option was set at the stage that only follows.
    """
    shared = dict(configs)
    for name, stage in stages.items():
        if stage.options_of is None:
            continue
        own, leader = configs[name], configs[stage.options_of]
        both = [f.name for f in fields(own) if f.name in {g.name for g in fields(leader)}]
        plain = stage.config()
        for option in both:
            value, wanted = getattr(own, option), getattr(leader, option)
            if value not in (wanted, getattr(plain, option)):
                raise ConfigError(
                    f"{name}.{option} is {value!r}, but {stage.options_of}.{option} is {wanted!r}; they must be equal.",
                    hint=f"Set {stage.options_of}.{option} alone: {name} follows.",
                )
        shared[name] = replace(own, **{option: getattr(leader, option) for option in both})
    return shared


def with_models(recipe: Recipe, *, offline: bool) -> Recipe:
    """The recipe with every model file its stages need, fetched and verified."""
    stages = [(stage, recipe.configs[stage.name]) for stage in recipe.stages.values()]
    names = sorted({name for stage, config in stages for name in stage.models(config)})
    paths = dict(zip(names, registry.ensure(names, offline=offline), strict=True))
    for name in sorted({name for stage, config in stages for name in stage.optional_models(config)} - paths.keys()):
        try:
            paths[name] = registry.model_path(name, offline)
        except ModelFileError as error:
            needed = ", ".join(registry.get(name).needed_for)
            click.echo(f"going on without {name} ({needed}): {error.message} {error.hint}", err=True)
    hashes = {name: registry.model_hash(name) for name in paths}
    return Recipe(recipe.addresses, recipe.stages, recipe.configs, paths, hashes, recipe.tool_version)


def processes(asked: int | None) -> tuple[int, int, float]:
    """Worker processes, threads in each, and memory in GB that they may use together."""
    cores = usable_cores()
    memory_gb = (memory()[0] or 4 << 30) / 1e9
    workers = asked or max(1, min(cores, int(memory_gb // 2)))
    return workers, max(1, cores // workers), 0.8 * memory_gb


def gate_result(result: BuildResult, dataset: DatasetConfig) -> Gated:
    """Take clips that a gate refuses out of the result and list them among what is not in the dataset.

    Raises:
        DatasetError: the gates leave nothing.
    """
    names = {source["source_id"]: source["name"] for source in result.sources}
    gated = apply_gates(parse_gates(dataset.gate), result.clip_dirs, names)
    result.clip_dirs[:] = gated.kept
    result.failures.extend(gated.failures)
    return gated


def publish_result(
    out: Path, result: BuildResult, recipe: Recipe, dataset: DatasetConfig, avatar: Any, bars: Bars
) -> Published:
    """Hand finished clips, sources and failures to the publisher."""
    import yaml

    from schemas.sources import from_ingest

    bar = bars.bar("publish", 1.0, "datasets")
    sources = [
        from_ingest(
            source["source_id"], source["name"], _read_json(source["artefacts"] / "source.json"), source["metadata"]
        )
        for source in result.sources
    ]
    config = yaml.safe_dump(resolved_config(recipe, dataset, avatar), sort_keys=True, allow_unicode=True)
    return publish(
        result.clip_dirs,
        out,
        seed=dataset.seed,
        ratios={"train": dataset.train, "validation": dataset.validation, "test": dataset.test},
        sources=sources,
        quarantine=[quarantine_record(failure) for failure in result.failures],
        info=DatasetInfo(name=dataset.name, description=dataset.description),
        extra_files={"config.yaml": config.encode("utf-8")} | joined_files(result),
        progress=bar.set,
    )


def joined_files(result: BuildResult) -> dict[str, bytes]:
    """What the stage over all clips found besides the clips' own parts, for ``meta/``: review list, cameras, cuts.

    Sources are named there, so that a person can find the video.
    """
    if "subjects" not in result.dataset_dirs:
        return {}
    folder = result.dataset_dirs["subjects"]
    names = {source["source_id"]: source["name"] for source in result.sources}
    review, cameras = _read_json(folder / "subject_review.json"), _read_json(folder / "cameras.json")
    for pair in review["pairs"]:
        for side in ("a", "b"):
            pair[side]["source"] = names.get(pair[side]["source_id"], "")
    for camera_id, camera in cameras["sources"].items():
        camera["source"] = names.get(camera_id.partition(":")[0], "")
    cutting = _read_json(folder / "cutting.json")
    for source_id, source in cutting["sources"].items():
        source["source"] = names.get(source_id, "")
    content = {"subject_review.json": review, "cameras.json": cameras, "cutting.json": cutting}
    return {name: (json.dumps(value, indent=1) + "\n").encode("utf-8") for name, value in content.items()}


def quarantine_record(failure: Failure) -> dict[str, Any]:
    """A failure as a record of the table quarantine."""
    whole = failure.start_s == failure.end_s
    return {
        "key": failure.key,
        "source_id": failure.source_id or None,
        "source_name": failure.name,
        "clip_id": failure.clip_id or None,
        "start_s": None if whole else failure.start_s,
        "end_s": None if whole else failure.end_s,
        "stage": failure.stage,
        "error": failure.error,
        "message": failure.message,
        "hint": failure.hint,
        "attempts": failure.attempts,
        "transient": not failure.permanent,
        "traceback_hash": failure.trace_hash,
        "detail": failure.stderr_tail,
    }


def _read_json(path: Path) -> dict[str, Any]:
    value = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(value, dict)
    return value


def report(options: BuildOptions, result: BuildResult, published: Published, gated: Gated) -> dict[str, Any]:
    """What was done, as plain values; printed for people, unless JSON is wanted."""
    failed = sorted(result.failed_sources)
    facts: dict[str, Any] = {
        "out": str(options.out),
        "rows": sum(published.rows.values()),
        "splits": dict(published.rows),
        "clips": len(result.clip_dirs),
        "sources": len(result.sources),
        "units_run": result.units_run,
        "units_found": result.units_found,
        "open_pairs": len(_read_json(result.dataset_dirs["subjects"] / "subject_review.json")["pairs"])
        if "subjects" in result.dataset_dirs
        else 0,
        "avatars_kept": list(published.avatars),
        "avatars_stale": list(published.stale_avatars),
        "labels_kept": published.labels,
        "labels_lost": list(published.lost_labels),
        "notes": {str(source["name"]): source["notes"] for source in result.sources if source["notes"]},
        "gated": len(gated.failures),
        "gates_not_known": gated.unknown,
        "quarantined": len(result.failures),
        "failed_sources": failed,
        "seconds": {stage: round(seconds, 2) for stage, seconds in result.seconds.items()},
    }
    if options.as_json:
        return facts
    conversations = sum("recordings" in source["metadata"] for source in result.sources)
    read = counted(len(result.sources), conversations)
    click.echo(f"{facts['rows']} rows of {facts['clips']} clips from {read} in {options.out}")
    click.echo(f"{result.units_run} units computed, {result.units_found} found finished")
    for name, notes in facts["notes"].items():
        for note in notes:
            click.echo(f"note: {name}: {note}")
    if facts["open_pairs"]:
        click.echo(f"{facts['open_pairs']} pairs of people may be one: see meta/subject_review.json, docs/subjects.md")
    if published.stale_avatars:
        click.echo(
            f"{len(published.stale_avatars)} avatars were fitted to rows that have changed and are in the dataset no "
            f"more: rsat-data avatar fit {options.out}"
        )
    if published.lost_labels:
        click.echo(
            f"{len(published.lost_labels)} clips lost the label that votes gave them, because their owner says "
            f"something else now or they belong to another pair: rsat-data label apply {options.out}"
        )
    for gate, count in gated.unknown.items():
        click.echo(f"{count} passed the gate {gate} for want of a score; with ! at its end it refuses them")
    if gated.failures:
        click.echo(f"{len(gated.failures)} clips left out by gates; without the gates they are back, at no cost")
    if result.failures:
        click.echo(f"{len(result.failures)} quarantined or skipped; the reasons: rsat-data status {options.out}")
    if result.clip_dirs:
        click.echo(f"Next: rsat-data validate {options.out}")
    return facts


def resolved_config(recipe: Recipe, dataset: DatasetConfig, avatar: Any) -> dict[str, Any]:
    """All sections with every option, as written to OUT/meta/config.yaml."""
    configs = {**recipe.configs, "dataset": dataset, "avatar": avatar}
    return {name: as_mapping(config) for name, config in configs.items()}
