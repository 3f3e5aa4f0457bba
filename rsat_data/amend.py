"""Changing columns of a published dataset in place of building it again: labels, avatars.

Only the shards that hold a changed row are written anew, one row group at a time, with the rows, row groups and shards
they had; everything else is kept as it lies. What depends on the rows follows: ``meta/subjects.parquet`` and the hashes
in ``croissant.json``. It is one transaction of :class:`rsat_data.writer.DatasetWriter`: killed at any moment, the
dataset is the old one or the new one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from rsat_data import card
from rsat_data.columns import one_chunk
from rsat_data.errors import DatasetError
from rsat_data.labels import BEHIND, LABELS_FILE, RELATION, labels_summary, read_clips
from rsat_data.manifest import MANIFEST_NEXT, TMP_SUFFIX, ManifestEntry, read_manifest, safe_join
from rsat_data.meta_tables import subject_records
from rsat_data.siblings import check_siblings
from rsat_data.writer import AVATARS, OWNED, DatasetWriter

if TYPE_CHECKING:
    from schemas import Table

#: Table -> (key, columns that may be changed). What decides ids, splits or statistics is not among them, nor are codes
#: and media: a row with others is another row, and comes from a build. (A relation of blood joins two subjects to a
#: family; they are in one split already, because they are seen together.)
AMENDABLE = {
    "triplets": ("row_id", ("avatar_id", "avatar_psnr", *RELATION)),
    "clips": ("clip_id", (*RELATION, *BEHIND)),
}

#: The table of votes.
VOTES = "meta/votes.parquet"

Values = Mapping[str, Mapping[str, Any]]
"""Key of a row -> column -> new value."""


@dataclass(frozen=True)
class Amended:
    """What an amendment did."""

    entries: tuple[ManifestEntry, ...]
    """The new manifest."""
    rows: int
    """Rows in which a value changed."""
    shards: int
    """Shards that were written anew."""
    votes: int = 0
    """Votes that were added."""


def amend(
    out: Path,
    values: Mapping[str, Values],
    *,
    files: Mapping[str, Path | bytes] | None = None,
    remove: Iterable[str] = (),
    votes: pa.Table | None = None,
    labels: Mapping[str, Any] | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> Amended:
    """Give rows of a published dataset new values, add votes, and add or remove files of its avatars, in one step.

    Args:
        out: folder of the dataset.
        values: table (triplets, clips) -> key of a row -> column -> value; rows and columns not named stay.
        files: file below ``avatars/`` -> its content, or a file to copy. Those of the same name are replaced.
        remove: files below ``avatars/`` that go; one that is not there is no error.
        votes: rows for ``meta/votes.parquet``, of any format version; those whose ``vote_id`` is there are left out.
        labels: content of ``meta/labels.json``, see :mod:`rsat_data.labels`; it stays as it is without.
        progress: called with the done share of the bytes.

    Raises:
        DatasetError: there is no dataset; a row, column or value does not belong to it.
        WorkspaceError, DiskFullError: the folder cannot be written, or another process publishes there.
    """
    check_siblings()
    out, files, gone = Path(out), dict(files or {}), set(remove)
    _check_names([*files, *gone])
    finish_interrupted(out)
    read_manifest(out)
    with DatasetWriter(out, owned=(*OWNED, AVATARS)) as writer:
        changed = {table: _Changes(writer, table, rows) for table, rows in values.items()}
        affected = {file for changes in changed.values() for file in changes.shards}
        table, added = (None, 0) if votes is None else _with_votes(writer, votes)
        record = None if labels is None else _json(labels)
        if record is not None and _content(writer, LABELS_FILE) == record:
            record = None
        if not affected and not files and not gone & writer.old.keys() and not added and record is None:
            return Amended(tuple(sorted(writer.old.values(), key=lambda entry: entry.file)), 0, 0)
        total, done = sum(writer.old[file].bytes for file in affected) or 1, 0
        for changes in changed.values():
            for file in sorted(changes.shards):
                with pq.ParquetFile(safe_join(out, file)) as shard:
                    writer.write_table(file, changes.schema_of(shard), changes.groups(shard))
                done += writer.old[file].bytes
                progress(done / total)
        for file, content in files.items():
            writer.write_file(file, content if isinstance(content, bytes) else content.read_bytes())
        if table is not None and added:
            writer.write_table(VOTES, table.schema, [table])
        if record is not None:
            writer.write_file(LABELS_FILE, record)
        told = bool(added) or record is not None or any({*RELATION, *BEHIND} & {*c.columns} for c in changed.values())
        _follow(writer, "triplets" in changed, told)
        for file in writer.old.keys() - writer.new.keys() - gone:
            if file.startswith((*OWNED, AVATARS)):
                writer.keep(file)
        entries = writer.commit()
    progress(1.0)
    return Amended(tuple(entries), sum(changes.count for changes in changed.values()), len(affected), added)


def finish_interrupted(out: Path) -> None:
    """Finish a publication that was killed while it moved its files into place; without one, nothing happens."""
    if os.path.lexists(out / MANIFEST_NEXT):
        with DatasetWriter(out):
            pass


def _with_votes(writer: DatasetWriter, votes: pa.Table) -> tuple[pa.Table, int]:
    """The table of votes with the new ones at its end, and how many these are."""
    from schemas.validators import row_problems
    from schemas.votes import TABLE, upgraded

    try:
        new = upgraded(votes)
        old = TABLE.schema.empty_table()
        if VOTES in writer.old:
            with _opened(safe_join(writer.root, VOTES)) as file:
                old = upgraded(file.read())
    except ValueError as error:
        raise DatasetError(f"{writer.root}: {error}.", path=writer.root) from error
    problems = row_problems(new, TABLE)
    if problems:
        name = "" if problems[0].row is None else f" {new['vote_id'][problems[0].row]}"
        raise DatasetError(f"Vote{name}: {problems[0].column} {problems[0].message}.")
    seen, fresh = set(old["vote_id"].to_pylist()), []
    for number, name in enumerate(new["vote_id"].to_pylist()):
        if name not in seen:
            seen.add(name)
            fresh.append(number)
    joined = pa.concat_tables([old, new.take(pa.array(fresh, pa.int64()))]).combine_chunks()
    # The declared schema with its metadata: the bytes then depend on the rows alone.
    return pa.Table.from_arrays([one_chunk(column) for column in joined.columns], schema=TABLE.schema), len(fresh)


def _check_names(files: Iterable[str]) -> None:
    for file in files:
        if not file.startswith(AVATARS):
            raise DatasetError(f"{file}: only files below {AVATARS} are added or removed by an amendment.")


class _Changes:
    """New values of one table, and the shards they concern."""

    def __init__(self, writer: DatasetWriter, table: str, rows: Values) -> None:
        import schemas

        if table not in AMENDABLE:
            raise DatasetError(f"Rows of {table} cannot be amended, only those of {', '.join(AMENDABLE)}.")
        self.spec: Table = schemas.TABLES[table]
        self.key, allowed = AMENDABLE[table]
        self.rows = rows
        self.columns = sorted({column for new in rows.values() for column in new})
        for column in self.columns:
            if column not in allowed:
                raise DatasetError(
                    f"Column {column!r} of {table} cannot be amended.", hint=f"These can: {', '.join(allowed)}."
                )
        self._check_values()
        self.shards: set[str] = set()
        self.count = 0
        found: set[str] = set()
        for file in sorted(writer.old):
            if file.startswith(f"data/{table}/") and rows:
                self._look(safe_join(writer.root, file), file, found)
        missing = sorted(rows.keys() - found)
        if missing:
            raise DatasetError(f"{writer.root}: table {table} holds no row {missing[0]}.", path=writer.root)

    def _check_values(self) -> None:
        for name, new in self.rows.items():
            for column, value in new.items():
                spec = self.spec.by_name[column]
                if value is None and not spec.nullable:
                    raise DatasetError(f"Row {name}: {column} must not be null.")
                if value is not None and spec.values and value not in spec.values:
                    known = ", ".join(spec.values)
                    raise DatasetError(f"Row {name}: {column} should be one of {known}, not {value!r}.")
                try:
                    pa.scalar(value, type=spec.type)
                except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError) as error:
                    raise DatasetError(f"Row {name}: {column} cannot be {value!r} ({error}).") from error

    def _look(self, path: Path, file: str, found: set[str]) -> None:
        """Whether the shard holds a row that changes; only keys and the columns in question are read."""
        with _opened(path) as shard:
            missing = [column for column in self.columns if column not in shard.schema_arrow.names]
            if missing:
                raise DatasetError(
                    f"{path} is of an older format without the column {missing[0]!r}.",
                    hint="Build the dataset again with this version.",
                    path=path,
                )
            for group in range(shard.num_row_groups):
                table = shard.read_row_group(group, columns=[self.key, *self.columns])
                for row in table.to_pylist():
                    new = self.rows.get(row[self.key])
                    if new is None:
                        continue
                    found.add(row[self.key])
                    if any(row[column] != self._stored(column, value) for column, value in new.items()):
                        self.count += 1
                        self.shards.add(file)

    def _stored(self, column: str, value: Any) -> Any:
        """The value as it will be read back: float32 rounds."""
        return pa.scalar(value, type=self.spec.by_name[column].type).as_py()

    def schema_of(self, shard: pq.ParquetFile) -> pa.Schema:
        """The shard's columns as they were declared, with its own version: Parquet renames the items of lists."""
        found, known = shard.schema_arrow, self.spec.schema
        fields_ = [known.field(name) if name in known.names else found.field(name) for name in found.names]
        return pa.schema(fields_, metadata=found.metadata)

    def groups(self, shard: pq.ParquetFile) -> Iterator[pa.Table]:
        """The shard's row groups with the new values."""
        schema = self.schema_of(shard)
        for group in range(shard.num_row_groups):
            table = shard.read_row_group(group, use_threads=False)
            names = table[self.key].to_pylist()
            arrays = {name: one_chunk(table[name]).cast(schema.field(name).type) for name in schema.names}
            for column in self.columns:
                old = arrays[column].to_pylist()
                new = [self.rows.get(name, {}).get(column, was) for name, was in zip(names, old, strict=True)]
                arrays[column] = pa.array(new, type=schema.field(column).type)
            yield pa.Table.from_arrays([arrays[name] for name in schema.names], schema=schema)


