"""The loop of a stage. Every step's order, references and dropout come from the seed and the step's number, so a run
that was stopped goes on, on a CPU, to the very bits it would have reached.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from model.motion.network import Batch, MotionNetwork
from model.train import checkpoint
from model.train.augment import augmented
from model.train.config import AugmentConfig, TrainConfig
from model.train.devices import Devices
from model.train.losses import Losses
from model.train.windows import Example, Windows, order
from rsat_data.errors import RunError

Report = Callable[[int, Mapping[str, float]], None]
"""Called with a step's number and values by name."""
Terms = Literal["mean", "draw", "both"]
"""What is made small: errors of the mean, surprise of the head that draws, or both."""


@dataclass(frozen=True)
class Data:
    """What a stage learns from and is judged by."""

    training: Windows
    """Windows of the training split."""
    validation: Windows | None
    """Windows of the validation split; None where it is empty: then the last weights are kept."""


@dataclass(frozen=True)
class Outcome:
    """How a stage ended."""

    steps: int
    """Steps taken."""
    best_step: int
    """Step whose weights were kept."""
    best: float | None
    """Their validation loss; None without validation."""
    stopped_early: bool
    """Whether validation had stopped getting better."""
    seconds: float
    """Time this call took."""


def train(
    network: MotionNetwork,
    groups: list[tuple[list[str], float]],
    data: Data,
    losses: Losses,
    config: TrainConfig,
    folder: Path,
    devices: Devices,
    *,
    relation: bool,
    resume: bool,
    terms: Terms = "both",
    augment: AugmentConfig | None = None,
    report: Report = lambda step, values: None,
) -> Outcome:
    """Train ``network`` in place of its kept weights in ``folder``.

    Args:
        network: on the CPU; moved to the device.
        groups: names of parameters and their share of the learning rate; parameters in none stay as they are.
        data: windows.
        losses: on the device.
        config: settings.
        folder: for checkpoints, one stage's.
        devices: where.
        relation: give the network relations (stage 3); otherwise all are unknown.
        resume: go on from the last checkpoint.
        terms: what is made small.
        augment: how features of speech are changed; None leaves them as they are.
        report: told losses after each step, and validation losses under ``validation/...``.

    Raises:
        RunError: there is nothing to resume, the loss is no longer finite, or there are no windows.
    """
    if not len(data.training):
        raise RunError("No window of the training split has valid frames.")
    network.to(devices.device)
    named = dict(network.named_parameters())
    trained = [name for names, _ in groups for name in names]
    for name, parameter in named.items():
        parameter.requires_grad_(name in set(trained))
    optimiser = torch.optim.AdamW(
        [{"params": [named[name] for name in names], "share": share} for names, share in groups],
        lr=config.lr,
        weight_decay=config.weight_decay,
    )
    average = {name: named[name].detach().clone() for name in trained}
    state = _State()
    if resume:
        state = _load(folder, named, average, optimiser, trained)
    # Modules that stay as they are do not drop anything either: what later ones learn from is what they will get.
    frozen = [m for m in network.children() if not any(p.requires_grad for p in m.parameters())]
    objective = _Objective(network, terms)
    called = devices.prepare(objective)
    started = time.perf_counter()
    while state.step < config.steps and not state.done:
        network.train()
        for module in frozen:
            module.eval()
        example = training_example(data.training, config, augment, state.step, devices, relation=relation)
        share = _schedule(config, state.step)
        for group in optimiser.param_groups:
            group["lr"] = config.lr * share * group["share"]
        with torch.random.fork_rng(devices=[devices.device] if devices.device.type == "cuda" else []):
            torch.manual_seed((config.seed * 1_000_003 + state.step) * 4099 + devices.rank)
            noise = torch.randn(example.target.shape).to(devices.device)
            with devices.autocast():
                found = called(example.inputs, example.target, example.mask, noise)
            parts = _terms(losses, found, example)
            loss = torch.stack(list(parts.values())).sum()
        values = {"loss": float(loss.detach()), **{name: float(value.detach()) for name, value in parts.items()}}
        optimiser.zero_grad(set_to_none=True)
        devices.backward(loss)
        # The head that draws apart: its gradients would decide how far the mean steps.
        halves = [[named[n] for n in trained if n.startswith("draw.") == own] for own in (False, True)]
        norms = [float(nn.utils.clip_grad_norm_(half, config.clip)) for half in halves if half]
        if not all(map(math.isfinite, (values["loss"], *norms))):
            raise RunError(
                f"The loss is no longer finite at step {state.step}.",
                hint="Lower train.lr, or start with another train.seed.",
                path=folder,
            )
        optimiser.step()
        state.step += 1
        keep = min(config.ema, (1 + state.step) / (10 + state.step))
        with torch.no_grad():
            for name in trained:
                average[name].lerp_(named[name], 1 - keep)
        report(state.step, values)
        if state.step % config.validate_every == 0 or state.step == config.steps:
            judged = _validate(objective, average, data.validation, losses, config, devices, relation=relation)
            report(state.step, {f"validation/{name}": value for name, value in judged.items()})
            score = judged.get("loss")
            if score is None or state.best is None or score < state.best:
                state.best, state.best_step, state.waited = score, state.step, 0
                if devices.rank == 0:
                    with swapped(network, average):
                        facts = {"step": state.step, "terms": terms}
                        checkpoint.write(folder / checkpoint.BEST, _weights(network), facts)
            else:
                state.waited += 1
                state.done = 0 < config.patience <= state.waited
            if devices.rank == 0:
                _save(folder, network, average, optimiser, trained, state)
            devices.wait()
    return Outcome(state.step, state.best_step, state.best, state.done, time.perf_counter() - started)


