"""What the labelling loop remembers of a dataset, in ``OUT/.label/``: and nothing that is secret.

Layout::

    OUT/.label/lock                      held by the one process that works on it
    OUT/.label/server.json               where the server runs (written by `label serve` and `label init`)
    OUT/.label/<round>/project.json      :class:`Project`; rounds are "labelling" and "adjudication"
    OUT/.label/<round>/pushed.jsonl      one line a pushed task: clip_id, task_id, media, prediction_hidden, gold
    OUT/.label/<round>/pull.json         how far annotations were read
    OUT/.label/<round>/{drafts,cancelled,refused}.jsonl

JSON files are replaced in one step. The .jsonl files are appended to; a line a killed process left unfinished is
passed by, and removed before the next line is written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from rsat_data.errors import LabelError
from rsat_data.files import as_disk_error, write_json

LABEL_DIR = ".label"
LABELLING, ADJUDICATION = "labelling", "adjudication"
ROUNDS = (LABELLING, ADJUDICATION)
FORMAT = 1


@dataclass(frozen=True)
class Media:
    """How annotators get videos and pictures."""

    mode: str = "auto"
    """local (files below the server's document root), upload (through the API), url (the user serves them); auto
    until the first push decides."""
    root: str = ""
    """local: the server's document root."""
    prefix: str = ""
    """url: what comes before the file's name."""


@dataclass(frozen=True)
class Project:
    """A project on the label server."""

    url: str
    """The server, without a slash at the end."""
    project_id: int
    """Its number there."""
    title: str
    """Its title when it was made."""
    form_hash: str
    """:func:`annotation.form.form_hash` of the form it was made with."""
    form_xml: str = field(repr=False)
    """That form, so that a change can be told in words even when the shipped form moved on."""
    overlap: int
    """Annotators wanted for each clip."""
    prediction_version: str
    """Model version whose predictions the project shows."""
    media: Media = field(default_factory=Media)
    """How media get there."""
    round: str = LABELLING
    """labelling or adjudication."""
    created: str = ""
    """ISO 8601, UTC."""


class LabelStore:
    """The folder ``.label`` of one dataset."""

    def __init__(self, out: Path) -> None:
        self.out = Path(out)
        self.root = self.out / LABEL_DIR

    def round(self, name: str = LABELLING) -> Round:
        """One round's part of the store; nothing is made on disk yet."""
        if name not in ROUNDS:
            raise ValueError(f"no such round: {name!r}")
        return Round(self, name)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the store; freed by the system when the process dies. May be taken again by the same process.

        Raises:
            LabelError: another process works on it, or the dataset's folder cannot be written.
        """
        from filelock import FileLock, Timeout

        self.make()
        lock = FileLock(self.root / "lock", is_singleton=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise LabelError(
                f"Another label command is working on {self.out}.", hint="Wait until it is done.", path=self.out
            ) from None
        try:
            yield
        finally:
            lock.release()

    def make(self) -> None:
        """Make the folder.

        Raises:
            LabelError: ``out`` is not a folder, or cannot be written.
        """
        if not self.out.is_dir():
            raise LabelError(
                f"{self.out} is not a folder.",
                hint="Give the folder of a dataset, as `build --out` made it.",
                path=self.out,
            )
        try:
            self.root.mkdir(exist_ok=True)
        except OSError as error:
            raise LabelError(
                f"Cannot write to {self.out}: {error.strerror}.", hint="Make it writable.", path=self.out
            ) from error

    def read_server(self) -> Mapping[str, Any]:
        """Where the server runs: {"url", "media_root"}; empty where nobody said."""
        return read_json(self.root / "server.json") or {}

    def write_server(self, **values: Any) -> None:
        """Note where the server runs; values given replace those there."""
        self.make()
        write_json(self.root / "server.json", {**self.read_server(), **values})

    @property
    def url(self) -> str | None:
        """The server this dataset is labelled on, as far as it is known."""
        project = self.round().project()
        return project.url if project else self.read_server().get("url")


class Round:
    """One round of labelling: a project on the server and what went there and back."""

    def __init__(self, store: LabelStore, name: str) -> None:
        self.store, self.name = store, name
        self.root = store.root / name

    def project(self) -> Project | None:
        """The project, or None before ``init``.

        Raises:
            LabelError: the record is damaged.
        """
        path = self.root / "project.json"
        record = read_json(path)
        if record is None:
            return None
        record = dict(record)
        try:
            if record.pop("format", FORMAT) != FORMAT:
                raise ValueError("written by a newer version")
            media = Media(**record.pop("media"))
            known = {entry.name for entry in fields(Project)}
            return Project(media=media, **{key: value for key, value in record.items() if key in known})
        except (KeyError, TypeError, ValueError) as error:
            raise LabelError(
                f"{path} is damaged: {error}.", hint="Take it from a backup, or remove it and run init.", path=path
            ) from error

    def write_project(self, project: Project) -> None:
        """Keep the project's record, replacing an earlier one."""
        self._make()
        write_json(self.root / "project.json", {"format": FORMAT, **asdict(project)})

    def forget(self) -> None:
        """Put this round's records aside (into a folder beside it), as when its project was deleted on the server."""
        if not self.root.exists():
            return
        number = 1
        while (aside := self.root.with_name(f"{self.name}.old-{number}")).exists():
            number += 1
        os.replace(self.root, aside)

    def pushed(self) -> dict[str, dict[str, Any]]:
        """clip_id -> its record in pushed.jsonl; of several the last."""
        return {record["clip_id"]: record for record in self.read("pushed")}

    def append_pushed(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Note pushed tasks; on disk when this returns."""
        self.append("pushed", records)

    def cursor(self) -> dict[str, Any]:
        """How far ``pull`` got; empty before the first."""
        return dict(read_json(self.root / "pull.json") or {})

    def write_cursor(self, cursor: Mapping[str, Any]) -> None:
        """Keep how far ``pull`` got."""
        self._make()
        write_json(self.root / "pull.json", dict(cursor))

    def read(self, name: str) -> list[dict[str, Any]]:
        """All records of ``<name>.jsonl``; none where there is no such file.

        Raises:
            LabelError: a line other than an unfinished last one is not JSON.
        """
        path = self.root / f"{name}.jsonl"
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return []
        lines = content.split(b"\n")
        lines.pop()  # Empty after a whole line; else what a killed process left.
        records = []
        for number, line in enumerate(lines, 1):
            try:
                records.append(json.loads(line))
            except ValueError as error:
                raise LabelError(
                    f"{path}, line {number} is damaged: {error}.", hint="Take the file from a backup.", path=path
                ) from error
        return records

    def append(self, name: str, records: Iterable[Mapping[str, Any]]) -> None:
        """Append records to ``<name>.jsonl``; on disk when this returns."""
        data = b"".join(json.dumps(dict(record), ensure_ascii=False).encode() + b"\n" for record in records)
        if not data:
            return
        self._make()
        path = self.root / f"{name}.jsonl"
        try:
            with path.open("a+b") as stream:
                _drop_torn_line(stream)
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise as_disk_error(error, path) from error

    def replace(self, name: str, records: Iterable[Mapping[str, Any]]) -> None:
        """Write ``<name>.jsonl`` anew, in one step."""
        self._make()
        path = self.root / f"{name}.jsonl"
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as stream:
                for record in records:
                    stream.write(json.dumps(dict(record), ensure_ascii=False).encode() + b"\n")
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise as_disk_error(error, path) from error

    def _make(self) -> None:
        self.store.make()
        self.root.mkdir(exist_ok=True)


def read_json(path: Path) -> Mapping[str, Any] | None:
    """A JSON object from a file; None where there is no file.

    Raises:
        LabelError: the file is damaged.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise LabelError(
            f"{path} cannot be read: {error}.", hint="Take it from a backup, or remove it.", path=path
        ) from error
    if not isinstance(value, dict):
        raise LabelError(f"{path} is damaged: no JSON object.", hint="Take it from a backup, or remove it.", path=path)
    return value


def _drop_torn_line(stream: Any) -> None:
    end = stream.seek(0, os.SEEK_END)
    position = end
    while position > 0:
        step = min(65536, position)
        stream.seek(position - step)
        found = stream.read(step).rfind(b"\n")
        if found >= 0:
            position = position - step + found + 1
            break
        position -= step
    if position != end:
        stream.truncate(position)
    stream.seek(0, os.SEEK_END)