def _opened(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(
            f"{path} cannot be read: {error}.",
            hint="The file is damaged; `rsat-data validate` tells more.",
            path=path,
        ) from error


# What follows from the rows ----------------------------------------------------------------------------------------

_SUBJECT_KEYS = (
    "subject_id",
    "avatar_id",
    "num_frames",
    "fps",
    "partner_subject_id",
    "source_id",
    "dyad_id",
    "kinship",
    "consent_id",
    "licence",
    "split",
)


def _follow(writer: DatasetWriter, rows_changed: bool, labels_changed: bool) -> None:
    """Write what is made from the rows.

    That is the table subjects, croissant.json with the hashes of the shards, and what meta/info.json and the card say
    of labels.
    """
    if rows_changed:
        import schemas
        from schemas.arrow import table_from_rows

        spec = schemas.TABLES["subjects"]
        writer.write_table("meta/subjects.parquet", spec.schema, [table_from_rows(spec, _subjects(writer))])
    try:
        record = json.loads((writer.root / "meta/info.json").read_text(encoding="utf-8"))
        info = card.DatasetInfo(**{field.name: record[field.name] for field in fields(card.DatasetInfo)})
        if labels_changed:
            record["labels"] = _labels(writer)
        shards = {**writer.old, **writer.new}
        data = sorted(file for file in shards if file.startswith("data/"))
        content = card.croissant(info, record, [shards[file] for file in data])
        readme = card.readme(info, record, data)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{writer.root / 'meta/info.json'} cannot be read: {error!r}.",
            hint="Publish the dataset again with the command that built it.",
            path=writer.root,
        ) from error
    if labels_changed:
        writer.write_file("meta/info.json", _json(record))
        writer.write_file("README.md", readme.encode())
    writer.write_file("croissant.json", _json(content))


