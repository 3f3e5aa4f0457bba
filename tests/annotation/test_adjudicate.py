from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from annotation.adjudicate import (
    VOTES_VERSION,
    AdjudicateOptions,
    AdjudicateResult,
    adjudicate,
    majority_prediction,
    told,
)
from annotation.client import Client
from annotation.consensus import Item
from annotation.form import load_form
from annotation.predict.regions import check_predictions
from annotation.pull import PullOptions, pull
from annotation.store import LabelStore
from annotation.votes import append_votes, votes_table
from rsat_data.errors import LabelError, LabelProjectError, LabelServerError, UsageError
from tests.annotation.little_server import LittleServer
from tests.annotation.test_pull import prepared
from tests.annotation.test_results import answers
from tests.annotation.votes_factory import make_vote
from tests.dataset_factory import ClipSpec, make_dataset
from tests.rsat_data.test_writer import tree

SPECS = [ClipSpec(f"src{n}", f"s{n}", f"t{n}", video=False, frames=4, seed=n) for n in range(4)]
CLIPS = [spec.clip_id for spec in SPECS]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("published"), SPECS)[0]


@pytest.fixture
def server() -> Iterator[LittleServer]:
    with LittleServer(load_form().xml) as running:
        yield running


@pytest.fixture
def out(published: Path, tmp_path: Path, server: LittleServer) -> Path:
    """Clip 0 is agreed on, 1 is not, 2 has a problem, 3 differs and has no task."""
    out = prepared(Path(shutil.copytree(published, tmp_path / "out")), server)
    pushed = [{"clip_id": clip, "task_id": server.push(clip, video=f"/v/{clip}.mp4")} for clip in CLIPS[:3]]
    LabelStore(out).round().append_pushed(pushed)
    server.storages.append({"project": 1, "path": "/srv/media"})
    rows = [make_vote(CLIPS[0], "ann-a"), make_vote(CLIPS[0], "ann-b")]
    for clip in (CLIPS[1], CLIPS[3]):
        rows += [make_vote(clip, "ann-a"), make_vote(clip, "ann-b", kinship="blood")]
    rows += [make_vote(CLIPS[2], "ann-a", issues=["acted"]), make_vote(CLIPS[2], "ann-b")]
    append_votes(out, votes_table([row | {"config_hash": load_form().hash} for row in rows]))
    return out


def run(out: Path, server: LittleServer, **options: Any) -> AdjudicateResult:
    with server.client() as client:
        return adjudicate(out, AdjudicateOptions(**options), client=client)


def sent(server: LittleServer) -> dict[str, dict[str, Any]]:
    return {task["data"]["clip_id"]: task for task in server.tasks.values() if task["project"] != 1}


def test_what_votes_do_not_settle_goes_to_a_second_project_once(out: Path, server: LittleServer) -> None:
    result = run(out, server)
    assert (result.pushed, result.present, result.missing) == ((CLIPS[1], CLIPS[2]), (), (CLIPS[3],))
    assert [item.clip_id for item in result.items] == CLIPS[1:]
    project = server.projects[result.project_id or 0]
    assert (project["title"], project["maximum_annotations"]) == ("t, adjudication", 1)
    assert project["model_version"] == VOTES_VERSION and project["label_config"] == load_form().xml
    assert {"project": result.project_id, "path": "/srv/media"}.items() <= server.storages[-1].items()
    task = sent(server)[CLIPS[1]]
    assert task["data"]["video"] == f"/v/{CLIPS[1]}.mp4" and task["data"]["schema"] == "rsat/1"
    assert "ann-b: blood, equal (certainty 4/5)" in task["data"]["title"]
    files = tree(out)
    again = run(out, server)
    assert (again.pushed, again.present) == ((), (CLIPS[1], CLIPS[2]))
    assert tree(out) == files and len(sent(server)) == 2 and len(server.projects) == 1
    assert sum(storage["project"] == result.project_id for storage in server.storages) == 1


def test_adjudicators_answers_come_back_and_settle(out: Path, server: LittleServer) -> None:
    run(out, server)
    server.annotate(sent(server)[CLIPS[1]]["id"], 9, answers(kinship="blood"))
    with server.client() as client:
        result = pull(out, PullOptions(round="adjudication"), client=client)
    assert (result.votes, result.refused) == (1, ())
    assert [item.clip_id for item in run(out, server).items] == CLIPS[2:]


