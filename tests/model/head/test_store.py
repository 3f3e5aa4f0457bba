"""Heads by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.head import HeadModel, head_path, list_heads, load_head, require_same_head
from model.head.file import read_head_file, write_head_file
from model.head.names import component_names, is_share
from model.head.store import OPEN_HEAD, imported_path
from rsat_data.errors import HeadMismatch, ModelFileError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RSAT_DATA_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_head_that_was_not_imported_says_how_to(home: Path) -> None:
    for name, command in (("flame2023", "import-flame"), ("ict", "import-ict")):
        with pytest.raises(ModelFileError, match="not been imported") as caught:
            load_head(name)
        assert command in caught.value.hint
    with pytest.raises(ModelFileError, match="no head called 'flame2021'"):
        load_head("flame2021")
    here = {entry.name: entry.here for entry in list_heads()}
    assert here["open"] and not here["ict"] and not here["flame2020"]


def test_names_paths_and_heads_of_the_user(home: Path, head: HeadModel, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays, metadata, _ = read_head_file(OPEN_HEAD)
    path = imported_path("mine")
    path.parent.mkdir(parents=True)
    write_head_file(path, arrays, metadata | {"name": "mine"})
    assert load_head("mine").id.startswith("mine-1.0@")
    assert [entry.name for entry in list_heads() if entry.here] == ["open", "mine"]
    assert head_path("open") == OPEN_HEAD and head_path(path) == path and head_path(str(path)) == path
    monkeypatch.chdir(path.parent)
    assert load_head("./mine.safetensors").id == load_head("mine").id
    for name in ("open", "../open", "Mine", ""):
        with pytest.raises(ModelFileError, match="cannot name"):
            imported_path(name)


def test_codes_of_two_heads_are_kept_apart(head: HeadModel) -> None:
    assert require_same_head(head, head.id) == head.id
    with pytest.raises(HeadMismatch, match="flame2020-1@aa.*flame2023-1@bb") as caught:
        require_same_head("flame2020-1@aa", "flame2023-1@bb")
    assert "retarget" in caught.value.hint


def test_components_are_told_from_shares(head: HeadModel) -> None:
    assert not any(is_share(name) for name in component_names(100))
    assert all(is_share(name) for name in head.expression_names)
