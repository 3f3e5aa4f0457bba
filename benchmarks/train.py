"""The reference model on synthetic conversations of known truth: what it learns, and what could be learnt at all.

    python -m benchmarks.train motion --work runs --steps 600
    python -m benchmarks.train social --work runs1                      # benchmarks/train_social.py
    python -m benchmarks.train social --work runs0 --effect-scale 0
    python -m benchmarks.train speed --work runs

Trains on conversations of one seed and judges on those of another: other people, voices, dyads. Needs espeak-ng.
Columns: error is the centred MSE (each clip's mean taken away) divided by that of a face that stands still, so a still
face is 1; over the whole expression code, over the columns that speech drives, over the others, the jaw, pose and eyes.
FD is of the expression code, divided by that of the static mean. r is the correlation of the jaw's opening. Blinks and
nods are those found in the motion (lids over a half; model.metrics.motion.events.nods), a minute of frames that count.
"limit" is the mean of many simulations of the same dialogue under other seeds: what is left is drawn by dice that no
input shows, so no model of speech can be expected below it (one that sees the partner smile may be, a little).
"another draw" is one such simulation: as well as a model that draws can be expected to do. A draw differs from the
truth by its own dice and the truth's: where nothing is to be known, its centred error is twice that of a still face.
Intervals are of 95 % over dyads.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import train_social
from benchmarks.machine import best_of, describe_machine, table
from benchmarks.train_social import SPOKEN
from model.evaluate.intervals import Bootstrap, Cells
from model.evaluate.predictors import Others, Predictor, controls, floors, truth
from model.head import load_head
from model.metrics.motion.codes import frechet, squared_error
from model.metrics.motion.events import nods
from model.motion.conversation import FPS, PERSONS, Conversation, conversations
from model.motion.layout import CODE_OF_GROUP
from model.motion.network import MotionNetwork
from model.motion.run import load_run
from model.train.config import RunConfig
from model.train.devices import Devices
from model.train.loop import training_example
from model.train.losses import Losses
from model.train.stages import check, prepare
from model.train.store import statistics
from model.train.windows import Example, Windows
from pipelines.synth.behaviour import behave
from pipelines.synth.dataset import rows_of
from pipelines.synth.driver import SpeechConfig, SynthConfig, open_speech
from pipelines.synth.records import rng_for
from pipelines.synth.relations import RelationEffects
from pipelines.synth.scene import head_facts, make_codes, make_scene
from pipelines.synth.simulate import SimulationConfig, simulate
from pipelines.synth.visemes import drive_mouth
from rsat_data.cli.synth import write_dataset
from rsat_data.cli.train import run_training

CPU = Devices(torch.device("cpu"))
COLUMNS = ("expression", "spoken", "unspoken", "jaw", "pose", "eyes")
DEFAULTS = {
    "train": 40, "test": 24, "seconds": 10.0, "steps": 600, "social_steps": 300, "draws": 24, "unseen_seed": 202,
}  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Make, train, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["motion", "social", "speed"])
    parser.add_argument("--work", type=Path, required=True, help="folder for datasets and runs; kept and used again")
    parser.add_argument("--train", type=int, help="conversations to learn from, validation included  [40; social 200]")
    parser.add_argument("--test", type=int, help="conversations to be judged on  [24; social 100]")
    parser.add_argument("--seconds", type=float, help="length of each  [10; social 16]")
    parser.add_argument("--steps", type=int, help="steps of stage 1  [600; social 250]")
    parser.add_argument("--social-steps", type=int, help="steps of stage 3  [300]")
    parser.add_argument("--effect-scale", type=float, default=1.0, help="what relations do: 0 nothing, 1 as declared")
    parser.add_argument("--draws", type=int, help="simulations behind the limit  [24; social 2 a relation]")
    parser.add_argument("--unseen-seed", type=int, help="of what is judged; learnt from is seed 101  [202; social 303]")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--set", dest="settings", action="append", default=[])
    options = parser.parse_args(arguments)
    defaults = train_social.DEFAULTS if options.what == "social" else DEFAULTS
    for name, value in defaults.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    print(describe_machine(), flush=True)
    ratios = train_social.RATIOS if options.what == "social" else None
    learnt = synthesis(options, options.work / "learnt", options.train, 101, ratios)
    unseen = synthesis(options, options.work / "unseen", options.test, options.unseen_seed)
    if options.what == "speed":
        speed(options, learnt)
        return 0
    settings = [f"train.steps={options.steps}", f"train.threads={options.threads}", *options.settings]
    stages = [("1", settings)]
    if options.what == "social":
        own = [*train_social.SETTINGS, f"train.steps={options.social_steps}"]
        stages.append(("3", [*settings, *own, *options.settings]))
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
        run = load_run(options.work / "run", stage=3)
        print(train_social.judged(run, unseen, options.draws))
    return 0


def synthesis(
    options: argparse.Namespace, out: Path, clips: int, seed: int, ratios: Mapping[str, float] | None = None
) -> SynthConfig:
    """A dataset of spoken conversations, made if it is not there."""
    effects = RelationEffects().scaled(options.effect_scale)
    simulation = SimulationConfig(seed=seed, seconds=options.seconds, effects=effects)
    config = SynthConfig(out, clips, simulation, SpeechConfig("spoken"))
    if not (out / "manifest.jsonl").is_file():
        write_dataset(config, quiet=True, ratios=ratios)
    return config


Motions = dict[str, dict[str, dict[str, np.ndarray]]]
"""Clip -> person -> group -> (T, d)."""


def simulations(config: SynthConfig, draws: int) -> tuple[Motions, Motions]:
    """Mean of simulations of each clip's own dialogue under other seeds, and one of them."""
    head = load_head()
    facts, speech = head_facts(head), open_speech(config.speech)
    means: Motions = {}
    ones: Motions = {}
    for index in range(config.clips):
        truth, dialogue = simulate(config.simulation, index, speech, facts)
        clip = rows_of(truth, dialogue, facts, "")[1]["clip_id"]
        mouths = {p: drive_mouth(dialogue, p, articulation=truth.rates[p].articulation) for p in PERSONS}
        seed = int(rng_for(config.simulation.seed, "clip", index).integers(2**31))  # as simulate() places them
        scene = make_scene(config.simulation.width, config.simulation.height, seed, config.simulation.lens)
        sums: dict[str, dict[str, Any]] = {p: dict.fromkeys(CODE_OF_GROUP, 0.0) for p in PERSONS}
        for draw in range(draws):
            acted = behave(dialogue, mouths, truth.rates, 10_000 + draw)
            for p in PERSONS:
                codes = make_codes(acted[p], p, scene.places[p], truth.codes[p].shape, facts)
                found = {group: getattr(codes, name).astype(np.float64) for group, name in CODE_OF_GROUP.items()}
                ones.setdefault(clip, {}).setdefault(p, found)
                for group, values in found.items():
                    sums[p][group] = sums[p][group] + values / draws
        means[clip] = sums
    return means, ones


