"""Arrow list columns as numpy views: no copy, no Python lists."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rsat_data.errors import DatasetError


def one_chunk(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """The column as one array."""
    if isinstance(column, pa.ChunkedArray):
        return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
    return column


def split_list(column: pa.Array) -> tuple[Any, npt.NDArray[np.int64]]:
    """Values and offsets of a list column: row i is ``values[offsets[i]:offsets[i + 1]]``.

    The values are an Arrow array that starts at the column's first row; numbers may be viewed as numpy without a copy.
    """
    offsets = column.offsets.to_numpy().astype(np.int64)
    values = column.values.slice(int(offsets[0]), int(offsets[-1] - offsets[0]))
    return values, offsets - offsets[0]


def split_frames(column: pa.Array) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """A list<list<float>> column as one (sum of T, D) view and the offsets of its rows.

    Raises:
        DatasetError: the frames do not all have the same number of values.
    """
    frames, offsets = split_list(column)
    flat, inner = split_list(frames)
    widths = np.diff(inner)
    width = int(widths[0]) if len(widths) else 0
    if len(widths) and not (widths == width).all():
        raise DatasetError(f"a (T, D) column holds frames of {widths.min()} and of {widths.max()} values")
    values = flat.to_numpy(zero_copy_only=flat.null_count == 0)
    return values.reshape(len(widths), width), offsets
