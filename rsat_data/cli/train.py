"""``rsat-data train-baseline``: the reference model of motion, stage by stage."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rsat_data.cli.resumable import Resumable
from rsat_data.errors import HeadMismatch, RunError, UsageError
from rsat_data.long_runs import terminate_as_interrupt

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from model.head import HeadModel
    from model.train.config import RunConfig
    from model.train.devices import Devices
    from rsat_data.progress import Bars

_PATH = click.Path(path_type=Path)
RUN_FILE = "run.json"
"""As in ``model.train.checkpoint``, which imports torch."""

EPILOG = """\b
Examples:
  rsat-data synth --as-dataset --out talks --clips 40 --seconds 10
  rsat-data train-baseline --dataset talks --run my_run
  rsat-data train-baseline --dataset talks --run my_run --stage 1 --set train.steps=500
  rsat-data train-baseline --dataset talks --run my_run --resume
  rsat-data train-baseline --dataset filmed --run my_run --stage 2 --set appearance.budget_s=60

\b
Stages: 1 both people's speech and the partner's motion to this person's motion; 2 the subjects' avatars, where the
dataset has some, refined under that motion; 3 the relation, by the social module, on top of stage 1. 1 and 3 leave
RUN/stageN/best.safetensors, 2 leaves RUN/stage2/SUBJECT. Settings: --set SECTION.KEY=VALUE or the same in a YAML file;
sections speech, network, loss, train, appearance (docs/training.md). Stopped? The same command with --resume goes on.
"""


def _to_resume(options: Mapping[str, Any]) -> list[str]:
    """Words that a stopped run needs to go on: none before it began."""
    return ["--resume"] if (Path(options["folder"]) / RUN_FILE).is_file() else []


@click.command(
    cls=Resumable,
    epilog=EPILOG,
    to_resume=_to_resume,
    kept="what was trained up to the last validation is kept",
)
@click.option("--dataset", type=_PATH, required=True, help="A dataset with train and validation splits.")
@click.option("--run", "folder", type=_PATH, required=True, help="Folder for weights and logs; made if missing.")
@click.option(
    "--stage", type=click.Choice(["1", "2", "3", "all"]), default="all", show_default=True, help="What to train."
)
@click.option("--config", "file", type=_PATH, help="YAML file with settings.")
@click.option("--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE", help="Set one option; repeatable.")
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda|cuda:N", help="Where to compute.")
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint; finished stages stay as they are.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on standard output.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
def train_baseline(**options: Any) -> int:
    """Train the reference model: speech of two people, and their relation, to motion and pictures.

    A baseline after the abstract of RSATalker; what its stages contain is our reading. Runs on a CPU; a GPU is used
    where there is one. With the same settings and data, a CPU gives the same weights to the bit, stopped and resumed or
    not.
    """
    from rsat_data.siblings import check_siblings

    check_siblings()
    with terminate_as_interrupt():
        result = run_training(**options)
    if int(os.environ.get("RANK", "0")) and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return 0  # one of several processes says it
    if options["as_json"]:
        click.echo(json.dumps(result, indent=2))
    else:
        for name, stage in result["stages"].items():
            if name == "2":
                click.echo(f"stage 2: {stage['says']} ({stage['seconds']:.0f} s)")
                continue
            best, step = stage["best"], stage["best_step"]
            judged = "" if best is None else f", validation loss {best:.3f} at step {step}"
            early = ", stopped early" if stage["stopped_early"] else ""
            click.echo(f"stage {name}: {stage['steps']} steps in {stage['seconds']:.0f} s{judged}{early}")
        if result["left_out"]:
            click.echo(f"left out: {result['left_out']} clips of one person")
        click.echo(f"run: {options['folder']}")
    return 0


def run_training(
    *,
    dataset: Path,
    folder: Path,
    stage: str,
    file: Path | None,
    settings: tuple[str, ...],
    device: str,
    resume: bool,
    quiet: bool,
    as_json: bool = False,
) -> dict[str, Any]:
    """Check, prepare and train; what the command prints, as JSON-able values."""
    import torch

    from model.train import checkpoint
    from model.train.devices import open_devices
    from model.train.stages import check, phases, prepare, run_phase
    from rsat_data import appearance
    from rsat_data.progress import Bars

    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--run {folder} is a file.", hint="Name a folder; it is made if missing.", path=folder)
    config = _config(file, settings, folder, resume=resume)
    stages = {"1": [1], "2": [2], "3": [3], "all": [1, 2, 3]}[stage]
    talks = check(dataset, config, social=3 in stages)
    bare = ""
    if stage == "2":
        appearance.require_sitters(dataset)
    elif stage == "all" and not appearance.sitters(dataset):
        stages = [1, 3]
        bare = f"{dataset} has no avatars, so stage 2 is left out; to fit them: rsat-data avatar fit {dataset}"
    started = [s for s in stages if (folder / f"stage{s}" / checkpoint.LAST).is_file()]
    started += [2] if 2 in stages and appearance.was_begun(folder) else []
    if started and not resume:
        raise RunError(
            f"{folder} holds a stage {started[0]} that was started.",
            hint="Go on with --resume, or train into another folder.",
            path=folder,
        )
    if resume and not (folder / checkpoint.RUN_FILE).is_file():
        raise RunError(f"{folder} holds no run to resume.", hint="Leave --resume out to start one.", path=folder)
    devices = open_devices(device)
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    head = _head(talks[0].head_model)
    outcomes: dict[str, Any] = {}
    with ExitStack() as stack:
        bars = stack.enter_context(Bars(enabled=not quiet and devices.rank == 0))
        if head is None:
            bars.say(f"the head {talks[0].head_model} is not on this machine: lips are not compared as vertices")
        if bare:
            click.echo(bare, err=True)
        if not len(talks[1]) and devices.rank == 0:
            # Said whether or not there are bars: nothing else tells that the weights are simply the last ones.
            click.echo(f"{dataset} has no validation split: nothing stops early, the last weights are kept", err=True)
        prepared = None
        if stages != [2]:
            reading = bars.bar("reading", len(talks[0]) + len(talks[1]), "clips")
            prepared = prepare(dataset, folder, config, talks, devices, lambda count: reading.advance(count))
        for number in stages:
            if number == 2:
                outcomes["2"] = _refine(dataset, folder, config, devices, bars, stack)
                continue
            assert prepared is not None
            for phase in phases(number, config):
                bar = bars.bar(phase.title, phase.config.steps, "steps")
                log = stack.enter_context(_log(folder / phase.folder, enabled=devices.rank == 0))

                def report(
                    step: int,
                    values: Mapping[str, float],
                    bar: Any = bar,
                    log: Callable[[int, Mapping[str, float]], None] = log,
                ) -> None:
                    log(step, values)
                    shown = values.get("loss", values.get("validation/loss"))
                    if "loss" in values:
                        bar.set(step, note=f"loss {shown:.3f}")
                    elif shown is not None:
                        bar.set(step, note=f"validation {shown:.3f}")

                outcome = run_phase(
                    phase, prepared, folder, head, devices, resume=resume and number in started, report=report
                )
                outcomes[phase.title.removeprefix("stage ")] = vars(outcome)
    return {
        "run": str(folder),
        "dataset_hash": checkpoint.read_facts(folder).dataset_hash,
        "conversations": {"train": len(talks[0]), "validation": len(talks[1])},
        "left_out": talks[0].left_out + talks[1].left_out,
        "stages": outcomes,
    }


def _refine(
    dataset: Path, folder: Path, config: RunConfig, devices: Devices, bars: Bars, stack: ExitStack
) -> dict[str, Any]:
    """Stage 2."""
    from dataclasses import replace

    import torch

    from model.train import checkpoint
    from rsat_data.appearance import STAGE, refine_all, require_sitters

    facts = checkpoint.read_facts(folder)
    if devices.rank == 0 and facts.config.appearance != config.appearance:
        changed = replace(facts.config, appearance=config.appearance)
        checkpoint.write_facts(folder, replace(facts, config=changed))
    bar = bars.bar("stage 2", float(len(require_sitters(dataset))), "avatars")
    log = stack.enter_context(_log(folder / STAGE, enabled=devices.rank == 0))
    return refine_all(
        dataset, folder, config.appearance, devices,
        threads=torch.get_num_threads(),
        say=bars.say, progress=lambda done, note: bar.set(done, note=note), log=log,
    )  # fmt: skip


def _config(file: Path | None, settings: tuple[str, ...], folder: Path, *, resume: bool) -> RunConfig:
    """Settings from defaults, file and options; a run that goes on starts from its own."""
    from dataclasses import asdict

    from model.train import checkpoint
    from model.train.config import SECTIONS, RunConfig
    from rsat_data.config import from_mapping, merge, parse_sets, read_yaml, resolve

    sections = resolve(SECTIONS, file, settings)
    if (folder / checkpoint.RUN_FILE).is_file():
        own = asdict(checkpoint.read_facts(folder).config)
        given = merge(read_yaml(file, what="configuration file") if file else {}, parse_sets(settings))
        values = merge(own, given)
        sections = {name: from_mapping(cls, values.get(name, {}), where=name) for name, cls in SECTIONS.items()}
    return RunConfig(**sections)


def _head(head_model: str) -> HeadModel | None:
    """The head of the codes, if it is on this machine."""
    from rsat_data.preview.lookup import find_head

    try:
        return find_head(head_model)
    except HeadMismatch:
        return None


class _log:  # noqa: N801 (reads like a function)
    """Values of every step as lines of JSON, and as TensorBoard's where it is installed."""

    def __init__(self, folder: Path, *, enabled: bool) -> None:
        self.folder, self.enabled = folder, enabled

    def __enter__(self) -> Callable[[int, Mapping[str, float]], None]:
        from rsat_data.optional import is_installed

        self._file: Any = None
        self._board: Any = None
        if self.enabled:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = (self.folder / "log.jsonl").open("a", encoding="utf-8")
            if is_installed("tensorboard"):
                from torch.utils.tensorboard import SummaryWriter

                self._board = SummaryWriter(str(self.folder / "tensorboard"))  # type: ignore[no-untyped-call]
        return self._write

    def _write(self, step: int, values: Mapping[str, float]) -> None:
        if self._file is not None:
            rounded = {name: round(value, 6) for name, value in values.items()}
            self._file.write(json.dumps({"step": step, **rounded}) + "\n")
            self._file.flush()
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def __exit__(self, *exc: object) -> None:
        for each in (self._file, self._board):
            if each is not None:
                each.close()
