"""Peak memory of an avatar's fit against the length of the clip it is fitted to.

    rsat-data synth --out talks --clips 1 --seconds 5
    rsat-data build --videos talks --out talks_dataset
    python -m benchmarks.avatar_memory talks_dataset
    python -m benchmarks.avatar_memory talks_dataset --seconds 5 20 60 120 --size 64

One row of the dataset is lengthened by playing it forwards and backwards as often as it takes, and its video and matte
are encoded again at that length. Every length is fitted in a process of its own, which reads the files into memory as
they come out of a dataset and then does all that a fit does: shoulders tracked, pictures reduced, as many steps as
there are training frames (each is looked at once), held-out figures. Columns: frames, MiB of encoded video and matte
(kept in memory here; rows of a dataset are opened one after another), MiB of reduced pictures on disk, steps, seconds,
peak memory of the process in all, and without the encoded files.

The last line is the slope of a straight line through the peaks. ``max_frames`` bounds the training frames, so lengths
beyond it tell of the rest.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import rsat_data
from benchmarks.machine import describe_machine, table
from model.avatar.config import AvatarConfig
from model.avatar.fit import fit_avatar
from model.avatar.footage import Footage, Video, divide, from_row
from model.head import load_head
from pipelines.ingest.media import write_video

FPS = 25.0
HEADER = ["clip", "frames", "encoded MiB", "on disk MiB", "steps", "seconds", "peak MiB", "without encoded"]
_SPAN = 50
"""Frames that are decoded at once to be encoded again."""


def main(arguments: list[str] | None = None) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--row", type=int, default=0, help="number of a row")
    parser.add_argument("--seconds", type=float, nargs="+", default=[5.0, 20.0, 60.0, 120.0])
    parser.add_argument("--size", type=int, default=64, help="side of the pictures compared")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.folder is not None:
        print(json.dumps(measure(options)))
        return 0
    print(describe_machine())
    row = from_row(rsat_data.load(options.dataset, split=None)[options.row])
    rows: list[list[str]] = [HEADER]
    frames, peaks = [], []
    with tempfile.TemporaryDirectory() as name:
        for seconds in options.seconds:
            folder = Path(name)
            lengthen(row, round(seconds * FPS), folder)
            found = fit_alone(options, seconds, folder)
            frames.append(found["frames"])
            peaks.append(found["peak_mib"] - found["encoded_mib"])
            rows.append(
                [f"{seconds:g} s", str(found["frames"]), f"{found['encoded_mib']:.1f}", f"{found['disk_mib']:.1f}",
                 str(found["steps"]), f"{found['seconds']:.0f}", f"{found['peak_mib']:.0f}", f"{peaks[-1]:.0f}"]
            )  # fmt: skip
    print(table(rows))
    if len(set(frames)) > 1:
        slope, base = np.polyfit(np.array(frames) / 1000, peaks, 1)
        print(f"\npeak without encoded files: {base:.0f} MiB and {slope:+.1f} MiB per 1,000 frames")
    return 0


def there_and_back(count: int, length: int) -> np.ndarray:
    """(length,) frame numbers below ``count``, forwards and backwards in turn."""
    lap = np.concatenate([np.arange(count), np.arange(count - 2, 0, -1)])
    return np.resize(lap, length)


def lengthen(row: Footage, length: int, folder: Path) -> None:
    """Write video and matte of ``length`` frames."""
    order = there_and_back(len(row), length)

    def colour() -> Iterator[np.ndarray]:
        kept = np.concatenate([row.frames(t, min(t + _SPAN, len(row))) for t in range(0, len(row), _SPAN)])
        yield from (kept[t] for t in order)

    def matte() -> Iterator[np.ndarray]:
        assert row.mattes is not None
        kept = np.concatenate([row.mattes(t, min(t + _SPAN, len(row))) for t in range(0, len(row), _SPAN)])
        yield from (np.repeat(kept[t][..., None], 3, axis=2) for t in order)

    write_video(folder / "video.mp4", colour(), FPS, crf=18)
    write_video(folder / "matte.mp4", matte(), FPS, crf=18)


def fit_alone(options: argparse.Namespace, seconds: float, folder: Path) -> dict[str, Any]:
    """A fit in a process of its own."""
    command = [
        sys.executable, "-m", "benchmarks.avatar_memory", str(options.dataset), "--row", str(options.row),
        "--seconds", str(seconds), "--size", str(options.size), "--threads", str(options.threads),
        "--folder", str(folder),
    ]  # fmt: skip
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(found, dict)
    return found


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Fit the lengthened row; figures of this process."""
    row = from_row(rsat_data.load(options.dataset, split=None)[options.row])
    length = round(options.seconds[0] * FPS)
    order = there_and_back(len(row), length)
    video, matte = ((options.folder / name).read_bytes() for name in ("video.mp4", "matte.mp4"))
    long = replace(
        row,
        codes={name: values[order] for name, values in row.codes.items()},
        valid=row.valid[order],
        frames=Video(video, length, "video"),
        mattes=Video(matte, length, "matte", grey=True),
    )
    config = AvatarConfig(size=options.size, budget_s=1e9)
    parts = divide([long], config.hold_out, config.max_frames, config.validation_frames, config.min_frames)
    config = replace(config, max_steps=len(parts.train))
    result = fit_avatar(load_head(), row.shape, [long], config, threads=options.threads)
    return {
        "frames": length,
        "encoded_mib": (len(video) + len(matte)) / 2**20,
        "disk_mib": 4 * options.size**2 * (len(parts.train) + len(parts.validation)) / 2**20,
        "steps": result.report["steps"],
        "seconds": result.report["seconds"],
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    sys.exit(main())
