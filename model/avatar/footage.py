"""What an avatar is fitted to: tracked rows of one subject, their pictures decoded on demand.

Memory does not grow with a recording's length: videos are decoded forwards, a span at a time, and the training frames
are kept reduced in an unnamed file on disk (:class:`Store`), from which single frames are read in any order.
"""

from __future__ import annotations

import errno
import io
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.camera import Camera
from model.head import HeadModel, require_same_head
from model.head.load import CODE_NAMES
from model.photometric.pictures import stack
from rsat_data.errors import DatasetError, DiskFullError, HeadMismatch, UnreadableSource

Pictures = Callable[[int, int], np.ndarray]
"""(start, stop) -> frames start <= t < stop, uint8; asked for with growing starts it decodes in one pass."""
_CHUNK = 16
"""Frames decoded at once."""


@dataclass(frozen=True)
class Footage:
    """One person in one clip: tracked codes, and pictures on demand."""

    row_id: str
    """Name of the row, for messages and reports."""
    camera: Camera
    """Of the pictures as ``frames`` gives them."""
    shape: np.ndarray
    """(S,) float32: the subject's shape code in this row."""
    codes: Mapping[str, np.ndarray]
    """expression (T, E), jaw (T, 3), neck (T, 3), eyes (T, 6), rotation (T, 3), translation (T, 3); float32. Also torso
    (T, 6) where it was tracked: see :func:`model.avatar.torso.track_torso`."""
    valid: np.ndarray
    """(T,) bool."""
    frames: Pictures
    """(n, H, W, 3) uint8 RGB of a span."""
    mattes: Pictures | None
    """(n, H, W) uint8 of a span, 255 where the person is; None where there is no matte."""
    head_model: str = ""
    """Id of the head the codes belong to; "" if unknown."""
    matte: str = "given"
    """Where ``mattes`` come from: "given", or "mesh" (see :func:`model.avatar.silhouette.with_silhouettes`)."""

    def __len__(self) -> int:
        return len(self.valid)

    def check(self, head: HeadModel) -> None:
        """Refuse what cannot be used with ``head``.

        Raises:
            HeadMismatch: codes of another head.
            DatasetError: shapes that do not go together, or no frame that is valid and finite.
        """
        if self.head_model:
            require_same_head(self.head_model, head, f"codes of row {self.row_id} and head of the avatar")
        sizes = {"expression": head.num_expression, "jaw": 3, "neck": 3, "eyes": 6, "rotation": 3, "translation": 3}
        for name, size in sizes.items():
            if name not in self.codes or self.codes[name].shape != (len(self), size):
                found = self.codes[name].shape if name in self.codes else "nothing"
                raise HeadMismatch(
                    f"Row {self.row_id}: {name} should be {(len(self), size)} for {head.id}, it is {found}.",
                    hint="Codes of another head cannot drive this one.",
                )
        if self.shape.shape != (head.num_shape,) or not np.isfinite(self.shape).all():
            raise HeadMismatch(f"Row {self.row_id}: shape code {self.shape.shape} is not one of {head.id}.")

    def usable(self) -> np.ndarray:
        """(T,) bool: valid, and all codes finite."""
        finite = [np.isfinite(self.codes[name]).all(axis=1) for name in CODE_NAMES]
        return np.logical_and.reduce([np.asarray(self.valid, bool), *finite])


def from_row(row: Mapping[str, Any], pictures_of: Callable[[str], Pictures] | None = None) -> Footage:
    """Footage of a row of a dataset, as ``rsat_data.load`` gives them; nothing is decoded yet.

    Args:
        row: of triplets.
        pictures_of: gives the frames of the column ``video`` or ``matte``; None keeps the row's own bytes in memory.

    Raises:
        DatasetError: the row holds no video.
    """
    count = int(row["num_frames"])
    video, matte = row["video"], row["matte"]
    name = str(row["row_id"])
    bare = matte is None or matte["bytes"] is None
    if video is None or video["bytes"] is None:
        raise DatasetError(
            f"Row {name} has no video.", hint="Datasets made without pictures hold codes and sound only."
        )
    return Footage(
        row_id=name,
        camera=Camera(**row["camera"]),
        shape=np.array(row["shape"], np.float32),
        codes={key: np.array(row[key], np.float32).reshape(count, -1) for key in CODE_NAMES},
        valid=np.array(row["valid"], bool),
        frames=pictures_of("video") if pictures_of else Video(video["bytes"], count, name),
        mattes=None if bare else pictures_of("matte") if pictures_of else Video(matte["bytes"], count, name, grey=True),
        head_model=str(row["head_model"] or ""),
    )


