"""A subject's rows of a published dataset as footage: codes now, pictures when they are asked for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.avatar.footage import Footage, Video, from_row
from rsat_data.errors import SkippedSubject
from rsat_data.reader import Dataset, Row, load

CACHE_BYTES = 64 << 20
"""Decoded columns that are kept: little, because videos are read once and forwards."""
_OPEN = 4
"""Videos that are open at a time: picture and matte of two rows."""


@dataclass(frozen=True)
class Material:
    """What a subject's rows hold for an avatar."""

    footage: tuple[Footage, ...]
    """Rows that can be used, in the order given."""
    shape: np.ndarray
    """(S,) float32: the identity code all of them have."""
    left_out: tuple[tuple[str, str], ...]
    """row_id and reason of the rows that cannot."""


class Shelf:
    """Videos of rows, opened when a frame is wanted and closed when others are: memory does not grow with the rows."""

    def __init__(self, data: Dataset) -> None:
        self._data = data
        self._open: OrderedDict[tuple[int, str], Video] = OrderedDict()

    def pictures(self, row: Row, column: str) -> Callable[[int, int], np.ndarray]:
        """Frames of a media column of a row: (start, stop) -> uint8, as :data:`model.avatar.footage.Pictures`."""
        position, count, name = row.position, int(row["num_frames"]), str(row["row_id"])
        key = (position, column)

        def read(start: int, stop: int) -> np.ndarray:
            video = self._open.get(key)
            if video is None:
                data = Row(self._data, position)[column]["bytes"]
                video = self._open[key] = Video(data, count, f"{column} of row {name}", grey=column == "matte")
                while len(self._open) > _OPEN:
                    self._open.popitem(last=False)
            self._open.move_to_end(key)
            frames = video(start, stop)
            if stop >= count:
                self._open.pop(key, None)
            return frames

        return read


def collect(source: Path, rows: Iterable[str], subject: str) -> Material:
    """The rows ``rows`` of the dataset at ``source``.

    Rows without video are left out, and so are rows with another shape code than most frames have: an avatar has one.
    Rows without a matte are left out where the subject has others. Where it has none they are footage without mattes,
    for :func:`model.avatar.silhouette.with_silhouettes`: the two kinds do not go together, since one has hair.

    Raises:
        SkippedSubject: nothing is left, and why.
        DatasetError: the dataset has no such row, or cannot be read.
    """
    data = load(source, split=None, cache_bytes=CACHE_BYTES)
    shelf = Shelf(data)
    usable: list[Footage] = []
    left_out: list[tuple[str, str]] = []
    for name in rows:
        row = data.by_id(name)
        if not _has(row, "video"):
            left_out.append((name, "no video"))
        elif not np.asarray(row["valid"], bool).any():
            left_out.append((name, "no valid frame"))
        else:
            usable.append(footage_of(row, shelf))
    if not usable:
        reasons = ", ".join(f"{name}: {reason}" for name, reason in left_out[:5])
        raise SkippedSubject(
            f"{subject} has no row that an avatar can be fitted to ({reasons}).",
            hint="An avatar needs the head crop; a dataset made without pictures has none.",
        )
    bare = [footage for footage in usable if footage.mattes is None]
    if len(bare) < len(usable):
        left_out += [(footage.row_id, "no matte, and other rows have one") for footage in bare]
        usable = [footage for footage in usable if footage.mattes is not None]
    shape = _shared_shape(usable)
    for footage in usable:
        if not np.array_equal(footage.shape, shape):
            left_out.append((footage.row_id, "another shape code than the subject's other rows"))
    same = tuple(footage for footage in usable if np.array_equal(footage.shape, shape))
    return Material(same, shape, tuple(left_out))


def footage_of(row: Row, shelf: Shelf) -> Footage:
    """One row as footage whose videos the shelf opens and closes; nothing is decoded yet."""
    return from_row(row, lambda column: shelf.pictures(row, column))


def _has(row: Row, column: str) -> bool:
    kind = row[column]
    return kind is not None and kind["bytes"] is not None


def _shared_shape(footage: list[Footage]) -> np.ndarray:
    """The shape code that most valid frames have."""
    frames: dict[bytes, int] = {}
    for row in footage:
        frames[row.shape.tobytes()] = frames.get(row.shape.tobytes(), 0) + int(row.valid.sum())
    return np.frombuffer(max(frames, key=lambda code: frames[code]), np.float32).copy()
