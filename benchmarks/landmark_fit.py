"""Speed and accuracy of the landmark fit, on a made clip whose codes are known.

    python -m benchmarks.landmark_fit                 750 frames of the open head, noise of 1 % of the eye distance
    python -m benchmarks.landmark_fit --frames 200 --threads 1

The rival does what trackers of the field do with landmarks: one frame after the other, 200 steps of Adam through the
posed mesh by automatic differentiation. It is given the true shape, the same start, weights and loss, and only the
vertices that landmarks need; ours has to find the shape too. The limit is the arithmetic of the normal equations at the
rate of a float32 matrix product measured in the same run: what no way of forming them densely can beat.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import numba
import numpy as np
import torch

from benchmarks.machine import describe_machine, table
from model.camera import Camera
from model.fitting import reference
from model.fitting.config import FitConfig
from model.fitting.fit import fit_landmarks
from model.fitting.landmark_model import LandmarkModel, landmark_model
from model.fitting.problem import PAIRS, Observations, observe
from model.fitting.start import start_codes, start_pose
from model.head.load import HeadModel, load_head

CAMERA = Camera(1500.0, 1500.0, 256.0, 256.0, 512, 512)
NOISE = 0.01
"""Standard deviation of the made landmarks, in distances between the eyes."""
ADAM_STEPS = 200
RATES = {"expression": 5e-2, "pose": 5e-3, "translation": 1e-3}
"""Learning rates of the rival, as published for landmark tracking by a widely used tracker."""


@dataclass(frozen=True)
class Clip:
    """A made clip."""

    shape: np.ndarray
    codes: np.ndarray
    landmarks: np.ndarray


def make_clip(head: HeadModel, frames: int, seed: int = 0) -> Clip:
    """Talking, blinking, nodding: smooth codes (T, E + 15), and landmarks (T, 478, 2) with noise, pixels."""
    rng = np.random.default_rng(seed)
    t = np.arange(frames) / 25.0
    e = head.num_expression
    codes = np.zeros((frames, e + 15))
    for i, name in enumerate(head.expression_names):
        if name != "tongueOut":  # no landmark sees it
            codes[:, i] = np.clip(
                rng.uniform(-0.3, 0.2) + 0.4 * np.sin(rng.uniform(2, 12) * t + rng.uniform(0, 6)), 0, 1
            )
    codes[:, e] = np.clip(0.08 + 0.12 * np.sin(11 * t), 0, None)
    codes[:, e + 4] = codes[:, e + 7] = 0.15 * np.sin(2 * t)
    codes[:, e + 9 : e + 12] = np.stack([0.15 * np.sin(t), 0.3 * np.sin(0.7 * t), 0.05 * np.cos(t)], axis=1)
    codes[:, e + 12 :] = np.stack([0.01 * np.sin(t), 0.12 + 0 * t, 0.8 + 0.02 * np.cos(t)], axis=1)
    shape = np.clip(rng.normal(size=head.num_shape), -2, 2)
    points = reference.landmarks(
        head, torch.as_tensor(shape, dtype=torch.float32), torch.as_tensor(codes, dtype=torch.float32), CAMERA
    ).numpy()
    pixels = NOISE * float(np.linalg.norm(points[:, [33, 133]].mean(1) - points[:, [263, 362]].mean(1), axis=1).mean())
    return Clip(shape, codes, points + rng.normal(size=points.shape) * pixels)


def adam_frame(
    head: HeadModel,
    shape: torch.Tensor,
    start: np.ndarray,
    seen: Observations,
    config: FitConfig,
    camera: Camera = CAMERA,
) -> np.ndarray:
    """Codes (E + 15,) of one frame by ``ADAM_STEPS`` steps of Adam on the same loss and priors."""
    e = head.num_expression
    at = torch.as_tensor(start, dtype=torch.float32)
    parts = [at[:e].clone(), at[e : e + 12].clone(), at[e + 12 :].clone()]
    for part in parts:
        part.requires_grad_(True)
    optimiser = torch.optim.Adam([{"params": [p], "lr": r} for p, r in zip(parts, RATES.values(), strict=True)])
    arrays = (seen.landmarks, seen.weights, seen.pair_weights, seen.deviation)
    observed, weights, pair_weights, deviation = (torch.as_tensor(a, dtype=torch.float32) for a in arrays)
    for _ in range(ADAM_STEPS):
        optimiser.zero_grad()
        codes = torch.cat(parts)[None]
        points = reference.landmarks(head, shape, codes, camera)
        cost = reference.data_cost(points, observed, weights, pair_weights, deviation, config.cauchy).sum()
        cost = cost + 0.5 * (parts[0] / config.expression_sd).square().sum()
        cost = cost + 0.5 * (parts[1][:3] / config.jaw_sd).square().sum()
        cost = cost + 0.5 * (parts[1][3:9] / config.eye_sd).square().sum()
        cost.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return torch.cat(parts).detach().numpy()


def matmul_rate() -> float:
    """Floating-point operations a second of a float32 matrix product, all threads."""
    a = torch.rand(2048, 2048)
    best = 0.0
    for _ in range(5):
        started = time.perf_counter()
        a @ a
        best = max(best, 2 * 2048**3 / (time.perf_counter() - started))
    return best


def normal_flops(model: LandmarkModel) -> float:
    """Operations that forming J^T J of one frame takes when its symmetry is used."""
    rows = 2 * (model.num_landmarks + len(PAIRS))
    columns = model.num_expressions + 15
    return rows * columns * (columns + 1.0)


def errors(codes: np.ndarray, clip: Clip, head: HeadModel, shape: np.ndarray) -> tuple[str, str, str]:
    """Landmark error against the noisy points, jaw error and expression error against the truth, as text."""
    e = head.num_expression
    frames = len(codes)
    points = reference.landmarks(
        head, torch.as_tensor(shape, dtype=torch.float32), torch.as_tensor(codes, dtype=torch.float32), CAMERA
    ).numpy()
    pixels = float(np.linalg.norm(points - clip.landmarks[:frames], axis=2).mean())
    jaw = float(np.degrees(np.abs(codes[:, e] - clip.codes[:frames, e]).mean()))
    expression = float(np.abs(codes[:, :e] - clip.codes[:frames, :e]).mean())
    return f"{pixels:.2f} px", f"{jaw:.2f} deg", f"{expression:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=750, help="frames of the made clip")
    parser.add_argument("--rival-frames", type=int, default=4, help="frames given to the rival")
    parser.add_argument("--threads", type=int, default=numba.get_num_threads())
    parser.add_argument("--runs", type=int, default=5, help="runs of ours; the fastest counts")
    arguments = parser.parse_args()
    numba.set_num_threads(arguments.threads)
    torch.set_num_threads(1)  # the rival's tensors are too small for more

    full = load_head()
    head = full.subset(full.landmark_vertices())
    model = landmark_model(full)
    config = FitConfig()
    clip = make_clip(head, arguments.frames)
    valid = np.ones(arguments.frames, dtype=bool)

    seconds = []
    for _ in range(arguments.runs + 1):  # the first compiles or loads the kernels
        started = time.perf_counter()
        result = fit_landmarks(model, clip.landmarks, valid, CAMERA, config=config)
        seconds.append(time.perf_counter() - started)
    ours = arguments.frames / min(seconds[1:])
    origin = result.translation + (model.root_joint + model.root_joint_shape @ result.shape)
    codes = np.concatenate([result.expression, result.jaw, result.eyes, result.rotation, origin], axis=1)

    few = min(arguments.rival_frames, arguments.frames)
    seen = observe(clip.landmarks[:few], valid[:few], np.zeros((few, 2)), model.weight, config)
    own = model.with_shape(clip.shape)
    rotation, place = start_pose(own, clip.landmarks[:few], model.weight, CAMERA)
    start = start_codes(own, rotation, place, None, (), config)
    shape = torch.as_tensor(clip.shape, dtype=torch.float32)
    started = time.perf_counter()
    rival = np.stack([adam_frame(head, shape, start[i], seen.select(slice(i, i + 1)), config) for i in range(few)])
    theirs = few / (time.perf_counter() - started)

    own_errors = errors(codes, clip, head, result.shape)
    rival_errors = errors(rival, clip, head, clip.shape)
    torch.set_num_threads(arguments.threads)
    rate = matmul_rate()
    limit = rate / (normal_flops(model) * (config.iterations + 1))
    print(describe_machine())
    print(f"{arguments.frames} frames, {head.id}, {arguments.threads} threads; kernels ready after {seconds[0]:.1f} s")
    print(
        table(
            [
                ["", "frames/s", "times the rival", "landmarks", "jaw", "expression"],
                [
                    "ours, shape included",
                    f"{ours:.0f}",
                    f"{ours / theirs:.0f}",
                    *own_errors,
                ],
                [f"Adam, {ADAM_STEPS} steps a frame", f"{theirs:.2f}", "1", *rival_errors],
                ["limit of the arithmetic", f"{limit:.0f}", f"{limit / theirs:.0f}", "", "", ""],
            ]
        )
    )
    print(f"matrix product: {rate / 1e9:.0f} GFLOP/s; ours reaches {100 * ours / limit:.0f} % of the limit")


if __name__ == "__main__":
    main()
