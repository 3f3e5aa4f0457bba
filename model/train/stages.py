"""The stages of a run: 1 motion, 3 social. Each opens the data, builds the network, and hands both to the loop.

After the abstract of RSATalker, which names three stages; what they contain is our reading.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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
from model.train.loop import Data, Outcome, Report, train
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


def run_stage(
    stage: int,
    prepared: Prepared,
    run: Path,
    head: HeadModel | None,
    devices: Devices,
    *,
    resume: bool,
    report: Report = lambda step, values: None,
) -> Outcome:
    """Train one stage into ``run/stage1`` or ``run/stage3``.

    Args:
        stage: 1 motion; 3 social, on top of the motion that stage 1 left in the same folder.
        prepared: data.
        run: folder.
        head: of the codes, for lip vertices; None leaves them out.
        devices: where.
        resume: go on from the stage's last checkpoint.
        report: told losses.

    Raises:
        RunError: there is no stage 1 to build on, or nothing to resume.
    """
    facts, config = prepared.facts, prepared.facts.config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        network = MotionNetwork(
            config.network, facts.channels, facts.per_frame, prepared.layout.size, social=stage == 3
        )
    found = statistics(prepared.training, prepared.layout, config.network.reference_s)
    units = {name: torch.from_numpy(value) for name, value in found.items()}
    if stage == 1:
        network.fit_scale(units["mean"], units["scale"])
        network.draw.fit_parts(units["axes"], units["spread"])
        with torch.no_grad():
            network.trust.copy_(units["trust"])
        names = [name for name, _ in network.named_parameters()]
        drawing = [name for name in names if name.startswith(_DRAW)]
        groups = [([name for name in names if name not in set(drawing)], 1.0), (drawing, config.train.draw_rate)]
    else:
        _take_over(network, run)
        groups = _social_groups(network, config.train)
    if not config.loss.draw:  # what nothing is learnt about stays as it is
        groups = [(part, share) for part, share in groups if not part[0].startswith(_DRAW)]
    losses = Losses(
        config.loss,
        prepared.layout,
        units["scale"].to(devices.device),
        units["speed"].to(devices.device),
        head,
    )
    losses.fit_lips(*(part.to(devices.device) for part in _sample(prepared.training)))
    t, reference_s = config.train, config.network.reference_s
    data = Data(
        Windows(prepared.training, t.window, t.hop, reference_s, training=True),
        None
        if prepared.validation is None
        else Windows(prepared.validation, t.window, t.window, reference_s, training=False),
    )
    return train(
        network, groups, data, losses, t, run / f"stage{stage}", devices,
        relation=stage == 3, resume=resume, report=report,
        augment=config.augment if config.speech.encoder == "logmel" and any(vars(config.augment).values()) else None,
    )  # fmt: skip


def _take_over(network: MotionNetwork, run: Path) -> None:
    path = run / "stage1" / checkpoint.BEST
    if not path.is_file():
        raise RunError(
            f"{run} has no stage 1, which stage 3 is built on.",
            hint=f"Train it first: rsat-data train-baseline --dataset OUT --run {run} --stage 1",
            path=run,
        )
    tensors, _ = checkpoint.read(path)
    weights = {name.removeprefix("network."): value for name, value in tensors.items()}
    expected = {name for name in network.state_dict() if not name.startswith("social.")}
    if set(weights) != expected:
        raise RunError(f"{path} is of another network.", hint="Train stage 1 again.", path=path)
    try:
        network.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise RunError(f"{path} is of another network: {error}.", hint="Train stage 1 again.", path=path) from error


def _social_groups(network: MotionNetwork, config: TrainConfig) -> list[tuple[list[str], float]]:
    names = [name for name, _ in network.named_parameters()]
    social = [name for name in names if name.startswith("social.")]
    behind = [name for name in names if name.startswith(_DECODER)]
    drawing = [name for name in names if name.startswith(_DRAW)]
    before = [name for name in names if name not in {*social, *behind, *drawing}]
    rates = (1.0, config.decoder_rate, config.decoder_rate * config.draw_rate, config.base_rate)
    return [(p, share) for p, share in zip((social, behind, drawing, before), rates, strict=True) if share > 0]


def _sample(store: Store, count: int = 500) -> tuple[torch.Tensor, torch.Tensor]:
    """Valid frames (N, D) spread over a store, and the shapes (N, S) they are seen on."""
    places = np.flatnonzero(store.valid)
    places = places[np.linspace(0, len(places) - 1, min(count, len(places))).round().astype(int)]
    starts = [entry.rows(person).start for entry in store.entries for person in range(len(PERSONS))]
    owners = np.searchsorted(starts, places, side="right") - 1
    return torch.from_numpy(store.motion[places]), torch.from_numpy(store.shape[owners])
