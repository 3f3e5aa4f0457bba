from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from model.head import HeadModel
from rsat_data.errors import DatasetError, HeadMismatch, ModelFileError
from rsat_data.preview.lookup import find_head, find_row, nearest, sample_rows


@pytest.fixture(autouse=True)
def no_imported_heads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Whatever the user of this machine has imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RSAT_DATA_HOME", str(tmp_path_factory.mktemp("home")))
        yield


NAMES = ["row_12ab", "row_12cd", "row_77ff", "other"]


@pytest.mark.parametrize(
    ("wanted", "found"), [("row_12ab", "row_12ab"), ("12c", "row_12cd"), ("row_7", "row_77ff"), ("oth", "other")]
)
def test_ids_and_unique_beginnings(wanted: str, found: str) -> None:
    assert find_row(wanted, NAMES) == found


def test_a_whole_id_wins_over_longer_ones() -> None:
    assert find_row("row_1", ["row_1", "row_12"]) == "row_1"


def test_an_ambiguous_beginning_lists_the_candidates() -> None:
    with pytest.raises(DatasetError, match="beginning of 2 row ids") as caught:
        find_row("12", NAMES)
    assert "row_12ab, row_12cd" in caught.value.hint


@pytest.mark.parametrize("wanted", ["row_77fe", "77fe", "row_88", ""])
def test_an_unknown_id_lists_the_nearest(wanted: str) -> None:
    with pytest.raises(DatasetError, match="No row of this dataset") as caught:
        find_row(wanted, NAMES)
    assert "Nearest: " in caught.value.hint
    if "77" in wanted:
        assert caught.value.hint.startswith("Nearest: row_77ff")


def test_nearest_of_many_is_quick_and_right() -> None:
    names = [f"row_{number:08x}" for number in range(20_000)]
    assert nearest("row_00004bzd", names)[0].startswith("row_00004b")


def test_a_sample_is_drawn_by_the_seed_in_the_order_of_the_rows() -> None:
    names = [f"row_{number:03}" for number in range(50)]
    first = sample_rows(names, 5, seed=1)
    assert first == sample_rows(names, 5, seed=1) == sorted(first) and len(set(first)) == 5
    assert first != sample_rows(names, 5, seed=2)
    assert sample_rows(names, 99) == names


def test_the_head_of_the_codes_is_found_by_its_id(open_head: HeadModel) -> None:
    assert find_head(open_head.id).id == open_head.id


def test_another_edition_of_a_head_is_not_taken_silently(open_head: HeadModel) -> None:
    with pytest.raises(HeadMismatch, match="0123456789ab") as caught:
        find_head(f"{open_head.name}@0123456789ab")
    assert open_head.id in caught.value.hint and "--head open" in caught.value.hint
    assert find_head(f"{open_head.name}@0123456789ab", "open").id == open_head.id


def test_a_bare_name_is_enough_and_says_how_to_import_it() -> None:
    assert find_head("open").name.startswith("open-head")
    with pytest.raises(HeadMismatch) as caught:
        find_head("flame2020")
    assert "import-flame FILE --name flame2020" in caught.value.hint


def test_an_absent_head_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(HeadMismatch, match="not on this machine") as caught:
        find_head("flame-2020@0123456789ab")
    assert "import-flame" in caught.value.hint and "--head FILE" in caught.value.hint
    with pytest.raises(ModelFileError):
        find_head("flame-2020@0123456789ab", tmp_path / "none.safetensors")
