"""The reference model on synthetic conversations of known truth: what it learns, and what could be learnt at all.

    python -m benchmarks.train motion --work runs --steps 600
    python -m benchmarks.train social --work runs --steps 600 --social-steps 300
    python -m benchmarks.train social --work runs0 --effect-scale 0
    python -m benchmarks.train speed --work runs

Trains on conversations of one seed and judges on those of another: other people, voices, dyads. Needs espeak-ng.
Columns: error is the centred MSE (each clip's mean taken away) divided by that of a face that stands still, so a still
face is 1; over the whole expression code, over the columns that speech drives, over the others, the jaw, pose and eyes.
FD is of the expression code, divided by that of the static mean. r is the correlation of the jaw's opening.
"limit" is the mean of many simulations of the same dialogue under other seeds: what is left is drawn by dice that no
input shows, so no model of speech can be expected below it (one that sees the partner smile may be, a little).
Intervals are of 95 % over dyads.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.machine import best_of, describe_machine, table
from model.evaluate.intervals import Bootstrap, Cells
from model.evaluate.predictors import Others, Predictor, controls, floors
from model.head import load_head
from model.metrics.motion.codes import frechet, squared_error
from model.motion.conversation import PERSONS, Conversation, conversations
from model.motion.layout import CODE_OF_GROUP
from model.motion.network import MotionNetwork
from model.motion.run import load_run
from model.train.config import RunConfig
from model.train.devices import Devices
from model.train.losses import Losses
from model.train.stages import check, prepare
from model.train.store import statistics
from model.train.windows import Windows, order
from pipelines.synth.behaviour import behave
from pipelines.synth.dataset import rows_of
from pipelines.synth.driver import SpeechConfig, SynthConfig, open_speech
from pipelines.synth.relations import RelationEffects
from pipelines.synth.scene import head_facts, make_codes, make_scene
from pipelines.synth.simulate import SimulationConfig, simulate
from pipelines.synth.visemes import drive_mouth
from rsat_data.cli.synth import write_dataset
from rsat_data.cli.train import run_training

#: Columns of the expression code that the synthesiser drives by speech alone.
SPOKEN = ("Press", "Pucker", "Funnel", "Stretch", "LowerDown", "UpperUp", "RollLower")
CPU = Devices(torch.device("cpu"))
COLUMNS = ("expression", "spoken", "unspoken", "jaw", "pose", "eyes")


def main(arguments: list[str] | None = None) -> int:
    """Make, train, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["motion", "social", "speed"])
    parser.add_argument("--work", type=Path, required=True, help="folder for datasets and runs; kept and used again")
    parser.add_argument("--train", type=int, default=40, help="conversations to learn from")
    parser.add_argument("--test", type=int, default=24, help="conversations to be judged on")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--social-steps", type=int, default=300)
    parser.add_argument("--effect-scale", type=float, default=1.0)
    parser.add_argument("--draws", type=int, default=24, help="simulations behind the limit")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--set", dest="settings", action="append", default=[])
    options = parser.parse_args(arguments)
    print(describe_machine(), flush=True)
    learnt = synthesis(options, options.work / "learnt", options.train, 101)
    unseen = synthesis(options, options.work / "unseen", options.test, 202)
    if options.what == "speed":
        speed(options, learnt)
        return 0
    settings = [f"train.steps={options.steps}", f"train.threads={options.threads}", *options.settings]
    stages = [("1", settings)]
    if options.what == "social":
        stages.append(("3", [*settings, f"train.steps={options.social_steps}"]))
    for stage, chosen in stages:
        if not (options.work / "run" / f"stage{stage}" / "last.safetensors").is_file():
            started = time.perf_counter()
            run_training(
                dataset=learnt.out, folder=options.work / "run", stage=stage, file=None, settings=tuple(chosen),
                device="cpu", resume=False, quiet=False,
            )  # fmt: skip
            print(f"stage {stage}: {time.perf_counter() - started:.0f} s\n", flush=True)
    if options.what == "motion":
        motion(options, unseen)
    else:
        social(options, unseen)
    return 0


