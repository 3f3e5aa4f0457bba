"""The whole loop against a real label server: from clips to labels in Parquet, and what happens when things die."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from annotation import adjudicate, agreement, apply, init, pull, push
from annotation.adjudicate import AdjudicateOptions
from annotation.apply import ApplyOptions
from annotation.client import Client
from annotation.project import InitOptions
from annotation.pull import PullOptions
from annotation.push_report import PushOptions
from annotation.server import Account, ServeOptions, serve
from annotation.store import LabelStore
from annotation.votes import annotator_id, current_votes, read_votes
from rsat_data.errors import LabelProjectError, LabelServerError
from rsat_data.validate import validate
from tests.annotation.server_fixture import LabelServer
from tests.annotation.test_results import answers, choice
from tests.dataset_factory import ClipSpec, make_dataset
from tests.rsat_data.test_writer import tree

pytestmark = pytest.mark.label_server

#: A pair in two clips (the other way round in the second), pairs on whom people agree, differ, and report a problem.
PAIR = ClipSpec("src0", "s0", "t0", frames=8, seed=0)
TURNED = ClipSpec("src0", "t0", "s0", frames=8, seed=1, start_s=2.0)
SURE, SPLIT, ODD = (ClipSpec(f"src{n}", f"s{n}", f"t{n}", frames=8, seed=n) for n in (2, 3, 4))
SPECS = [PAIR, TURNED, SURE, SPLIT, ODD]
BLOOD = {"kinship": "blood", "status": "unequal"}

NewAnnotator = Callable[[], tuple[Account, Client]]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("published"), SPECS)[0]


@pytest.fixture
def out(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "out"))


def ready(out: Path, server: LabelServer) -> dict[str, int]:
    """Project and tasks; clip -> task."""
    init(out, InitOptions(overlap=3))
    push(out, PushOptions(media_root=server.media_root))
    return tasks_of(out)


def tasks_of(out: Path, round_: str = "labelling") -> dict[str, int]:
    return {clip: record["task_id"] for clip, record in LabelStore(out).round(round_).pushed().items()}


def said(*more: dict[str, Any], senior: str | None = None, **values: Any) -> list[dict[str, Any]]:
    return answers(*more, *([choice("senior", senior)] if senior else []), **values)


def labels(out: Path) -> dict[str, dict[str, Any]]:
    """Clip -> its row of clips, and the rows of both people under A and B; read with nothing of ours."""
    names = ["clip_id", "kinship", "status", "senior", "relation_source", "relation_confidence"]
    found: dict[str, dict[str, Any]] = {}
    for path in sorted((out / "data/clips").glob("*.parquet")):
        for row in pq.read_table(path, columns=[*names, "num_votes", "agreement"], partitioning=None).to_pylist():
            found[row["clip_id"]] = row
    for path in sorted((out / "data/triplets").glob("*.parquet")):
        for row in pq.read_table(path, columns=[*names, "person"], partitioning=None).to_pylist():
            found[row["clip_id"]][row["person"]] = row
    return found


def test_from_clips_to_labels_in_parquet(
    out: Path, label_server: LabelServer, owner: Client, annotator: NewAnnotator
) -> None:
    tasks = ready(out, label_server)
    assert tasks.keys() == {spec.clip_id for spec in SPECS}
    # Pushing again changes nothing.
    files, there = tree(out), list(owner.tasks(LabelStore(out).round().project().project_id, fields="task_only"))  # type: ignore[union-attr]
    assert push(out, PushOptions(media_root=label_server.media_root)).pushed == 0
    assert tree(out) == files
    assert [t["id"] for t in owner.tasks(there[0]["project"], fields="task_only")] == [t["id"] for t in there]

    (_, ann_client), (_, bob_client) = annotator(), annotator()
    with ann_client, bob_client:
        ann, bob = (annotator_id(label_server.url, client.whoami()["id"]) for client in (ann_client, bob_client))
        for client in (ann_client, bob_client):
            client.create_annotation(tasks[PAIR.clip_id], said(senior="A", **BLOOD), lead_time_s=12.5)
            client.create_annotation(tasks[SURE.clip_id], said(kinship="non_blood"))
            client.create_annotation(tasks[ODD.clip_id], said(choice("issues", "acted"), kinship="unsure"))
        ann_client.create_annotation(tasks[SPLIT.clip_id], said(kinship="blood"))
        bob_client.create_annotation(tasks[SPLIT.clip_id], said(kinship="non_blood"))
        bob_client.create_annotation(tasks[TURNED.clip_id], [choice("kinship", "blood")])
        skipped = ann_client.create_annotation(tasks[TURNED.clip_id], said(), was_cancelled=True)
        assert skipped["was_cancelled"]

    first = pull(out, PullOptions())
    assert (first.votes, first.cancelled, len(first.refused), first.warnings) == (8, 1, 1, ())
    assert "status is not answered" in str(first.refused[0]) and TURNED.clip_id in str(first.refused[0])
    assert validate(out).ok
    files = tree(out)
    again = pull(out, PullOptions())
    assert (again.votes, again.withdrawn) == (0, 0) and tree(out) == files
    assert pull(out, PullOptions(full=True)).votes == 0 and tree(out) == files
    votes = current_votes(read_votes(out)).to_pylist()
    assert Counter(vote["clip_id"] for vote in votes) == {s.clip_id: 2 for s in (PAIR, SURE, SPLIT, ODD)}
    assert {vote["annotator"] for vote in votes} == {ann, bob}
    assert next(vote for vote in votes if vote["clip_id"] == PAIR.clip_id)["seconds_spent"] == 12.5

    report = agreement(out)
    assert report.num_votes == 8 and report.question("kinship").percent.value == pytest.approx(0.75)

    planned = adjudicate(out, AdjudicateOptions(dry_run=True))
    assert {item.clip_id for item in planned.items} == {SPLIT.clip_id, ODD.clip_id} and planned.project_id is None
    sent = adjudicate(out, AdjudicateOptions())
    assert set(sent.pushed) == {SPLIT.clip_id, ODD.clip_id}
    files = tree(out)
    twice = adjudicate(out, AdjudicateOptions())
    assert (twice.pushed, set(twice.present), twice.project_id) == ((), set(sent.pushed), sent.project_id)
    assert tree(out) == files
    shown = {task["data"]["clip_id"]: task for task in owner.tasks(sent.project_id or 0)}
    title = shown[SPLIT.clip_id]["data"]["title"]
    assert ann in title and "kinship: no majority" in title
    assert "[acted]" in shown[ODD.clip_id]["data"]["title"]
    values = [item["value"]["choices"] for item in shown[ODD.clip_id]["predictions"][0]["result"]]
    assert values == [["unsure"], ["equal"]]
    # The adjudicator sees the same video.
    video = shown[SPLIT.clip_id]["data"]["video"]
    original = owner.task(tasks[SPLIT.clip_id])["data"]["video"]
    assert video == original and len(owner.local_storages(sent.project_id or 0)) == 1

    second = tasks_of(out, "adjudication")
    owner.create_annotation(second[SPLIT.clip_id], said(kinship="blood", senior="B", status="unequal"))
    ruled = pull(out, PullOptions(round="adjudication"))
    assert (ruled.votes, ruled.round) == (1, "adjudication")
    assert pull(out, PullOptions()).votes == 0

    untouched = tree(out)
    applied = apply(out, ApplyOptions(out=out.parent / "labelled"))
    assert tree(out) == untouched
    found = labels(out.parent / "labelled")
    assert found[PAIR.clip_id] | {"A": None, "B": None} == {
        "clip_id": PAIR.clip_id,
        "kinship": "blood",
        "status": "unequal",
        "senior": "A",
        "relation_source": "votes",
        "relation_confidence": 1.0,
        "num_votes": 2,
        "agreement": 1.0,
        "A": None,
        "B": None,
    }
    assert (found[PAIR.clip_id]["A"]["senior"], found[PAIR.clip_id]["B"]["senior"]) == ("self", "partner")
    assert (found[TURNED.clip_id]["senior"], found[TURNED.clip_id]["num_votes"]) == ("B", 0)
    assert (found[SURE.clip_id]["kinship"], found[SURE.clip_id]["A"]["senior"]) == ("non_blood", "none")
    assert (found[SPLIT.clip_id]["senior"], found[SPLIT.clip_id]["relation_source"]) == ("B", "adjudicated")
    assert found[SPLIT.clip_id]["agreement"] == pytest.approx(1 / 3)  # the adjudicator alone
    assert (found[ODD.clip_id]["kinship"], found[ODD.clip_id]["status"]) == ("unknown", "equal")
    assert [item.clip_id for item in applied.to_adjudicate] == [ODD.clip_id]
    assert validate(out.parent / "labelled").ok
    apply(out, ApplyOptions())
    assert labels(out) == found and apply(out, ApplyOptions()).changes == ()


def test_what_the_server_moves_when_annotations_change(
    out: Path, label_server: LabelServer, owner: Client, annotator: NewAnnotator
) -> None:
    """The cursor relies on this: a task's updated_at moves when an annotation is made, changed, skipped or deleted."""
    tasks = ready(out, label_server)
    task = tasks[SURE.clip_id]
    _, client = annotator()
    stamps = [owner.task(task)["updated_at"]]

    def moved() -> bool:
        stamps.append(owner.task(task)["updated_at"])
        return bool(stamps[-1] > stamps[-2])

    with client:
        annotation = client.create_annotation(task, said())
        assert moved()
        client.update_annotation(annotation["id"], result=said(kinship="non_blood"))
        assert moved()
        client.update_annotation(annotation["id"], was_cancelled=True)
        assert moved()
        other = client.create_annotation(task, said())
        assert moved()
        client._call("DELETE", f"/api/annotations/{other['id']}/")
        assert moved()
    assert not moved()


