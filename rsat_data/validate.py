"""Checking a dataset: everything a reader or a trainer relies on, with every problem found, not the first.

Checks, in this order: manifest (hashes, sizes, files nobody listed), schema of every table, values of every row,
clocks of every sound and video, references between rows and tables, one head model, splits that leak.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rsat_data.content import file_sha256
from rsat_data.errors import DatasetError
from rsat_data.labels import LABELS_FILE, RELATION
from rsat_data.manifest import TMP_SUFFIX, ManifestEntry, read_manifest, safe_join
from rsat_data.siblings import check_siblings
from rsat_data.writer import AVATARS, OWNED

#: Names and one-line descriptions of the checks, in order.
CHECKS = {
    "manifest": "every file is there, with its size and sha256; no file is left over",
    "schema": "tables have the columns and types of the format",
    "values": "no nulls, known words, lengths equal T, codes finite and of a body's size",
    "clocks": "audio, video and matte last as long as the frames",
    "references": "ids are unique, partners, clips and avatars name each other, rows have their clip's relation",
    "head model": "all codes belong to one head model",
    "splits": "no subject, family, source or pair is in two splits",
}

_META_TABLES = ("subjects", "sources", "votes", "quarantine")
_MEDIA = ("audio", "image", "video", "matte", "preview")
_KEYS = ("row_id", "clip_id", "dyad_id", "subject_id", "partner_row_id", "partner_subject_id", "source_id", "person")
_ROW_KEYS = (*_KEYS, "split", "head_model", "avatar_id", *RELATION)
_CLIP_KEYS = ("clip_id", "row_id_a", "row_id_b", "split", "dyad_id", "source_id", *RELATION)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong."""

    check: str
    """Which check found it."""
    file: str
    """File below the dataset's folder."""
    row: int | None
    """Row within the file; None where no single row is meant."""
    message: str
    """What is wrong."""