def synthesis(options: argparse.Namespace, out: Path, clips: int, seed: int) -> SynthConfig:
    """A dataset of spoken conversations, made if it is not there."""
    effects = RelationEffects().scaled(options.effect_scale)
    simulation = SimulationConfig(seed=seed, seconds=options.seconds, effects=effects)
    config = SynthConfig(out, clips, simulation, SpeechConfig("spoken"))
    if not (out / "manifest.jsonl").is_file():
        write_dataset(config, quiet=True)
    return config


def limit(config: SynthConfig, draws: int) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """Clip -> person -> group -> (T, d): mean of simulations of the clip's own dialogue under other seeds."""
    head = load_head()
    facts, speech = head_facts(head), open_speech(config.speech)
    result: dict[str, dict[str, dict[str, np.ndarray]]] = {}
    for index in range(config.clips):
        truth, dialogue = simulate(config.simulation, index, speech, facts)
        clip = rows_of(truth, dialogue, facts, "")[1]["clip_id"]
        mouths = {p: drive_mouth(dialogue, p, articulation=truth.rates[p].articulation) for p in PERSONS}
        scene = make_scene(config.simulation.width, config.simulation.height, index)
        sums: dict[str, dict[str, Any]] = {p: dict.fromkeys(CODE_OF_GROUP, 0.0) for p in PERSONS}
        for draw in range(draws):
            acted = behave(dialogue, mouths, truth.rates, 10_000 + draw)
            for p in PERSONS:
                codes = make_codes(acted[p], p, scene.places[p], truth.codes[p].shape, facts)
                for group, name in CODE_OF_GROUP.items():
                    sums[p][group] = sums[p][group] + getattr(codes, name).astype(np.float64) / draws
        result[clip] = sums
    return result


def motion(options: argparse.Namespace, unseen: SynthConfig) -> None:
    """Stage 1 beside floors, controls and the limit."""
    run = load_run(options.work / "run", stage=1)
    talks = list(conversations(unseen.out, None))
    best = limit(unseen, options.draws)
    others = Others(talks, [(talk.clip_id, talk.dyad_id) for talk in talks])
    model = Predictor("model", "model", "model", run.predict)
    alone = Predictor(
        "alone", "model, sound alone", "control", lambda talk, person: run.predict(talk, person, partner_motion=False)
    )
    ceiling = Predictor("limit", "limit", "control", lambda talk, person: best[talk.clip_id][person])
    shown = [model, alone, *controls(model, others), *floors(others, run.reference_s), ceiling]
    names = load_head().expression_names
    spoken = np.array([any(word in name for word in SPOKEN) for name in names])
    found = {one.name: judge(talks, one, run.evaluated, spoken) for one in shown if one.frames is None}
    # The truth is one more draw: a mean of K draws errs by (K + 1) / K of what the mean of all would.
    for name in COLUMNS:
        found["limit"][name] *= options.draws / (options.draws + 1)
    dyads = np.unique([talk.dyad_id for talk in talks for _ in PERSONS], return_inverse=True)[1]
    bootstrap = Bootstrap()

    def cell(values: np.ndarray) -> str:
        estimate = bootstrap.figure(Cells(values, np.isfinite(values).astype(float)), dyads)
        if estimate.value is None:  # a still face has no correlation
            return "-"
        span = "" if estimate.low is None else f" [{estimate.low:.2f}, {estimate.high:.2f}]"
        return f"{estimate.value:.2f}{span}"

    still = found["static_mean"]
    lines: list[list[str]] = [["", *COLUMNS, "FD", "r of the jaw"]]
    for one in shown:
        if one.name in found:
            mine = found[one.name]
            # Clip by clip over the mean of all clips of a still face: clips of little motion would count too much.
            ratios = [mine[name] / np.mean(still[name]) for name in (*COLUMNS, "fd")]
            lines.append([one.title, *map(cell, ratios), cell(mine["r"])])
    print(table(lines))


