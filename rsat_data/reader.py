"""Reading a dataset: rows with (T, D) arrays, sound and frames on demand, partners, batches.

Stands alone: it imports none of the sibling packages (a folder with its own ``model/`` or ``schemas.py`` is fine) and
no torch until torch tensors are asked for. Row groups are read when first needed and kept up to a limit, columns are
numpy views of Arrow's buffers (no copy, no Python lists), and media bytes are read only if a row is asked for them.
"""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from rsat_data.batch import collate
from rsat_data.columns import one_chunk, split_frames, split_list
from rsat_data.errors import DatasetError
from rsat_data.manifest import ManifestEntry, read_manifest, safe_join

__all__ = ["Dataset", "Row", "collate", "load"]

#: Major number of the format this reader understands.
FORMAT_MAJOR = "1"
_VERSION_KEY = b"rsat_data.format_version"
_FRAMES = pa.list_(pa.list_(pa.float32()))
_CACHE_BYTES = 512 << 20

Format = Literal["numpy", "torch"]
Split = Literal["train", "validation", "test"]


def load(
    path: str | Path,
    split: Split | None = "train",
    columns: Sequence[str] | None = None,
    format: Format = "numpy",
    *,
    table: Literal["triplets", "clips"] = "triplets",
    cache_bytes: int = _CACHE_BYTES,
) -> Dataset:
    """Open a dataset.

    Args:
        path: the folder that holds ``manifest.jsonl``.
        split: train, validation or test; None for all rows. A split without rows gives an empty dataset.
        columns: columns that ``row.keys()`` shows and that are read together; None for all. Row ids are always there.
        format: what number columns come as: numpy arrays (read-only views) or torch tensors (copies).
        table: triplets (one person in one clip) or clips (one conversation).
        cache_bytes: how much decoded data is kept for random access.

    Raises:
        DatasetError: there is no finished dataset, it is of another format, or it lacks a column.
    """
    return Dataset(Path(path), split, columns, format, table, cache_bytes)


@dataclass(frozen=True)
class _Column:
    """A column of one row group, ready to be cut into rows."""

    kind: Literal["frames", "track", "scalar", "arrow"]
    values: Any
    offsets: npt.NDArray[np.int64] | None
    nbytes: int
    null: npt.NDArray[np.bool_] | None = None
    """Rows of a track that hold none; None where all do."""

    def cell(self, index: int) -> Any:
        if self.null is not None and self.null[index]:
            return None
        if self.kind in ("frames", "track"):
            assert self.offsets is not None
            return self.values[self.offsets[index] : self.offsets[index + 1]]
        if self.kind == "scalar":
            return self.values[index].item()
        return self.values[index].as_py()


