from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from model.head import HeadModel
from rsat_data.errors import HeadMismatch, ModelFileError
from rsat_data.preview.lookup import find_head, sample_rows


@pytest.fixture(autouse=True)
def no_imported_heads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Whatever the user of this machine has imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RSAT_DATA_HOME", str(tmp_path_factory.mktemp("home")))
        yield


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
