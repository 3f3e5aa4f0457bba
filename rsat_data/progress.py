"""Progress bars: rate, share done and time left; plain lines where the output is not a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Literal, Self, TextIO

Unit = Literal["it", "bytes"]


class Bar:
    """One bar. ``advance`` and ``set`` may be called as often as you like."""

    def __init__(self, owner: Bars, label: str, total: float | None, unit: str) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done = 0.0
        self.note = ""
        self._owner = owner
        self.task_id = owner._add(self)

    def advance(self, amount: float = 1.0) -> None:
        """Move on by ``amount``."""
        self.set(self.done + amount)

    def set(self, done: float, *, total: float | None = None, note: str | None = None) -> None:
        """Set the amount done and, where it has become known, the total; ``note`` is shown behind the bar."""
        self.done = done
        if total is not None:
            self.total = total
        if note is not None:
            self.note = note
        self._owner._changed(self)


class Bars:
    """A group of bars on one stream; a context manager.

    On a terminal the bars are drawn by rich. Elsewhere (a log file, CI) a line is written at most every
    ``quiet_s`` seconds and when a bar is full, so logs stay readable.
    """

    def __init__(self, *, stream: TextIO | None = None, quiet_s: float = 10.0, enabled: bool = True) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._live = enabled and self._stream.isatty()
        self._enabled, self._quiet_s = enabled, quiet_s
        self._printed: dict[int, tuple[float, float]] = {}
        self._started: dict[int, float] = {}
        self._count = 0
        self._progress = None
        if self._live:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

            self._progress = Progress(
                TextColumn("{task.description:<12}"),
                BarColumn(bar_width=28),
                TextColumn("{task.fields[amount]:>18}"),
                TextColumn("{task.fields[rate]:>12}"),
                TextColumn("after"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}", markup=False),
                console=Console(file=self._stream),
                transient=False,
            )

    def __enter__(self) -> Self:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def bar(self, label: str, total: float | None = None, unit: Unit | str = "it") -> Bar:
        """Add a bar."""
        return Bar(self, label, total, unit)

    def say(self, text: str) -> None:
        """Write a line above the bars."""
        if self._progress is not None:
            self._progress.console.print(text, markup=False, highlight=False)
        elif self._enabled:
            print(text, file=self._stream, flush=True)

    def _add(self, bar: Bar) -> int:
        self._count += 1
        identity = self._count
        if self._progress is not None:
            identity = int(self._progress.add_task(bar.label, total=bar.total, amount="", rate="", note=""))
        self._started[identity] = time.monotonic()
        return identity

    def _changed(self, bar: Bar) -> None:
        if not self._enabled:
            return
        elapsed = max(time.monotonic() - self._started[bar.task_id], 1e-6)
        rate = _amount(bar.done / elapsed, bar.unit) + "/s"
        amount = _amount(bar.done, bar.unit)
        if bar.total is not None:
            amount += f" / {_amount(bar.total, bar.unit)}"
        if self._progress is not None:
            from rich.progress import TaskID

            self._progress.update(
                TaskID(bar.task_id),
                completed=bar.done,
                total=bar.total,
                amount=amount,
                rate=rate,
                note=bar.note,
            )
            return
        last, last_done = self._printed.get(bar.task_id, (0.0, -1.0))
        now = time.monotonic()
        full = bar.total is not None and bar.done >= bar.total
        if (now - last >= self._quiet_s or full) and bar.done != last_done:
            self._printed[bar.task_id] = (now, bar.done)
            left = f", {_clock((bar.total - bar.done) * elapsed / bar.done)} left" if bar.total and bar.done else ""
            print(f"{bar.label}: {amount} ({rate}{left}) {bar.note}".rstrip(), file=self._stream, flush=True)


@contextmanager
def progress(label: str, total: float | None = None, unit: str = "it", *, enabled: bool = True) -> Iterator[Bar]:
    """A single bar for a loop: ``with progress("clips", 10) as bar: ... bar.advance()``."""
    with Bars(enabled=enabled) as bars:
        yield bars.bar(label, total, unit)


def _amount(value: float, unit: str) -> str:
    if unit == "bytes":
        for suffix in ("B", "kB", "MB", "GB"):
            if value < 1000 or suffix == "GB":
                return f"{value:.0f} {suffix}" if suffix == "B" else f"{value:.1f} {suffix}"
            value /= 1000
    text = f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"
    return text if unit == "it" else f"{text} {unit}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
