"""Rows of the clips' own files, fetched in whatever order a publication wants them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from rsat_data.manifest import TMP_SUFFIX
from rsat_data.writer import disk_errors

_OPEN_FILES = 32


@dataclass(frozen=True)
class Ref:
    """Where a row lies, and its keys."""

    part: int
    """Number of the part."""
    group: int
    """Row group in the part's file."""
    index: int
    """Row in the row group."""
    size: int
    """Uncompressed bytes, as estimated."""
    keys: Mapping[str, Any]
    """The columns that decide where it goes."""


class Parts:
    """Rows of part files in any order, a few files open at a time.

    Parts of the assemble stage have a row group a row, and their rows are read straight from them. A part whose groups
    hold many rows would have to be decoded again for almost every row, for rows are wanted by subject: it is decoded
    once to an Arrow file that is mapped into memory, beside the shards.
    """

    def __init__(self, folders: Sequence[Path], name: str, scratch: Path) -> None:
        self._folders, self._name, self._scratch = folders, name, scratch
        self._open: OrderedDict[int, pq.ParquetFile | _Mapped] = OrderedDict()
        self._unpacked: dict[int, Path] = {}

    def row(self, ref: Ref) -> pa.Table:
        """One row as a table."""
        source = self._source(ref.part)
        if isinstance(source, _Mapped):
            return source.group(ref.group).slice(ref.index, 1)
        return source.read_row_group(ref.group, use_threads=False)

    def close(self) -> None:
        """Close what is open and remove what was unpacked."""
        while self._open:
            self._open.popitem()[1].close()
        for path in self._unpacked.values():
            path.unlink(missing_ok=True)
        self._unpacked.clear()

    def _source(self, part: int) -> pq.ParquetFile | _Mapped:
        if part not in self._open:
            source: pq.ParquetFile | _Mapped
            if part in self._unpacked:
                source = _Mapped(self._unpacked[part])
            else:
                source = pq.ParquetFile(self._folders[part] / self._name)
                if source.metadata.num_rows > source.metadata.num_row_groups:
                    source = self._unpack(part, source)
            self._open[part] = source
            if len(self._open) > _OPEN_FILES:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(part)
        return self._open[part]

    def _unpack(self, part: int, file: pq.ParquetFile) -> _Mapped:
        self._scratch.mkdir(parents=True, exist_ok=True)
        # The ending makes a later publication sweep it away if this one is killed.
        path = self._scratch / f"{self._name}-{part:06d}.arrow{TMP_SUFFIX}"
        self._unpacked[part] = path
        with disk_errors(path), file, pa.OSFile(str(path), "wb") as sink:
            with pa.ipc.new_file(sink, file.schema_arrow) as writer:
                for group in range(file.num_row_groups):
                    table = file.read_row_group(group).combine_chunks()
                    writer.write_table(table, max_chunksize=max(table.num_rows, 1))
        return _Mapped(path)


class _Mapped:
    """An Arrow file in memory: one record batch a row group, nothing is copied until it is used."""

    def __init__(self, path: Path) -> None:
        self._map = pa.memory_map(str(path))
        self._reader = pa.ipc.open_file(self._map)
        self._groups: dict[int, pa.Table] = {}

    def group(self, number: int) -> pa.Table:
        """A row group as a table."""
        if number not in self._groups:
            self._groups[number] = pa.Table.from_batches([self._reader.get_batch(number)])
        return self._groups[number]

    def close(self) -> None:
        """Let go of the map; tables that are still in use keep their part of it."""
        self._groups.clear()
        self._map.close()
