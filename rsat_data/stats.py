"""Running statistics of a dataset's number columns, for meta/stats.json: constant memory, one pass."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rsat_data.columns import one_chunk, split_frames

_SCALARS = "q_"


@dataclass
class Moments:
    """Count, mean, sum of squared deviations, least and greatest of (N, D) samples, updated block by block.

    Blocks are joined by the pairwise formulas of Chan, Golub and LeVeque (1979), which stay exact where a sum of
    squares would cancel.
    """

    count: int = 0
    mean: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    deviation: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    least: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    greatest: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def add(self, block: npt.NDArray[np.floating]) -> None:
        """Take in samples of shape (N, D)."""
        if not len(block):
            return
        block = block.astype(np.float64)
        mean = block.mean(axis=0)
        other = Moments(len(block), mean, ((block - mean) ** 2).sum(axis=0), block.min(axis=0), block.max(axis=0))
        self.merge(other)

    def merge(self, other: Moments) -> None:
        """Take in what another has seen."""
        if not other.count:
            return
        if not self.count:
            self.count, self.mean, self.deviation = other.count, other.mean, other.deviation
            self.least, self.greatest = other.least, other.greatest
            return
        count = self.count + other.count
        delta = other.mean - self.mean
        self.deviation = self.deviation + other.deviation + delta**2 * self.count * other.count / count
        self.mean = self.mean + delta * other.count / count
        self.least = np.minimum(self.least, other.least)
        self.greatest = np.maximum(self.greatest, other.greatest)
        self.count = count

    def result(self) -> dict[str, Any]:
        """count, and mean, std (of the population), min, max as lists of D numbers."""
        std = np.sqrt(self.deviation / max(self.count, 1))
        return {
            "count": self.count,
            "mean": self.mean.tolist(),
            "std": std.tolist(),
            "min": self.least.tolist(),
            "max": self.greatest.tolist(),
        }


class StatsCollector:
    """Statistics a split and a column: (T, D) columns over valid frames, shape over rows, q_* over rows."""

    def __init__(self) -> None:
        self._moments: dict[str, dict[str, Moments]] = {}
        self._widths: dict[str, int] = {}
        self._valid: dict[str, int] = {}

    def valid_frames(self, split: str) -> int:
        """Frames of a split whose codes are valid."""
        return self._valid.get(split, 0)

    def add(self, split: str, table: pa.Table) -> None:
        """Take in rows of triplets that are in ``split``."""
        moments = self._moments.setdefault(split, {})
        valid = np.asarray(pc.list_flatten(one_chunk(table["valid"])))
        self._valid[split] = self._valid.get(split, 0) + int(valid.sum())
        for field_ in table.schema:
            column = one_chunk(table[field_.name])
            if field_.type == pa.list_(pa.list_(pa.float32())):
                values, _ = split_frames(column)
                self._widths.setdefault(field_.name, values.shape[1])
                block = values[valid] if len(values) == len(valid) else values[:0]
            elif field_.name == "shape":
                lengths = np.asarray(pc.list_value_length(column))
                values = np.asarray(pc.list_flatten(column)).reshape(len(column), int(lengths[0]))
                self._widths.setdefault(field_.name, values.shape[1])
                block = values
            elif field_.name.startswith(_SCALARS):
                block = np.asarray(column.drop_null(), dtype=np.float32)[:, None]
            else:
                continue
            moments.setdefault(field_.name, Moments()).add(block[np.isfinite(block).all(axis=1)])

    def widths(self) -> dict[str, int]:
        """D of every (T, D) column, and S of shape; empty before any row was seen."""
        return dict(self._widths)

    def result(self) -> dict[str, Any]:
        """Split (and ``all``) -> column -> statistics. Normalise by ``train``: it says nothing of the test rows."""
        whole: dict[str, Moments] = {}
        for columns in self._moments.values():
            for name, moments in columns.items():
                whole.setdefault(name, Moments()).merge(moments)
        groups = {**self._moments, "all": whole}
        return {
            split: {name: moments.result() for name, moments in columns.items() if moments.count}
            for split, columns in groups.items()
        }