def _prepare(column: pa.ChunkedArray, nbytes: int) -> _Column:
    array = one_chunk(column)
    kind = array.type
    if kind == _FRAMES:
        values, offsets = split_frames(array)
        return _Column("frames", values, offsets, nbytes)
    if pa.types.is_list(kind) and (pa.types.is_floating(kind.value_type) or pa.types.is_boolean(kind.value_type)):
        flat, offsets = split_list(array)
        values = flat.to_numpy(zero_copy_only=False)  # bits become bytes; floats are not copied
        values.flags.writeable = False
        null = array.is_null().to_numpy(zero_copy_only=False) if array.null_count else None
        return _Column("track", values, offsets, nbytes, null)
    if array.null_count == 0 and (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        return _Column("scalar", array.to_numpy(), None, nbytes)
    return _Column("arrow", array, None, nbytes)


class _Shard:
    """One Parquet file of a table: its row groups, and the columns of them that are in memory."""

    def __init__(self, root: Path, entry: ManifestEntry) -> None:
        self.root, self.entry = root, entry
        self._file: pq.ParquetFile | None = None
        self._starts: npt.NDArray[np.int64] | None = None

    @property
    def file(self) -> pq.ParquetFile:
        if self._file is None:
            path = safe_join(self.root, self.entry.file)
            try:
                size = path.stat().st_size
                if size != self.entry.bytes:
                    raise DatasetError(
                        f"{path} has {size} bytes, the manifest says {self.entry.bytes}.",
                        hint="It was damaged, or published anew while it was read; `rsat-data validate` tells more.",
                        path=path,
                    )
                self._file = pq.ParquetFile(path, memory_map=True)
            except (OSError, pa.ArrowException) as error:
                raise DatasetError(
                    f"{path} cannot be read: {error}.",
                    hint="Publish the dataset again with the command that built it.",
                    path=path,
                ) from error
            version = (self._file.schema_arrow.metadata or {}).get(_VERSION_KEY, b"").decode("utf-8", "replace")
            if version.split(".")[0] != FORMAT_MAJOR:
                raise DatasetError(
                    f"{path} is of format {version or 'unknown'}, this rsat-data reads {FORMAT_MAJOR}.x.",
                    hint="Install the version of rsat-data that wrote it, or a newer one.",
                    path=path,
                )
            if self._file.metadata.num_rows != self.entry.rows:
                raise DatasetError(
                    f"{path} holds {self._file.metadata.num_rows} rows, the manifest says {self.entry.rows}.", path=path
                )
        return self._file

    @property
    def starts(self) -> npt.NDArray[np.int64]:
        """First row of every row group, and the number of rows last."""
        if self._starts is None:
            footer = self.file.metadata
            counts = [footer.row_group(group).num_rows for group in range(footer.num_row_groups)]
            self._starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        return self._starts

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class Dataset(Sequence["Row"]):
    """Rows of one table and split. ``len``, indexing, slices and iteration; made by :func:`load`.

    Iteration holds one row group at a time. Indexing keeps the row groups last used, up to a limit of bytes. Safe in
    threads and in worker processes of a DataLoader.
    """

    def __init__(
        self,
        root: Path,
        split: str | None,
        columns: Sequence[str] | None,
        format: Format,
        table: str,
        cache_bytes: int,
    ) -> None:
        if format not in ("numpy", "torch"):
            raise DatasetError(f"format should be numpy or torch, got {format!r}.")
        if split not in ("train", "validation", "test", None):
            raise DatasetError(f"split should be train, validation, test or None, got {split!r}.")
        if table not in ("triplets", "clips"):
            raise DatasetError(f"table should be triplets or clips, got {table!r}.")
        self.root, self.split, self.table, self.format = Path(root), split, table, format
        self._cache_bytes = cache_bytes
        entries = [entry for entry in read_manifest(self.root) if entry.file.startswith(f"data/{table}/")]
        prefixes = tuple(f"data/{table}/{name}-" for name in ([split] if split else ["train", "validation", "test"]))
        # In the order of the splits, then of the shard numbers.
        chosen = sorted(
            (entry for entry in entries if entry.file.startswith(prefixes) and entry.file.endswith(".parquet")),
            key=lambda entry: (next(n for n, p in enumerate(prefixes) if entry.file.startswith(p)), entry.file),
        )
        self._shards = [_Shard(self.root, entry) for entry in chosen]
        any_entry = next(iter(chosen or entries), None)
        self._schema = pa.schema([]) if any_entry is None else _Shard(self.root, any_entry).file.schema_arrow
        if columns is not None:
            missing = [name for name in columns if name not in self._schema.names]
            if missing and any_entry is not None:
                raise DatasetError(
                    f"{self.root}: table {table} has no column {missing[0]!r}.",
                    hint=f"Its columns are: {', '.join(self._schema.names)}.",
                    path=self.root,
                )
        self.columns: tuple[str, ...] = tuple(self._schema.names if columns is None else columns)
        self._eager = [
            name
            for name in self.columns
            if name in self._schema.names and (columns is not None or not _is_media(self._schema.field(name).type))
        ]
        self._rows = np.concatenate([[0], np.cumsum([shard.entry.rows or 0 for shard in self._shards], dtype=np.int64)])
        self._select: npt.NDArray[np.int64] | None = None
        self._reset()

    def _reset(self) -> None:
        self._cache: OrderedDict[tuple[int, int, str], _Column] = OrderedDict()
        self._used = 0
        self._lock = threading.RLock()
        self._ids: dict[str, int] | None = None
        self._whole: Dataset | None = None

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        state["_shards"] = [shard.entry for shard in self._shards]
        for name in ("_cache", "_used", "_lock", "_ids", "_whole"):
            del state[name]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._shards = [_Shard(self.root, entry) for entry in state["_shards"]]
        self._reset()

    def __repr__(self) -> str:
        return f"<{self.table} of {self.root}, split {self.split or 'all'}: {len(self)} rows>"

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of the files."""
        return self._schema

    def __len__(self) -> int:
        return int(self._rows[-1]) if self._select is None else len(self._select)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Dataset: ...
    def __getitem__(self, index: int | slice) -> Row | Dataset:
        if isinstance(index, slice):
            return self.select(range(*index.indices(len(self))))
        count = len(self)
        if not -count <= index < count:
            raise IndexError(f"row {index} of a dataset of {count} rows")
        position = int(index) + (count if index < 0 else 0)
        return Row(self, position if self._select is None else int(self._select[position]))

    def __iter__(self) -> Iterator[Row]:
        """Rows in file order. What was read is let go as soon as the next row group begins."""
        positions = range(int(self._rows[-1])) if self._select is None else self._select.tolist()
        # A selection that jumps about comes back to its row groups: there the cache decides.
        in_order = self._select is None or bool((np.diff(self._select) >= 0).all())
        last: tuple[int, int] | None = None
        for position in positions:
            shard, group, _ = self._locate(position)
            if in_order and last is not None and (shard, group) != last:
                self._drop(*last)
            last = (shard, group)
            yield Row(self, position)
        if in_order and last is not None:
            self._drop(*last)

    def select(self, indices: Sequence[int] | range | npt.NDArray[np.integer]) -> Dataset:
        """A dataset of the rows at ``indices``, in that order, over the same files."""
        chosen = np.asarray(indices, dtype=np.int64)
        if len(chosen) and (chosen.min() < 0 or chosen.max() >= len(self)):
            raise IndexError(f"rows {chosen.min()}..{chosen.max()} of a dataset of {len(self)} rows")
        view = Dataset.__new__(Dataset)
        view.__setstate__(self.__getstate__())
        view._select = chosen if self._select is None else self._select[chosen]
        return view

    def shuffled(self, seed: int, *, groups: int = 8) -> Dataset:
        """The rows in an order fit for training: as good as random, yet every row group is decoded once.

        Row groups are drawn in random order, and rows are mixed within each run of ``groups`` of them. For a dataset
        that does not fit into ``cache_bytes``, a wholly random order would decode a row group for almost every row.

        Args:
            seed: decides the order; give the number of the epoch.
            groups: row groups that are mixed; together they should fit into the cache.
        """
        rng = np.random.default_rng(seed)
        positions = np.arange(int(self._rows[-1])) if self._select is None else self._select
        places = [self._locate(int(position))[:2] for position in positions]
        numbers = {place: number for number, place in enumerate(sorted(set(places)))}
        turn = rng.permutation(len(numbers)) // max(groups, 1)
        runs = np.array([turn[numbers[place]] for place in places], dtype=np.int64)
        return self.select(np.lexsort((rng.random(len(runs)), runs)))

    def by_id(self, name: str) -> Row:
        """The row whose row_id (in clips: clip_id) is ``name``, also if a selection left it out.

        Raises:
            KeyError: there is none in this split.
        """
        if self._ids is None:
            key = "row_id" if self.table == "triplets" else "clip_id"
            names = [value for shard in self._shards for value in shard.file.read(columns=[key])[key].to_pylist()]
            self._ids = {value: position for position, value in enumerate(names)}
        return Row(self, self._ids[name])

    def arrow(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows as one Arrow table; by default the columns chosen at load, media included."""
        wanted = list(self.columns if columns is None else columns)
        tables = [shard.file.read(columns=wanted) for shard in self._shards]
        empty = pa.schema([self._schema.field(name) for name in wanted], metadata=self._schema.metadata)
        table = pa.concat_tables(tables) if tables else empty.empty_table()
        return (table if self._select is None else table.take(pa.array(self._select))).select(wanted)

    # Cells ---------------------------------------------------------------------------------------------------------

    def _locate(self, position: int) -> tuple[int, int, int]:
        shard = int(np.searchsorted(self._rows, position, side="right")) - 1
        local = position - int(self._rows[shard])
        starts = self._shards[shard].starts
        group = int(np.searchsorted(starts, local, side="right")) - 1
        return shard, group, local - int(starts[group])

    def _column(self, shard: int, group: int, name: str) -> _Column:
        key = (shard, group, name)
        with self._lock:
            if key not in self._cache:
                names = self._eager if name in self._eager else [name]
                file = self._shards[shard].file
                try:
                    table = file.read_row_group(group, columns=names)
                except (OSError, pa.ArrowException) as error:
                    path = self.root / self._shards[shard].entry.file
                    raise DatasetError(
                        f"{path}: row group {group} cannot be read: {error}.",
                        hint="The file is damaged; `rsat-data validate` tells more.",
                        path=path,
                    ) from error
                for each in names:
                    chunked = table[each]
                    fresh = _prepare(chunked, chunked.nbytes)
                    self._used += fresh.nbytes
                    self._cache[(shard, group, each)] = fresh
                wanted = self._cache[key]
                while self._used > self._cache_bytes:
                    oldest = next(iter(self._cache))
                    if oldest[:2] == (shard, group):
                        break
                    self._used -= self._cache.pop(oldest).nbytes
                return wanted
            self._cache.move_to_end(key)
            return self._cache[key]

    def _drop(self, shard: int, group: int) -> None:
        with self._lock:
            for key in [key for key in self._cache if key[:2] == (shard, group)]:
                self._used -= self._cache.pop(key).nbytes

    def _everything(self) -> Dataset:
        """The same table over all splits and columns, for partners."""
        if self._whole is None:
            self._whole = load(self.root, None, None, self.format, table="triplets", cache_bytes=self._cache_bytes)
        return self._whole


class Row(Mapping[str, Any]):
    """One row. Cells are made when they are asked for; ``dict(row)`` makes them all.

    (T, D) and (T,) columns are arrays (or None where a row has none), media are ``{"bytes", "path"}`` (or None), the
    rest plain Python values. Numpy arrays are read-only views: copy what you want to change.
    """

    __slots__ = ("_dataset", "_group", "_index", "_shard", "position")

    def __init__(self, dataset: Dataset, position: int) -> None:
        self._dataset, self.position = dataset, position
        self._shard, self._group, self._index = dataset._locate(position)

    def __getitem__(self, name: str) -> Any:
        if name not in self._dataset._schema.names:
            raise KeyError(name)
        column = self._dataset._column(self._shard, self._group, name)
        value = column.cell(self._index)
        if self._dataset.format == "torch" and column.kind in ("frames", "track") and value is not None:
            import torch

            return torch.from_numpy(value.copy())
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._dataset.columns)

    def __len__(self) -> int:
        return len(self._dataset.columns)

    def __repr__(self) -> str:
        name = self["row_id"] if self._dataset.table == "triplets" else self["clip_id"]
        return f"<row {name} of {self._dataset.root}>"

    def type_of(self, name: str) -> pa.DataType:
        """Arrow type of a column."""
        return self._dataset._schema.field(name).type

    def audio(self) -> Any:
        """The sound, decoded: (T * sample_rate / fps,) float32 in [-1, 1), as array or tensor.

        Raises:
            DatasetError: the row has none, or it is damaged.
        """
        import soundfile

        try:
            samples, _ = soundfile.read(io.BytesIO(self._bytes("audio")), dtype="float32")
        except soundfile.SoundFileError as error:
            raise DatasetError(
                f"{self!r}: the sound cannot be decoded: {error}",
                hint="The row is damaged: build the dataset again, or take its file from a backup.",
            ) from error
        return self._tensor(samples)

    def image(self) -> Any:
        """The key frame, decoded: (H, W, 3) uint8 RGB."""
        import cv2

        picture = cv2.imdecode(np.frombuffer(self._bytes("image"), np.uint8), cv2.IMREAD_COLOR)
        if picture is None:
            raise DatasetError(f"{self!r}: the image cannot be decoded.")
        return self._tensor(np.ascontiguousarray(picture[:, :, ::-1]))

    def frames(self, indices: Sequence[int] | None = None, *, column: str | None = None) -> Any:
        """Frames of a video, decoded: (len(indices), H, W, 3) uint8 RGB, in the order of ``indices``.

        Args:
            indices: frame numbers, negative ones from the end; None for all.
            column: video, matte or preview; by default the table's own video.

        Raises:
            DatasetError: the row has no video, or it holds fewer frames than it should.
            IndexError: a frame number is outside the clip.
        """
        name = column or ("video" if self._dataset.table == "triplets" else "preview")
        count = int(self["num_frames"])
        wanted = list(range(count)) if indices is None else [int(index) for index in indices]
        if any(not -count <= index < count for index in wanted):
            raise IndexError(f"frames {wanted} of a clip of {count} frames")
        wanted = [index % count for index in wanted]
        return self._tensor(self._decode(name, wanted))

    def matte(self, indices: Sequence[int] | None = None) -> Any:
        """Foreground of the frames: (len(indices), H, W) uint8, 255 where the person is."""
        frames = self.frames(indices, column="matte")
        return frames[..., 0]

    def partner(self) -> Row | None:
        """The row of the other person in the clip; None where one person is seen."""
        name = self["partner_row_id"]
        return None if name is None else self._dataset._everything().by_id(name)

    def _bytes(self, name: str) -> bytes:
        cell = self[name]
        if cell is None or cell["bytes"] is None:
            raise DatasetError(
                f"{self!r} has no {name}.",
                hint="Rows of people who are heard and not seen, and synthetic ones never rendered, hold no pictures.",
            )
        data: bytes = cell["bytes"]
        return data

    def _decode(self, name: str, wanted: list[int]) -> npt.NDArray[np.uint8]:
        import av

        data = self._bytes(name)
        last = max(wanted, default=-1)
        found: dict[int, npt.NDArray[Any]] = {}
        chosen = set(wanted)
        try:
            with av.open(io.BytesIO(data), "r") as container:
                stream = container.streams.video[0]
                stream.thread_type = "NONE"
                size = (stream.codec_context.height, stream.codec_context.width)
                if chosen:
                    for number, frame in enumerate(container.decode(stream)):
                        if number in chosen:
                            found[number] = frame.to_ndarray(format="rgb24")
                        if number >= last:
                            break
        except av.FFmpegError as error:
            raise DatasetError(f"{self!r}: {name} cannot be decoded ({error.strerror}).") from error
        if len(found) != len(chosen):
            raise DatasetError(f"{self!r}: {name} ends before frame {min(chosen - found.keys())}.")
        return np.stack([found[index] for index in wanted]) if wanted else np.zeros((0, *size, 3), np.uint8)

    def _tensor(self, array: npt.NDArray[Any]) -> Any:
        if self._dataset.format == "torch":
            import torch

            return torch.from_numpy(array)
        return array


def _is_media(kind: pa.DataType) -> bool:
    return bool(pa.types.is_struct(kind) and [field.name for field in kind] == ["bytes", "path"])
