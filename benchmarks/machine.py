"""What every benchmark prints and how it measures: the machine, a table, the best of several runs."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from rsat_data.machine import cpu_name, memory, usable_cores

PACKAGES = ("torch", "numba", "numpy", "mediapipe", "pyarrow")


def git_commit() -> str:
    """Short commit of the checkout, with a + where files differ from it; "unknown" outside of one."""
    root = Path(__file__).resolve().parent.parent
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
            cwd=root,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def describe_machine() -> str:
    """Processor, cores, load, memory, system, package versions and commit, in a few lines."""
    total, _ = memory()
    size = "memory unknown" if total is None else f"{total / 2**30:.0f} GiB of memory"
    load = f"; load average {os.getloadavg()[0]:.1f} when asked" if hasattr(os, "getloadavg") else ""
    packages = ", ".join(f"{package} {_version(package)}" for package in PACKAGES)
    return (
        f"machine: {cpu_name()}, {usable_cores()} usable cores, {size}{load}\n"
        f"system: {platform.system()} {platform.release()}, Python {platform.python_version()}, {packages}\n"
        f"commit: {git_commit()}\n"
    )


def table(rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table; the first row is its head. Columns after the first are aligned to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = []
    for row in cells:
        padded = [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("| " + " | ".join(padded) + " |")
    rule = ["-" * widths[0], *["-" * (width - 1) + ":" for width in widths[1:]]]
    lines.insert(1, "| " + " | ".join(rule) + " |")
    return "\n".join(lines)


def best_of(function: Callable[[], Any], repeats: int = 5, warm_up: int = 1) -> float:
    """Shortest wall clock (seconds) of ``repeats`` calls, after ``warm_up`` calls that do not count.

    The shortest, because whatever else runs on the machine only ever adds time.
    """
    for _ in range(warm_up):
        function()
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - started)
    return best


def copy_bandwidth(megabytes: int = 256) -> float:
    """Bytes per second that one core moves when it copies a large array (read and written bytes both count)."""
    source = np.ones(megabytes << 17)
    target = np.empty_like(source)
    return 2 * source.nbytes / best_of(lambda: np.copyto(target, source), 3)