class Video:
    """Frames of a video as :data:`Pictures`: decoded forwards; a span before the last one starts a new pass.

    Args:
        source: the file's bytes, or its path.
        num_frames: T, how many frames it has.
        name: for messages.
        grey: give the brightness alone, (n, H, W) instead of (n, H, W, 3).
    """

    def __init__(self, source: bytes | Path, num_frames: int, name: str = "", *, grey: bool = False) -> None:
        self._source, self._num, self._grey = source, num_frames, grey
        self._name = name or (str(source) if isinstance(source, Path) else "video")
        self._stream: Iterator[np.ndarray] | None = None
        self._at = 0

    def __call__(self, start: int, stop: int) -> np.ndarray:
        """Frames start <= t < stop, uint8.

        Raises:
            IndexError: the span reaches beyond the video.
            UnreadableSource: the video cannot be decoded, or is shorter than it should be.
        """
        if not 0 <= start < stop <= self._num:
            raise IndexError(f"{self._name} has {self._num} frames, {start} to {stop} were asked for")
        if self._stream is None or start < self._at:
            self._stream, self._at = self._decode(), 0
        frames = []
        while self._at < stop:
            frame = next(self._stream, None)
            if frame is None:
                raise UnreadableSource(f"{self._name} ends before frame {self._at} of {self._num}.")
            if self._at >= start:
                frames.append(frame)
            self._at += 1
        return np.stack(frames)

    def _decode(self) -> Iterator[np.ndarray]:
        import av

        kind = "gray" if self._grey else "rgb24"
        try:
            opened = io.BytesIO(self._source) if isinstance(self._source, bytes) else str(self._source)
            with av.open(opened, "r") as container:
                stream = container.streams.video[0]
                stream.thread_type = "NONE"
                for frame in container.decode(stream):
                    yield frame.to_ndarray(format=kind)
        except (av.FFmpegError, IndexError) as error:
            raise UnreadableSource(f"{self._name} cannot be decoded ({error}).") from error


@dataclass(frozen=True)
class Frame:
    """Where one frame is to be found."""

    row: int
    """Which footage."""
    time: int
    """Which of its frames."""


@dataclass(frozen=True)
class Division:
    """Frames of a subject by what they are used for; in order of time."""

    train: tuple[Frame, ...]
    """What the Gaussians are fitted to."""
    validation: tuple[Frame, ...]
    """Out of the training span, for choosing the best state: not trained on."""
    test: tuple[Frame, ...]
    """The end of the subject's valid time."""


def divide(
    footage: Sequence[Footage], hold_out: float, max_frames: int, validation: int, min_frames: int
) -> Division:
    """Training, validation and test frames: the last ``hold_out`` of all usable frames, in order, are the test.

    Args:
        footage: rows of the subject, in the order of time.
        hold_out: share of the usable frames.
        max_frames: training frames used at most, evenly spread.
        validation: frames of the training span set apart, evenly spread; at most a tenth of it.
        min_frames: least number of training frames.

    Raises:
        DatasetError: too few usable frames.
    """
    frames = [Frame(r, int(t)) for r, row in enumerate(footage) for t in np.flatnonzero(row.usable())]
    cut = round((1 - hold_out) * len(frames))
    if cut < max(min_frames, 2) or cut >= len(frames):
        names = ", ".join(row.row_id for row in footage) or "no row"
        raise DatasetError(
            f"Too few frames for an avatar: {len(frames)} are valid and finite in {names}, {cut} of them to train on; "
            f"at least {min_frames} are needed, and one to test with.",
            hint="Give the subject more footage, or lower avatar.min_frames.",
        )
    span = _spread(frames[:cut], max_frames)
    # At least one is set apart; what a handful of frames can spare.
    chosen = set(_spread(span, max(1, min(validation, len(span) // 10))))
    return Division(
        tuple(frame for frame in span if frame not in chosen),
        tuple(frame for frame in span if frame in chosen),
        tuple(frames[cut:]),
    )


def _spread(frames: Sequence[Frame], count: int) -> list[Frame]:
    if count >= len(frames):
        return list(frames)
    return [frames[int((i + 0.5) / count * len(frames))] for i in range(count)]


def pictures(
    footage: Sequence[Footage], frames: Sequence[Frame], size: int, threads: int = 1
) -> Iterator[tuple[int, np.ndarray]]:
    """Reduced pictures with their matte, (size, size, 4) uint8, and their index in ``frames``; decoded forwards."""
    by_row: dict[int, dict[int, int]] = {}
    for index, frame in enumerate(frames):
        by_row.setdefault(frame.row, {})[frame.time] = index
    for number, times in by_row.items():
        row = footage[number]
        wanted = sorted(times)
        for first in range(wanted[0] - wanted[0] % _CHUNK, wanted[-1] + 1, _CHUNK):
            here = [t for t in wanted if first <= t < first + _CHUNK]
            if not here:
                continue
            start, stop = here[0], here[-1] + 1
            mattes = None if row.mattes is None else row.mattes(start, stop)
            small = stack(row.frames(start, stop), mattes, size, threads)
            for t in here:
                yield times[t], small[t - start]


class Store:
    """Reduced frames (size, size, 4) uint8 in an unnamed file: read in any order, gone when the process ends."""

    def __init__(self, size: int, folder: Path | None = None) -> None:
        self.size = size
        self._bytes = size * size * 4
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)

    def write(self, index: int, picture: np.ndarray) -> None:
        """Keep a picture.

        Raises:
            DiskFullError: no space is left.
        """
        try:
            written = os.pwrite(self._file.fileno(), np.ascontiguousarray(picture).tobytes(), index * self._bytes)
            if written != self._bytes:
                raise OSError(errno.ENOSPC, "no space left")
        except OSError as error:
            raise DiskFullError(
                f"No space for the training pictures in {tempfile.gettempdir()}: {error.strerror}.",
                hint="Free some space, set TMPDIR to another disk, or lower avatar.max_frames.",
            ) from error

    def read(self, index: int) -> np.ndarray:
        """The picture kept under ``index``, (size, size, 4) uint8."""
        data = os.pread(self._file.fileno(), self._bytes, index * self._bytes)
        return np.frombuffer(bytearray(data), np.uint8).reshape(self.size, self.size, 4)

    def close(self) -> None:
        """Let the file go."""
        self._file.close()
