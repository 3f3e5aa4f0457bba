"""The workspace: finished artefacts under their content keys, failures, a lock, and the state of the last build.

Layout, inside the dataset folder (hidden, so that dataset readers pass it by)::

    OUT/.work/lock                              held while a build runs; freed by the system when it dies
    OUT/.work/hashes.json                       sha256 of sources, by path, size and modification time
    OUT/.work/state.json                        progress of the last build, for `rsat-data status`
    OUT/.work/units/<stage>/<2>/<key>/          artefacts of one unit and done.json
    OUT/.work/failed/<stage>-<key>.json         what went wrong
    OUT/.work/tmp/                              units in the making; swept at the start of every build

A unit is published by one rename of a folder, so a folder under ``units`` is complete or is not there.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rsat_data.content import file_sha256
from rsat_data.errors import WorkspaceError
from rsat_data.files import as_disk_error as as_disk_error
from rsat_data.files import is_locked
from rsat_data.files import write_json as write_json

WORK_DIR = ".work"
DONE = "done.json"


@dataclass(frozen=True)
class Failure:
    """Why a unit has no result."""

    stage: str
    """Stage that failed; ``scan`` for files refused before any stage."""
    key: str
    """Content key of the unit."""
    name: str
    """The source's path inside the videos folder."""
    source_id: str
    """Empty where the file could not be hashed."""
    clip_id: str
    """Empty for a unit that covers a whole source."""
    error: str
    """Class of the error."""
    message: str
    """What happened."""
    hint: str
    """What can be done."""
    permanent: bool
    """The same input gives the same failure, so it is not tried again until something changes."""
    attempts: int = 1
    """How often it was tried."""
    start_s: float = 0.0
    """Span in the source, seconds; 0 and 0 for the whole."""
    end_s: float = 0.0
    """End of the span."""
    trace_hash: str = ""
    """Hash of the traceback: equal failures have equal hashes."""
    stderr_tail: str = ""
    """The last lines the worker wrote."""


class Workspace:
    """The folder of one dataset under construction. Use as a context manager to hold its lock."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.root = out / WORK_DIR
        self._lock: int | None = None
        self._hashes: dict[str, list[Any]] | None = None

    def __enter__(self) -> Self:
        try:
            for folder in ("units", "failed", "tmp"):
                (self.root / folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            full = as_disk_error(error, self.root)
            if full is not error:
                raise full from error
            raise WorkspaceError(
                f"Cannot write to {self.out}: {error.strerror}.",
                hint="Choose another folder with --out.",
                path=self.out,
            ) from error
        lock = os.open(self.root / "lock", os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise WorkspaceError(
                f"Another build is running in {self.out}.",
                hint=f"Wait for it (rsat-data status {self.out}), or choose another --out.",
                path=self.out,
            ) from error
        self._lock = lock
        self._sweep()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sweep()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _sweep(self) -> None:
        """Remove what a killed build left half made."""
        for leftover in (self.root / "tmp").iterdir():
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)
        for leftover in self.root.glob(".*.tmp"):
            leftover.unlink(missing_ok=True)

    # Units -----------------------------------------------------------------------------------------------------

    def unit_dir(self, stage: str, key: str) -> Path:
        """Where the artefacts of a unit lie once it is done."""
        return self.root / "units" / stage / key[:2] / key

    def finished(self, stage: str, key: str) -> Mapping[str, Any] | None:
        """The unit's done.json when it is complete (every file there with its size), else None."""
        folder = self.unit_dir(stage, key)
        try:
            done = json.loads((folder / DONE).read_text(encoding="utf-8"))
            whole = all((folder / name).stat().st_size == entry["bytes"] for name, entry in done["files"].items())
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return done if whole else None

    def open_unit(self, stage: str, key: str) -> Path:
        """A new empty folder for a unit in the making."""
        folder = self.root / "tmp" / f"{stage}-{key}-{os.getpid()}"
        if folder.exists():
            shutil.rmtree(folder)
        try:
            folder.mkdir()
        except OSError as error:
            raise as_disk_error(error, folder) from error
        return folder

    def publish_unit(self, stage: str, key: str, folder: Path, record: Mapping[str, Any]) -> Mapping[str, Any]:
        """Hash the files in ``folder``, write done.json and rename the folder to its place. Returns done.json."""
        files: dict[str, dict[str, Any]] = {}
        try:
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    name = path.relative_to(folder).as_posix()
                    files[name] = {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
                    with path.open("rb") as stream:
                        os.fsync(stream.fileno())
            done = {**record, "stage": stage, "key": key, "files": files}
            write_json(folder / DONE, done)
            target = self.unit_dir(stage, key)
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():  # an incomplete or damaged result: `finished` said so
                shutil.rmtree(target)
            os.replace(folder, target)
            _fsync_dir(target.parent)
        except OSError as error:
            raise as_disk_error(error, folder) from error
        self._failure_path(stage, key).unlink(missing_ok=True)
        return done

    def discard_unit(self, folder: Path) -> None:
        """Remove a unit in the making."""
        shutil.rmtree(folder, ignore_errors=True)

    # Failures --------------------------------------------------------------------------------------------------

    def _failure_path(self, stage: str, key: str) -> Path:
        return self.root / "failed" / f"{stage}-{key}.json"

    def failure(self, stage: str, key: str) -> Failure | None:
        """The recorded failure of a unit, if any."""
        try:
            return Failure(**json.loads(self._failure_path(stage, key).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def record_failure(self, failure: Failure) -> Failure:
        """Keep a failure, counting attempts over builds."""
        before = self.failure(failure.stage, failure.key)
        if before is not None:
            failure = Failure(**{**asdict(failure), "attempts": before.attempts + 1})
        write_json(self._failure_path(failure.stage, failure.key), asdict(failure))
        return failure

    # Hashes of sources -----------------------------------------------------------------------------------------

    def source_sha256(self, path: Path) -> str:
        """sha256 of a source; remembered by path, inode, size and modification time."""
        if self._hashes is None:
            try:
                self._hashes = json.loads((self.root / "hashes.json").read_text(encoding="utf-8"))
            except (OSError, ValueError):
                self._hashes = {}
        assert self._hashes is not None
        status = path.stat()
        seen = [status.st_size, status.st_mtime_ns, status.st_ino]
        known = self._hashes.get(os.fsencode(path).hex())
        if known and known[:3] == seen:
            return str(known[3])
        digest = file_sha256(path)
        self._hashes[os.fsencode(path).hex()] = [*seen, digest]
        return digest

    def save_hashes(self) -> None:
        """Keep the hashes for the next build."""
        if self._hashes is not None:
            write_json(self.root / "hashes.json", self._hashes)

    # State -----------------------------------------------------------------------------------------------------

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Write what ``rsat-data status`` shows."""
        write_json(self.root / "state.json", {**state, "updated": time.time()})


def read_state(out: Path) -> Mapping[str, Any] | None:
    """State of the last build in ``out``, with ``alive``: whether a process holds the lock. None if there was none."""
    root = out / WORK_DIR
    try:
        state = json.loads((root / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return {**state, "alive": is_locked(root / "lock")}


def _fsync_dir(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
