"""How near a build of synthetic conversations comes to their truth.

    rsat-data synth --out talks --clips 2 --seconds 10 --seed 11
    rsat-data build --videos talks --out talks_dataset
    python -m benchmarks.truth talks talks_dataset

Per person: correlation of the jaw's opening, mean correlation of both blinks, share of frames in which `speaking` is
right, mean error of the head's rotation (degrees), mean distance of the face's vertices after a rigid alignment and
after one with scale (mm: one camera of unknown focal length cannot tell size from distance), and the reprojection error
over the eye distance, and the share of frames in which the face was found. A dash: the person did
not do that.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from scipy.spatial.transform import Rotation

import rsat_data
from benchmarks.machine import describe_machine, table
from model.head import load_head
from pipelines.synth.truth import read_truth

PARTS = ("expression", "jaw", "neck", "eyes", "rotation", "translation")


def correlation(a: np.ndarray, b: np.ndarray, least: float) -> float | None:
    """Pearson correlation of two courses (T,); None when the first moves less than ``least`` (std)."""
    return None if a.std() < least or b.std() == 0 else float(np.corrcoef(a, b)[0, 1])


def aligned_error(points: np.ndarray, truth: np.ndarray, *, scale: bool) -> float:
    """Mean distance (N, 3) to (N, 3) after the best rotation and translation, and scale if asked; Umeyama 1991."""
    a, b = points - points.mean(axis=0), truth - truth.mean(axis=0)
    u, s, vt = np.linalg.svd(a.T @ b)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    factor = (s * signs).sum() / (a**2).sum() if scale else 1.0
    return float(np.linalg.norm(factor * a @ (u * signs) @ vt - b, axis=1).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path)
    parser.add_argument("dataset", type=Path)
    arguments = parser.parse_args()
    head = load_head()
    face = head.groups["face"]
    sources = pq.read_table(arguments.dataset / "meta/sources.parquet").to_pylist()
    names = {source["source_id"]: Path(source["name"]).stem for source in sources}
    lines = [["clip", "jaw", "blinks", "speaking", "rotation", "rigid mm", "scaled mm", "reprojection", "valid"]]
    for row in rsat_data.load(arguments.dataset, split=None):
        name = names[row["source_id"]]
        truth = read_truth(arguments.videos, name)
        codes, start = truth.codes[row["person"]], round(row["start_s"] * 25)
        span = slice(start, start + row["num_frames"])
        blinks = []
        for side in ("eyeBlinkLeft", "eyeBlinkRight"):
            column = head.expression_names.index(side)
            blinks.append(correlation(codes.expression[span, column], row["expression"][:, column], 0.02))
        turn = Rotation.from_rotvec(row["rotation"]) * Rotation.from_rotvec(codes.rotation[span]).inv()
        frames = np.arange(0, row["num_frames"], 10)
        ours = [torch.tensor(row[part][frames]) for part in PARTS]
        true = [torch.tensor(getattr(codes, part)[span][frames]) for part in PARTS]
        found, _ = head.pose(torch.tensor(row["shape"]), *ours)
        wanted, _ = head.pose(torch.tensor(codes.shape), *true)
        pairs = list(zip(found[:, face].numpy(), wanted[:, face].numpy(), strict=True))
        jaw = correlation(codes.jaw[span, 0], row["jaw"][:, 0], 0.01)
        lines.append(
            [
                f"{name} {row['person']}",
                "-" if jaw is None else f"{jaw:.2f}",
                "-" if None in blinks else f"{np.mean([b for b in blinks if b is not None]):.2f}",
                f"{np.mean(row['speaking'] == truth.speaking[row['person']][span]):.0%}",
                f"{np.degrees(turn.magnitude()).mean():.1f}",
                f"{1e3 * np.mean([aligned_error(a, b, scale=False) for a, b in pairs]):.1f}",
                f"{1e3 * np.mean([aligned_error(a, b, scale=True) for a, b in pairs]):.1f}",
                f"{row['q_reprojection']:.2%}",
                f"{np.mean(row['valid']):.1%}",
            ]
        )
    print(describe_machine())
    print(table(lines))


if __name__ == "__main__":
    main()