def _labels(writer: DatasetWriter) -> dict[str, Any]:
    """What is to be said of the labels as they will be."""
    rows: list[dict[str, Any]] = []
    for file in sorted({**writer.old, **writer.new}):
        if file.startswith("data/clips/"):
            rows += read_clips(writer.root, file, _pending(writer, file))
    votes = None
    if VOTES in writer.old or VOTES in writer.new:
        with _opened(_pending(writer, VOTES)) as table:
            votes = table.read()
    record = json.loads(content) if (content := _content(writer, LABELS_FILE)) else None
    return labels_summary(rows, votes, record)


def _pending(writer: DatasetWriter, file: str) -> Path:
    """Where a file of the new state lies before it is published."""
    path = safe_join(writer.root, file)
    return path.with_name(path.name + TMP_SUFFIX) if file in writer.new else path


def _content(writer: DatasetWriter, file: str) -> bytes | None:
    """A small file of the new state; None where there is none."""
    return _pending(writer, file).read_bytes() if file in writer.old or file in writer.new else None


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _subjects(writer: DatasetWriter) -> list[dict[str, Any]]:
    """Records of the table subjects, from the rows as they will be. Splits stay as they are."""
    from pipelines.assemble.splits import RowKeys, assign_splits

    rows: list[dict[str, Any]] = []
    for file in sorted({**writer.old, **writer.new}):
        if not file.startswith("data/triplets/"):
            continue
        with _opened(_pending(writer, file)) as shard:
            rows += shard.read(columns=list(_SUBJECT_KEYS)).to_pylist()
    keys = [
        RowKeys(r["subject_id"], r["partner_subject_id"], r["source_id"], r["dyad_id"], r["kinship"], r["num_frames"])
        for r in rows
    ]
    return subject_records(rows, assign_splits(keys, pinned={row["subject_id"]: row["split"] for row in rows}))