def test_changed_skipped_deleted_and_edited_annotations(
    out: Path, label_server: LabelServer, owner: Client, annotator: NewAnnotator
) -> None:
    tasks = ready(out, label_server)
    _, client = annotator()
    with client:
        name = annotator_id(label_server.url, client.whoami()["id"])
        kept = client.create_annotation(tasks[SURE.clip_id], said())
        gone = client.create_annotation(tasks[SPLIT.clip_id], said())
        skipped = client.create_annotation(tasks[ODD.clip_id], said())
        assert pull(out, PullOptions()).votes == 3
        client.update_annotation(kept["id"], result=said(kinship="non_blood"))
        client._call("DELETE", f"/api/annotations/{gone['id']}/")
        client.update_annotation(skipped["id"], was_cancelled=True)
    result = pull(out, PullOptions())
    assert (result.votes, result.withdrawn, result.cancelled, len(result.deleted)) == (1, 1, 1, 1)
    counted = {vote["clip_id"]: vote["kinship"] for vote in current_votes(read_votes(out)).to_pylist()}
    assert counted == {SURE.clip_id: "non_blood", SPLIT.clip_id: "blood"}
    pull(out, PullOptions(full=True, withdraw_deleted=True))
    assert current_votes(read_votes(out))["clip_id"].to_pylist() == [SURE.clip_id]
    # Somebody else changes the answer: it stays that person's, and is pointed out.
    owner.update_annotation(kept["id"], result=said(kinship="unsure"))
    (warning,) = pull(out, PullOptions()).warnings
    assert f"the answer of {name} was last changed by" in warning and SURE.clip_id in warning
    assert current_votes(read_votes(out))["kinship"].to_pylist() == ["unsure"]


