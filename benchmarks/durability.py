"""Kill a build at random moments with ``kill -9``, finish it, and compare with an undisturbed one.

    python -m benchmarks.durability --videos DIR --kills 10 --seed 1
    python -m benchmarks.durability --videos DIR --finished OUT      compare with a dataset built before

Prints, for every kill, how far the build had come, and at the end whether the datasets are the same, byte by byte.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Verdict:
    """What was left after the last, undisturbed run of the command."""

    kills: int
    """How often a running build was killed."""
    same_files: bool
    """Every file of the dataset has the same bytes as in the undisturbed build."""
    differing: tuple[str, ...]
    """Files that differ, or are in one dataset only."""
    leftovers: tuple[str, ...]
    """Temporary files that were left behind."""


def build(videos: Path, out: Path, *options: str) -> subprocess.Popen[bytes]:
    """Start a build as its own program."""
    command = [
        sys.executable,
        "-m",
        "rsat_data",
        "build",
        "--videos",
        str(videos),
        "--out",
        str(out),
        "--quiet",
        *options,
    ]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=os.environ)


def finish(videos: Path, out: Path, *options: str) -> None:
    """Run a build to its end."""
    process = build(videos, out, *options)
    _, errors = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"the build ended with {process.returncode}: {errors.decode(errors='replace')}")


def kill_and_resume(
    videos: Path,
    out: Path,
    undisturbed: Path,
    *,
    kills: int,
    seed: int,
    longest_s: float,
    options: tuple[str, ...] = (),
) -> Verdict:
    """Kill the build of ``videos`` into ``out`` at random moments, then run it to the end and compare.

    Args:
        videos: folder of videos.
        out: dataset to build.
        undisturbed: the same videos, built without a kill and with the same options.
        kills: how often.
        seed: decides the moments.
        longest_s: a run is killed after at most so many seconds.
        options: more options of the command.
    """
    moments = random.Random(seed)
    done = 0
    while done < kills:
        process = build(videos, out, *options)
        time.sleep(moments.uniform(0.2, longest_s))
        if process.poll() is not None:
            break  # it was quicker than the kill: nothing is left to disturb
        process.send_signal(signal.SIGKILL)
        process.communicate()
        done += 1
        units = sum(1 for _ in (out / ".work/units").rglob("done.json")) if out.exists() else 0
        print(f"kill {done}: {units} units were done", flush=True)
    finish(videos, out, *options)
    first, second = _files(undisturbed), _files(out)
    differing = sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))
    leftovers = sorted(str(path.relative_to(out)) for path in out.rglob("*tmp*") if path != out / ".work/tmp")
    return Verdict(done, not differing, tuple(differing), tuple(leftovers))


def _files(out: Path) -> dict[str, bytes]:
    """Content of every file of a dataset; the workspace is not part of it."""
    paths = (path for path in out.rglob("*") if path.is_file() and ".work" not in path.parts)
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in paths}


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, required=True)
    parser.add_argument("--finished", type=Path, help="an undisturbed build of the same videos")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--longest", type=float, default=20.0, help="seconds until a kill, at most")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        undisturbed = arguments.finished or Path(scratch, "undisturbed")
        finish(arguments.videos, undisturbed)
        verdict = kill_and_resume(
            arguments.videos,
            Path(scratch, "killed"),
            undisturbed,
            kills=arguments.kills,
            seed=arguments.seed,
            longest_s=arguments.longest,
        )
    print(f"{verdict.kills} kills; same bytes: {verdict.same_files}; differing: {verdict.differing or 'none'};")
    print(f"left behind: {verdict.leftovers or 'nothing'}")
    sys.exit(not (verdict.same_files and not verdict.leftovers))


if __name__ == "__main__":
    main()
