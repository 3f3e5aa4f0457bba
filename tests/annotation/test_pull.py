from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotation import pull as verb
from annotation.client import Client
from annotation.form import load_form
from annotation.pull import PullOptions, PullResult, pull
from annotation.store import LabelStore, Media, Project
from annotation.votes import annotator_id, current_votes, read_votes
from rsat_data.errors import DatasetError, LabelAuthError, LabelError, LabelProjectError, LabelServerError
from rsat_data.validate import validate
from tests.annotation.little_server import LittleServer
from tests.annotation.test_results import answers, choice, prediction
from tests.dataset_factory import ClipSpec, make_dataset
from tests.rsat_data.test_writer import Kill, kill_at, tree

SPECS = [ClipSpec(f"src{n}", f"s{n}", f"t{n}", video=False, frames=4, seed=n) for n in range(3)]
CLIPS = [spec.clip_id for spec in SPECS]
FORM = load_form()


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("published"), SPECS)[0]


@pytest.fixture
def server() -> Iterator[LittleServer]:
    with LittleServer(FORM.xml) as running:
        yield running


@pytest.fixture
def out(published: Path, tmp_path: Path, server: LittleServer) -> Path:
    return prepared(Path(shutil.copytree(published, tmp_path / "out")), server)


def prepared(out: Path, server: LittleServer) -> Path:
    project = Project(server.url, 1, "t", FORM.hash, FORM.xml, 3, "v1", Media("url", prefix="http://m"), "labelling")
    LabelStore(out).round().write_project(project)
    return out


def again(out: Path, server: LittleServer, **options: Any) -> PullResult:
    with server.client() as client:
        return pull(out, PullOptions(**options), client=client)


def counted(out: Path) -> dict[tuple[str, str], str]:
    """Clip and annotator -> kinship, of the votes that count."""
    return {(v["clip_id"], v["annotator"]): v["kinship"] for v in current_votes(read_votes(out)).to_pylist()}


def who(server: LittleServer, user: int) -> str:
    return annotator_id(server.url, user)


def test_votes_come_once_and_only_what_changed_is_asked_for(out: Path, server: LittleServer) -> None:
    one, two = server.push(CLIPS[0]), server.push(CLIPS[1])
    server.annotate(one, 5, answers())
    server.annotate(one, 6, answers(kinship="unsure"))
    first = again(out, server)
    assert (first.votes, first.tasks, first.annotations, first.total) == (2, 2, 2, 2)
    assert counted(out) == {(CLIPS[0], who(server, 5)): "blood", (CLIPS[0], who(server, 6)): "unsure"}
    assert validate(out).ok
    before = tree(out)
    assert (again(out, server).votes, again(out, server, full=True).votes) == (0, 0)
    assert tree(out) == before
    server.tick(1000)
    server.annotate(two, 5, answers(choice("senior", "A"), status="unequal"))
    later = again(out, server)
    assert (later.votes, later.tasks, later.total) == (1, 2, 3)  # what was last seen is looked at once more
    assert again(out, server).tasks == 1
    vote = read_votes(out).to_pylist()[-1]
    assert (vote["clip_id"], vote["senior"], vote["seconds_spent"]) == (CLIPS[1], "A", 9.5)
    assert vote["config_hash"] == FORM.hash


def test_a_changed_mind_is_a_new_row_and_the_last_counts(out: Path, server: LittleServer) -> None:
    task = server.push(CLIPS[0])
    annotation = server.annotate(task, 5, answers())
    again(out, server)
    server.alter(task, annotation, result=answers(kinship="non_blood"))
    assert again(out, server).votes == 1
    assert read_votes(out)["kinship"].to_pylist() == ["blood", "non_blood"]
    assert counted(out) == {(CLIPS[0], who(server, 5)): "non_blood"}


def test_drafts_and_skipped_ones_are_kept_apart(out: Path, server: LittleServer) -> None:
    task = server.push(CLIPS[0])
    server.annotate(task, 5, answers(), was_cancelled=True)
    server.draft(task, answers())
    result = again(out, server)
    assert (result.votes, result.cancelled, result.drafts) == (0, 1, 1)
    folder = LabelStore(out).round()
    assert [r["annotator"] for r in folder.read("cancelled")] == [who(server, 5)]
    assert len(folder.read("drafts")) == 1
    assert "someone@example.org" not in (folder.root / "drafts.jsonl").read_text()
    again(out, server)
    assert (len(folder.read("cancelled")), len(folder.read("drafts"))) == (1, 1)


