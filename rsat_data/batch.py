"""Rows of different length to one batch of torch tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from rsat_data.errors import DatasetError


def collate(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Make a batch of torch tensors from rows of different length, for a DataLoader's ``collate_fn``.

    Per-frame columns are padded at the end to the longest: (B, T, D) and (B, T), with zeros and False; ``mask`` (B, T)
    bool is True on frames that are there. Columns of one length for all rows (shape) and numbers are stacked, None
    becomes NaN, also that of a whole (T,) column; texts, words, media and the like stay lists.

    Args:
        rows: rows of one dataset, or mappings like them; all need num_frames.

    Raises:
        DatasetError: there are no rows, or a column has other widths in other rows.
    """
    import torch

    if not rows:
        raise DatasetError("a batch needs at least one row.")
    lengths = [int(row["num_frames"]) for row in rows]
    longest = max(lengths)
    batch: dict[str, Any] = {}
    for name in rows[0]:
        cells = [row[name] for row in rows]
        dtype = _number_type(name, cells, rows[0])
        if dtype is not None:
            batch[name] = torch.tensor([np.nan if cell is None else cell for cell in cells], dtype=dtype)
            continue
        if any(cell is None for cell in cells) and _is_track(name, cells, rows[0]):
            cells = [np.full(n, np.nan, np.float32) if c is None else c for c, n in zip(cells, lengths, strict=True)]
        if all(isinstance(cell, (np.ndarray, torch.Tensor)) for cell in cells):
            tensors = [cell if isinstance(cell, torch.Tensor) else torch.from_numpy(cell.copy()) for cell in cells]
            batch[name] = _pad(name, tensors, lengths)
        else:
            batch[name] = cells
    batch["mask"] = torch.arange(longest)[None, :] < torch.tensor(lengths)[:, None]
    return batch


def _is_track(name: str, cells: Sequence[Any], row: Mapping[str, Any]) -> bool:
    """Whether a column that lacks cells holds floats, one a frame."""
    type_of = getattr(row, "type_of", None)
    if type_of is not None:
        return bool(type_of(name) == pa.list_(pa.float32()))
    return any(getattr(cell, "ndim", 0) == 1 for cell in cells)


def _number_type(name: str, cells: Sequence[Any], row: Mapping[str, Any]) -> Any:
    """Torch dtype of a column of numbers; None for other columns. Follows the schema, so that batches do not differ."""
    import torch

    type_of = getattr(row, "type_of", None)
    if type_of is not None:
        kind = type_of(name)
        if pa.types.is_floating(kind):
            return torch.float64 if kind == pa.float64() else torch.float32
        return torch.int64 if pa.types.is_integer(kind) and None not in cells else None
    if all(isinstance(cell, int) and not isinstance(cell, bool) for cell in cells):
        return torch.int64
    return torch.float32 if all(isinstance(cell, float) for cell in cells) else None


def _pad(name: str, cells: Sequence[Any], lengths: Sequence[int]) -> Any:
    """Stack tensors whose first axis is time, padded at the end; of one length otherwise; a list if neither fits."""
    import torch

    if len({tuple(cell.shape[1:]) for cell in cells}) > 1:
        shapes = sorted(tuple(cell.shape) for cell in cells)
        raise DatasetError(f"{name} has different widths in the rows of a batch: {shapes}.")
    if all(len(cell) == length for cell, length in zip(cells, lengths, strict=True)):
        return torch.nn.utils.rnn.pad_sequence(list(cells), batch_first=True)
    return torch.stack(list(cells)) if len({len(cell) for cell in cells}) == 1 else list(cells)
