"""The local engine: a few worker processes on this machine.

Workers are separate programs in process groups of their own. They speak JSON lines over pipes, are replaced when they
die, stopped with all their children when a unit runs past its time limit, and end by themselves when the driver dies.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from rsat_data.engine.task import Outcome, Task, TaskError
from rsat_data.errors import StageError

#: Called at the end of every task; returns the tasks that have become possible.
OnDone = Callable[[Outcome], Iterable[Task]]
#: Called with a running task and the share of it that is done.
OnProgress = Callable[[Task, float], None]

_STDERR_TAIL = 4000
#: A worker that has not come up after so many seconds is given up, together with the task it was started for.
_START_S = 120.0
_ENTRY = "import sys; sys.path.append({home!r}); from rsat_data.engine.worker import main; main()"


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    errors: IO[bytes]
    buffer: bytes = b""
    task: Task | None = None
    started: float = 0.0
    tasks_done: int = 0
    ready: bool = False

    def is_late(self) -> bool:
        """Whether its task ran past its time limit; the start of the program is not counted as the task's time."""
        limit = self.task.timeout_s + (0.0 if self.ready else _START_S) if self.task else float("inf")
        return time.monotonic() - self.started > limit


@dataclass
class LocalEngine:
    """Runs tasks on ``workers`` processes with ``threads`` threads each."""

    workers: int
    threads: int = 1
    memory_gb: float = 8.0
    """Tasks run at the same time only while their declared memory fits in this."""
    recycle_after: int = 200
    """A worker is replaced after so many tasks, so that leaks in libraries stay bounded."""
    _pool: list[_Worker] = field(default_factory=list)
    _queue: list[tuple[int, int, Task]] = field(default_factory=list)
    _count: int = 0

    def run(self, tasks: Iterable[Task], on_done: OnDone, on_progress: OnProgress = lambda task, share: None) -> None:
        """Run tasks until none is left, including those that ``on_done`` adds.

        An exception from ``on_done`` (a full disk, Ctrl-C) stops all workers and is raised again.
        """
        for task in tasks:
            self._push(task)
        try:
            with selectors.DefaultSelector() as selector:
                self._loop(selector, on_done, on_progress)
        finally:
            for worker in self._pool:
                _kill(worker)
            self._pool.clear()
            self._queue.clear()

    def _push(self, task: Task) -> None:
        self._count += 1
        heapq.heappush(self._queue, (-task.priority, self._count, task))

    def _loop(self, selector: selectors.BaseSelector, on_done: OnDone, on_progress: OnProgress) -> None:
        while self._queue or any(worker.task for worker in self._pool):
            self._assign(selector, on_progress)
            for key, _ in selector.select(timeout=0.5):
                worker: _Worker = key.data
                for outcome in self._listen(worker, selector, on_progress):
                    for task in on_done(outcome):
                        self._push(task)
            for worker in [w for w in self._pool if w.is_late()]:
                assert worker.task is not None
                limit = f"ran past its limit of {worker.task.timeout_s:.0f} s"
                outcome = self._stopped(worker, selector, "UnitTimeout", limit)
                for task in on_done(outcome):
                    self._push(task)

    def _assign(self, selector: selectors.BaseSelector, on_progress: OnProgress) -> None:
        while self._queue:
            running = [w.task for w in self._pool if w.task]
            task = self._queue[0][2]
            if len(running) >= self.workers:
                return
            if running and sum(t.memory_gb for t in running) + task.memory_gb > self.memory_gb:
                return
            worker = next((w for w in self._pool if not w.task), None)
            if worker is None:
                worker = self._start()
                selector.register(worker.process.stdout, selectors.EVENT_READ, worker)  # type: ignore[arg-type]
            heapq.heappop(self._queue)
            worker.task, worker.started = task, time.monotonic()
            on_progress(task, 0.0)
            message = json.dumps({**asdict(task), "threads": self.threads}) + "\n"
            try:
                assert worker.process.stdin is not None
                worker.process.stdin.write(message.encode("utf-8"))
                worker.process.stdin.flush()
            except OSError:
                pass  # it has died; reading its end tells why

    def _start(self) -> _Worker:
        home = str(Path(__file__).resolve().parents[2])
        threads = str(self.threads)
        environment = os.environ | {
            name: threads
            for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
        }
        environment |= {"GLOG_minloglevel": "2", "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONUNBUFFERED": "1"}
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the worker
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _ENTRY.format(home=home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            start_new_session=True,
        )
        worker = _Worker(process, errors)
        self._pool.append(worker)
        return worker

    def _listen(self, worker: _Worker, selector: selectors.BaseSelector, on_progress: OnProgress) -> Iterable[Outcome]:
        assert worker.process.stdout is not None
        chunk = os.read(worker.process.stdout.fileno(), 1 << 16)
        if not chunk:
            code = worker.process.wait()
            died = f"died with signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"ended with code {code}"
            if worker.task is None:
                self._remove(worker, selector)
                return
            yield self._stopped(worker, selector, "WorkerDied", died)
            return
        worker.buffer += chunk
        *lines, worker.buffer = worker.buffer.split(b"\n")
        for line in lines:
            message: dict[str, Any] = json.loads(line)
            if message["type"] == "ready":
                worker.ready, worker.started = True, time.monotonic()
            elif message["type"] == "progress" and worker.task:
                on_progress(worker.task, message["fraction"])
            elif message["type"] in ("done", "error"):
                yield self._finished(worker, selector, message)

    def _finished(self, worker: _Worker, selector: selectors.BaseSelector, message: dict[str, Any]) -> Outcome:
        task = worker.task
        if task is None:
            raise StageError("A worker answered without having been asked.")
        worker.task, worker.tasks_done = None, worker.tasks_done + 1
        error = None
        if message["type"] == "error":
            fields = {
                name: message[name] for name in ("error", "message", "hint", "source_fault", "disk_full", "trace")
            }
            error = TaskError(**fields, stderr_tail=_tail(worker))
        worker.errors.truncate(0)
        if worker.tasks_done >= self.recycle_after:
            self._remove(worker, selector)
        return Outcome(task, message["seconds"], message["cpu_seconds"], message.get("summary"), error)

    def _stopped(self, worker: _Worker, selector: selectors.BaseSelector, kind: str, what: str) -> Outcome:
        task = worker.task
        assert task is not None
        tail = _tail(worker)
        self._remove(worker, selector)
        hint = "Too little memory is the usual cause: try --workers 1." if kind == "WorkerDied" else ""
        error = TaskError(kind, f"The process that ran stage {task.stage} {what}.", hint, stderr_tail=tail)
        return Outcome(task, time.monotonic() - worker.started, 0.0, None, error)

    def _remove(self, worker: _Worker, selector: selectors.BaseSelector) -> None:
        with contextlib.suppress(KeyError, ValueError):
            selector.unregister(worker.process.stdout)  # type: ignore[arg-type]
        _kill(worker)
        self._pool.remove(worker)


def _kill(worker: _Worker) -> None:
    """Stop a worker and everything it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(worker.process.pid, signal.SIGKILL)
    for stream in (worker.process.stdin, worker.process.stdout):
        if stream:
            with contextlib.suppress(OSError):
                stream.close()
    worker.process.wait()
    worker.errors.close()


def _tail(worker: _Worker) -> str:
    size = worker.errors.seek(0, os.SEEK_END)
    worker.errors.seek(max(0, size - _STDERR_TAIL))
    return worker.errors.read().decode("utf-8", "replace")