def test_what_breaks_a_rule_is_refused_by_name_and_read_again_when_corrected(out: Path, server: LittleServer) -> None:
    task = server.push(CLIPS[0])
    annotation = server.annotate(task, 5, answers(kinship="cousins"))
    result = again(out, server)
    assert (result.votes, len(result.refused)) == (0, 1)
    told = str(result.refused[0])
    assert CLIPS[0] in told and f"task {task}" in told and who(server, 5) in told and "cousins" in told
    assert LabelStore(out).round().read("refused")[0]["reasons"] == list(result.refused[0].reasons)
    server.alter(task, annotation, result=answers())
    assert again(out, server).votes == 1
    assert LabelStore(out).round().read("refused") == []


def test_a_vote_that_is_skipped_or_spoilt_later_counts_no_more_and_may_come_back(
    out: Path, server: LittleServer
) -> None:
    one, two = server.push(CLIPS[0]), server.push(CLIPS[1])
    skipped, spoilt = server.annotate(one, 5, answers()), server.annotate(two, 5, answers())
    again(out, server)
    server.alter(one, skipped, was_cancelled=True)
    server.alter(two, spoilt, result=[])
    result = again(out, server)
    assert (result.votes, result.withdrawn, len(result.refused)) == (0, 2, 1)
    assert counted(out) == {}
    assert (again(out, server).withdrawn, read_votes(out).num_rows) == (0, 4)
    server.alter(one, skipped, was_cancelled=False)
    assert again(out, server).votes == 1
    assert counted(out) == {(CLIPS[0], who(server, 5)): "blood"}
    assert validate(out).ok


def test_deleted_annotations_are_reported_and_go_only_if_asked(out: Path, server: LittleServer) -> None:
    one, two = server.push(CLIPS[0]), server.push(CLIPS[1])
    first = server.annotate(one, 5, answers())
    server.annotate(two, 6, answers())
    again(out, server)
    server.delete(one, first)
    del server.tasks[two]
    result = again(out, server, full=True)
    assert (result.withdrawn, len(result.deleted)) == (0, 2)
    assert CLIPS[0] in result.deleted[0] and f"annotation {first}" in result.deleted[0]
    assert len(counted(out)) == 2
    assert again(out, server, full=True, withdraw_deleted=True).withdrawn == 2
    assert counted(out) == {}
    done = again(out, server, full=True, withdraw_deleted=True)
    assert (done.withdrawn, done.deleted) == (0, ())


def test_of_two_answers_of_one_person_the_last_counts_until_it_is_taken_back(out: Path, server: LittleServer) -> None:
    task = server.push(CLIPS[0])
    server.annotate(task, 5, answers(kinship="unsure"))
    second = server.annotate(task, 5, answers())
    result = again(out, server)
    assert result.votes == 2 and "answered 2 times; the last counts" in result.warnings[0]
    assert set(counted(out).values()) == {"blood"}
    server.alter(task, second, was_cancelled=True)
    again(out, server)
    assert set(counted(out).values()) == {"unsure"}
    before = read_votes(out).num_rows
    again(out, server, full=True)
    assert read_votes(out).num_rows == before


def test_an_answer_changed_by_somebody_else_is_pointed_out(out: Path, server: LittleServer) -> None:
    task = server.push(CLIPS[0])
    server.annotate(task, 5, answers(), updated_by=6)
    (warning,) = again(out, server).warnings
    assert who(server, 5) in warning and f"last changed by {who(server, 6)}" in warning and CLIPS[0] in warning


def test_shown_and_hidden_predictions_are_told_apart(out: Path, server: LittleServer) -> None:
    shown, hidden = server.push(CLIPS[0], [prediction(kinship="blood")]), server.push(CLIPS[1])
    LabelStore(out).round().append_pushed(
        [
            {"clip_id": CLIPS[0], "task_id": shown, "prediction_hidden": False},
            {
                "clip_id": CLIPS[1],
                "task_id": hidden,
                "prediction_hidden": True,
                "prediction": {"kinship": "non_blood", "status": None},
            },
        ]
    )
    server.annotate(shown, 5, answers())
    server.annotate(hidden, 5, answers())
    again(out, server)
    rows = {v["clip_id"]: v for v in read_votes(out).to_pylist()}
    fields = ("prediction_shown", "prediction_accepted", "prediction_version")
    assert [rows[CLIPS[0]][name] for name in fields] == [True, True, "v1"]
    assert [rows[CLIPS[1]][name] for name in fields] == [False, False, "v1"]