def motion(options: argparse.Namespace, unseen: SynthConfig) -> None:
    """Stage 1 beside floors, controls, another draw and the limit."""
    run = load_run(options.work / "run", stage=1)
    talks = list(conversations(unseen.out, None))
    best, ones = simulations(unseen, options.draws)
    others = Others(talks, [(talk.clip_id, talk.dyad_id) for talk in talks])
    model = Predictor("model", "model, mean", "model", run.predict)
    drawn = Predictor("drawn", "model, draw", "model", lambda talk, person: run.predict(talk, person, draw=0))
    alone = Predictor(
        "alone", "mean, sound alone", "control", lambda talk, person: run.predict(talk, person, partner_motion=False)
    )
    another = Predictor("another", "another draw", "control", lambda talk, person: ones[talk.clip_id][person])
    ceiling = Predictor("limit", "limit", "control", lambda talk, person: best[talk.clip_id][person])
    lower = [one for one in floors(others, run.reference_s) if one.name != "half_split"]
    shown = [model, drawn, another, ceiling, alone, *controls(model, others), *lower, truth()]
    names = load_head().expression_names
    spoken = np.array([any(word in name for word in SPOKEN) for name in names])
    lids = np.array(["eyeBlink" in name for name in names])
    found = {one.name: judge(talks, one, run.evaluated, spoken, lids) for one in shown}
    # The truth is one more draw: a mean of K draws errs by (K + 1) / K of what the mean of all would.
    for name in COLUMNS:
        found["limit"][name] *= options.draws / (options.draws + 1)
    dyads = np.unique([talk.dyad_id for talk in talks for _ in PERSONS], return_inverse=True)[1]
    bootstrap = Bootstrap()

    def cell(values: np.ndarray, digits: int = 2) -> str:
        estimate = bootstrap.figure(Cells(values, np.isfinite(values).astype(float)), dyads)
        if estimate.value is None:  # a still face has no correlation
            return "-"
        span = "" if estimate.low is None else f" [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"
        return f"{estimate.value:.{digits}f}{span}"

    still = found["static_mean"]
    lines: list[list[str]] = [["", *COLUMNS, "FD", "r of the jaw", "blinks/min", "nods/min"]]
    for one in shown:
        mine = found[one.name]
        # Clip by clip over the mean of all clips of a still face: clips of little motion would count too much.
        ratios = [mine[name] / np.mean(still[name]) for name in (*COLUMNS, "fd")]
        rates = [cell(mine[name], 1) for name in ("blinks", "nods")]
        lines.append([one.title, *map(cell, ratios), cell(mine["r"]), *rates])
    print(table(lines))
    print(goal(found, [one.name for one in lower if one.name != "own_mean"]))


