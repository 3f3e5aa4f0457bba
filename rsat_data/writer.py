"""Writing a dataset as one transaction: a reader sees all of the old state or all of the new one.

Every file is written as ``<name>.tmp``, closed, reopened and counted, hashed and synced. When all are there,
``manifest.next.jsonl`` is put in place: from then on the publication is decided, and what remains can be repeated:
renames, and removal of files that only the earlier state had. It becomes ``manifest.jsonl`` last. A process killed
before the decision leaves the old dataset and some ``.tmp`` files; one killed after it leaves work that the next writer
finishes first, and until then readers are told so. The same rows give the same bytes.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from rsat_data.errors import DatasetError, DiskFullError, WorkspaceError
from rsat_data.manifest import (
    MANIFEST,
    MANIFEST_NEXT,
    TMP_SUFFIX,
    ManifestEntry,
    format_manifest,
    parse_manifest,
    safe_join,
)

#: A row group is closed at about this many bytes, or at so many rows.
ROW_GROUP_BYTES = 48 << 20
ROW_GROUP_ROWS = 100
#: A shard is closed before it would grow past this.
SHARD_BYTES = 480 << 20

#: What a publication owns; files of the manifest outside of it (avatars, ...) are carried over.
OWNED = ("data/", "meta/", "README.md", "croissant.json")
#: Folder of the avatars; a publication that owns it as well keeps those it wants to keep.
AVATARS = "avatars/"

_CHUNK = 1 << 20


class DatasetWriter:
    """One publication of a dataset: a context manager; nothing changes for readers before :meth:`commit`.

    Args:
        root: folder of the dataset; made if absent.
        owned: prefixes of the files this publication replaces as a whole.

    Raises:
        WorkspaceError: another process publishes into the same folder.
    """

    def __init__(self, root: Path, *, owned: Sequence[str] = OWNED) -> None:
        self.root = Path(root)
        self._owned = tuple(owned)
        self._new: dict[str, ManifestEntry] = {}
        self._lock: int | None = None

    def __enter__(self) -> Self:
        with disk_errors(self.root):
            (self.root / "meta").mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.root / "meta", os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._unlock()
            raise WorkspaceError(
                f"{self.root}: another process is publishing a dataset here.",
                hint="Wait for it, or give another --out.",
                path=self.root,
            ) from error
        try:
            self._finish_interrupted()
            self._sweep()
            self._old = self._read(MANIFEST)
        except BaseException:
            self._unlock()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not os.path.lexists(self.root / MANIFEST_NEXT):
                for file in self._new:
                    self._tmp(file).unlink(missing_ok=True)
        finally:
            self._unlock()

    @property
    def old(self) -> dict[str, ManifestEntry]:
        """The manifest as it was before this publication, by file; empty for a new dataset."""
        return dict(self._old)

    @property
    def new(self) -> dict[str, ManifestEntry]:
        """What was written or kept so far, by file."""
        return dict(self._new)

    def write_table(self, file: str, schema: pa.Schema, row_groups: Iterable[pa.Table]) -> ManifestEntry:
        """Write a Parquet file, one row group a table; only one of them is in memory at a time.

        Args:
            file: path below the root, with slashes.
            schema: Arrow schema of every table, one of :data:`schemas.TABLES`.
            row_groups: tables of that schema; those without rows are left out.
        """
        from schemas import parquet_options

        target = self._start(file)
        rows = groups = 0
        with disk_errors(target), pq.ParquetWriter(target, schema, **parquet_options(schema)) as writer:
            for table in row_groups:
                if table.num_rows:
                    writer.write_table(table, row_group_size=table.num_rows)
                    rows += table.num_rows
                    groups += 1
        with pq.ParquetFile(target) as reopened:
            found = reopened.metadata
            if (found.num_rows, found.num_row_groups) != (rows, groups):
                raise DatasetError(
                    f"{target}: holds {found.num_rows} rows in {found.num_row_groups} groups after writing "
                    f"{rows} rows in {groups}.",
                    hint="Check the disk, then publish again.",
                    path=target,
                )
        return self._finish(file, rows)

    def write_file(self, file: str, content: bytes) -> ManifestEntry:
        """Write a file that is no table."""
        target = self._start(file)
        with disk_errors(target):
            target.write_bytes(content)
        return self._finish(file, None)

    def keep(self, file: str) -> ManifestEntry:
        """Carry an owned file of the earlier state over as it is."""
        self._new[file] = self._old[file]
        return self._new[file]

    def commit(self) -> list[ManifestEntry]:
        """Make the new state the dataset, then remove what only the old state had. Returns the new manifest."""
        entries = {file: entry for file, entry in self._old.items() if not file.startswith(self._owned)}
        entries.update(self._new)
        _write_synced(self.root / MANIFEST_NEXT, format_manifest(entries.values()).encode())
        self._finish_interrupted()
        return sorted(entries.values(), key=lambda entry: entry.file)

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)  # releases the lock
            self._lock = None

    def _start(self, file: str) -> Path:
        if not file.startswith(self._owned):
            raise DatasetError(f"{file}: this publication owns only {', '.join(self._owned)}.")
        if file in self._new:
            raise DatasetError(f"{file}: written twice in one publication.")
        target = self._tmp(file)
        with disk_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        self._new[file] = ManifestEntry(file, None, 0, "")  # so that __exit__ removes it if writing fails
        return target

    def _finish(self, file: str, rows: int | None) -> ManifestEntry:
        target = self._tmp(file)
        digest = hashlib.sha256()
        with disk_errors(target), target.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
            os.fsync(stream.fileno())
        entry = ManifestEntry(file, rows, target.stat().st_size, digest.hexdigest())
        self._new[file] = entry
        return entry

    def _tmp(self, file: str) -> Path:
        path = safe_join(self.root, file)
        return path.with_name(path.name + TMP_SUFFIX)

    def _read(self, name: str) -> dict[str, ManifestEntry]:
        path = self.root / name
        if not path.exists():
            return {}
        return {entry.file: entry for entry in parse_manifest(path.read_text(encoding="utf-8"), path)}

    def _finish_interrupted(self) -> None:
        """Carry out a decided publication: renames, the manifest, removal of what is stale. Can be repeated."""
        if not (self.root / MANIFEST_NEXT).exists():
            return
        new, old = self._read(MANIFEST_NEXT), self._read(MANIFEST)
        folders = set()
        for file, entry in new.items():
            tmp, final = self._tmp(file), safe_join(self.root, file)
            # The .tmp is whole whenever it is there: it was synced before the publication was decided.
            if tmp.exists() and tmp.stat().st_size == entry.bytes:
                os.replace(tmp, final)
                folders.add(final.parent)
        for folder in folders:
            _sync_folder(folder)
        # While manifest.next.jsonl is there, it is known what is stale: so this comes before the last rename.
        for file in old.keys() - new.keys():
            safe_join(self.root, file).unlink(missing_ok=True)
        os.replace(self.root / MANIFEST_NEXT, self.root / MANIFEST)
        _sync_folder(self.root)
        self._sweep()

    def _sweep(self) -> None:
        """Remove what killed publications left: .tmp files, and shards that no manifest knows."""
        known = self._read(MANIFEST)
        for prefix in self._owned:
            place = self.root / prefix
            candidates = place.rglob("*") if prefix.endswith("/") else [place.with_name(place.name + TMP_SUFFIX)]
            for path in candidates:
                file = path.relative_to(self.root).as_posix()
                stale = path.name.endswith(TMP_SUFFIX) or (prefix == "data/" and file not in known)
                if stale and not path.is_dir():
                    path.unlink(missing_ok=True)


def plan_groups(sizes: Sequence[int]) -> list[range]:
    """Cut rows, in order, into row groups of about ROW_GROUP_BYTES and at most ROW_GROUP_ROWS.

    Args:
        sizes: bytes of each row, as estimated.
    """
    groups, start, size = [], 0, 0
    for number, row in enumerate(sizes):
        if number > start and (size + row > ROW_GROUP_BYTES or number - start >= ROW_GROUP_ROWS):
            groups.append(range(start, number))
            start, size = number, 0
        size += row
    if start < len(sizes):
        groups.append(range(start, len(sizes)))
    return groups


def plan_shards(sizes: Sequence[int]) -> list[list[range]]:
    """Cut rows, in order, into shards of at most SHARD_BYTES, each a list of row groups."""
    shards: list[list[range]] = []
    size = 0
    for group in plan_groups(sizes):
        grown = sum(sizes[number] for number in group)
        if not shards or size + grown > SHARD_BYTES:
            shards.append([])
            size = 0
        shards[-1].append(group)
        size += grown
    return shards


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system says about a full or closed disk into this project's errors."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
            raise DiskFullError(
                f"{path}: no space is left on the disk.",
                hint="Free some space and run the same command again; finished work is kept.",
                path=path,
            ) from error
        raise WorkspaceError(f"{path} cannot be written: {error}.", path=path) from error


def _write_synced(path: Path, content: bytes) -> None:
    tmp = path.with_name(path.name + TMP_SUFFIX)
    with disk_errors(path):
        with tmp.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(tmp, path)
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
