"""What of a row decides an avatar that is fitted to it: the hash of codes, camera, validity, video and matte.

Everything else in a row (words, relation, split, quality) may change without making its avatar another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rsat_data.columns import one_chunk, split_frames

CODES = ("expression", "jaw", "neck", "eyes", "rotation", "translation")
_CAMERA = ("fx", "fy", "cx", "cy", "width", "height")
MEDIA = ("video", "matte")
#: Columns that are looked at.
COLUMNS = ("head_model", "shape", *CODES, "valid", "camera", *MEDIA)


def row_hash(row: Mapping[str, Any]) -> str:
    """32 hex digits of BLAKE2b over what an avatar sees of a row.

    Args:
        row: :data:`COLUMNS`, as ``rsat_data.load`` gives them.
    """
    digest = hashlib.blake2b(digest_size=16)

    def take(name: str, content: bytes) -> None:
        digest.update(f"{name}:{len(content)}:".encode())
        digest.update(content)

    take("head_model", str(row["head_model"]).encode())
    for name in ("shape", *CODES):
        values = np.ascontiguousarray(row[name], "<f4")
        take(f"{name}{list(values.shape)}", values.tobytes())
    take("valid", np.asarray(row["valid"], np.uint8).tobytes())
    take("camera", repr([float(row["camera"][name]) for name in _CAMERA]).encode())
    for name in MEDIA:
        cell = row[name]
        take(name, b"none" if cell is None or cell["bytes"] is None else hashlib.sha256(cell["bytes"]).digest())
    return digest.hexdigest()


def cells(table: pa.Table) -> dict[str, Any]:
    """:data:`COLUMNS` of a table of one row, as :func:`row_hash` takes them."""
    row: dict[str, Any] = {}
    for name in COLUMNS:
        column = one_chunk(table[name])
        if name in CODES:
            row[name] = split_frames(column)[0]
        elif name in ("shape", "valid"):
            row[name] = pc.list_flatten(column).to_numpy(zero_copy_only=False)
        else:
            row[name] = column[0].as_py()
    return row