def goal(found: Mapping[str, Mapping[str, np.ndarray]], lower: Sequence[str]) -> str:
    """How far the model is from half of the best floor, and how far anything could be."""
    sentences = []
    for name, title, reached, possible in (
        ("expression", "centred error of the expression", "model", "limit"),
        ("spoken", "the same of the columns that speech drives", "model", "limit"),
        ("fd", "FD of the expression", "drawn", "another"),
    ):
        unit = np.mean(found["static_mean"][name])
        floor = min(float(np.mean(found[one][name]) / unit) for one in lower)
        mean, there = (float(np.mean(found[one][name]) / unit) for one in (reached, possible))
        verdict = "reached" if mean <= floor / 2 else "not reached"
        if there > floor / 2:
            verdict += f", and not to be had: {'the limit' if possible == 'limit' else 'another draw'} has {there:.2f}"
        who = "mean" if reached == "model" else "draw"
        sentences.append(
            f"{title}: half of the best floor is {floor / 2:.2f}, the model's {who} has {mean:.2f}: {verdict}"
        )
    return "\n".join(sentences)


def judge(
    talks: Sequence[Conversation],
    one: Predictor,
    counts: Callable[[Conversation, str], np.ndarray],
    spoken: np.ndarray,
    lids: np.ndarray,
) -> dict[str, np.ndarray]:
    """Figures of every person in every clip, in order."""
    found: dict[str, list[float]] = {name: [] for name in (*COLUMNS, "fd", "r", "blinks", "nods")}
    for talk in talks:
        for person in PERSONS:
            mask = counts(talk, person)
            if one.frames is not None:
                mask = one.frames(talk, person, mask)
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
            minutes = mask.sum() / (60 * FPS)
            closed = (x[:, lids].mean(1) > 0.5) & mask
            found["blinks"].append(float((closed[1:] & ~closed[:-1]).sum()) / minutes)
            found["nods"].append(len(nods(pairs["pose"][0][:, 0], mask)) / minutes)
            found["r"].append(float(np.corrcoef(a, b)[0, 1]) if a.std() > 1e-9 and b.std() > 1e-9 else float("nan"))
    return {name: np.array(values) for name, values in found.items()}


def speed(options: argparse.Namespace, learnt: SynthConfig) -> None:
    """Windows a second that are loaded and that a step takes, with and without heads and the social module; frames."""
    if options.threads:
        torch.set_num_threads(options.threads)
    config = RunConfig()
    prepared = prepare(learnt.out, options.work / "speed", config, check(learnt.out, config, social=False), CPU)
    units = statistics(prepared.training, prepared.layout, config.network.reference_s)
    t, reference_s = config.train, config.network.reference_s
    windows = Windows(prepared.training, t.window, t.hop, reference_s, training=True)

    def load(step: int = 0) -> Example:
        return training_example(windows, t, config.augment, step, CPU, relation=True)

    rates = {"loading": t.batch / best_of(load, 20)}
    example = load()
    noise = torch.randn(example.target.shape)
    scale, pace = (torch.from_numpy(units[name]) for name in ("scale", "speed"))
    losses = Losses(config.loss, prepared.layout, scale, pace, load_head())
    frames = {}
    for name, social, draw in (
        ("step, stage 1, the mean alone", False, False),
        ("step, stage 1", False, True),
        ("step, with the social module", True, True),
    ):
        channels, per = prepared.facts.channels, prepared.facts.per_frame
        network = MotionNetwork(config.network, channels, per, prepared.layout.size, social=social)
        optimiser = torch.optim.AdamW(network.parameters())

        def step(
            network: MotionNetwork = network, optimiser: torch.optim.Optimizer = optimiser, draw: bool = draw
        ) -> None:
            optimiser.zero_grad()
            if draw:
                predicted, surprise = network.learn(example.inputs, example.target, example.mask, noise)
                terms = losses(predicted, example) | losses.drawn(surprise, example.mask)
            else:
                terms = losses(network(example.inputs), example)
            torch.stack(list(terms.values())).sum().backward()
            optimiser.step()

        rates[name] = t.batch / best_of(step, 5)
        network.eval()
        with torch.inference_mode():
            for kind, look in (("mean", network), ("draw", partial(network.drawn, noise=noise))):
                frames[social, kind] = t.batch * t.window / best_of(partial(look, example.inputs), 5)
    lines = [["what", "windows/s", "steps/s", "loading is faster"]]
    for name, rate in rates.items():
        lines.append([name, f"{rate:.1f}", f"{rate / t.batch:.2f}", f"{rates['loading'] / rate:.0f} x"])
    print(f"{torch.get_num_threads()} threads, {t.batch} windows of {t.window} frames a step")
    print(table(lines))
    lines = [["frames a second of one person", "mean", "draw"]]
    for social, name in ((False, "stage 1"), (True, "with the social module")):
        lines.append([name, *(f"{frames[social, kind]:.0f}" for kind in ("mean", "draw"))])
    print(table(lines))


if __name__ == "__main__":
    raise SystemExit(main())
