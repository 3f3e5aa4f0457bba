"""Codes from a file: an npz without pickles, or a Parquet file with a row of the dataset's columns."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from model.camera import Camera
from model.head import HeadModel
from model.motion.layout import CODE_OF_GROUP
from rsat_data.avatars.content import CODES
from rsat_data.avatars.drive import close_gaps
from rsat_data.columns import one_chunk, split_frames
from rsat_data.dialects.files import read_npz
from rsat_data.errors import DatasetError, HeadMismatch

_WIDTHS = {"jaw": 3, "neck": 3, "eyes": 6, "rotation": 3, "translation": 3}
_NAMES = (*CODES, "shape", "valid", "head_model", "camera")


@dataclass(frozen=True)
class FileCodes:
    """What a file says of T frames."""

    codes: dict[str, np.ndarray]
    """Those it holds, (T, .) float32, finite: gaps between valid frames are closed."""
    lost: int
    """Frames that are not valid."""
    head_model: str | None = None
    """Head they belong to, where it says so."""
    shape: np.ndarray | None = None
    """(S,) float32."""
    camera: Camera | None = None
    audio: np.ndarray | None = None
    """(N,) float32 at 16 kHz."""


def read_codes(path: Path) -> FileCodes:
    """Read ``path``.

    Raises:
        DatasetError: it is neither, is damaged, holds no codes, or codes that do not fit together.
        UnreadableSource, UnsafeSource: an npz that is damaged, or holds Python objects.
    """
    kind = path.suffix.lower()
    if kind not in (".npz", ".parquet"):
        raise DatasetError(
            f"{path} is no file of codes.", hint="Give an .npz with arrays called as the dataset's columns, such as "
            f"{', '.join(CODES)}; or a .parquet with one row.", path=path,
        )  # fmt: skip
    audio = None
    if kind == ".npz":
        given = dict(read_npz(path))
        # A prediction of a run is kept under the names of its groups.
        given = {CODE_OF_GROUP.get(name, name): value for name, value in given.items()}
        head = str(given["head_model"]) if "head_model" in given else None
        camera = _camera(path, given["camera"]) if "camera" in given else None
    else:
        given, head, camera, audio = _row(path)
    codes = {name: np.asarray(given[name], np.float32) for name in CODES if name in given}
    if not codes:
        raise DatasetError(
            f"{path} holds none of the codes {', '.join(CODES)}; it holds {', '.join(sorted(given)) or 'nothing'}.",
            hint="Arrays are called as the dataset's columns; other tools' files: rsat-data import --help",
            path=path,
        )
    return _checked(path, codes, given, head, camera, audio)


def _checked(
    path: Path, codes: dict[str, np.ndarray], given: dict[str, np.ndarray], head: str | None, camera: Camera | None,
    audio: np.ndarray | None,
) -> FileCodes:  # fmt: skip
    count = len(next(iter(codes.values())))
    for name, values in codes.items():
        width = _WIDTHS.get(name, values.shape[-1] if values.ndim == 2 else -1)
        if values.shape != (count, width) or not count:
            raise DatasetError(
                f"{path}: {name} has shape {values.shape}, not ({count or 'T'}, {'E' if width < 0 else width}).",
                hint="Every code has a row a frame; all are equally long.", path=path,
            )  # fmt: skip
    usable = np.asarray(given["valid"], bool) if "valid" in given else np.ones(count, bool)
    if usable.shape != (count,):
        raise DatasetError(f"{path}: valid has shape {usable.shape}, not ({count},).", path=path)
    for values in codes.values():
        usable = usable & np.isfinite(values).all(axis=1)
    if not usable.any():
        raise DatasetError(f"{path}: no frame is valid and finite: there is nothing to draw.", path=path)
    shape = np.asarray(given["shape"], np.float32).reshape(-1) if "shape" in given else None
    closed = {name: close_gaps(values, usable) for name, values in codes.items()}
    return FileCodes(closed, int((~usable).sum()), head, shape, camera, audio)


def _camera(path: Path, values: np.ndarray) -> Camera:
    numbers = np.asarray(values, np.float64).reshape(-1)
    if len(numbers) != 6:
        raise DatasetError(f"{path}: camera has {len(numbers)} numbers, not fx, fy, cx, cy, width, height.", path=path)
    try:
        fx, fy, cx, cy = numbers[:4].tolist()
        return Camera(fx, fy, cx, cy, int(numbers[4]), int(numbers[5]))
    except ValueError as error:
        raise DatasetError(f"{path}: {error}.", path=path) from error


def _row(path: Path) -> tuple[dict[str, np.ndarray], str | None, Camera | None, np.ndarray | None]:
    try:
        file = pq.ParquetFile(path)
        if file.metadata.num_rows != 1:
            raise DatasetError(
                f"{path} has {file.metadata.num_rows} rows, codes are drawn of one.",
                hint="Rows of a dataset are drawn by: rsat-data render DATASET --row ID --out talk.mp4", path=path,
            )  # fmt: skip
        there = set(file.schema_arrow.names)
        table = file.read(columns=[name for name in (*_NAMES, "audio") if name in there])
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path} cannot be read as Parquet: {error}.", path=path) from error
    given: dict[str, np.ndarray] = {}
    for name in (*CODES, "shape", "valid"):
        if name in table.column_names and table[name][0].as_py() is not None:
            column = one_chunk(table[name])
            given[name] = split_frames(column)[0] if name in CODES else np.asarray(table[name][0].as_py())
    head = table["head_model"][0].as_py() if "head_model" in there else None
    camera = table["camera"][0].as_py() if "camera" in there else None
    sound = (table["audio"][0].as_py() or {}).get("bytes") if "audio" in there else None
    audio = None
    if sound is not None:
        import soundfile

        audio, rate = soundfile.read(io.BytesIO(sound), dtype="float32")
        audio = audio if rate == 16_000 and audio.ndim == 1 else None
    return given, head, Camera(**camera) if camera else None, audio


def require_expressions(found: FileCodes, head: HeadModel, path: Path) -> None:
    """Refuse codes of another head.

    Raises:
        HeadMismatch: by what the file says, or by the number of expressions.
    """
    if found.head_model not in (None, head.id):
        raise HeadMismatch(f"{path} holds codes of the head {found.head_model}, they would move {head.id}.", path=path)
    width = found.codes["expression"].shape[1] if "expression" in found.codes else head.num_expression
    if width != head.num_expression:
        raise HeadMismatch(
            f"{path} has {width} expressions, the head {head.id} has {head.num_expression}: codes of another head.",
            path=path,
        )
