"""The stages of a run: 1 motion, 3 social. Each opens the data, builds the network, and hands both to the loop.

After the abstract of RSATalker, which names three stages; what they contain is our reading.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from model.head import HeadModel
from model.motion.conversation import PERSONS, Conversations, conversations, dataset_hash, labels_hash
from model.motion.layout import MotionLayout
from model.motion.network import MotionNetwork
from model.motion.speech import SpeechEncoder, open_encoder
from model.train import checkpoint
from model.train.checkpoint import RunFacts
from model.train.config import RunConfig, TrainConfig
from model.train.devices import Devices
from model.train.loop import Data, Outcome, Report, Terms, train
from model.train.losses import Losses
from model.train.store import Store, open_store, statistics
from model.train.windows import Windows
from rsat_data.errors import DatasetError, HeadMismatch, RunError

_DRAW = ("draw.",)
_DECODER = ("decode.", "norm_out.", "out.", "trust")


@dataclass(frozen=True, eq=False)
class Prepared:
    """A dataset, read and checked, ready for any stage."""

    facts: RunFacts
    """What the run belongs to."""
    layout: MotionLayout
    """Columns of motion."""
    training: Store
    """Training split."""
    validation: Store | None
    """Validation split, if it has conversations."""
    left_out: int
    """Clips of one person, which were left out."""


def check(dataset: Path, config: RunConfig, *, social: bool) -> tuple[Conversations, Conversations]:
    """Conversations of the training and the validation split, if they can be trained on.

    Args:
        dataset: folder.
        config: settings.
        social: whether stage 3 is to be trained.

    Raises:
        DatasetError: there are no conversations of two people, a person is in both splits, or there are no labels.
    """
    training, validation = (conversations(dataset, name) for name in ("train", "validation"))
    if not len(training):
        seen = f"its {training.left_out} clips show one person each" if training.left_out else "it is empty"
        raise DatasetError(
            f"{dataset} has no conversation of two people in the training split: {seen}.",
            hint="Build it from videos in which two people talk, or make one: rsat-data synth --as-dataset --out DIR.",
            path=dataset,
        )
    table = {name: _subjects(dataset, name) for name in ("train", "validation", "test")}
    for name in ("validation", "test"):
        shared = sorted(table["train"] & table[name])
        if shared:
            raise DatasetError(
                f"{dataset}: subject {shared[0]} is in train and in {name}.",
                hint="Publish the dataset again; `rsat-data validate` names all such subjects.",
                path=dataset,
            )
    if social:
        require_labels(dataset)
    return training, validation


def _subjects(dataset: Path, split: str) -> set[str]:
    import rsat_data.reader as reader

    rows = reader.load(dataset, split)  # type: ignore[arg-type]
    return set(rows.arrow(["subject_id"])["subject_id"].to_pylist()) if len(rows) else set()


def require_labels(dataset: Path) -> None:
    """Check that the training split knows at least two different relations.

    Raises:
        DatasetError: nothing is labelled, or all alike.
    """
    import rsat_data.reader as reader

    table = reader.load(dataset, "train").arrow(["kinship", "status", "senior"]).to_pylist()
    known = {tuple(row.values()) for row in table if set(row.values()) != {"unknown"}}
    if not known:
        raise DatasetError(
            f"{dataset}: no conversation of the training split has a relation, which stage 3 learns from.",
            hint="Label them with `rsat-data label` (init, push, pull, apply), or name relations in the videos' "
            "sidecar files and build again. Stage 1 needs no labels: --stage 1.",
            path=dataset,
        )
    if len(known) < 2:
        raise DatasetError(
            f"{dataset}: all labelled rows of the training split have the same relation; stage 3 has nothing to tell "
            "apart.",
            hint="Add conversations of other relations, or train with --stage 1.",
            path=dataset,
        )


def prepare(
    dataset: Path,
    run: Path,
    config: RunConfig,
    talks: tuple[Conversations, Conversations],
    devices: Devices,
    done: Callable[[int], None] = lambda conversations: None,
) -> Prepared:
    """Read both splits into the run's folder and say what the run belongs to.

    Raises:
        RunError: the folder holds a run of other data or other settings.
        DatasetError, HeadMismatch: the dataset breaks its format.
        ModelFileError: the weights of the speech encoder are not there.
    """
    training, validation = talks
    encoder = open_encoder(config.speech.encoder, config.speech.weights, str(devices.device))
    if config.network.causal and not encoder.causal:
        raise RunError(
            f"The speech encoder {config.speech.encoder} looks ahead, so the network cannot be causal.",
            hint="Use speech.encoder=logmel, or network.causal=false.",
        )
    if len(validation) and validation.head_model != training.head_model:
        raise HeadMismatch(
            f"{dataset}: validation has codes of {validation.head_model}, train of {training.head_model}.",
            hint="Codes of two heads never mix: build or import the whole dataset with one.",
            path=dataset,
        )
    layout = MotionLayout(training[0].codes["A"]["expression"].shape[1])
    facts = RunFacts(
        config=config,
        dataset_hash=dataset_hash(dataset),
        head_model=training.head_model,
        num_expression=layout.num_expression,
        encoder=encoder.key,
        channels=encoder.channels,
        per_frame=encoder.per_frame,
    )
    belongs(run, facts)
    identity = facts.dataset_hash + labels_hash(dataset)
    stores = _stores(training, validation, encoder, layout, run / "features", identity, devices, done)
    if not stores[0].valid.any():
        raise DatasetError(
            f"{dataset}: no frame of the training split is valid.",
            hint="Look at the columns valid and invalid_reason: `rsat-data preview` draws rows.",
            path=dataset,
        )
    if devices.rank == 0:
        checkpoint.write_facts(run, facts)
    return Prepared(facts, layout, *stores, training.left_out + validation.left_out)


def _stores(
    training: Conversations,
    validation: Conversations,
    encoder: SpeechEncoder,
    layout: MotionLayout,
    folder: Path,
    identity: str,
    devices: Devices,
    done: Callable[[int], None],
) -> tuple[Store, Store | None]:
    if devices.rank:
        devices.wait()  # the first process makes the stores, the others map them
    first = open_store(training, encoder, layout, folder, identity, done)
    second = open_store(validation, encoder, layout, folder, identity, done) if len(validation) else None
    if not devices.rank:
        devices.wait()
    return first, second


def belongs(run: Path, facts: RunFacts) -> None:
    """Check that a run in this folder, if there is one, is of these data and this network.

    Raises:
        RunError: it is not.
    """
    if not (run / checkpoint.RUN_FILE).exists():
        return
    there = checkpoint.read_facts(run)
    advice = "Train into another folder (--run), or with the data and settings the run was started with."
    if there.head_model != facts.head_model:
        raise RunError(
            f"{run} predicts codes of the head {there.head_model}, the dataset has those of {facts.head_model}.",
            hint=advice,
            path=run,
        )
    if there.dataset_hash != facts.dataset_hash:
        raise RunError(
            f"{run} was trained on another dataset (hash {there.dataset_hash[:12]}, this one's is "
            f"{facts.dataset_hash[:12]}): other rows, other splits or other settings of its build.",
            hint=advice,
            path=run,
        )
    for name in ("speech", "network"):
        if getattr(there.config, name) != getattr(facts.config, name):
            raise RunError(f"{run} was started with other settings in the section {name!r}.", hint=advice, path=run)


@dataclass(frozen=True)
class Phase:
    """Part of a stage that the loop trains in one go."""

    title: str
    """What people read."""
    folder: str
    """Its checkpoints, within the run."""
    terms: Terms
    """What is made small."""
    config: TrainConfig
    """Its own settings: steps and windows a step may differ."""
    social: bool
    """With the social module."""


def phases(stage: int, config: RunConfig) -> list[Phase]:
    """What stage 1 (motion: the mean, then the head that draws) or 3 (social: both, then that head) goes through.

    The head learns what the mean leaves out, so the mean has to stand, and each stops when it has had enough. In stage
    3 it is told other features while these are learnt, which costs it likelihood; half as many steps on those that
    stay bring that back.
    """
    train, social = config.train, stage == 3
    terms: Terms = "both" if social and config.loss.draw else "mean"
    found = [Phase(f"stage {stage}", f"stage{stage}", terms, train, social)]
    steps = (train.draw_steps + 1) // 2 if social and config.loss.draw else 0 if social else train.draw_steps
    if steps:
        own = replace(train, steps=steps, batch=train.draw_batch)
        found.append(Phase(f"stage {stage}, draws", f"stage{stage}/{checkpoint.DRAWS}", "draw", own, social))
    return found


def run_stage(
    stage: int,
    prepared: Prepared,
    run: Path,
    head: HeadModel | None,
    devices: Devices,
    *,
    resume: bool,
    report: Report = lambda step, values: None,
) -> list[Outcome]:
    """Train all phases of stage 1 or 3, see :func:`run_phase`."""
    return [
        run_phase(phase, prepared, run, head, devices, resume=resume, report=report)
        for phase in phases(stage, prepared.facts.config)
    ]


def run_phase(
    phase: Phase,
    prepared: Prepared,
    run: Path,
    head: HeadModel | None,
    devices: Devices,
    *,
    resume: bool,
    report: Report = lambda step, values: None,
) -> Outcome:
    """Train one phase into its folder.

    Args:
        phase: of :func:`phases`; those before it have been trained.
        prepared: data.
        run: folder.
        head: of the codes, for lip vertices; None leaves them out.
        devices: where.
        resume: go on from the phase's last checkpoint; draws that were not begun are begun.
        report: told losses.

    Raises:
        RunError: there is no stage 1 to build on, or nothing to resume.
    """
    facts, config = prepared.facts, prepared.facts.config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        network = MotionNetwork(
            config.network, facts.channels, facts.per_frame, prepared.layout.size, social=phase.social
        )
    found = statistics(prepared.training, prepared.layout, config.network.reference_s)
    units = {name: torch.from_numpy(value) for name, value in found.items()}
    terms = phase.terms
    before = _before(phase, run)
    if before is None:
        network.fit_scale(units["mean"], units["scale"])
        network.draw.fit_parts(units["axes"], units["spread"], units["family"])
        with torch.no_grad():
            network.trust.copy_(units["trust"])
    elif not _take_over(network, before, run) and phase.social:
        if terms == "draw":
            return Outcome(0, 0, None, stopped_early=False, seconds=0.0)
        terms = "mean"  # a head that was never trained has nothing to tell
    losses = Losses(
        config.loss,
        prepared.layout,
        units["scale"].to(devices.device),
        units["speed"].to(devices.device),
        head,
    )
    losses.fit_lips(*(part.to(devices.device) for part in _sample(prepared.training)))
    t, reference_s = phase.config, config.network.reference_s
    data = Data(
        Windows(prepared.training, t.window, t.hop, reference_s, training=True),
        None
        if prepared.validation is None
        else Windows(prepared.validation, t.window, t.window, reference_s, training=False),
    )
    folder = run / phase.folder
    if terms == "draw":  # who stopped before it begins it by going on
        resume = resume and _goes_with(folder, network)
    elif not resume and devices.rank == 0:
        _forget(folder / checkpoint.DRAWS)  # else whoever stops in between is left with the old weights
    return train(
        network, _groups(network, phase, terms), data, losses, t, folder, devices,
        relation=phase.social, resume=resume, terms=terms, report=report,
        augment=config.augment if config.speech.encoder == "logmel" and any(vars(config.augment).values()) else None,
    )  # fmt: skip


def _before(phase: Phase, run: Path) -> Path | None:
    """Where the weights lie that a phase begins with; None where it begins with nothing."""
    if phase.terms == "draw":
        return run / Path(phase.folder).parent / checkpoint.BEST
    return (checkpoint.weights_of(run, 1) or run / "stage1" / checkpoint.BEST) if phase.social else None


def _take_over(network: MotionNetwork, path: Path, run: Path) -> bool:
    """Load the weights that a phase begins with; whether the head that draws has been trained in them."""
    stage = path.relative_to(run).parts[0].removeprefix("stage")
    if not path.is_file():
        raise RunError(
            f"{run} has no stage {stage}, which the next one is built on.",
            hint=f"Train it first: rsat-data train-baseline --dataset OUT --run {run} --stage {stage}",
            path=run,
        )
    tensors, values = checkpoint.read(path)
    weights = {name.removeprefix("network."): value for name, value in tensors.items()}
    expected = {name for name in network.state_dict() if stage == "3" or not name.startswith("social.")}
    if set(weights) != expected:
        raise RunError(f"{path} is of another network.", hint=f"Train stage {stage} again.", path=path)
    try:
        network.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise RunError(
            f"{path} is of another network: {error}.", hint=f"Train stage {stage} again.", path=path
        ) from error
    return values.get("terms") != "mean"


def _goes_with(folder: Path, network: MotionNetwork) -> bool:
    """Whether draws were begun on this very mean; those of another, which has been trained on since, are removed."""
    last = folder / checkpoint.LAST
    if not last.is_file():
        return False
    tensors, _ = checkpoint.read(last)
    base = {f"network.{name}": value for name, value in network.state_dict().items() if not name.startswith(_DRAW)}
    if all(name in tensors and torch.equal(tensors[name], value) for name, value in base.items()):
        return True
    _forget(folder)
    return False


def _forget(folder: Path) -> None:
    """Remove what a phase has kept."""
    for name in (checkpoint.BEST, checkpoint.LAST):
        (folder / name).unlink(missing_ok=True)


def _groups(network: MotionNetwork, phase: Phase, terms: Terms) -> list[tuple[list[str], float]]:
    """Names of what is trained, and shares of the learning rate."""
    config = phase.config
    names = [name for name, _ in network.named_parameters()]
    social = [name for name in names if name.startswith("social.")]
    behind = [name for name in names if name.startswith(_DECODER)]
    drawing = [name for name in names if name.startswith(_DRAW)]
    before = [name for name in names if name not in {*social, *behind, *drawing}]
    if terms == "draw":
        return [(drawing, config.draw_rate)]
    if not phase.social:
        return [([*before, *behind], 1.0)]
    rate = config.decoder_rate
    shares = [(social, 1.0), (behind, rate), (before, config.base_rate)]
    if terms == "both":
        shares.insert(2, (drawing, rate * config.draw_rate))
    return [(part, share) for part, share in shares if share > 0]


def _sample(store: Store, count: int = 500) -> tuple[torch.Tensor, torch.Tensor]:
    """Valid frames (N, D) spread over a store, and the shapes (N, S) they are seen on."""
    places = np.flatnonzero(store.valid)
    places = places[np.linspace(0, len(places) - 1, min(count, len(places))).round().astype(int)]
    starts = [entry.rows(person).start for entry in store.entries for person in range(len(PERSONS))]
    owners = np.searchsorted(starts, places, side="right") - 1
    return torch.from_numpy(store.motion[places]), torch.from_numpy(store.shape[owners])
