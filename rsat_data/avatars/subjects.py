"""The subjects of a published dataset, with the rows an avatar could be fitted to."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rsat_data.errors import DatasetError
from rsat_data.reader import Dataset, load

_KEYS = ["row_id", "subject_id", "source_id", "start_s", "num_frames", "valid", "head_model"]


@dataclass
class Subject:
    """One human being and its rows."""

    subject_id: str
    rows: list[str] = field(default_factory=list)
    """Row ids, in the order of source and time."""
    positions: list[int] = field(default_factory=list)
    """Where they lie in the dataset, in the same order."""
    frames: int = 0
    valid: int = 0
    """Frames that are valid."""
    head_model: str = ""


def open_rows(out: Path) -> Dataset:
    """All rows of the dataset, keeping little in memory."""
    return load(out, split=None, cache_bytes=64 << 20)


def list_subjects(data: Dataset) -> list[Subject]:
    """Subjects in the order of their names.

    Raises:
        DatasetError: the dataset holds no row.
    """
    if not len(data):
        raise DatasetError(f"{data.root} holds no row: there is nobody to fit an avatar to.", path=data.root)
    table = data.arrow(_KEYS)
    columns = {name: table[name].to_pylist() for name in _KEYS if name != "valid"}
    offsets = np.concatenate([[0], np.cumsum(columns["num_frames"])])
    flags = table["valid"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    subjects: dict[str, Subject] = {}
    for index in sorted(
        range(len(table)), key=lambda i: tuple(columns[k][i] for k in ("source_id", "start_s", "row_id"))
    ):
        name = columns["subject_id"][index]
        subject = subjects.setdefault(name, Subject(name, head_model=columns["head_model"][index]))
        subject.rows.append(columns["row_id"][index])
        subject.positions.append(index)
        subject.frames += columns["num_frames"][index]
        subject.valid += int(flags[offsets[index] : offsets[index + 1]].sum())
    return [subjects[name] for name in sorted(subjects)]