def test_votes_on_clips_that_left_the_dataset_are_kept_and_told(out: Path, server: LittleServer) -> None:
    task = server.push("clip_gone")
    LabelStore(out).round().append_pushed([{"clip_id": "clip_gone", "task_id": task}])
    stray = server.push("clip_stray")
    server.annotate(task, 5, answers())
    server.annotate(stray, 5, answers())
    result = again(out, server)
    assert (result.votes, dict(result.gone)) == (1, {"clip_gone": 1})
    assert "clip clip_stray was never pushed" in str(result.refused[0])
    assert validate(out).ok


def test_a_form_that_was_edited_by_hand_stops_the_pull_and_is_told_in_words(out: Path, server: LittleServer) -> None:
    server.annotate(server.push(CLIPS[0]), 5, answers())
    server.config = FORM.xml.replace('value="blood"', 'value="family"')
    with pytest.raises(LabelProjectError, match="kinship: choice 'blood' is now 'family'"):
        again(out, server)
    assert read_votes(out).num_rows == 0


def test_a_project_that_is_gone_or_was_never_made_is_told(out: Path, server: LittleServer) -> None:
    server.trouble = lambda path: 404
    with pytest.raises(LabelProjectError, match="Project 1"):
        again(out, server)
    with pytest.raises(LabelError, match="no adjudication project"):
        again(out, server, round="adjudication")
    with pytest.raises(LabelError, match="no round 'x'"):
        again(out, server, round="x")


def test_a_folder_without_a_dataset_is_left_alone(tmp_path: Path, server: LittleServer) -> None:
    with pytest.raises(DatasetError, match="no manifest"):
        again(tmp_path, server)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("status", "error"), [(500, LabelServerError), (0, LabelServerError), (401, LabelAuthError)])
def test_a_server_that_fails_on_the_way_loses_and_doubles_nothing(
    out: Path, server: LittleServer, monkeypatch: pytest.MonkeyPatch, status: int, error: type[Exception]
) -> None:
    small_pages(monkeypatch, 2)
    for clip in CLIPS:
        server.annotate(server.push(clip), 5, answers())
    asked = []

    def trouble(path: str) -> int | None:
        asked.append(path)
        return status if asked.count("/api/tasks/") == 2 else None

    server.trouble = trouble
    with pytest.raises(error):
        again(out, server)
    assert read_votes(out).num_rows == 2 and LabelStore(out).round().cursor() == {}
    server.trouble = lambda path: None
    result = again(out, server)
    assert (result.votes, result.total) == (1, 3)
    assert len(set(read_votes(out)["vote_id"].to_pylist())) == 3


