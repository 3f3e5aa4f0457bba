"""Every failure a user can meet, in one hierarchy. Each error carries what to do next in ``hint``.

Only the command line turns these into exit codes (``exit_code``); library code never exits.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

EXIT_OK, EXIT_ERROR, EXIT_USAGE, EXIT_QUARANTINE, EXIT_INTERRUPTED = 0, 1, 2, 3, 130


class RsatError(Exception):
    """Base of all errors of this project.

    Args:
        message: what happened, naming the file, clip or option.
        hint: what the user can do about it; one sentence, may contain a command.
        path: the file or folder concerned, when there is one.
    """

    exit_code: ClassVar[int] = EXIT_ERROR

    def __init__(self, message: str, *, hint: str = "", path: Path | str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.path = None if path is None else Path(path)

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[object, ...]:
        """Survive the trip between processes with keyword-only arguments."""
        return (_rebuild, (type(self), self.message, self.hint, self.path))


def _rebuild(cls: type[RsatError], message: str, hint: str, path: Path | None) -> RsatError:
    return cls(message, hint=hint, path=path)


class UsageError(RsatError):
    """The command line or configuration is wrong: nothing was started."""

    exit_code = EXIT_USAGE


class ConfigError(UsageError):
    """A configuration file or ``--set`` names an unknown key or a value of the wrong type."""


class MissingDependencyError(RsatError):
    """An optional package is needed and not installed; the hint names the extra."""


class ShadowedPackageError(RsatError):
    """A file or folder of the user hides one of this project's packages."""


class ModelFileError(RsatError):
    """A model file is missing, damaged or could not be fetched."""


class OfflineError(ModelFileError):
    """Something would need the network, and ``--offline`` forbids it."""


class SourceError(RsatError):
    """A source (video, audio, sidecar) cannot be used. Goes to quarantine; the batch goes on."""


class UnreadableSource(SourceError):
    """The file is empty, truncated, not a video, or may not be read."""


class NoVideoTrack(SourceError):
    """The file holds no video stream."""


class NoAudioTrack(SourceError):
    """The file holds no audio stream."""


class UnsupportedSource(SourceError):
    """The file can be read, but its dimensions, rate or length are outside what can be processed."""


class UnsafeSource(SourceError):
    """The file points outside the folder given (a symbolic link), or names a path it must not."""


class RecordingsError(SourceError):
    """A conversation of several recordings is described wrongly; the message names the line of the table."""


class OffsetUnknown(SourceError):
    """Two recordings of one conversation cannot be put on one timeline: nothing in their sounds says when they ran."""


class SkippedSource(SourceError):
    """The file is fine, but holds no conversation this dataset can use; the message says what was seen."""


class SkippedClip(SourceError):
    """A span of a source turned out unusable in a later stage."""


class SkippedSubject(SourceError):
    """A person's rows hold too little to fit an avatar to; the message says what there is."""


class StageError(RsatError):
    """A stage failed for a reason that is not the source's fault."""


class WorkerDied(StageError):
    """The process that ran a unit was killed (memory, signal)."""


class UnitTimeout(StageError):
    """A unit ran past its time limit and was stopped."""


class WorkspaceError(RsatError):
    """The output folder cannot be used: another build runs there, or it is not ours."""


class DiskFullError(WorkspaceError):
    """No space is left where the workspace or the dataset lies."""


class DatasetError(RsatError):
    """A dataset breaks its format, or is not one."""


class HeadMismatch(DatasetError):
    """Codes of two head models would be mixed as if they were codes of one."""


class UnsafeModelFile(ModelFileError):
    """A model file would run code, or refers to things outside itself: it was refused, and nothing of it was run."""


class RunError(RsatError):
    """A training run cannot go on or be used: it is missing, damaged, or belongs to other data or another version."""


class LabelError(RsatError):
    """The labelling loop cannot go on: votes, clips, project and dataset do not fit together."""


class LabelServerError(LabelError):
    """The label server cannot be reached, or answers with an error."""

    #: HTTP status of the answer, where there was one.
    status: int | None = None


class LabelAuthError(LabelServerError):
    """The label server does not accept the token, or there is none."""


class LabelProjectError(LabelError):
    """The project on the label server is gone, or was edited by hand."""

    #: Whether it is gone.
    gone: bool = False
