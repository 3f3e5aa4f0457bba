"""Rows of numpy arrays and plain values to Arrow tables of the declared schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from schemas.column import Column, Table


def table_from_rows(spec: Table, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Make a table of ``spec`` from rows.

    Args:
        spec: the table's declaration.
        rows: mappings that hold every column; (T, D) and (T,) columns as numpy arrays, media as
            ``{"bytes": ..., "path": ...}`` or None, the rest as plain Python values.

    Raises:
        ValueError: a row lacks a column, has one too many, or a value does not fit; row and column are named.
    """
    names = set(spec.by_name)
    for number, row in enumerate(rows):
        if row.keys() != names:
            missing, extra = sorted(names - row.keys()), sorted(row.keys() - names)
            raise ValueError(f"{spec.name} row {number}: missing columns {missing}, unknown columns {extra}")
    columns = [_column([row[column.name] for row in rows], column) for column in spec]
    return pa.Table.from_arrays(columns, schema=spec.schema)


def _column(cells: list[Any], column: Column) -> pa.Array:
    for number, cell in enumerate(cells):
        if cell is None and not column.nullable:
            raise ValueError(f"row {number}: {column.name} must not be null")
    try:
        if column.is_frames:
            return _frames(cells, column)
        if cells and all(isinstance(cell, np.ndarray) for cell in cells):
            return _tracks(cells, column)
        return pa.array([_plain(cell) for cell in cells], type=column.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError, ValueError) as error:
        raise ValueError(f"{column.name}: {error}") from error


def _plain(cell: Any) -> Any:
    """Numpy scalars and arrays to what ``pa.array`` takes in any mixture."""
    if isinstance(cell, (np.ndarray, np.generic)):
        return cell.tolist()
    return cell


def _tracks(cells: list[np.ndarray], column: Column) -> pa.Array:
    """(T,) arrays of different T to a list column."""
    for number, cell in enumerate(cells):
        if cell.ndim != 1:
            raise ValueError(f"row {number} should have shape {column.shape or '(N,)'}, got {cell.shape}")
    offsets = np.concatenate([[0], np.cumsum([len(cell) for cell in cells])]).astype(np.int32)
    values = np.concatenate(cells) if cells else np.zeros(0)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values, type=column.type.value_type))


def _frames(cells: list[Any], column: Column) -> pa.Array:
    """(T, D) arrays of different T, and for some columns D, to a nested list column."""
    arrays = [np.ascontiguousarray(cell, dtype=np.float32) for cell in cells]
    for number, array in enumerate(arrays):
        if array.ndim != 2 or (column.width is not None and array.shape[1] != column.width):
            raise ValueError(f"row {number} should have shape {column.shape}, got {array.shape}")
    lengths = np.array([len(array) for array in arrays], dtype=np.int64)
    widths = np.repeat([array.shape[1] for array in arrays], lengths) if arrays else np.zeros(0, np.int64)
    outer = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    inner = np.concatenate([[0], np.cumsum(widths)]).astype(np.int32)
    flat = np.concatenate([array.ravel() for array in arrays]) if arrays else np.zeros(0, np.float32)
    frames = pa.ListArray.from_arrays(pa.array(inner), pa.array(flat, type=pa.float32()))
    return pa.ListArray.from_arrays(pa.array(outer), frames)