def test_a_dry_run_lists_reasons_and_asks_nobody(out: Path, server: LittleServer) -> None:
    files, asked = tree(out), server.requests
    result = adjudicate(out, AdjudicateOptions(dry_run=True))
    assert (tree(out), server.requests) == (files, asked)
    reasons = {item.clip_id: item.reasons for item in result.items}
    assert reasons[CLIPS[1]] == ("kinship: no majority of 67% (1 blood, 1 non_blood)",)
    assert reasons[CLIPS[2]] == ("issue acted was reported by 1 of 2",)
    assert (result.project_id, result.dry_run) == (None, True)


def test_thresholds_decide_what_goes(out: Path) -> None:
    half = adjudicate(out, AdjudicateOptions(dry_run=True, min_votes=3))
    assert [item.clip_id for item in half.items] == [CLIPS[2]]  # the problem; the others wait for a third vote
    with pytest.raises(UsageError):
        adjudicate(out, AdjudicateOptions(dry_run=True, majority=0.1))


def test_with_nothing_to_settle_no_project_is_made(published: Path, tmp_path: Path, server: LittleServer) -> None:
    out = prepared(Path(shutil.copytree(published, tmp_path / "out")), server)
    assert run(out, server).project_id is None
    assert server.requests == 0


def test_a_lost_answer_doubles_nothing(out: Path, server: LittleServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server takes the tasks, and the answer never arrives: as when either side is killed in between."""
    plain = Client.import_tasks

    def lost(self: Client, project: int, tasks: Any) -> list[int]:
        plain(self, project, tasks)
        raise LabelServerError("broke off")

    with monkeypatch.context() as patch:
        patch.setattr(Client, "import_tasks", lost)
        with pytest.raises(LabelServerError):
            run(out, server)
    assert len(sent(server)) == 2 and LabelStore(out).round("adjudication").pushed() == {}
    result = run(out, server)
    assert (result.pushed, result.present) == ((), (CLIPS[1], CLIPS[2]))
    assert len(sent(server)) == 2
    assert {r["task_id"] for r in LabelStore(out).round("adjudication").pushed().values()} == {
        task["id"] for task in sent(server).values()
    }


def test_a_project_made_and_not_noted_is_found_again(
    out: Path, server: LittleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Client.create_project

    def lost(self: Client, *arguments: Any, **options: Any) -> Any:
        plain(self, *arguments, **options)
        raise LabelServerError("broke off")

    with monkeypatch.context() as patch:
        patch.setattr(Client, "create_project", lost)
        with pytest.raises(LabelServerError):
            run(out, server)
    run(out, server)
    assert len(server.projects) == 1


def test_without_a_first_project_or_with_an_edited_one_nothing_is_sent(
    out: Path, server: LittleServer, published: Path, tmp_path: Path
) -> None:
    bare = Path(shutil.copytree(published, tmp_path / "bare"))
    append_votes(bare, votes_table([make_vote(CLIPS[0], "ann-a"), make_vote(CLIPS[0], "ann-b", kinship="blood")]))
    with pytest.raises(LabelError, match="no labelling project"):
        run(bare, server)
    server.config = server.config.replace('value="blood"', 'value="kin"')
    with pytest.raises(LabelProjectError, match="'blood' is now 'kin'"):
        run(out, server)
    assert not server.changes


def test_the_title_tells_votes_and_reasons_and_the_prediction_the_majority() -> None:
    votes = [
        make_vote("c", "ann-a", kinship="blood", status="unequal", senior="A"),
        make_vote("c", "ann-b", kinship="blood", status="unequal", senior="unsure", issues=["acted"]),
        make_vote("c", "ann-c", kinship="non_blood"),
    ]
    title = told(Item("c", "d", ("kinship: doubtful",)), votes)
    assert "ann-a: blood, unequal, A senior" in title and "ann-b: blood, unequal, senior unsure" in title
    assert "[acted]" in title and "| Why: kinship: doubtful | Votes: ann-a" in title
    (prediction,) = majority_prediction(votes)
    values = {item["from_name"]: item["value"]["choices"] for item in prediction["result"]}
    assert values == {"kinship": ["blood"], "status": ["unequal"]}  # the two do not agree on who is senior
    assert prediction["score"] == pytest.approx(2 / 3, abs=1e-4)
    check_predictions(load_form().xml, [("c", prediction)])
    assert majority_prediction([]) == []
    tied = [make_vote("c", "ann-a"), make_vote("c", "ann-b", kinship="blood", status="unsure")]
    assert majority_prediction(tied) == []
