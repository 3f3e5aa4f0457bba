"""What commands that run for long share: a disk with room, a limit to failures, an orderly stop."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from rsat_data.errors import DiskFullError, UsageError

#: Nothing is started with less than this many bytes free where the dataset goes.
MIN_FREE_BYTES = 200_000_000


def parse_max_failed(text: str) -> Callable[[int, int], bool]:
    """``5%`` or ``3`` to a function (failed, total) -> whether that is still allowed."""
    number = text.strip().removesuffix("%")
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if value < 0:
        raise UsageError(
            f"--max-failed {text!r} is neither a number nor a share.", hint="Examples: --max-failed 3, --max-failed 5%"
        )
    if text.strip().endswith("%"):
        return lambda failed, total: failed <= total * value / 100
    return lambda failed, total: failed <= value


def check_space(out: Path) -> None:
    """Refuse to start on a disk that is as good as full."""
    free = shutil.disk_usage(out).free
    if free < MIN_FREE_BYTES:
        raise DiskFullError(
            f"Only {free / 1e6:.0f} MB are free where {out} lies.",
            hint=f"Free at least {MIN_FREE_BYTES / 1e6:.0f} MB, or choose another --out.",
            path=out,
        )


@contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """Take SIGTERM (a scheduler's stop) for Ctrl-C, so that the workspace is left in order."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
