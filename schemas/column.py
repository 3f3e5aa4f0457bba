"""What a column and a table are: Arrow type, unit, shape, frame and meaning in one place.

The Arrow schema, the Parquet encodings, the validators, the dataset card and docs/format.md all follow from these
declarations, so they cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import pyarrow as pa

from schemas.version import FORMAT_VERSION, TABLE_KEY, VERSION_KEY

#: A file inside a cell: its bytes, and a name that tells its type. The storage type of audio, image and video columns.
MEDIA = pa.struct([("bytes", pa.binary()), ("path", pa.string())])

#: A (T, D) array: nested plain lists, so that every Parquet reader understands it.
FRAMES_F32 = pa.list_(pa.list_(pa.float32()))

MediaKind = Literal["", "audio", "image", "video"]

ZSTD_LEVEL = 3


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str
    """Name in the file."""
    type: pa.DataType
    """Arrow type in the file."""
    meaning: str
    """One sentence for a reader who has not seen the project."""
    unit: str = ""
    """Physical unit; empty for none."""
    shape: str = ""
    """Shape with names: T frames of the clip, S shape modes, E expressions. Empty for a scalar."""
    frame: str = ""
    """Coordinate frame of the values; empty where there is none."""
    nullable: bool = False
    """Whether the cell may be null. Lists without it are never null: an empty list says "none"."""
    values: tuple[str, ...] = ()
    """The closed vocabulary, for a string column that has one."""
    width: int | None = None
    """D of a (T, D) column where the format fixes it; None where the head model decides or there is no D."""
    media: MediaKind = ""
    """What the bytes of a media struct are."""
    since: str = "1.0"
    """Format version that brought the column: files of earlier versions lack it, and are read without it."""

    @property
    def is_frames(self) -> bool:
        """Whether a cell is a (T, D) float array."""
        return bool(self.type == FRAMES_F32)


@dataclass(frozen=True)
class Table:
    """One table of the format."""

    name: str
    """Name of the table; for triplets and clips also the folder under ``data/`` and the ``datasets`` config."""
    row: str
    """What a row is."""
    columns: tuple[Column, ...]
    """The columns, in file order."""

    def __iter__(self) -> Iterator[Column]:
        return iter(self.columns)

    def __getitem__(self, name: str) -> Column:
        return self.by_name[name]

    @cached_property
    def by_name(self) -> dict[str, Column]:
        """Column name -> column."""
        return {column.name: column for column in self.columns}

    @cached_property
    def schema(self) -> pa.Schema:
        """Arrow schema with the format version and the table's name in its metadata."""
        fields = [pa.field(column.name, column.type) for column in self.columns]
        return pa.schema(fields, metadata={VERSION_KEY: FORMAT_VERSION.encode(), TABLE_KEY: self.name.encode()})


def leaves(schema: pa.Schema) -> dict[str, pa.DataType]:
    """Parquet leaf path -> Arrow type of the leaf, e.g. ``jaw.list.element.list.element -> float``."""

    def walk(path: str, kind: pa.DataType) -> Iterator[tuple[str, pa.DataType]]:
        if pa.types.is_struct(kind):
            for field in kind:
                yield from walk(f"{path}.{field.name}", field.type)
        elif pa.types.is_list(kind):
            yield from walk(f"{path}.list.element", kind.value_type)
        else:
            yield path, kind

    return {path: leaf for field in schema for path, leaf in walk(field.name, field.type)}


def parquet_options(schema: pa.Schema) -> dict[str, Any]:
    """Keyword arguments of ``pyarrow.parquet.ParquetWriter`` that every table of the format is written with.

    zstd 3 everywhere but media, which are compressed already and stay plain; BYTE_STREAM_SPLIT on every float leaf
    (a fifth smaller than zstd alone and as fast to read); dictionaries on strings only; page index and statistics;
    pages cut by content, so that a changed row changes few chunks of a deduplicating store.
    """
    compression: dict[str, str] = {}
    encoding: dict[str, str] = {}
    dictionary: list[str] = []
    for path, kind in leaves(schema).items():
        compression[path] = "NONE" if pa.types.is_binary(kind) else "ZSTD"
        if pa.types.is_floating(kind):
            encoding[path] = "BYTE_STREAM_SPLIT"
        elif pa.types.is_string(kind):
            dictionary.append(path)
        elif pa.types.is_binary(kind):
            encoding[path] = "PLAIN"
    return {
        "compression": compression,
        "compression_level": {path: ZSTD_LEVEL for path, codec in compression.items() if codec == "ZSTD"},
        "column_encoding": encoding,
        "use_dictionary": dictionary,
        "write_statistics": True,
        "write_page_index": True,
        "use_content_defined_chunking": True,
        "version": "2.6",
    }
