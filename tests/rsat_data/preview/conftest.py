"""A small dataset whose codes belong to the open head: two rows with video, one without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import schemas
from model.head import HeadModel, load_head
from rsat_data.publish import CLIPS_FILE, ROWS_FILE, publish
from schemas.arrow import table_from_rows
from tests.dataset_factory import ClipSpec, make_clip, make_row

SPECS = (ClipSpec("src0", "anna", "ben", frames=16), ClipSpec("src1", "eve", frames=12, video=False, seed=5))


@pytest.fixture(scope="session")
def open_head() -> HeadModel:
    return load_head()


def make_previewable(folder: Path, head: HeadModel, **changes: Any) -> Path:
    """Publish ``SPECS`` with codes of ``head``; ``changes`` go into every row."""
    parts = []
    for spec in SPECS:
        rows = [make_row(spec, person) for person in (["A", "B"] if spec.subject_b else ["A"])]
        for row in rows:
            rng = np.random.default_rng(3)
            row["head_model"] = head.id
            row["shape"] = rng.normal(size=head.num_shape).astype(np.float32)
            row["expression"] = rng.uniform(0, 0.4, (spec.frames, head.num_expression)).astype(np.float32)
            row["rotation"] = row["rotation"] * 0.3
            valid = np.ones(spec.frames, bool)
            valid[7:10] = False
            row["valid"], row["q_valid"] = valid, float(valid.mean())
            row.update(changes)
        part = folder / "parts" / spec.clip_id
        part.mkdir(parents=True)
        for name, table, records in ((ROWS_FILE, "triplets", rows), (CLIPS_FILE, "clips", [make_clip(spec, rows)])):
            kind = schemas.TABLES[table]
            pq.write_table(table_from_rows(kind, records), part / name, **schemas.parquet_options(kind.schema))
        parts.append(part)
    publish(parts, folder / "out")
    return folder / "out"


@pytest.fixture(scope="session")
def previewable(tmp_path_factory: pytest.TempPathFactory, open_head: HeadModel) -> Path:
    return make_previewable(tmp_path_factory.mktemp("previewable"), open_head)
