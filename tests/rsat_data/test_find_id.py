"""Rows and subjects found by the beginning of their ids."""

from __future__ import annotations

from pathlib import Path

import pytest

from rsat_data.errors import DatasetError
from rsat_data.find_id import Kind, find_id, nearest

ROWS = ["row_12ab", "row_12cd", "row_77ff", "other"]
SUBJECTS = ["subj_12ab", "subj_12cd", "subj_77ef"]
ROOT = Path("d")


@pytest.mark.parametrize(
    ("kind", "names", "wanted", "found"),
    [
        ("row", ROWS, "row_12ab", "row_12ab"),
        ("row", ROWS, "12c", "row_12cd"),
        ("row", ROWS, "row_7", "row_77ff"),
        ("row", ROWS, "oth", "other"),
        ("subject", SUBJECTS, "subj_77ef", "subj_77ef"),
        ("subject", SUBJECTS, "77", "subj_77ef"),
        ("subject", SUBJECTS, "subj_7", "subj_77ef"),
    ],
)
def test_ids_and_unique_beginnings(kind: Kind, names: list[str], wanted: str, found: str) -> None:
    assert find_id(kind, wanted, names, ROOT) == found


def test_a_whole_id_wins_over_longer_ones() -> None:
    assert find_id("row", "row_1", ["row_1", "row_12"], ROOT) == "row_1"


@pytest.mark.parametrize(("kind", "names"), [("row", ROWS), ("subject", SUBJECTS)])
def test_an_ambiguous_beginning_lists_the_candidates(kind: Kind, names: list[str]) -> None:
    with pytest.raises(DatasetError, match=f"beginning of 2 {kind}s of d") as caught:
        find_id(kind, "12", names, ROOT)
    assert ", ".join(names[:2]) in caught.value.hint


@pytest.mark.parametrize("wanted", ["row_77fe", "77fe", "row_88", ""])
def test_an_unknown_id_lists_the_nearest(wanted: str) -> None:
    with pytest.raises(DatasetError, match="No row of d is called") as caught:
        find_id("row", wanted, ROWS, ROOT)
    assert "Nearest: " in caught.value.hint
    if "77" in wanted:
        assert caught.value.hint.startswith("Nearest: row_77ff")


def test_nothing_to_find_says_so() -> None:
    with pytest.raises(DatasetError) as caught:
        find_id("subject", "77", [], ROOT)
    assert "holds no row" in caught.value.hint


def test_nearest_of_many_is_quick_and_right() -> None:
    names = [f"row_{number:08x}" for number in range(20_000)]
    assert nearest("row", "row_00004bzd", names)[0].startswith("row_00004b")
