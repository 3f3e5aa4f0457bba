from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import schemas
from schemas.arrow import table_from_rows
from tests.dataset_factory import ClipSpec, make_row

TRIPLETS = schemas.TABLES["triplets"]


def test_every_value_survives_the_way_into_arrow() -> None:
    row = make_row(ClipSpec("s", "a", "b", video=False), "A")
    table = table_from_rows(TRIPLETS, [row, row])
    assert table.schema.equals(TRIPLETS.schema, check_metadata=True)
    back = table.to_pylist()[1]
    for name, value in row.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(np.asarray(back[name], value.dtype), value)
        elif name not in ("words", "camera", "q_reprojection", "q_valid"):
            assert back[name] == value, name


@given(st.lists(st.integers(0, 7), min_size=0, max_size=5))
def test_ragged_arrays_keep_their_rows(lengths: list[int]) -> None:
    spec = schemas.Table("t", "row", (TRIPLETS["jaw"], TRIPLETS["speaking"]))
    rng = np.random.default_rng(0)
    rows = [{"jaw": rng.random((n, 3), np.float32), "speaking": rng.random(n) < 0.5} for n in lengths]
    for row, cell in zip(rows, table_from_rows(spec, rows).to_pylist(), strict=True):
        np.testing.assert_array_equal(np.asarray(cell["jaw"], np.float32).reshape(-1, 3), row["jaw"])
        assert cell["speaking"] == row["speaking"].tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"jaw": np.zeros((10, 4), np.float32)}, r"jaw: row 0 should have shape \(T, 3\), got \(10, 4\)"),
        ({"speaking": np.zeros((10, 1), bool)}, r"speaking: row 0 should have shape"),
        ({"person": None}, "person must not be null"),
        ({"surplus": 1}, r"unknown columns \['surplus'\]"),
        ({"num_frames": "ten"}, "num_frames"),
    ],
)
def test_what_does_not_fit_is_named(change: dict, message: str) -> None:
    row = make_row(ClipSpec("s", "a", video=False), "A") | change
    with pytest.raises(ValueError, match=message):
        table_from_rows(TRIPLETS, [row])


def test_a_missing_column_is_named() -> None:
    row = make_row(ClipSpec("s", "a", video=False), "A")
    del row["jaw"]
    with pytest.raises(ValueError, match=r"missing columns \['jaw'\]"):
        table_from_rows(TRIPLETS, [row])
