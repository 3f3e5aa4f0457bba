"""Finding the videos of a folder, and what their owner says about them in a sidecar file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from rsat_data.config import from_mapping, read_yaml
from rsat_data.errors import ConfigError, SourceError, UnreadableSource, UnsafeSource, UsageError

VIDEO_SUFFIXES = frozenset(
    ".mp4 .m4v .mov .mkv .webm .avi .mpg .mpeg .ts .mts .m2ts .wmv .flv .3gp .ogv .mxf .y4m".split()
)
SIDECAR_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class Relation:
    """The relation of A and B, as the owner of a video knows it."""

    kinship: Literal["blood", "non_blood", "unknown"] = "unknown"
    """Whether the two are related by blood."""
    status: Literal["equal", "unequal", "unknown"] = "unknown"
    """Whether one ranks above the other."""
    senior: Literal["A", "B", "none", "unknown"] = "unknown"
    """Who ranks above; A sits on the left."""


@dataclass(frozen=True)
class Sidecar:
    """The file ``<name>.yaml`` beside a video."""

    subjects: dict[Literal["A", "B"], str] = field(default_factory=dict)
    """Name or number of each person, the same in every video of that person."""
    relation: Relation | None = None
    """Their relation, when known."""
    licence: str | None = None
    """Licence of the recording, for example CC-BY-4.0."""
    consent_id: str | None = None
    """Number of the consent under which it may be used."""
    pii: list[str] = field(default_factory=list)
    """Kinds of personal data in it, for example face, voice, name."""
    audio: dict[Literal["A", "B"], str] = field(default_factory=dict)
    """One sound file a person, relative to the video's folder."""
    language: str | None = None
    """Language spoken, as in ISO 639-1; detected when absent."""


@dataclass(frozen=True)
class SourceFile:
    """A video found in the folder or a conversation of several files, or the reason why it cannot be used."""

    path: Path
    """The file; of a conversation the first person's video."""
    name: str
    """Path inside the folder, or name of the conversation, as printable text."""
    error: SourceError | None = None
    """Set when the file is refused before it is opened."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """The sidecar, without empty fields; audio paths absolute. Of a conversation also ``recordings``, see
    `rsat_data.recordings.find_recordings`."""

    @property
    def files(self) -> list[Path]:
        """Every file of it: one, or those of a conversation's recordings."""
        recordings = self.metadata.get("recordings")
        if not recordings:
            return [self.path]
        return [Path(own[kind]) for own in recordings.values() for kind in ("video", "audio") if own[kind]]


def find_sources(folder: Path) -> list[SourceFile]:
    """Find the videos under ``folder``, at any depth, in a stable order. Hidden files are passed by.

    Raises:
        UsageError: the folder is missing, not a folder, or holds no video.
    """
    if not folder.exists():
        raise UsageError(
            f"The folder {folder} does not exist.", hint="Name the folder that holds your videos with --videos."
        )
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder.", hint="--videos takes a folder of videos; put the file into one.")
    root = folder.resolve()
    found: list[SourceFile] = []
    for directory, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(directory, name)
            if name.startswith(".") or path.suffix.lower() not in VIDEO_SUFFIXES:
                continue
            found.append(_examine(path, root))
    if not found:
        kinds = ", ".join(sorted(suffix[1:] for suffix in VIDEO_SUFFIXES))
        raise UsageError(f"The folder {folder} holds no video.", hint=f"Files with these endings are read: {kinds}.")
    return sorted(found, key=lambda source: source.name)


def printable(path: Path) -> str:
    """A path as text that can be stored and shown: control characters and broken bytes are escaped."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _examine(path: Path, root: Path) -> SourceFile:
    name = printable(path.relative_to(root))
    try:
        real = path.resolve(strict=True)
        if not real.is_relative_to(root):
            raise UnsafeSource(
                f"{name} is a symbolic link that leads out of the folder.",
                hint="Copy the file into the folder, or name its own folder with --videos.",
            )
        if not real.is_file():
            raise UnreadableSource(f"{name} is not a regular file.", hint="Remove it from the folder.")
        if real.stat().st_size == 0:
            raise UnreadableSource(f"{name} is empty (0 bytes).", hint="Copy the video again from where it came.")
        with real.open("rb") as stream:
            stream.read(1)
        return SourceFile(real, name, metadata=read_sidecar(path, name, root))
    except SourceError as error:
        return SourceFile(path, name, error)
    except OSError as error:
        reason = UnreadableSource(
            f"{name} cannot be read: {error.strerror or error}.",
            hint="Check that the file exists and that you may read it.",
        )
        return SourceFile(path, name, reason)


def read_sidecar(video: Path, name: str, root: Path) -> dict[str, Any]:
    """Read ``<video without suffix>.yaml``, or ``<video>.yaml``, when one is there.

    Raises:
        SourceError: the sidecar cannot be read, has unknown fields, or names a file outside ``root``.
    """
    candidates = [video.with_suffix(suffix) for suffix in SIDECAR_SUFFIXES]
    candidates += [video.with_name(video.name + suffix) for suffix in SIDECAR_SUFFIXES]
    path = next((candidate for candidate in candidates if candidate.is_file()), None)
    if path is None:
        return {}
    try:
        if not path.resolve().is_relative_to(root):
            raise UnsafeSource(f"The sidecar of {name} is a symbolic link that leads out of the folder.")
        sidecar = from_mapping(Sidecar, read_yaml(path, what="sidecar"), where=printable(path.relative_to(root)))
    except ConfigError as error:
        raise SourceError(
            f"The sidecar of {name} is wrong: {error.message}", hint=error.hint or "See docs/sidecar.md."
        ) from error
    values = {key: value for key, value in asdict(sidecar).items() if value not in (None, {}, [])}
    if "audio" in values:
        values["audio"] = {
            person: str(_inside(video.parent / file, root, name)) for person, file in values["audio"].items()
        }
    return values


def _inside(path: Path, root: Path, name: str) -> Path:
    real = path.resolve()
    if not real.is_relative_to(root) or not real.is_file():
        shown = printable(path.relative_to(root) if path.is_relative_to(root) else path)
        raise UnsafeSource(
            f"The sidecar of {name} names the sound file {shown}, "
            "which is not a file inside the videos folder.",
            hint="Put the sound files beside the video and name them relative to it.",
        )
    return real
