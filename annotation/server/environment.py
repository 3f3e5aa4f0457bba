"""The label server's own Python environment: it pins Django and a hundred others, and must not share ours."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from rsat_data.errors import LabelServerError, OfflineError
from rsat_data.registry import home, offline_by_environment

SERVER_VERSION = "1.23.2"
EXECUTABLE_VARIABLE = "RSAT_LABEL_SERVER"

_READY = ".ready"
#: Room the installation needs, measured: 1.0 GB.
_DISK_BYTES = 1_500_000_000


def server_home() -> Path:
    """Where the server's environment and data lie on this machine."""
    return home() / "label-server"


def find_executable(given: Path | None = None) -> Path | None:
    """The server's executable: the one given, else ``RSAT_LABEL_SERVER``, else that of the environment made earlier.

    Returns:
        Its path, or None where the environment has yet to be made.

    Raises:
        LabelServerError: the one given is not there, or cannot be run.
    """
    named = given or (Path(value) if (value := os.environ.get(EXECUTABLE_VARIABLE)) else None)
    if named is not None:
        path = Path(shutil.which(named) or named).expanduser().absolute()
        if not path.is_file() or not os.access(path, os.X_OK):
            raise LabelServerError(
                f"The label server {named} is not a program that can be run.",
                hint=f"Name label-studio of an environment (--server-executable or {EXECUTABLE_VARIABLE}), or leave "
                "it out: an environment is made then.",
                path=path,
            )
        return path
    environment = environment_folder()
    return environment / "bin" / "label-studio" if (environment / _READY).is_file() else None


def environment_folder() -> Path:
    """The folder of the environment, one a server version and Python version."""
    return server_home() / f"{SERVER_VERSION}-py{sys.version_info.major}.{sys.version_info.minor}"


def make_environment(progress: Callable[[str], None] = lambda _: None) -> Path:
    """Make the environment with the pinned server in it, once; returns the executable.

    An installation that was broken off is begun anew. About 1 GB and, with a good line, two minutes.

    Raises:
        OfflineError: the network may not be used.
        LabelServerError: no room, or pip failed; says where its output lies.
    """
    from filelock import FileLock

    folder = environment_folder()
    executable = folder / "bin" / "label-studio"
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        if (folder / _READY).is_file():
            return executable
        if offline_by_environment():
            raise OfflineError(
                f"The label server {SERVER_VERSION} is not installed, and the network may not be used.",
                hint=f"Install it by hand, and name its label-studio: --server-executable or {EXECUTABLE_VARIABLE}.",
            )
        free = shutil.disk_usage(folder.parent).free
        if free < _DISK_BYTES:
            raise LabelServerError(
                f"The label server needs {_DISK_BYTES / 1e9:.1f} GB in {folder.parent}; {free / 1e9:.1f} GB are free.",
                hint="Free some space, or set RSAT_DATA_HOME to a folder on another disk.",
                path=folder.parent,
            )
        shutil.rmtree(folder, ignore_errors=True)
        log = folder.with_name(f"{folder.name}.log")
        progress(f"making an environment for the label server in {folder}")
        _run([sys.executable, "-m", "venv", str(folder)], log, "wb")
        progress(f"installing label-studio {SERVER_VERSION} (about two minutes, 1 GB)")
        pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
        _run([*pip, f"label-studio=={SERVER_VERSION}"], log, "ab")
        (folder / _READY).write_text(SERVER_VERSION, encoding="utf-8")
    return executable


def _run(command: list[str], log: Path, mode: str) -> None:
    # The token of a label server is none of pip's business, nor of what pip runs.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LABEL_STUDIO")}
    with log.open(mode) as stream:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, env=environment, check=False
        )
    if done.returncode != 0:
        lines = [line for line in log.read_text("utf-8", errors="replace").splitlines() if line.strip()]
        errors = [line for line in lines if re.match(r"\s*ERROR", line)] or lines
        raise LabelServerError(
            f"The label server could not be installed: {' '.join(errors[-2:])[:500] or f'exit code {done.returncode}'}",
            hint=f"All that pip said is in {log}. An installation of yours: {EXECUTABLE_VARIABLE}=/path/label-studio",
            path=log,
        )
