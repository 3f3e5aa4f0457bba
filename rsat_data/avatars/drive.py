"""What moves an avatar: the codes of a row, with the gaps between valid frames closed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.camera import Camera
from rsat_data.avatars.content import CODES
from rsat_data.errors import DatasetError, HeadMismatch
from rsat_data.reader import Row


@dataclass(frozen=True)
class Drive:
    """Codes of T frames, all finite."""

    codes: dict[str, np.ndarray]
    """expression (T, E), jaw (T, 3), neck (T, 3), eyes (T, 6), rotation (T, 3), translation (T, 3); float32."""
    camera: Camera
    """Of the row's own pictures."""
    usable: np.ndarray
    """(T,) bool: frames whose codes are the row's own; those of the others lie between their neighbours'."""
    row_id: str = ""

    def __len__(self) -> int:
        return len(self.usable)


def drive_of(row: Row, head_model: str, num_expression: int) -> Drive:
    """Codes of a row for an avatar.

    Args:
        row: of triplets.
        head_model: id of the avatar's head.
        num_expression: E of that head.

    Raises:
        HeadMismatch: the row has codes of another head.
        DatasetError: no frame of the row is valid.
    """
    if row["head_model"] != head_model:
        raise HeadMismatch(
            f"Row {row['row_id']} has codes of the head {row['head_model']}, the avatar rides on {head_model}.",
            hint="Use a row of a dataset that was built with the avatar's head, or fit the avatar again on the row's.",
        )
    count = int(row["num_frames"])
    codes = {name: np.array(row[name], np.float32).reshape(count, -1) for name in CODES}
    found = codes["expression"].shape[1]
    if found != num_expression:
        raise HeadMismatch(
            f"Row {row['row_id']} has {found} expressions, the head {head_model} has {num_expression}.",
            hint="The row is damaged: rsat-data validate.",
        )
    usable = np.array(row["valid"], bool)
    for values in codes.values():
        usable &= np.isfinite(values).all(axis=1)
    if not usable.any():
        raise DatasetError(
            f"Row {row['row_id']} has no valid frame: there is nothing to move the avatar by.",
            hint="Choose another row; `rsat-data preview` shows what is wrong with this one.",
        )
    closed = {name: close_gaps(values, usable) for name, values in codes.items()}
    return Drive(closed, Camera(**row["camera"]), usable, str(row["row_id"]))


def close_gaps(values: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """(T, D) with unusable frames replaced by what lies linearly between their usable neighbours, and held at the ends.

    Axis-angles are taken as plain numbers: tracked rotations stay far from where they would wrap around.
    """
    if usable.all():
        return values
    there = np.flatnonzero(usable)
    time = np.arange(len(values))
    columns = [np.interp(time, there, values[there, column]) for column in range(values.shape[1])]
    return np.stack(columns, axis=1).astype(np.float32) if columns else values
