"""Evaluation of a run on a dataset: opens both, hands them to ``model.evaluate``, prints and writes what it found."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rsat_data.errors import EXIT_OK, DatasetError, RunError, UsageError
from rsat_data.evaluation_limits import expression_codes, head_if_here, seen_before
from rsat_data.files import as_disk_error
from rsat_data.progress import Bar, progress
from rsat_data.siblings import check_siblings

if TYPE_CHECKING:
    import numpy as np

    from model.evaluate import EvaluateConfig, Predictor, Report
    from model.head import HeadModel
    from model.motion.conversation import Conversation, Conversations, Relation
    from model.motion.run import Run

REFERENCE_S = 3.0
"""Seconds of the reference where no run says otherwise."""


@dataclass(frozen=True)
class EvaluationOptions:
    """What the command was asked for."""

    dataset: Path
    """Dataset to evaluate on."""
    run: Path | None = None
    """Folder of a run; None with floors_only."""
    floors_only: bool = False
    """Judge the floors alone."""
    splits: Sequence[str] = ()
    """Splits; none for test."""
    ood: Path | None = None
    """Another dataset."""
    out: Path | None = None
    """Folder for the report."""
    stage: str | None = None
    """Stage of the run."""
    device: str = "cpu"
    """Where the run computes."""
    any_dataset: bool = False
    """Whether the run may have been trained on another dataset."""
    metrics: Sequence[str] = ()
    """Ids; none for all."""
    no_vertices: bool = False
    """Leave out what poses the head."""
    head: str | None = None
    """Name or file of the head."""
    reference_s: float | None = None
    """Seconds that never count."""
    draws: int = 1
    """Samples of a run that draws; 0 judges its mean alone."""
    pictures: int = 10
    """Frames a person in a clip, at most, that are drawn and compared; 0 for none."""
    picture_pose: str = "tracked"
    """How the head stands in them: tracked or predicted."""
    rounds: int = 2000
    """Of the bootstrap."""
    seed: int = 0
    """Of the bootstrap."""
    as_json: bool = False
    """Print JSON."""
    quiet: bool = False
    """No bars."""


def run_evaluation(options: EvaluationOptions) -> int:
    """Do it, print, write; returns the exit code.

    Raises:
        UsageError: the options do not go together.
        DatasetError: the dataset is none, or has no conversation in the splits.
        HeadMismatch: run, dataset and head do not belong together.
        RunError: there is no such run, it is damaged, of another dataset, or diverged.
    """
    if options.floors_only == (options.run is not None):
        raise UsageError(
            "Give a run to judge, or --floors-only, and not both.",
            hint="Example: rsat-data evaluate --dataset my_dataset --floors-only",
        )
    if options.draws < 0:
        raise UsageError(f"--draws should be at least 0, got {options.draws}.")
    check_siblings()
    from model.evaluate import EvaluateConfig, evaluate
    from model.evaluate.pictures import PictureConfig
    from rsat_data.evaluation_pictures import with_seen

    # The cheap checks come before anything is loaded.
    config = EvaluateConfig(
        reference_s=REFERENCE_S if options.reference_s is None else options.reference_s,
        metrics=tuple(options.metrics),
        vertices=not options.no_vertices,
        expression=expression_codes(one for one in (options.dataset, options.ood) if one is not None),
        rounds=options.rounds,
        seed=options.seed,
    )
    pictures = PictureConfig(frames=options.pictures, pose=options.picture_pose)
    splits = open_splits(options)
    run, models = None, []
    if options.run is not None:
        run = open_run(options)
        config = with_reference(config, run, options)
        models = predictors_of(run, options.run.name, options.draws)
    head, warnings = None, []
    if not options.no_vertices:
        head, why = head_if_here(splits, options.head, config.metrics)
        warnings += [why] if why else []
    if run is not None:
        warnings += seen_before(run, splits, options.dataset)
    if config.expression is not None:
        warnings.append(
            f"only the first {config.expression} expression codes hold something, the import filled up the others with "
            "zeros: measures of codes leave those out"
        )
    bars = not options.quiet and not options.as_json
    with progress("evaluate", 100.0, "%", enabled=bars) as bar:
        report = evaluate(
            splits, models, head, config, dataset=options.dataset.name, progress=lambda share: bar.set(100 * share)
        )
    report = replace(report, warnings=(*report.warnings, *warnings))
    if not options.metrics:  # a report of chosen measures holds nothing else
        folders = {split: options.dataset for split in splits}
        if options.ood is not None:
            folders["ood"] = options.ood
        report = with_seen(
            report, splits, models, head, config, pictures, folders, options.run, device=options.device, bars=bars
        )
    if run is not None:
        report = with_relations(report, splits, run, head, config, bars=bars)
        report = replace(report, run=facts_of(run, options))
    written = write(report, options)
    if options.as_json:
        click.echo(json.dumps(report.as_dict(), indent=1, allow_nan=False, ensure_ascii=False))
        return EXIT_OK
    show(report)
    for path in written:
        click.echo(f"wrote {path}")
    return EXIT_OK


def open_splits(options: EvaluationOptions) -> dict[str, Conversations]:
    """Name of a split -> its conversations.

    Raises:
        DatasetError: a split holds none.
    """
    from model.motion.conversation import conversations

    wanted = list(dict.fromkeys(options.splits or ("test",)))
    found = {split: conversations(options.dataset, split) for split in wanted}
    for split, talks in found.items():
        if len(talks):
            continue
        if talks.left_out:
            raise DatasetError(
                f"All {talks.left_out} clips of the split {split} of {options.dataset} show one person only.",
                hint="A conversation has two; `rsat-data build` needs videos that show both, or a video of each.",
                path=options.dataset,
            )
        others = [name for name in ("train", "validation", "test") if len(conversations(options.dataset, name))]
        raise DatasetError(
            f"The split {split} of {options.dataset} is empty.",
            hint=f"Choose another: --split {others[-1]}." if others else "The dataset holds no conversation at all.",
            path=options.dataset,
        )
    if options.ood is not None:
        found["ood"] = conversations(options.ood, None)
        if not len(found["ood"]):
            raise DatasetError(f"{options.ood} holds no conversation of two people.", path=options.ood)
    return found


def open_run(options: EvaluationOptions) -> Run:
    """Load the run, and see that it belongs to the dataset.

    Raises:
        RunError: it does not, or cannot be loaded.
    """
    from model.motion.conversation import dataset_hash
    from model.motion.run import load_run

    assert options.run is not None
    run = load_run(options.run, options.device, stage=int(options.stage) if options.stage else None)
    if not options.any_dataset and run.dataset_hash != dataset_hash(options.dataset):
        raise RunError(
            f"{options.run} was trained on another dataset than {options.dataset}, or on another version of it.",
            hint="People it was trained on may be in the test split. To judge it all the same: --any-dataset.",
            path=options.run,
        )
    return run


def with_reference(config: EvaluateConfig, run: Run, options: EvaluationOptions) -> EvaluateConfig:
    """The configuration with the run's reference left out of what counts.

    Raises:
        UsageError: less would be left out than the run is shown.
    """
    if options.reference_s is None:
        return replace(config, reference_s=run.reference_s)
    if options.reference_s < run.reference_s:
        raise UsageError(
            f"The run sees the first {run.reference_s:g} s of a person; with --reference-s "
            f"{options.reference_s:g} some of them would count."
        )
    return config


def predictors_of(run: Run, name: str, draws: int) -> list[Predictor]:
    """A run as the harness takes it: its mean, and what it draws (``draws`` samples; 0 for none)."""
    from model.evaluate import Predictor

    found = [Predictor("model", name, "model", run.predict, note=f"stage {run.stage} of the run: its mean, one a clip")]
    if draws and run.draws:
        samples = [partial(run.predict, draw=seed) for seed in range(draws)]
        note = "the same run's draws, with blinks, smiles and glances that no input shows; " + (
            "one sample" if draws == 1 else f"the mean figure of {draws} samples"
        )
        drawn = Predictor(
            "drawn", f"{name}, drawn", "model", samples[0], note=note, more=tuple(samples[1:]), controlled=False
        )
        found.append(drawn)
    return found


def with_relations(
    report: Report,
    splits: Mapping[str, Sequence[Conversation]],
    run: Run,
    head: HeadModel | None,
    config: EvaluateConfig,
    *,
    bars: bool,
) -> Report:
    """The report with the relation-shuffle tests, where the run takes relations."""
    if run.stage != 3:
        note = "the run has no social module (stage 3), so what the relation is worth was not tested"
        return replace(report, warnings=(*report.warnings, note))
    from model.evaluate.relations import shuffle_test

    def predict(conversation: Conversation, person: str, relation: Relation, /) -> Mapping[str, Any]:
        return run.predict(conversation, person, relation=relation)

    def surprise(conversation: Conversation, person: str, relation: Relation, /) -> np.ndarray:
        return run.surprise(conversation, person, relation=relation)

    tests = []
    for split, talks in splits.items():
        with progress(f"relations, {split}", 100.0, "%", enabled=bars) as bar:

            def tell(share: float, bar: Bar = bar) -> None:
                bar.set(100.0 * share)

            known = surprise if run.draws else None
            tests.append(shuffle_test(split, talks, predict, head, config, surprise=known, progress=tell))
    return replace(report, shuffles=tuple(tests))


def facts_of(run: Run, options: EvaluationOptions) -> dict[str, Any]:
    """What the report says of the run."""
    assert options.run is not None
    return {
        "name": options.run.name,
        "stage": run.stage,
        "dataset_hash": run.dataset_hash,
        "head_model": run.head_model,
        "device": str(run.device),
        "reference_s": run.reference_s,
    }


def write(report: Report, options: EvaluationOptions) -> list[Path]:
    """Write the report where it belongs; returns the files."""
    from model.evaluate.page import page

    folder = options.out if options.out is not None else options.run / "evaluation" if options.run is not None else None
    if folder is None:
        return []
    files = {
        folder / "report.json": json.dumps(report.as_dict(), indent=1, allow_nan=False, ensure_ascii=False) + "\n",
        folder / "report.html": page(report),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in files.items():
            path.write_text(text, "utf-8")
    except OSError as error:
        if isinstance(error, FileExistsError | NotADirectoryError | PermissionError):
            raise UsageError(f"{folder} cannot be written to: {error.strerror}.", path=folder) from error
        raise as_disk_error(error, folder) from error
    return list(files)


def show(report: Report) -> None:
    """Print the report."""
    from rich.console import Console

    from model.evaluate.shown import render_seen
    from model.evaluate.terminal import render

    width = max(shutil.get_terminal_size((100, 24)).columns, 80)
    console = Console(width=width, highlight=False, soft_wrap=False)
    console.print(render(report, width))
    console.print(render_seen(report))