@dataclass
class Report:
    """What a validation saw."""

    checked: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CHECKS, 0))
    """Check -> how many things (files, rows, media, ...) it looked at."""
    findings: list[Finding] = field(default_factory=list)
    """Everything wrong."""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    def count(self, check: str) -> int:
        """How many problems a check found."""
        return sum(finding.check == check for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        checks = [
            {"check": name, "meaning": CHECKS[name], "checked": self.checked[name], "problems": self.count(name)}
            for name in CHECKS
        ]
        return {"ok": self.ok, "checks": checks, "findings": [asdict(finding) for finding in self.findings]}


def validate(out: Path, *, progress: Callable[[float], None] = lambda share: None) -> Report:
    """Check the dataset at ``out``. Reads every byte of it, one row group at a time.

    Args:
        out: the dataset's folder.
        progress: called with the done share of the bytes.

    Raises:
        DatasetError: there is no dataset, or its manifest cannot be read; nothing could be checked then.
    """
    check_siblings()
    return _Validation(Path(out), progress).run()


class _Validation:
    """State of one run."""

    def __init__(self, root: Path, progress: Callable[[float], None]) -> None:
        self.root, self.progress = root, progress
        self.report = Report()
        self.entries = read_manifest(root)
        self.total = 2 * sum(entry.bytes for entry in self.entries) or 1
        self.done = 0
        self.rows: list[tuple[str, int, dict[str, Any]]] = []
        self.clips: list[tuple[str, int, dict[str, Any]]] = []
        self.votes: list[tuple[str, int, dict[str, Any]]] = []

    def run(self) -> Report:
        sound = [entry for entry in self.entries if self._hash(entry)]
        self._left_over()
        for entry in sound:
            table = self._table_of(entry.file)
            if table is not None:
                self._read(entry, table)
            self._advance(entry.bytes)
        self._meta()
        self._references()
        self._avatars()
        self._head_model()
        self._splits()
        self.progress(1.0)
        return self.report

    def _note(self, check: str, file: str, row: int | None, message: str) -> None:
        self.report.findings.append(Finding(check, file, row, message))

    def _advance(self, count: int) -> None:
        self.done += count
        self.progress(self.done / self.total)

    @staticmethod
    def _table_of(file: str) -> str | None:
        for table in ("triplets", "clips"):
            if file.startswith(f"data/{table}/") and file.endswith(".parquet"):
                return table
        return next((table for table in _META_TABLES if file == f"meta/{table}.parquet"), None)

    # Manifest ------------------------------------------------------------------------------------------------------

    def _hash(self, entry: ManifestEntry) -> bool:
        """Whether a listed file is there as listed."""
        self.report.checked["manifest"] += 1
        try:
            path = safe_join(self.root, entry.file)
            if not path.is_file():
                self._note("manifest", entry.file, None, "is in the manifest but not on disk")
                return False
            size = path.stat().st_size
            if size != entry.bytes:
                self._note("manifest", entry.file, None, f"has {size} bytes, the manifest says {entry.bytes}")
                return False
            found = file_sha256(path)
        except DatasetError as error:
            self._note("manifest", entry.file, None, error.message)
            return False
        except OSError as error:
            self._note("manifest", entry.file, None, f"cannot be read: {error.strerror}")
            return False
        finally:
            self._advance(entry.bytes)
        if found != entry.sha256:
            self._note("manifest", entry.file, None, f"has sha256 {found[:12]}..., the manifest {entry.sha256[:12]}...")
            return False
        return True

    def _left_over(self) -> None:
        listed = {entry.file for entry in self.entries}
        for prefix in OWNED:
            place = self.root / prefix
            paths = sorted(place.rglob("*")) if prefix.endswith("/") else [place, Path(f"{place}{TMP_SUFFIX}")]
            for path in paths:
                file = path.relative_to(self.root).as_posix()
                if (path.is_file() or path.is_symlink()) and file not in listed:
                    self._note("manifest", file, None, "is on disk but not in the manifest")
        for name in ("README.md", "croissant.json", "meta/info.json", "meta/splits.json", "meta/stats.json"):
            if name not in listed:
                self._note("manifest", name, None, "is not in the manifest")

    # Tables --------------------------------------------------------------------------------------------------------

    def _read(self, entry: ManifestEntry, name: str) -> None:
        import schemas
        from schemas.validators import schema_problems

        spec = schemas.TABLES[name]
        try:
            with pq.ParquetFile(self.root / entry.file) as file:
                self.report.checked["schema"] += 1
                problems = schema_problems(file.schema_arrow, spec)
                for problem in problems:
                    where = f"{problem.column}: " if problem.column else ""
                    self._note("schema", entry.file, None, where + problem.message)
                if file.metadata.num_rows != entry.rows:
                    found = file.metadata.num_rows
                    self._note("manifest", entry.file, None, f"holds {found} rows, the manifest says {entry.rows}")
                if problems:
                    return
                start = 0
                for group in range(file.num_row_groups):
                    table = file.read_row_group(group)
                    self._check_rows(entry.file, start, table, spec)
                    start += table.num_rows
        except (OSError, pa.ArrowException) as error:
            self._note("schema", entry.file, None, f"is not a readable Parquet file: {error}")

    def _check_rows(self, file: str, start: int, table: pa.Table, spec: Any) -> None:
        from pipelines.assemble.checks import media_problems
        from schemas.validators import row_problems

        self.report.checked["values"] += table.num_rows
        for problem in row_problems(table, spec):
            row = None if problem.row is None else start + problem.row
            self._note("values", file, row, f"{problem.column}: {problem.message}")
        if spec.name == "votes":
            for index, vote in enumerate(table.select(["vote_id"]).to_pylist()):
                self.votes.append((file, start + index, vote))
        if not file.startswith("data/"):
            return
        split = file.rsplit("/", 1)[1].split("-")[0]
        media = [name for name in _MEDIA if name in spec.by_name]
        clock = table.select([*media, "fps", "num_frames", "sample_rate"])
        keys = table.select(list(_ROW_KEYS if spec.name == "triplets" else _CLIP_KEYS)).to_pylist()
        for index, record in enumerate(keys):
            if record["split"] != split:
                self._note("values", file, start + index, f"split: is {record['split']!r} in a file of {split!r}")
            cells = clock.slice(index, 1).to_pylist()[0]
            if not cells["fps"] or not cells["sample_rate"] or cells["num_frames"] is None:
                continue  # reported above
            self.report.checked["clocks"] += sum(cells[name] is not None for name in media)
            for text in media_problems(cells, spec):
                self._note("clocks", file, start + index, text)
            (self.rows if spec.name == "triplets" else self.clips).append((file, start + index, record))

    def _meta(self) -> None:
        for name in ("meta/info.json", "meta/splits.json", "meta/stats.json", LABELS_FILE, "croissant.json"):
            path = self.root / name
            if path.is_file():
                try:
                    json.loads(path.read_text(encoding="utf-8"))
                except ValueError as error:
                    self._note("schema", name, None, f"is not JSON: {error}")

    # Between rows --------------------------------------------------------------------------------------------------

    def _references(self) -> None:
        from schemas.vocabulary import senior_of_clip

        rows = self._unique(self.rows, "row_id")
        clips = self._unique(self.clips, "clip_id")
        # Votes on clips that left the dataset are kept: what they say of their annotator is still true.
        self._unique(self.votes, "vote_id")
        self.report.checked["references"] = len(self.rows) + len(self.clips) + len(self.votes)
        for file, number, row in self.rows:
            clip = clips.get(row["clip_id"])
            if clip is None:
                self._note("references", file, number, f"clip_id: no row of clips is {row['clip_id']}")
            else:
                if clip["row_id_" + row["person"].lower()] != row["row_id"]:
                    self._note("references", file, number, f"row_id: clip {row['clip_id']} names another row")
                for key in ("dyad_id", "source_id", "split", *RELATION):
                    mine = senior_of_clip(row[key], row["person"]) if key == "senior" else row[key]
                    if clip[key] != mine:
                        self._note("references", file, number, f"{key}: is {row[key]}, the clip has {clip[key]}")
            if row["partner_row_id"] is None:
                continue
            partner = rows.get(row["partner_row_id"])
            if partner is None:
                self._note("references", file, number, f"partner_row_id: there is no row {row['partner_row_id']}")
                continue
            for mine, theirs in (
                ("row_id", "partner_row_id"),
                ("partner_subject_id", "subject_id"),
                ("subject_id", "partner_subject_id"),
                ("clip_id", "clip_id"),
            ):
                if row[mine] != partner[theirs]:
                    text = f"{mine}: is {row[mine]}, the partner's {theirs} is {partner[theirs]}"
                    self._note("references", file, number, text)
        for file, number, clip in self.clips:
            for key in ("row_id_a", "row_id_b"):
                if clip[key] is not None and clip[key] not in rows:
                    self._note("references", file, number, f"{key}: there is no row {clip[key]}")

    def _avatars(self) -> None:
        """Rows that name an avatar have it, and avatars are named by the rows of their subject."""
        avatars: dict[str, Any] = {}
        for entry in self.entries:
            if entry.file.startswith(AVATARS) and entry.file.endswith("/avatar.json"):
                try:
                    record = json.loads((self.root / entry.file).read_text(encoding="utf-8"))
                    avatars[entry.file.split("/")[1]] = record["avatar_id"]
                except (OSError, ValueError, KeyError, TypeError):
                    self._note("references", entry.file, None, "is no record of an avatar")
        self.report.checked["references"] += len(avatars)
        named = set()
        for file, number, row in self.rows:
            name = row["avatar_id"]
            named.add((row["subject_id"], name))
            if name is not None and avatars.get(row["subject_id"]) != name:
                self._note("references", file, number, f"avatar_id: {AVATARS}{row['subject_id']} is not {name}")
        for subject, name in avatars.items():
            if (subject, name) not in named:
                self._note("references", f"{AVATARS}{subject}/avatar.json", None, f"no row of {subject} names {name}")

    def _unique(self, records: Iterable[tuple[str, int, dict[str, Any]]], key: str) -> dict[str, dict[str, Any]]:
        seen: dict[str, dict[str, Any]] = {}
        for file, number, record in records:
            if record[key] in seen:
                self._note("references", file, number, f"{key}: {record[key]} is there twice")
            seen[record[key]] = record
        return seen

    def _head_model(self) -> None:
        self.report.checked["head model"] = len(self.rows)
        first: str | None = None
        for file, number, row in self.rows:
            first = first or row["head_model"]
            if row["head_model"] != first:
                self._note("head model", file, number, f"is {row['head_model']}, the first row's is {first}")

    def _splits(self) -> None:
        from pipelines.assemble.splits import RowKeys, leaks

        self.report.checked["splits"] = len(self.rows)
        for text in leaks(self._split_keys(RowKeys)):
            self._note("splits", "data/triplets", None, text)

    def _split_keys(self, keys: type[Any]) -> Iterator[tuple[Any, str]]:
        for _, _, row in self.rows:
            names = ("subject_id", "partner_subject_id", "source_id", "dyad_id", "kinship")
            yield keys(**{name: row[name] for name in names}), row["split"]
