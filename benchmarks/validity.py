"""Whether the frames that are marked invalid are the hard ones, and what the confidence of a frame is worth.

    rsat-data synth --out hard --clips 2 --seconds 15 --seed 5 --hard all
    rsat-data build --videos hard --out hard_dataset
    python -m benchmarks.validity hard hard_dataset [--calibrate]

Against the truth of synthetic clips: precision and recall of each reason, the error of the face's vertices in the
picture (mean distance over the face, in units of the distance between the eyes, as if seen from the front) by reason,
its rank correlation with the confidence, and the share of frames within 4 % by confidence. Frames on the way into and
out of a hard moment count for neither side: turned by 50 to 70 degrees, 5 to 25 % outside, a hand that is just coming.
``--calibrate`` fits the weights of the confidence anew, on frames of the dataset's workspace, and prints them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation
from scipy.stats import spearmanr

import rsat_data
from benchmarks.machine import describe_machine, table
from model.head import HeadModel, load_head
from pipelines.flame.confidence import CONFIDENCE, features_of
from pipelines.flame.judging import judge_person
from pipelines.flame.validity import Reason
from pipelines.flame.validity_config import FlameValidity
from pipelines.synth.truth import Truth, read_truth

PARTS = ("expression", "jaw", "neck", "eyes", "rotation", "translation")
WITHIN = 0.04
"""Error that the confidence speaks of, in distances between the eyes."""
LEAST = 0.3
"""Least weight of any measure in the confidence."""


@dataclass(frozen=True)
class Frames:
    """Frames of one person of one clip."""

    reason: np.ndarray
    """(T,) names; empty where valid."""
    confidence: np.ndarray
    """(T,)."""
    error: np.ndarray
    """(T,) of the face's vertices, see above."""
    states: dict[str, tuple[np.ndarray, np.ndarray]]
    """Reason -> frames in which it holds, and frames in which it may or may not."""
    hard: dict[str, np.ndarray]
    """Kind of hard moment -> frames of its full course."""


def project(points: np.ndarray, camera: Any) -> np.ndarray:
    """(..., 3) metres to (..., 2) px."""
    return points[..., :2] / points[..., 2:] * [camera["fx"], camera["fy"]] + [camera["cx"], camera["cy"]]