def test_a_form_renamed_by_hand_and_a_deleted_project(
    out: Path, label_server: LabelServer, owner: Client, annotator: NewAnnotator
) -> None:
    tasks = ready(out, label_server)
    project = LabelStore(out).round().project()
    assert project is not None
    _, client = annotator()
    with client:
        client.create_annotation(tasks[SURE.clip_id], said(kinship="unsure"))
    owner.update_project(project.project_id, label_config=project.form_xml.replace('"non_blood"', '"friends"'))
    with pytest.raises(LabelProjectError, match="kinship: choice 'non_blood' is now 'friends'"):
        pull(out, PullOptions())
    assert read_votes(out).num_rows == 0
    owner.update_project(project.project_id, label_config=project.form_xml)
    assert pull(out, PullOptions()).votes == 1
    owner.delete_project(project.project_id)
    with pytest.raises(LabelProjectError, match="is not on"):
        pull(out, PullOptions())
    assert read_votes(out).num_rows == 1


_PULL = """
import sys, time
from annotation.pull import PullOptions, pull

module = sys.modules["annotation.pull"]

moment = int(sys.argv[2])
steps = 0

def step(*_):
    global steps
    steps += 1
    if steps == moment:
        print("now", flush=True)
        time.sleep(60)

def stepping(function):
    def call(*arguments, **options):
        step()
        result = function(*arguments, **options)
        step()
        return result
    return call

module.append_votes = stepping(module.append_votes)
module.Round.append = stepping(module.Round.append)
module.Round.write_cursor = stepping(module.Round.write_cursor)
pull(sys.argv[1], PullOptions(), progress=step)
print("done", flush=True)
"""