def judge(
    talks: Sequence[Conversation],
    one: Predictor,
    counts: Callable[[Conversation, str], np.ndarray],
    spoken: np.ndarray,
) -> dict[str, np.ndarray]:
    """Figures of every person in every clip, in order."""
    found: dict[str, list[float]] = {name: [] for name in (*COLUMNS, "fd", "r")}
    for talk in talks:
        for person in PERSONS:
            mask = counts(talk, person)
            predicted: Mapping[str, np.ndarray] = one.predict(talk, person)
            pairs = {
                g: (predicted[g].astype(float), talk.codes[person][c].astype(float)) for g, c in CODE_OF_GROUP.items()
            }
            x, y = pairs["expression"]
            pairs |= {"spoken": (x[:, spoken], y[:, spoken]), "unspoken": (x[:, ~spoken], y[:, ~spoken])}
            for name in COLUMNS:
                found[name].append(squared_error(*pairs[name], mask, centred=True))
            found["fd"].append(frechet(x, y, mask))
            a, b = (part[mask, 0] for part in pairs["jaw"])
            found["r"].append(float(np.corrcoef(a, b)[0, 1]) if a.std() > 1e-9 and b.std() > 1e-9 else float("nan"))
    return {name: np.array(values) for name, values in found.items()}


def social(options: argparse.Namespace, unseen: SynthConfig) -> None:
    """Stage 3 under true, permuted and unknown relations."""
    from model.evaluate.harness import EvaluateConfig
    from model.evaluate.relations import shuffle_test

    run = load_run(options.work / "run", stage=3)
    talks = conversations(unseen.out, None)
    test = shuffle_test(
        "unseen", talks, lambda talk, person, relation: run.predict(talk, person, relation=relation), None,
        replace(EvaluateConfig(), reference_s=run.reference_s, vertices=False),
    )  # fmt: skip
    lines: list[list[str]] = [["measure", "true", "permuted", "unknown", "gain over permuted", "p"]]
    for one in test.outcomes:
        gain = one.over_permuted
        span = "-" if gain.low is None else f"{gain.value:.3g} [{gain.low:.3g}, {gain.high:.3g}]"
        figures = [f"{e.value:.4g}" if e.value is not None else "-" for e in (one.true, one.permuted, one.unknown)]
        p = one.p_adjusted if one.primary else gain.p
        lines.append([f"{one.metric} {one.group}", *figures, span, "-" if p is None else f"{p:.3f}"])
    print(table(lines))
    print(f"\n{test.sentence}")


def speed(options: argparse.Namespace, learnt: SynthConfig) -> None:
    """Windows a second that are loaded, and that a step takes, with and without the social module."""
    if options.threads:
        torch.set_num_threads(options.threads)
    config = RunConfig()
    prepared = prepare(learnt.out, options.work / "speed", config, check(learnt.out, config, social=False), CPU)
    units = statistics(prepared.training, prepared.layout, config.network.reference_s)
    windows = Windows(
        prepared.training, config.train.window, config.train.hop, config.network.reference_s, training=True
    )
    rng, batch = np.random.default_rng(0), config.train.batch
    rates = {"loading": batch / best_of(lambda: windows.example(order(0, 0, batch, len(windows)), rng), 20)}
    example = windows.example(order(0, 0, batch, len(windows)), rng)
    scale, pace = (torch.from_numpy(units[name]) for name in ("scale", "speed"))
    losses = Losses(config.loss, prepared.layout, scale, pace, load_head())
    for name, social in (("step, stage 1", False), ("step, with the social module", True)):
        network = MotionNetwork(config.network, 64, 4, prepared.layout.size, social=social)
        optimiser = torch.optim.AdamW(network.parameters())

        def step(network: MotionNetwork = network, optimiser: torch.optim.Optimizer = optimiser) -> None:
            optimiser.zero_grad()
            torch.stack(list(losses(network(example.inputs), example).values())).sum().backward()
            optimiser.step()

        rates[name] = batch / best_of(step, 5)
    lines = [["what", "windows/s", "steps/s", "loading is faster"]]
    for name, rate in rates.items():
        lines.append([name, f"{rate:.1f}", f"{rate / batch:.2f}", f"{rates['loading'] / rate:.0f} x"])
    print(f"{torch.get_num_threads()} threads, {batch} windows of {config.train.window} frames a step")
    print(table(lines))


if __name__ == "__main__":
    raise SystemExit(main())
