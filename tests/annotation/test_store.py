from __future__ import annotations

import json
import multiprocessing
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotation.store import ADJUDICATION, LabelStore, Media, Project
from rsat_data.errors import LabelError

PROJECT = Project("http://127.0.0.1:8080", 3, "t", "ab" * 32, "<View/>", 3, "v1", Media("local", "/m"), created="now")


@pytest.fixture
def store(tmp_path: Path) -> LabelStore:
    return LabelStore(tmp_path)


def test_nothing_is_made_by_looking(store: LabelStore) -> None:
    place = store.round()
    assert place.project() is None and place.pushed() == {} and place.cursor() == {} and store.url is None
    assert list(store.out.iterdir()) == []


def test_project_comes_back(store: LabelStore) -> None:
    store.round().write_project(PROJECT)
    assert store.round().project() == PROJECT and store.url == PROJECT.url
    assert store.round(ADJUDICATION).project() is None
    assert LabelStore(store.out).round().project() == PROJECT


def test_project_of_a_newer_version_is_refused(store: LabelStore) -> None:
    store.round().write_project(PROJECT)
    path = store.round().root / "project.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2}))
    with pytest.raises(LabelError, match="newer version"):
        store.round().project()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"url": 3}', "\x00\x01"])
def test_damaged_project(content: str, store: LabelStore) -> None:
    store.round().write_project(PROJECT)
    (store.round().root / "project.json").write_text(content)
    with pytest.raises(LabelError, match=r"project.json"):
        store.round().project()


def test_last_record_of_a_clip_counts(store: LabelStore) -> None:
    place = store.round()
    place.append_pushed([{"clip_id": "a", "task_id": 1}, {"clip_id": "b", "task_id": 2}])
    place.append_pushed([{"clip_id": "a", "task_id": 3}])
    place.append_pushed([])
    assert {clip: record["task_id"] for clip, record in place.pushed().items()} == {"a": 3, "b": 2}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(records=st.lists(st.dictionaries(st.text(), st.text(), max_size=3), min_size=1, max_size=4), cut=st.integers(1))
def test_a_line_cut_by_a_kill_is_passed_by(records: list[dict[str, str]], cut: int, tmp_path: Path) -> None:
    place = LabelStore(tmp_path).round()
    place.replace("pushed", records)
    path = place.root / "pushed.jsonl"
    whole = path.read_bytes()
    last = len(whole.rstrip(b"\n").rpartition(b"\n")[2]) + 1
    path.write_bytes(whole[: len(whole) - 1 - cut % last] if cut % last or last else whole)
    assert place.read("pushed") == records[:-1]
    place.append("pushed", [{"new": "line"}])
    assert place.read("pushed") == [*records[:-1], {"new": "line"}]


def test_damage_in_the_middle_is_an_error(store: LabelStore) -> None:
    place = store.round()
    place.append("refused", [{"a": 1}])
    with (place.root / "refused.jsonl").open("ab") as stream:
        stream.write(b"{broken\n")
    with pytest.raises(LabelError, match="line 2"):
        place.read("refused")


def test_forgotten_rounds_are_kept_aside(store: LabelStore) -> None:
    place = store.round()
    for number in (1, 2):
        place.write_project(PROJECT)
        place.append_pushed([{"clip_id": "a", "task_id": number}])
        place.forget()
        assert place.project() is None and place.pushed() == {}
    assert sorted(path.name for path in store.root.iterdir()) == ["labelling.old-1", "labelling.old-2"]


def _hold(out: Path) -> None:
    with LabelStore(out).lock():
        (out / "held").touch()
        time.sleep(60)


def test_one_process_at_a_time(store: LabelStore) -> None:
    other = multiprocessing.get_context("spawn").Process(target=_hold, args=(store.out,))
    other.start()
    try:
        end = time.monotonic() + 60
        while not (store.out / "held").exists() and time.monotonic() < end:
            time.sleep(0.02)
        with pytest.raises(LabelError, match="Another label command"), store.lock():
            pass
    finally:
        other.kill()
        other.join(30)
    # Its death frees the store, and one process may take it twice.
    with store.lock(), store.lock():
        assert (store.root / "lock").exists()


def test_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="not a folder"):
        LabelStore(tmp_path / "absent").make()


def test_server_notes_add_up(store: LabelStore) -> None:
    store.write_server(url="http://a:1", media_root="/m")
    store.write_server(url="http://a:2")
    assert dict(store.read_server()) == {"url": "http://a:2", "media_root": "/m"} and store.url == "http://a:2"