def kill_at(out: Path, program: str, moment: int) -> bool:
    """Run a program and end it with SIGKILL when it says ``now``; False if it got through."""
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(out), str(moment)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        assert line in ("now", "done"), line
        return line == "now"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_killed_in_the_middle_a_pull_loses_and_doubles_nothing(
    out: Path, label_server: LabelServer, owner: Client, annotator: NewAnnotator
) -> None:
    tasks = ready(out, label_server)
    for _ in range(2):
        _, client = annotator()
        with client:
            for task in tasks.values():
                client.create_annotation(task, said())
    # While reading; between the notes and the votes; after the votes; before the cursor.
    for moment in (3, 7, 9, 8):
        assert kill_at(out, _PULL, moment)
        # Whatever was reached, nothing is doubled.
        names = read_votes(out)["vote_id"].to_pylist()
        assert len(names) == len(set(names)) and len(names) in (0, 10)
    assert LabelStore(out).round().cursor() == {}
    assert pull(out, PullOptions()).total == 10
    assert pull(out, PullOptions(full=True)).total == 10
    assert len(LabelStore(out).round().read("pulled")) == 10
    assert validate(out).ok


@pytest.fixture
def mortal(
    label_server: LabelServer, tmp_path: Path
) -> Iterator[tuple[LabelServer, Callable[[], None], Callable[[], None]]]:
    """A server of one's own that may be killed, made from a copy of the first one's data: (server, kill, start)."""
    data = tmp_path / "server-data"
    source = label_server.server.state.data
    shutil.copytree(source, data, ignore=shutil.ignore_patterns("lock", "running.json", "last.json", "media"))
    running = [serve(None, ServeOptions(port=0, data=data))]
    port = int(running[0].url.rsplit(":", 1)[1])
    server = LabelServer(running[0], label_server.owner, label_server.token_file)

    def kill() -> None:
        os.killpg(running[0].process.pid, signal.SIGKILL)
        running[0].process.wait(30)

    def start() -> None:
        running[0] = serve(None, ServeOptions(port=port, data=data))

    try:
        yield server, kill, start
    finally:
        running[0].stop()


def test_the_server_killed_in_the_middle_of_a_pull_loses_and_doubles_nothing(
    out: Path,
    mortal: tuple[LabelServer, Callable[[], None], Callable[[], None]],
    owner: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server, kill, start = mortal
    monkeypatch.setenv("LABEL_STUDIO_URL", server.url)
    tasks = ready(out, server)
    with server.client() as client:
        for task in tasks.values():
            client.create_annotation(task, said())
    plain = Client.tasks

    def one_by_one(self: Client, project: int, **options: Any) -> Iterator[Mapping[str, Any]]:
        return plain(self, project, **{**options, "page_size": 1})

    monkeypatch.setattr(Client, "tasks", one_by_one)

    def progress(done: int) -> None:
        if done == 3:
            kill()

    begun = time.monotonic()
    with server.client() as client, pytest.raises(LabelServerError):
        pull(out, PullOptions(), client=client, progress=progress)
    assert time.monotonic() - begun < 60
    assert read_votes(out).num_rows == 3 and LabelStore(out).round().cursor() == {}
    start()
    assert pull(out, PullOptions()).votes == 2
    assert pull(out, PullOptions()).votes == 0
    names = read_votes(out)["vote_id"].to_pylist()
    assert len(names) == len(set(names)) == 5
    assert validate(out).ok
