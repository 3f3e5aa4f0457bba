"""Fits of avatars on tracked rows: ours and the floors on the time held out, speed and memory.

    rsat-data build --videos talks --out talks_dataset --set flame.profile=full
    python -m benchmarks.avatar talks_dataset --budget 300
    python -m benchmarks.avatar talks_dataset --row 1 --steps 600 --pictures pictures

A row is one person in one clip. Each is fitted alone, in a process of its own, so that the peak of memory is its own.
Columns: PSNR (dB), SSIM and, where its weights are, ST-LPIPS on the foreground of held-out frames (the last 30 % of
valid time) for the avatar; PSNR for the same without its shoulders tracked, and for the floors (mean picture, nearest
training frame, tracked mesh with vertex colours); PSNR on the head alone, on mouth and on eyes; steps, steps a second,
seconds, Gaussians; frames a second drawn at 512 x 512 after the first ones, from codes to pixels; peak memory of the
process.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import rsat_data
from benchmarks.machine import describe_machine, table
from model.avatar.config import AvatarConfig
from model.avatar.draw import draw_frames
from model.avatar.fit import fit_avatar
from model.avatar.footage import Footage, from_row
from model.avatar.torso import track_torso
from model.head import load_head

HEADER = [
    "subject", "fg dB", "fg SSIM", "ST-LPIPS", "still", "mean", "nearest", "mesh", "head dB", "mouth", "eyes",
    "steps", "steps/s", "seconds", "Gaussians", "512 px/s", "MiB",
]  # fmt: skip
_DRAWN = 40
_SHOWN = 4


def main(arguments: list[str] | None = None) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--row", type=int, action="append", help="number of a row; all by default")
    parser.add_argument("--budget", type=float, default=300.0, help="seconds a fit")
    parser.add_argument("--steps", type=int, default=0, help="end after as many steps instead")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--pictures", type=Path, help="folder for pictures: truth, avatar, difference x 3")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one:
        print(json.dumps(measure(options)))
        return 0
    count = len(rsat_data.load(options.dataset, split=None))
    print(describe_machine())
    rows: list[list[Any]] = [HEADER]
    given = sys.argv[1:] if arguments is None else arguments
    for number in options.row or range(count):
        command = [sys.executable, "-m", "benchmarks.avatar", *without_rows(given), "--row", str(number), "--one"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows.append(line(json.loads(done.stdout.splitlines()[-1])))
    print(table(rows))
    return 0


def without_rows(arguments: list[str]) -> list[str]:
    """Arguments without the choice of rows."""
    kept, skip = [], False
    for argument in arguments:
        if skip or argument == "--row":
            skip = argument == "--row"
        elif not argument.startswith("--row="):
            kept.append(argument)
    return kept


def line(found: dict[str, Any]) -> list[str]:
    """A row of the table."""
    metrics, ours = found["metrics"], found["metrics"]["avatar"]
    still = found["still_torso"] or ours
    others = [still["psnr_foreground"], *(metrics[name]["psnr_foreground"] for name in ("mean", "nearest", "mesh"))]
    return [
        found["name"], f"{ours['psnr_foreground']:.1f}", f"{ours['ssim_foreground']:.3f}",
        f"{ours.get('st_lpips_foreground', float('nan')):.3f}",
        *(f"{value:.1f}" for value in others),
        *(f"{ours[f'psnr_{region}']:.1f}" for region in ("head", "mouth", "eyes")),
        str(found["steps"]), f"{found['steps_per_s']:.1f}", f"{found['seconds']:.0f}", str(found["gaussians"]),
        f"{found['frames_per_s']:.1f}", f"{found['peak_mib']:.0f}",
    ]  # fmt: skip


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Fit and draw one row."""
    row = rsat_data.load(options.dataset, split=None)[options.row[0]]
    head, footage = load_head(), from_row(row)
    config = AvatarConfig(
        budget_s=1e9 if options.steps else options.budget, max_steps=options.steps, size=options.size
    )
    result = fit_avatar(head, footage.shape, [footage], config, threads=options.threads, device=options.device)
    codes = {name: value[-_DRAWN:] for name, value in footage.codes.items()}
    avatar = result.avatar.to(options.device)
    drawn, started = 0, 0.0
    for rgb, _ in draw_frames(avatar, head, codes, footage.camera, size=(512, 512), threads=options.threads):
        if options.device != "cpu":
            torch.cuda.synchronize()
        if not started:
            started = time.perf_counter()  # the first frames compile kernels
        else:
            drawn += len(rgb)
    seconds = time.perf_counter() - started
    if options.pictures:
        show(options.pictures / f"{row['row_id']}.png", head, avatar, footage)
    return {
        **result.report,
        "name": f"{row['source_id'][:12]} {row['person']}",
        "frames_per_s": drawn / max(seconds, 1e-9),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def show(path: Path, head: Any, avatar: Any, footage: Footage) -> None:
    """Write truth, avatar and three times their difference for some held-out frames."""
    import cv2

    usable = np.flatnonzero(footage.usable())
    torso = track_torso(head, footage)
    chosen = usable[np.linspace(round(0.7 * len(usable)), len(usable) - 1, _SHOWN).astype(int)]
    given = {name: value[usable] for name, value in {**footage.codes, "torso": torso}.items()}
    places = np.searchsorted(usable, chosen)
    lines = []
    for index, (rgb, _) in enumerate(_one_by_one(avatar, head, given, footage)):
        if index not in places:
            continue
        t = int(usable[index])
        matte = np.ones((1, 1, 1)) if footage.mattes is None else footage.mattes(t, t + 1)[0][..., None] / 255
        truth = footage.frames(t, t + 1)[0] / 255 * matte
        picture = rgb.cpu().numpy()
        lines.append(np.concatenate([truth, picture, np.abs(truth - picture) * 3], axis=1))
    path.parent.mkdir(parents=True, exist_ok=True)
    image = (np.concatenate(lines).clip(0, 1) * 255).astype(np.uint8)
    cv2.imwrite(str(path), np.ascontiguousarray(image[..., ::-1]))


def _one_by_one(avatar: Any, head: Any, codes: dict[str, np.ndarray], footage: Footage) -> Any:
    for rgb, alpha in draw_frames(avatar, head, codes, footage.camera):
        yield from zip(rgb, alpha, strict=True)


if __name__ == "__main__":
    sys.exit(main())