@dataclass
class _State:
    step: int = 0
    best: float | None = None
    best_step: int = 0
    waited: int = 0
    done: bool = False


def _schedule(config: TrainConfig, step: int) -> float:
    """Share of the learning rate: a ramp, then a cosine to a hundredth."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    way = (step - config.warmup) / max(config.steps - config.warmup, 1)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(way, 1.0)))


def training_example(
    windows: Windows, config: TrainConfig, augment: AugmentConfig | None, step: int, devices: Devices, *, relation: bool
) -> Example:
    """The batch of a step, in which references, hidden inputs and voices come from the seed and the step's number."""
    numbers = order(config.seed, step, config.batch, len(windows))[devices.rank :: devices.world]
    rng = np.random.default_rng([config.seed, 7, step, devices.rank])
    example = windows.example(numbers, rng)
    inputs = example.inputs
    count = len(numbers)
    hidden = torch.from_numpy(rng.random(count) < config.partner_dropout)
    unnamed = torch.from_numpy(rng.random(count) < config.relation_dropout)
    shown = torch.from_numpy(rng.random(count) >= config.reference_dropout)
    inputs = replace(
        inputs,
        motion_known=inputs.motion_known & ~hidden[:, None],
        reference_known=inputs.reference_known & shown,
        relation=torch.where(unnamed[:, None], 0, inputs.relation) if relation else torch.zeros_like(inputs.relation),
    )
    if augment is not None:
        inputs = augmented(inputs, augment, rng, windows.store.per_frame)
    return replace(example, inputs=inputs).to(devices.device)