def small_pages(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    plain = Client.tasks

    def tasks(self: Client, project: int, *, updated_after: str | None = None, **more: Any) -> Any:
        return plain(self, project, updated_after=updated_after, page_size=size, **more)

    monkeypatch.setattr(Client, "tasks", tasks)


def test_what_changes_behind_the_readers_back_comes_with_the_next_pull(
    out: Path, server: LittleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While page 2 is read, a task of page 1 changes; the newest stamp seen is younger than that change."""
    small_pages(monkeypatch, 1)
    one, two, three = (server.push(clip) for clip in CLIPS)
    server.annotate(one, 5, answers())

    def meanwhile(page: int) -> None:
        if page == 1:
            server.annotate(one, 6, answers())
            server.annotate(three, 5, answers())

    server.after_page = meanwhile
    assert again(out, server).votes == 2  # user 5 on both; not yet user 6
    server.after_page = lambda page: None
    assert again(out, server).votes == 1
    assert set(counted(out)) == {(CLIPS[0], who(server, 5)), (CLIPS[0], who(server, 6)), (CLIPS[2], who(server, 5))}


def test_killed_at_every_moment_it_loses_and_doubles_nothing(
    published: Path, tmp_path: Path, server: LittleServer
) -> None:
    one, two = server.push(CLIPS[0]), server.push(CLIPS[1])
    server.annotate(one, 5, answers())
    server.annotate(two, 6, [])
    spoilt = server.annotate(two, 5, answers())
    base = prepared(Path(shutil.copytree(published, tmp_path / "base")), server)
    again(base, server)
    server.alter(two, spoilt, was_cancelled=True)
    server.annotate(one, 6, answers(kinship="unsure"))
    straight = Path(shutil.copytree(base, tmp_path / "straight"))
    again(straight, server)
    for moment in range(200):
        out = Path(shutil.copytree(base, tmp_path / f"out{moment}"))
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, moment)
            # After a kill nothing is written any more.
            patch.setattr(verb.__globals__["_Pull"], "flush", _once(verb.__globals__["_Pull"].flush))
            try:
                again(out, server)
                break
            except Kill:
                pass
        again(out, server)
        assert read_votes(out).equals(read_votes(straight))
        for name in ("pulled", "drafts", "cancelled", "refused"):
            assert LabelStore(out).round().read(name) == LabelStore(straight).round().read(name), (moment, name)
        before = tree(out)
        assert (again(out, server).votes, again(out, server).withdrawn) == (0, 0)
        assert tree(out) == before
    assert moment > 10


def _once(flush: Any) -> Any:
    """A flush that does nothing after it was killed, as a process that is gone."""
    dead = []

    def call(self: Any) -> None:
        if dead:
            return
        try:
            flush(self)
        except Kill:
            dead.append(True)
            raise

    return call


def test_nothing_secret_or_personal_is_written(out: Path, server: LittleServer) -> None:
    task = server.push(CLIPS[0])
    server.annotate(task, 5, answers(), created_username="Jo Doe jo@example.org, 5")
    server.draft(task, answers())
    again(out, server)
    found = b"".join(path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file())
    assert b"example.org" not in found and b"Jo Doe" not in found and b"0123456789" * 4 not in found
    assert json.loads((out / ".label/labelling/pull.json").read_text()).keys() == {"updated_after", "newest"}


_USERS, _WORDS = (5, 6), ("blood", "non_blood", "unsure")
_ACT = st.tuples(
    st.sampled_from(["answer", "alter", "skip", "unskip", "spoil", "delete", "pull", "pull", "full"]),
    st.integers(0, 1),
    st.sampled_from(_USERS),
    st.sampled_from(_WORDS),
    st.integers(0, 9),
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=st.lists(_ACT, min_size=2, max_size=12))
def test_whatever_people_do_and_whenever_it_is_pulled_what_counts_is_what_the_server_says(
    published: Path, tmp_path: Path, acts: list[tuple[str, int, int, str, int]]
) -> None:
    """After a full pull, each person's last valid annotation counts; until then no vote counts that never was given."""
    out = tmp_path / "out"
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(published, out)
    with LittleServer(FORM.xml) as server:
        prepared(out, server)
        tasks = [server.push(clip) for clip in CLIPS[:2]]
        for task in tasks:
            for user in _USERS:
                server.annotate(task, user, answers(kinship="blood"))
        again(out, server)
        given_ever = {(clip, who(server, user), "blood") for clip in CLIPS[:2] for user in _USERS}
        for act, which, user, word, pick in acts:
            task = tasks[which]
            there = server.tasks[task]["annotations"]
            if act == "answer":
                server.annotate(task, user, answers(kinship=word))
            elif act in ("pull", "full"):
                again(out, server, full=act == "full")
            elif there:
                one = there[pick % len(there)]
                if act == "delete":
                    server.delete(task, one["id"])
                else:
                    values = {
                        "alter": {"result": answers(kinship=word)},
                        "skip": {"was_cancelled": True},
                        "unskip": {"was_cancelled": False},
                        "spoil": {"result": []},
                    }[act]
                    server.alter(task, one["id"], **values)
            given_ever |= {
                (CLIPS[n], who(server, a["completed_by"]), a["result"][0]["value"]["choices"][0])
                for n, number in enumerate(tasks)
                for a in server.tasks[number]["annotations"]
                if a["result"] and not a["was_cancelled"]
            }
            assert {(*key, value) for key, value in counted(out).items()} <= given_ever
        again(out, server, full=True, withdraw_deleted=True)
        wanted = {}
        for clip, number in zip(CLIPS, tasks, strict=False):
            valid = [a for a in server.tasks[number]["annotations"] if a["result"] and not a["was_cancelled"]]
            for a in sorted(valid, key=lambda a: a["updated_at"]):
                wanted[clip, who(server, a["completed_by"])] = a["result"][0]["value"]["choices"][0]
        assert counted(out) == wanted
        before = tree(out)
        assert (again(out, server, full=True, withdraw_deleted=True).votes, tree(out)) == (0, before)
