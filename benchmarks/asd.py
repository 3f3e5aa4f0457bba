"""Who of the faces speaks, and how far the sound lies from the lips: against truth, on real clips, and the cost.

    python -m benchmarks.asd --clips 50 --seconds 10 --seed 9000
    python -m benchmarks.asd --clips 0 --real DATASET --weights finetuning_TalkSet.model

Synthetic conversations (with overlap) are simulated without being rendered: landmarks are the true ones of the mesh at
the size of the 512 px crop, with 0.2 px of jitter; voices are told apart from the mixture by the segmentation network.
A voice is rightly assigned where the person's frames agree better with the person's own truth than with the other's.
So synthetic figures are those of the backend ``lips``; the network that looks needs pictures, and is judged on the
clips that a build left in its workspace (--real): the share of frames each face is said to speak in, within --span
and outside it. Shifts of the sound are planted in both kinds of clip; in real ones what is judged is how far the
estimate moves. Cost is in seconds per second of audio.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.machine import describe_machine, table
from model.head.load import load_head
from model.metrics.sync_offset import CLEAR, sync_offset
from model.speech.pyannet import PyanNet, load_pyannet
from pipelines.speech.active_speaker import Answers, ask, calibrate, follow, witnesses
from pipelines.speech.activity import Heard, listen
from pipelines.speech.config import SpeechConfig
from pipelines.speech.inputs import Sound, read_faces
from pipelines.speech.isolate import SAMPLES_PER_FRAME, fit_length
from pipelines.speech.mouth import Mouth, measure_mouth
from pipelines.synth.clip import posed_vertices

PX_PER_M = 2000.0
JITTER_PX = 0.2
PLANTED_MS = (-400, -250, -120, -40, 0, 40, 120, 250, 400)
RIGHT_MS = 40.0


@dataclass(frozen=True)
class Talk:
    """A conversation whose truth is known."""

    mixture: np.ndarray
    """(T * 640,) float32."""
    alone: dict[str, np.ndarray]
    """Each person's voice alone, likewise."""
    mouths: dict[str, Mouth]
    speaking: dict[str, np.ndarray]
    """(T,) bool."""


def talks(count: int, seconds: float, seed: int) -> Iterator[Talk]:
    """Simulated conversations."""
    from pipelines.synth import driver
    from pipelines.synth.simulate import SimulationConfig, simulate

    config = driver.SynthConfig(Path("."), clips=max(1, count), simulation=SimulationConfig(seed=seed, seconds=seconds))
    driver.prepare_worker(config.speech)
    tools, head = driver.tools(), load_head()
    for index in range(count):
        truth, dialogue = simulate(config.simulation, index, tools.speech, tools.facts)
        length = truth.num_frames * SAMPLES_PER_FRAME
        alone = {person: fit_length(voice, length) for person, voice in dialogue.audio.items()}
        noise = np.zeros(length, np.float32) if dialogue.noise is None else fit_length(dialogue.noise, length)
        rng = np.random.default_rng([seed, index])
        mouths = {}
        for person in alone:
            vertices = posed_vertices(truth, person, head, list(range(truth.num_frames)))
            points = head.landmark_points(torch.from_numpy(vertices)).numpy() * PX_PER_M
            jitter = rng.normal(0, JITTER_PX, points.shape)
            mouths[person] = measure_mouth(points + jitter, np.ones(truth.num_frames, bool))
        yield Talk(np.sum(list(alone.values()), axis=0) + noise, alone, mouths, dict(truth.speaking))


def f1(found: np.ndarray, truth: np.ndarray) -> float:
    """Of the frames in which somebody speaks; 1 where nobody does and nobody was said to."""
    both = found.sum() + truth.sum()
    return float(2.0 * (found & truth).sum() / both) if both else 1.0


def rightly(heard: Heard, truth: dict[str, np.ndarray]) -> bool:
    """Whether the two persons' frames agree better with their own truth than with each other's."""
    a, b = truth
    own = sum(f1(heard.speaking[p], truth[p]) for p in (a, b))
    return own > f1(heard.speaking[a], truth[b]) + f1(heard.speaking[b], truth[a])


def shifted(samples: np.ndarray, lag_ms: float) -> np.ndarray:
    """The sound ``lag_ms`` later, as long as before."""
    move = round(lag_ms * 16)
    return fit_length(samples[-move:] if move < 0 else np.pad(samples, (move, 0)), len(samples))


def shifts(mouth: Mouth, samples: np.ndarray, speaking: np.ndarray, *, moved: bool) -> list[list[float]]:
    """[error ms, clear or not] of every planted shift; ``moved``: against the estimate without one."""
    start = sync_offset(mouth.opening, samples, speaking).lag_ms if moved else 0.0
    rows = []
    for planted in PLANTED_MS:
        found = sync_offset(mouth.opening, shifted(samples, planted), speaking)
        rows.append([abs(found.lag_ms - start - planted), float(found.clearness >= CLEAR)])
    return rows


def sync_row(name: str, rows: list[list[float]]) -> list[str]:
    """A line of the table of planted shifts: of all estimates, and of those that stand clear."""
    values = np.array([row for row in rows if np.isfinite(row[0])]).reshape(-1, 2)
    clear = values[values[:, 1] > 0, 0]
    if not len(values) or not len(clear):
        return [name, str(len(rows)), "", "", "0 %", ""]
    return [
        name, str(len(rows)), f"{np.median(values[:, 0]):.1f} ms", f"{100 * (values[:, 0] <= RIGHT_MS).mean():.1f} %",
        f"{100 * len(clear) / len(rows):.1f} %", f"{100 * (clear <= RIGHT_MS).mean():.1f} %",
    ]  # fmt: skip


