from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import schemas
from schemas.arrow import table_from_rows
from schemas.validators import audio_fits, row_problems, schema_problems
from tests.dataset_factory import ClipSpec, make_clip, make_row

TRIPLETS, CLIPS = schemas.TABLES["triplets"], schemas.TABLES["clips"]
PAIR = ClipSpec("s", "a", "b", kinship="blood", status="unequal", senior="B", video=False)


def rows() -> list[dict[str, Any]]:
    return [make_row(PAIR, "A"), make_row(PAIR, "B")]


def test_good_rows_have_no_problems() -> None:
    table = table_from_rows(TRIPLETS, rows())
    assert schema_problems(table.schema, TRIPLETS) == []
    assert row_problems(table, TRIPLETS) == []
    assert row_problems(TRIPLETS.schema.empty_table(), TRIPLETS) == []
    assert row_problems(table_from_rows(CLIPS, [make_clip(PAIR, rows())]), CLIPS) == []


def poke(name: str, frame: int, value: float) -> Callable[[dict[str, Any]], None]:
    def change(row: dict[str, Any]) -> None:
        row[name] = row[name].copy()
        row[name][frame, 0] = value

    return change


def put(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda row: row.update(values)


WORD = {"word": "late", "start": 0.1, "end": 9.0, "score": 0.5, "speaker": "A"}


@pytest.mark.parametrize(
    ("change", "column", "message"),
    [
        (poke("expression", 3, np.nan), "expression", "not finite"),
        (poke("rotation", 3, 3.3), "rotation", "believable"),
        (poke("jaw", 3, 1.2), "jaw", "believable"),
        (poke("eyes", 0, -2.0), "eyes", "believable"),
        (poke("translation", 0, 90.0), "translation", "believable"),
        (put(jaw=np.zeros((9, 3), np.float32)), "jaw", "has 9 frames, num_frames is 10"),
        (put(speaking=np.zeros(11, bool)), "speaking", "has 11 frames"),
        (put(shape=np.full(10, np.inf, np.float32)), "shape", "not finite"),
        (put(expression=np.zeros((10, 50), np.float32)), "expression", "52 values each"),
        (put(reprojection_px=np.full(10, np.nan, np.float32)), "reprojection_px", "not a distance"),
        (put(end_s=3.0), "end_s", "does not hold 10 frames"),
        (put(person="C"), "person", "'C', allowed are A, B"),
        (put(words=[WORD]), "words", "not within the clip"),
        (put(words=[WORD | {"end": 0.2, "speaker": "C"}]), "words", "'C', should be A or B"),
        (put(senior="none"), "senior", "though status is unequal"),
        (put(status="equal"), "senior", "though status is equal"),
        (put(relation_source="unlabelled"), "relation_source", "though a relation is given"),
        (put(relation_confidence=1.5), "relation_confidence", "in [0, 1]"),
        (put(partner_subject_id=None), "partner_row_id", "null together"),
        (put(q_valid=0.1), "q_valid", "the column valid says 0.9"),
        (put(camera={"fx": -1.0, "fy": 1.0, "cx": 0.0, "cy": 0.0, "width": 1, "height": 1}), "camera", "fx is -1"),
        (put(audio={"bytes": b"", "path": "x"}), "audio", "holds no bytes"),
    ],
)
def test_each_fault_is_found_once_and_in_its_row(
    change: Callable[[dict[str, Any]], None], column: str, message: str
) -> None:
    records = rows()
    change(records[1])
    problems = row_problems(table_from_rows(TRIPLETS, records), TRIPLETS)
    assert [(problem.row, problem.column) for problem in problems] == [(1, column)], problems
    assert message in problems[0].message


def test_nulls_are_found_by_row() -> None:
    table = table_from_rows(TRIPLETS, rows())
    for name, cells in (
        ("subject_id", pa.array([None, "b"])),
        ("jaw", pa.array([[[0.0, None, 0.0]] * 10, [[0.0] * 3] * 10], TRIPLETS["jaw"].type)),
        ("valid", pa.array([[None] * 10, [True] * 10])),
    ):
        position = table.schema.get_field_index(name)
        problems = row_problems(table.set_column(position, table.schema.field(name), cells), TRIPLETS)
        assert [(problem.row, problem.column) for problem in problems] == [(0, name)]


def test_schema_problems_name_the_column() -> None:
    schema = TRIPLETS.schema
    other = schema.remove(schema.get_field_index("jaw")).append(pa.field("extra", pa.int8()))
    other = other.set(0, pa.field("row_id", pa.int64()))
    columns = {problem.column for problem in schema_problems(other, TRIPLETS)}
    assert columns == {"jaw", "extra", "row_id"}
    messages = [problem.message for problem in schema_problems(schema.remove_metadata(), TRIPLETS)]
    assert any("format version" in message for message in messages)
    assert schema_problems(CLIPS.schema, TRIPLETS)[0].message.startswith("the file says it is table 'clips'")


@given(st.integers(1, 800), st.integers(-2000, 2000))
@example(2, 640)  # quotients of seconds differed by a little less than a frame
def test_clock_rule(frames: int, shift: int) -> None:
    assert audio_fits(frames * 640 + shift, 16000, frames, 25.0) == (abs(shift) < 640)