class _Objective(nn.Module):
    """What is called in training: all outputs at once, so that several devices average all gradients."""

    def __init__(self, network: MotionNetwork, terms: Terms) -> None:
        super().__init__()
        self.network, self.terms = network, terms

    def forward(
        self, inputs: Batch, target: Tensor, known: Tensor, noise: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        """The mean and surprise of ``MotionNetwork.learn``, as far as they are made small."""
        if self.terms == "mean":
            return self.network(inputs), None
        mean, surprise = self.network.learn(inputs, target, known, noise)
        return (mean if self.terms == "both" else None), surprise


def _terms(losses: Losses, found: tuple[Tensor | None, Tensor | None], example: Example) -> dict[str, Tensor]:
    mean, surprise = found
    parts = {} if mean is None else losses(mean, example)
    return parts if surprise is None else parts | losses.drawn(surprise, example.mask)


@torch.inference_mode()
def _validate(
    objective: _Objective,
    average: dict[str, Tensor],
    windows: Windows | None,
    losses: Losses,
    config: TrainConfig,
    devices: Devices,
    *,
    relation: bool,
) -> dict[str, float]:
    """Mean terms over all windows of the validation split, by averaged weights; empty without windows."""
    if windows is None or not len(windows):
        return {}
    objective.eval()
    totals: dict[str, float] = {}
    with swapped(objective.network, average):
        for start in range(0, len(windows), config.batch):
            numbers = np.arange(start, min(start + config.batch, len(windows)))
            example = windows.example(numbers)
            if not relation:
                unknown = torch.zeros_like(example.inputs.relation)
                example = replace(example, inputs=replace(example.inputs, relation=unknown))
            example = example.to(devices.device)
            # The same error of the past every time, so that validations can be compared.
            noise = torch.randn(example.target.shape, generator=torch.Generator().manual_seed(start))
            with devices.autocast():
                found = objective(example.inputs, example.target, example.mask, noise.to(devices.device))
            for name, value in _terms(losses, found, example).items():
                totals[name] = totals.get(name, 0.0) + float(value) * len(numbers) / len(windows)
    return {"loss": sum(totals.values()), **totals}


class swapped:  # noqa: N801 (a context manager that reads like a function)
    """The network with averaged weights, for as long as the context lasts."""

    def __init__(self, network: nn.Module, average: dict[str, Tensor]) -> None:
        self.network, self.average = network, average

    def __enter__(self) -> None:
        self._swap()

    def __exit__(self, *exc: object) -> None:
        self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        named = dict(self.network.named_parameters())
        for name, value in self.average.items():
            kept = named[name].detach().clone()
            named[name].copy_(value)
            value.copy_(kept)


def _weights(network: nn.Module) -> dict[str, Tensor]:
    return {f"network.{name}": value for name, value in network.state_dict().items()}


def _slots(optimiser: torch.optim.Optimizer, trained: list[str]) -> Iterator[tuple[str, nn.Parameter]]:
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    yield from zip(trained, parameters, strict=True)


def _save(
    folder: Path,
    network: nn.Module,
    average: dict[str, Tensor],
    optimiser: torch.optim.Optimizer,
    trained: list[str],
    state: _State,
) -> None:
    tensors = _weights(network)
    tensors |= {f"average.{name}": value for name, value in average.items()}
    for name, parameter in _slots(optimiser, trained):
        for slot, value in optimiser.state[parameter].items():
            tensors[f"optimiser.{slot}.{name}"] = value
    checkpoint.write(folder / checkpoint.LAST, tensors, dict(vars(state)))


def _load(
    folder: Path,
    named: dict[str, nn.Parameter],
    average: dict[str, Tensor],
    optimiser: torch.optim.Optimizer,
    trained: list[str],
) -> _State:
    tensors, values = checkpoint.read(folder / checkpoint.LAST)
    state: dict[str, Any] = dict(values)
    try:
        with torch.no_grad():
            for name, parameter in named.items():
                parameter.copy_(tensors[f"network.{name}"])
            for name in trained:
                average[name].copy_(tensors[f"average.{name}"])
        for name, parameter in _slots(optimiser, trained):
            slots = {"step": tensors[f"optimiser.step.{name}"]}
            for slot in ("exp_avg", "exp_avg_sq"):
                slots[slot] = tensors[f"optimiser.{slot}.{name}"].to(parameter.device)
            optimiser.state[parameter] = slots
        return _State(**state)
    except (KeyError, RuntimeError, TypeError) as error:
        raise RunError(
            f"The checkpoint in {folder} is of another network: {error}.",
            hint="Resume with the settings the run was started with, or start in another folder.",
            path=folder,
        ) from error