SYNC_HEADER = ["shifts planted", "estimates", "median error", "within 40 ms", "clear", "of these within 40 ms"]


def synthetic(network: PyanNet, count: int, seconds: float, seed: int) -> list[str]:
    """Assignment and frames of simulated conversations; returns their line of the table of shifts."""
    config = SpeechConfig(active_speaker="lips")
    right = 0
    scores: list[float] = []
    sure: list[float] = []
    doubtful: list[float] = []
    overlap: list[float] = []
    rows: list[list[float]] = []
    for talk in talks(count, seconds, seed):
        heard = listen(Sound(talk.mixture), talk.mouths, network, config)
        good = rightly(heard, talk.speaking)
        right += good
        (sure if good else doubtful).append(heard.match.confidence)
        scores += [f1(heard.speaking[p], talk.speaking[p]) for p in talk.speaking]
        overlap.append(float(np.logical_and(*talk.speaking.values()).mean()))
        for person, mouth in talk.mouths.items():
            rows += shifts(mouth, talk.alone[person], talk.speaking[person], moved=False)
    wrong = f"; confidence of the wrong ones {', '.join(f'{c:.2f}' for c in doubtful)}" if doubtful else ""
    print(
        f"{count} conversations of {seconds:g} s, seed {seed}, both speak in {100 * np.mean(overlap):.1f} % of frames, "
        f"backend lips: assigned rightly {right} of {count}; F1 of speaking, mean over persons {np.mean(scores):.3f}, "
        f"least {np.min(scores):.3f}; confidence where right, median {np.median(sure or [np.nan]):.2f}{wrong}\n"
    )
    return sync_row("synthetic", rows)


def real(network: PyanNet, dataset: Path, weights: Path | None, span_s: tuple[float, float]) -> list[list[str]]:
    """Shares of frames and costs on the clips of a built dataset; returns lines of the table of shifts."""
    from pipelines.ingest.media import read_audio_16k

    lines, cost, sync = [["clip", "backend", "face", "in the span", "elsewhere", "confidence"]], [], []
    units = dataset / ".work" / "units"
    for folder in sorted(path.parent for path in (units / "faces").rglob("faces.json")):
        mouths = read_faces(folder)
        count = len(next(iter(mouths.values())).opening)
        # The preview holds the clip's own stretch of the mixture.
        mixture = fit_length(read_audio_16k(folder / "preview.mp4")[0], count * SAMPLES_PER_FRAME)
        span = np.zeros(count, bool)
        span[round(span_s[0] * 25) : round(span_s[1] * 25)] = True
        name = f"{folder.name[:6]} ({count} frames)"
        started = time.perf_counter()
        plain = listen(Sound(mixture), mouths, network, SpeechConfig(active_speaker="lips"))
        cost.append([name, f"{(time.perf_counter() - started) / count * 25:.3f}"])
        runs: list[tuple[str, Heard]] = [("lips", plain)]
        if weights is not None:
            started = time.perf_counter()
            answers = ask(folder, mixture, mouths, weights)
            cost[-1].append(f"{(time.perf_counter() - started) / count * 25 / len(mouths):.3f}")
            both: Callable[[], Answers] = partial(_given, answers)
            silent = {
                p: Mouth(opening=m.opening, movement=m.movement, log_odds=np.zeros(count)) for p, m in mouths.items()
            }
            chosen = SpeechConfig(active_speaker="light_asd")
            runs.append(("network", listen(Sound(mixture), silent, network, chosen, both)))
            runs.append(("both", listen(Sound(mixture), mouths, network, chosen, both)))
            for person in mouths:
                odds = calibrate(answers.raw[person], np.isfinite(mouths[person].opening)) > 0
                lines.append([name, "network's answers alone", person, *_shares(odds, span), ""])
            joint = witnesses(follow(mouths, mixture, plain.voice), mouths, answers) > 0
            lines += [
                [name, "witnesses alone", p, *_shares(joint[:, i], span), ""] for i, p in enumerate(mouths)
            ]
        for backend, heard in runs:
            for person in mouths:
                shares = _shares(heard.speaking[person], span)
                lines.append([name, backend, person, *shares, f"{heard.match.confidence:.2f}"])
        everyone = np.stack([plain.speaking[p] for p in mouths])
        for person, mouth in mouths.items():
            alone = plain.speaking[person] & (everyone.sum(axis=0) == 1)
            if alone.sum() >= 25:
                sync.append(sync_row(f"{name} {person}", shifts(mouth, mixture, alone, moved=True)))
    print(table(lines), "\n")
    header = ["seconds per second of audio", "voices and lips", *(["network, a face"] if weights else [])]
    print(table([header, *cost]), "\n")
    return sync


def _given(answers: Answers) -> Answers:
    return answers


def _shares(active: np.ndarray, span: np.ndarray) -> tuple[str, str]:
    return tuple(f"{100 * active[part].mean():.1f} %" if part.any() else "" for part in (span, ~span))  # type: ignore


def main() -> None:
    """The command line."""
    from rsat_data.registry import model_path

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=50, help="synthetic conversations; 0: none")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=9000)
    parser.add_argument("--real", type=Path, help="a built dataset with its workspace")
    parser.add_argument("--weights", type=Path, help="Light-ASD's weights")
    parser.add_argument("--span", type=float, nargs=2, default=(11.0, 14.0), help="seconds judged apart")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(describe_machine())
    network = load_pyannet(model_path("pyannote-segmentation"), "cpu")
    sync = []
    if given.clips:
        sync.append(synthetic(network, given.clips, given.seconds, given.seed))
    if given.real:
        sync += real(network, given.real, given.weights, tuple(given.span))
    print(table([SYNC_HEADER, *sync]))


if __name__ == "__main__":
    main()
