"""A worker process: reads tasks as JSON lines, runs the stage, answers with JSON lines.

Started by an engine as ``python -P -c ...`` in its own process group. It ends when its standard input closes, so
workers never outlive a killed driver.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import resource
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import Queue
from typing import IO, Any

from rsat_data.errors import DiskFullError, SourceError, StageError
from rsat_data.siblings import check_siblings

_PROGRESS_EVERY_S = 0.2


def main() -> None:
    """Serve tasks until standard input closes."""
    # Libraries print to standard output; keep the protocol on a descriptor of its own.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    tasks: Queue[str | None] = Queue()
    threading.Thread(target=_read, args=(sys.stdin, tasks), daemon=True).start()
    _say(answers, {"type": "ready"})
    while (line := tasks.get()) is not None:
        message = json.loads(line)
        started, cpu = time.monotonic(), _cpu_seconds()
        try:
            answer: dict[str, Any] = {"type": "done", "summary": dict(_run(message, answers))}
        except BaseException as error:  # noqa: BLE001 - every failure becomes data; the driver decides
            answer = {"type": "error", **describe(error)}
        answer |= {"seconds": time.monotonic() - started, "cpu_seconds": _cpu_seconds() - cpu}
        _say(answers, answer)


def _read(stream: IO[str], tasks: Queue[str | None]) -> None:
    for line in stream:
        tasks.put(line)
    # The driver is gone: stop at once, even in the middle of a task. Its folder is swept by the next build.
    os._exit(0)


def _say(stream: IO[str], message: Mapping[str, Any]) -> None:
    try:
        stream.write(json.dumps(message) + "\n")
        stream.flush()
    except BrokenPipeError:
        os._exit(0)


def _run(message: Mapping[str, Any], answers: IO[str]) -> Mapping[str, Any]:
    check_siblings()
    from pipelines.stage import Member, Stage, StageContext

    module, attribute = message["stage"].split(":")
    stage = getattr(importlib.import_module(module), attribute)
    if not isinstance(stage, Stage):
        raise StageError(f"{message['stage']} is not a stage.")
    models = message["models"]

    def model(name: str) -> Path:
        if name not in models:
            raise StageError(
                f"Stage {stage.name} asked for the model file {name}, which it does not declare under this config."
            )
        return Path(models[name])

    context = StageContext(
        source=Path(os.fsdecode(bytes.fromhex(message["source"]))),
        unit=message["unit"],
        inputs={name: Path(path) for name, path in message["inputs"].items()},
        out=Path(message["out"]),
        model=model,
        available=frozenset(models),
        members=[
            Member(
                member["unit"], {name: Path(path) for name, path in member["inputs"].items()}, member["metadata"]
            )
            for member in message["members"]
        ],
        parts=message["parts"],
        metadata=message["metadata"],
        provenance=message["provenance"],
        state=Path(message["state"]) if message["state"] else None,
        device=message["device"],
        threads=int(message["threads"]),
        progress=_throttled(answers),
    )
    from rsat_data.config import from_mapping

    return stage.run(context, from_mapping(stage.config, message["config"], where=stage.name))


def _throttled(answers: IO[str]) -> Callable[[float], None]:
    last = 0.0

    def report(fraction: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _PROGRESS_EVERY_S:
            last = now
            _say(answers, {"type": "progress", "fraction": float(fraction)})

    return report


def describe(error: BaseException) -> dict[str, Any]:
    """An exception as JSON-able data."""
    full = isinstance(error, DiskFullError) or (
        isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    )
    return {
        "error": type(error).__name__,
        "message": getattr(error, "message", None) or str(error) or type(error).__name__,
        "hint": getattr(error, "hint", ""),
        "source_fault": isinstance(error, SourceError),
        "disk_full": full,
        "trace": "".join(traceback.format_exception(error))[-8000:],
    }


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