def posed(head: HeadModel, shape: np.ndarray, codes: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (T, V, 3) and joints (T, J, 3), a hundred frames at a time."""
    vertices, joints = [], []
    for first in range(0, len(codes["jaw"]), 100):
        part = [torch.tensor(np.array(codes[name][first : first + 100])) for name in PARTS]
        with torch.inference_mode():
            v, j = head.pose(torch.tensor(np.array(shape)), *part)
        vertices.append(v.numpy())
        joints.append(j.numpy())
    return np.concatenate(vertices), np.concatenate(joints)


def states_of(truth: Truth, person: str, span: slice, true: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What is the matter with each frame, by the truth alone."""
    codes, camera = truth.codes[person], truth.camera
    look = Rotation.from_rotvec(codes.rotation[span]).apply([0.0, 0.0, -1.0])
    way = -codes.translation[span] / np.linalg.norm(codes.translation[span], axis=1, keepdims=True)
    turn = np.degrees(np.arccos(np.clip((look * way).sum(axis=1), -1, 1)))
    seen = project(true, vars(camera))
    out = ((seen < 0) | (seen > [camera.width, camera.height])).any(axis=2).mean(axis=1)
    full, some = np.zeros(len(turn), bool), np.zeros(len(turn), bool)
    for case in truth.hard:
        if case.person == person and case.kind in ("hand", "sunglasses"):
            strength = case.strength(truth.num_frames)[span]
            full |= strength > 0.95
            some |= strength > 0
    return {
        "turned": (turn > 70, (turn > 50) & (turn <= 70)),
        "outside": (out > 0.25, (out > 0.05) & (out <= 0.25)),
        "occluded": (full, some & ~full),
    }


def frames_of(row: Any, truth: Truth, head: HeadModel, crop: dict[str, float]) -> Frames:
    """Compare a row of the dataset with the truth."""
    start, count = round(row["start_s"] * 25), row["num_frames"]
    span = slice(start, start + count)
    codes = truth.codes[row["person"]]
    face = head.subset(head.groups["face"])
    found, _ = posed(face, row["shape"], {name: row[name] for name in PARTS})
    true, joints = posed(face, codes.shape, {name: getattr(codes, name)[span] for name in PARTS})
    scale = crop["size"] / crop["side"]
    wanted = (project(true, vars(truth.camera)) - [crop["x0"], crop["y0"]]) * scale
    eyes = (
        np.linalg.norm(joints[:, 3] - joints[:, 4], axis=1) * truth.camera.fx / joints[:, 3:5, 2].mean(axis=1) * scale
    )
    error = np.linalg.norm(project(found, row["camera"]) - wanted, axis=2).mean(axis=1) / eyes
    hard = {}
    for case in truth.hard:
        if case.person == row["person"]:
            hard[case.kind] = case.strength(truth.num_frames)[span] > 0.95
    return Frames(
        np.array(row["invalid_reason"]),
        np.array(row["confidence"]),
        error,
        states_of(truth, row["person"], span, true),
        hard,
    )


def workspace(dataset: Path) -> Iterator[tuple[str, Path, Path]]:
    """Clip id, folder of faces and folder of flame of every clip that was built."""
    units: dict[str, dict[str, Path]] = {"faces": {}, "flame": {}}
    for stage, found in units.items():
        for note in sorted(
            (dataset / ".work/units" / stage).glob("*/*/done.json"), key=lambda path: path.stat().st_mtime
        ):
            found[json.loads(note.read_text())["unit"]["clip_id"]] = note.parent
    for clip, folder in units["flame"].items():
        yield clip, units["faces"][clip], folder


def calibrate(samples: list[tuple[dict[str, np.ndarray], np.ndarray]]) -> dict[str, float]:
    """Weights of a logistic model of the chance that the error is within ``WITHIN``.

    No weight is below ``LEAST``: what these clips do not show to harm (a covered brow) still lowers the confidence.
    """
    names = [name for name in CONFIDENCE if name != "bias"]
    x = np.concatenate([np.stack([features[name] for name in names], axis=1) for features, _ in samples])
    y = np.concatenate([error <= WITHIN for _, error in samples]).astype(np.float64)

    def cost(w: np.ndarray) -> float:
        z = np.clip(w[0] - x @ w[1:], -30, 30)
        return float(np.mean(np.logaddexp(0, -z) * y + np.logaddexp(0, z) * (1 - y)) + 1e-3 * (w[1:] ** 2).mean())

    bounds = [(None, None)] + [(LEAST, 8.0)] * len(names)
    best = minimize(cost, np.array(list(CONFIDENCE.values())), bounds=bounds, method="L-BFGS-B").x
    return dict(zip(["bias", *names], (round(float(v), 2) for v in best), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=Path, nargs="+", metavar="VIDEOS DATASET")
    parser.add_argument("--calibrate", action="store_true", help="Fit the confidence anew.")
    arguments = parser.parse_args()
    head = load_head()
    every: list[Frames] = []
    samples = []
    for videos, dataset in zip(arguments.pairs[::2], arguments.pairs[1::2], strict=True):
        names = {
            s["source_id"]: Path(s["name"]).stem for s in pq.read_table(dataset / "meta/sources.parquet").to_pylist()
        }
        folders = {clip: (faces, flame) for clip, faces, flame in workspace(dataset)}
        for row in rsat_data.load(dataset, split=None):
            truth = read_truth(videos, names[row["source_id"]])
            faces, flame = folders[row["clip_id"]]
            record = json.loads((faces / "faces.json").read_text())
            crop = next(entry["crop"] for entry in record["persons"] if entry["person"] == row["person"])
            frames = frames_of(row, truth, head, crop)
            every.append(frames)
            if arguments.calibrate:
                with np.load(flame / f"{row['person']}.npz") as stored:
                    codes = dict(stored)
                # What the fit itself had refused; the other reasons are the judgement's own.
                codes["valid"] = ~np.isin(codes["reason"], (Reason.LOST, Reason.MISFIT))
                judgement = judge_person(faces, row["person"], record, codes, FlameValidity())
                found = ~np.isin(judgement.reason, (Reason.LOST, Reason.MISFIT, Reason.JUMP, Reason.SWAP))
                found &= judgement.measures["score"] > 0
                features = {name: values[found] for name, values in features_of(judgement.measures).items()}
                samples.append((features, frames.error[found]))
    print(describe_machine(), end="\n\n")
    report(every)
    if arguments.calibrate:
        print("\nCONFIDENCE =", calibrate(samples))


def report(every: list[Frames]) -> None:
    """Print the tables."""
    reason = np.concatenate([frames.reason for frames in every])
    confidence = np.concatenate([frames.confidence for frames in every])
    error = np.concatenate([frames.error for frames in every])
    lines = [["reason", "frames", "precision", "recall", "recall, any reason"]]
    quiet = np.ones(len(reason), bool)
    for name in ("occluded", "turned", "outside"):
        holds = np.concatenate([frames.states[name][0] for frames in every])
        perhaps = np.concatenate([frames.states[name][1] for frames in every])
        quiet &= ~holds & ~perhaps
        said = reason == name
        counted = said & ~perhaps
        lines.append(
            [
                name,
                str(int(holds.sum())),
                f"{(counted & holds).sum() / max(counted.sum(), 1):.3f}",
                f"{(said & holds).sum() / max(holds.sum(), 1):.3f}",
                f"{((reason != '') & holds).sum() / max(holds.sum(), 1):.3f}",
            ]
        )
    print(table(lines))
    print(f"\nframes without any of these: {quiet.sum()}, of them invalid: {((reason != '') & quiet).mean():.2%}")
    lines = [["frames", "number", "median error", "95th percentile"]]
    for name in ["", *sorted(set(reason) - {""})]:
        some = error[reason == name]
        lines.append([name or "valid", str(len(some)), f"{np.median(some):.2%}", f"{np.percentile(some, 95):.2%}"])
    for kind in sorted({kind for frames in every for kind in frames.hard}):
        some = np.concatenate([frames.error[frames.hard[kind]] for frames in every if kind in frames.hard])
        if len(some):
            lines.append([f"truth: {kind}", str(len(some)), f"{np.median(some):.2%}", f"{np.percentile(some, 95):.2%}"])
    print("\n" + table(lines))
    valid = reason == ""
    print(f"\nrank correlation of confidence and error: all {spearmanr(confidence, error)[0]:.2f}, ", end="")
    print(f"valid frames {spearmanr(confidence[valid], error[valid])[0]:.2f}")
    lines = [["confidence", "frames", f"within {WITHIN:.0%}", "mean confidence", "median error"]]
    edges = [0.0, 1e-6, 0.2, 0.4, 0.6, 0.8, 0.9, 1.01]
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        these = (confidence >= low) & (confidence < high)
        if these.any():
            lines.append(
                [
                    "0" if high < 0.1 else f"{low:.1f} to {min(high, 1):.1f}",
                    str(int(these.sum())),
                    f"{(error[these] <= WITHIN).mean():.0%}",
                    f"{confidence[these].mean():.2f}",
                    f"{np.median(error[these]):.2%}",
                ]
            )
    print("\n" + table(lines))


if __name__ == "__main__":
    main()
