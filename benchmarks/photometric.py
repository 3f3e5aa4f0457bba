"""What the profile `full` brings over `fast`: residual, sharpness of held-out frames, motion, speed.

    rsat-data build --videos my_videos --out my_dataset
    python -m benchmarks.photometric my_dataset --frames 150

Per person, from what the build has left in its workspace; the shape is the clip's own, the focal length the default.

residual: mean absolute difference of colours over visible skin, in [0, 1], on frames that texture and light were not
made from; each set of codes has a texture and a light of its own. PSNR (dB): texture and light from the first 70 % of
the frames, the last 30 % drawn with them; a stand-in for an avatar. jitter (mm): mean second difference of the face's
vertices over time; truth is unknown here (benchmarks.track has it). error: median reprojection over the eye distance.
frames/s: of the refinement alone, decoding included, with `--threads` threads.

A residual of zero cannot be had: compression, shadows and what moves without the mesh (hair, tongue) stay in it with
perfect codes too, so it says which of two sets of codes is better and not how good either is.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numba
import numpy as np
import torch

from benchmarks.machine import describe_machine, table
from benchmarks.track import bent, people, posed
from model.fitting.fit import FitResult
from model.fitting.landmark_model import landmark_model
from model.head.load import HeadModel, load_head
from model.photometric.refine import Landmarks, refine
from model.photometric.yardstick import held_out
from pipelines.faces.blendshapes import BLENDSHAPES
from pipelines.flame.config import FlameConfig
from pipelines.flame.pictures import Frames


def jitter_mm(head: HeadModel, codes: FitResult) -> float:
    """Mean second difference over time of the face's vertices, millimetres."""
    face = head.groups["face"][::6]
    return 1e3 * bent(posed(head, codes.shape, codes, np.arange(len(codes.valid)))[:, face])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, help="a build, workspace included")
    parser.add_argument("--frames", type=int, default=150, help="of each clip, from its start")
    parser.add_argument("--matte-weight", type=float, help="instead of the default; 0 leaves the silhouette out")
    parser.add_argument("--threads", type=int, default=numba.get_num_threads())
    arguments = parser.parse_args()
    numba.set_num_threads(arguments.threads)
    torch.set_num_threads(arguments.threads)
    head, config = load_head(), FlameConfig()
    if arguments.matte_weight is not None:
        config = replace(config, photometric=replace(config.photometric, matte_weight=arguments.matte_weight))
    model = landmark_model(head)
    lines = [["person", "residual fast", "full", "change", "PSNR fast", "full", "jitter fast", "full", "error fast",
              "full", "frames/s"]]  # fmt: skip
    for seen in people(arguments.dataset):
        num = min(arguments.frames, len(seen.valid))
        seen = replace(seen, landmarks=seen.landmarks[:num], blendshapes=seen.blendshapes[:num], valid=seen.valid[:num])
        camera = seen.camera(config.focal)
        fast = seen.fit(model, config.focal, config=config)
        marks = Landmarks(seen.landmarks, seen.valid, seen.blendshapes, BLENDSHAPES)
        crop, matte = seen.folder / f"{seen.person}.mp4", seen.folder / f"{seen.person}_matte.mp4"
        seconds = []
        for compare in (False, True):  # the first is timed; it does not pay for the comparison
            started = time.perf_counter()
            found = refine(
                head, fast, marks, Frames(crop, num), Frames(matte, num, grey=True), camera, fit=config,
                config=config.photometric, compare=compare, threads=arguments.threads,
            )  # fmt: skip
            seconds.append(time.perf_counter() - started)
        assert found.residual_before is not None
        others = np.setdiff1d(np.flatnonzero(found.codes.valid), found.keyframes)
        others = others if len(others) else found.keyframes
        before, after = found.residual_before[others].mean(), found.residual[others].mean()
        sharp = held_out(
            head, {"fast": fast, "full": found.codes}, Frames(crop, num), camera, threads=arguments.threads
        )
        lines.append([
            seen.name, f"{before:.4f}", f"{after:.4f}", f"{after / before - 1:+.0%}", f"{sharp['fast'].psnr_db:.1f}",
            f"{sharp['full'].psnr_db:.1f}", f"{jitter_mm(head, fast):.2f}", f"{jitter_mm(head, found.codes):.2f}",
            f"{fast.reprojection:.2%}", f"{found.codes.reprojection:.2%}", f"{num / seconds[0]:.1f}",
        ])  # fmt: skip
    print(describe_machine())
    print(f"{head.id}, {arguments.threads} threads, first {arguments.frames} frames of each clip, "
          f"matte weight {config.photometric.matte_weight:g}\n")
    print(table(lines))


if __name__ == "__main__":
    main()
