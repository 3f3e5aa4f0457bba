"""`push`: every clip once, whatever happens on the way."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from annotation import ledger
from annotation.push import push as push_clips
from annotation.push_report import PushOptions, PushResult
from annotation.store import LabelStore
from annotation.votes import current_votes, read_votes
from rsat_data.errors import (
    LabelAuthError,
    LabelError,
    LabelProjectError,
    LabelServerError,
    UsageError,
)
from tests.annotation.push_factory import TOKEN, TakingServer, make_dataset

LINES = ["Thanks, mom.", "Hello there.", "Yes, sir.", "You are my friend.", "<b>Come</b> here, my son.", "Well."] * 2


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "SETTLED_S", 0.2)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", TOKEN)
    monkeypatch.delenv("LABEL_STUDIO_URL", raising=False)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("original"), LINES, single=1)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TakingServer]:
    with TakingServer() as running:
        yield running


@pytest.fixture
def out(original: Path, server: TakingServer, tmp_path: Path) -> Path:
    import shutil

    copy = tmp_path / "dataset"
    shutil.copytree(original, copy)
    (tmp_path / "root").mkdir()
    server.make_project(copy)
    return copy


def push(out: Path, **options: Any) -> PushResult:
    given = {"media_root": out.parent / "root", "batch": 5, **options}
    return push_clips(out, PushOptions(**given))


def clip_ids(out: Path) -> list[str]:
    import rsat_data

    return [
        row["clip_id"] for row in rsat_data.load(out, None, ["clip_id", "row_id_b"], table="clips") if row["row_id_b"]
    ]


# What a task is -----------------------------------------------------------------------------------------------------


def test_every_pair_becomes_a_task_once(out: Path, server: TakingServer) -> None:
    first = push(out)
    assert (first.pushed, first.present, first.left_out) == (12, 0, {"shows one person": 1})
    assert sorted(server.clips) == sorted(clip_ids(out))
    journal = (out / ".label/labelling/pushed.jsonl").read_bytes()
    second = push(out)
    assert (second.pushed, second.present) == (0, 12)
    assert len(server.tasks) == 12 and (out / ".label/labelling/pushed.jsonl").read_bytes() == journal
    assert second.requests <= 4


def test_tasks_hold_files_that_are_there_and_no_markup_is_lost(out: Path, server: TakingServer) -> None:
    push(out)
    folder = out.parent / "root" / "clips-1"
    texts = set()
    for task in server.tasks.values():
        data = task["data"]
        for name, ending in (("video", ".mp4"), ("audio", ".wav"), ("face_a", ".jpg"), ("face_b", ".jpg")):
            prefix, _, file = data[name].rpartition("/")
            assert prefix == "/data/local-files/?d=clips-1" and file.endswith(ending)
            assert (folder / file).stat().st_size > 0
        texts |= {line["text"] for line in data["transcript"]}
    assert "<b>Come</b> here, my son." in texts
    assert len(list(folder.iterdir())) == len({name for t in server.tasks.values() for name in _files(t)})


def _files(task: dict[str, Any]) -> list[str]:
    return [task["data"][name].rpartition("/")[2] for name in ("video", "audio", "face_a", "face_b")]


def test_guesses_are_shown_or_hidden_and_journalled(out: Path, server: TakingServer) -> None:
    result = push(out, hide=0.5)
    assert result.predicted + result.hidden == 8 and result.hidden > 0 and result.predicted > 0
    journal = LabelStore(out).round().pushed()
    for task in server.tasks.values():
        record = journal[task["data"]["clip_id"]]
        assert record["task_id"] == task["id"]
        assert (record["prediction"] is None) <= (not record["prediction_hidden"])
        assert bool(task["predictions"]) == (record["prediction"] is not None and not record["prediction_hidden"])
        for prediction in task["predictions"]:
            assert prediction["model_version"] == "rsat-rel-0.1"


def test_guesses_can_be_left_out(out: Path, server: TakingServer) -> None:
    result = push(out, predictions=False)
    assert (result.predicted, result.hidden) == (0, 8)
    assert not any(task["predictions"] for task in server.tasks.values())
    # What was not shown stays noted as not shown, whatever a later run's options are.
    (out / ".label/labelling/pushed.jsonl").unlink()
    assert push(out).recovered == 12
    noted = LabelStore(out).round().pushed().values()
    assert [record["prediction_hidden"] for record in noted] == [record["prediction"] is not None for record in noted]


def test_metadata_are_guessed_from(tmp_path: Path, server: TakingServer) -> None:
    def change(number: int, clip: dict[str, Any], rows: list[dict[str, Any]]) -> None:
        source = "metadata" if number == 0 else "votes"
        relation = {"kinship": "non_blood", "status": "unequal", "relation_source": source, "relation_confidence": 1.0}
        for one, senior in ((clip, "A"), (rows[0], "self"), (rows[1], "partner")):
            one.update(relation, senior=senior)

    out = make_dataset(tmp_path, ["Hello.", "Hello."], change=change)
    server.make_project(out)
    (tmp_path / "root").mkdir()
    assert push(out, hide=0.0).left_out == {"is labelled already": 1}
    (task,) = server.tasks.values()
    found = {region["from_name"]: region["value"]["choices"] for region in task["predictions"][0]["result"]}
    assert found == {"kinship": ["non_blood"], "status": ["unequal"], "senior": ["A"]}
    assert push(out, relabel=True, hide=0.0).pushed == 1
    # What was voted on before is no machine's guess.
    assert [len(task["predictions"]) for task in server.tasks.values()] == [1, 0]
    server.tasks.clear()
    assert push(out, predictions=False).hidden == 1
    assert server.clips and not any(task["predictions"] for task in server.tasks.values())


# Samples and known answers ------------------------------------------------------------------------------------------


def test_a_larger_sample_adds_to_the_smaller(out: Path, server: TakingServer) -> None:
    assert push(out, sample=4).pushed == 4
    small = set(server.clips)
    assert push(out, sample=4).pushed == 0
    assert push(out, sample=9).pushed == 5
    assert small < set(server.clips)
    assert push(out, sample=3).pushed == 0
    assert push(out).pushed == 3


def test_a_dry_run_says_what_a_run_does_and_touches_nothing(out: Path, server: TakingServer) -> None:
    plan = push(out, sample=6, dry_run=True)
    assert server.calls == [] and not (out.parent / "root/clips-1").exists()
    done = push(out, sample=6)
    for name in ("pushed", "left_out", "predicted", "hidden", "strata"):
        assert getattr(plan, name) == getattr(done, name), name
    assert 0.2 < plan.media_bytes / done.media_bytes < 20


def gold_file(out: Path, text: str) -> Path:
    path = out.parent / "gold.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_known_answers_are_pushed_and_kept_as_votes(out: Path, server: TakingServer) -> None:
    one, two, three = clip_ids(out)[:3]
    lines = f"clip_id,kinship,status,senior,confidence\n{one},blood,unequal,A,4\n{two},non_blood,equal,,\n"
    result = push(out, sample=3, gold=gold_file(out, lines))
    assert (result.pushed, result.gold, result.gold_votes) == (3, 2, 2)
    assert {one, two} < set(server.clips)
    journal = LabelStore(out).round().pushed()
    assert {clip_id for clip_id, record in journal.items() if record["gold"]} == {one, two}
    # An annotator sees no difference.
    assert len({tuple(sorted(task["data"])) for task in server.tasks.values()}) == 1
    votes = {row["clip_id"]: row for row in read_votes(out).to_pylist()}
    assert {row["round"] for row in votes.values()} == {"gold"} == {row["annotator"] for row in votes.values()}
    assert (votes[one]["senior"], votes[one]["confidence"]) == ("A", 4)
    assert (votes[two]["senior"], votes[two]["confidence"]) == (None, 5)
    assert push(out, sample=3, gold=gold_file(out, lines)).gold_votes == 0
    # A corrected answer is a new vote, and so is going back.
    for senior in ("B", "A"):
        changed = lines.replace("unequal,A", f"unequal,{senior}")
        assert push(out, sample=3, gold=gold_file(out, changed)).gold_votes == 1
        now = {row["clip_id"]: row["senior"] for row in current_votes(read_votes(out)).to_pylist()}
        assert now == {one: senior, two: None}
    assert read_votes(out).num_rows == 4
    assert three not in {row["clip_id"] for row in votes.values()}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column clip_id"),
        ("clip_id,kinship\n", "no column status"),
        ("clip_id,kinship,status,colour\n", "'colour' is not expected"),
        ("clip_id,kinship,status\n", "no answer follows"),
        ("clip_id,kinship,status\nX,blood\n", "line 2: it should have 3 fields"),
        ("clip_id,kinship,status\nX,blood,equal,A\n", "line 2: it should have 3 fields"),
        ("clip_id,kinship,status\nX,cousins,equal\n", "line 2: kinship should be one of"),
        ("clip_id,kinship,status\nX,blood,unequal\n", "senior should be A, B or unsure"),
        ("clip_id,kinship,status,senior\nX,blood,equal,A\n", "senior is 'A', but status is equal"),
        ("clip_id,kinship,status,confidence\nX,blood,equal,6\n", "confidence should be"),
        ("clip_id,kinship,status\nX,blood,equal\nX,blood,equal\n", "line 3: X is in the file twice"),
        ("clip_id,kinship,status\n,blood,equal\n", "clip_id is empty"),
        ("clip_id,kinship,status\nX,blood,equal\n", "holds no clip X"),
    ],
)
def test_wrong_gold_files_stop_before_anything_is_sent(
    text: str, message: str, out: Path, server: TakingServer
) -> None:
    with pytest.raises(LabelError, match=message) as error:
        push(out, gold=gold_file(out, text))
    assert "gold.csv" in error.value.message and server.calls == []


def test_a_person_alone_cannot_be_gold(out: Path, server: TakingServer) -> None:
    import rsat_data

    alone = next(row["clip_id"] for row in rsat_data.load(out, None, table="clips") if row["row_id_b"] is None)
    with pytest.raises(LabelError, match="shows one person"):
        push(out, gold=gold_file(out, f"clip_id,kinship,status\n{alone},blood,equal\n"))


# Failures -----------------------------------------------------------------------------------------------------------


def test_damaged_clips_are_named_and_the_rest_goes_on(tmp_path: Path, server: TakingServer) -> None:
    def change(number: int, clip: dict[str, Any], rows: list[dict[str, Any]]) -> None:
        if number == 1:
            clip["preview"] = {"bytes": b"no video", "path": "p.mp4"}
        if number == 2:
            rows[1]["image"] = {"bytes": b"no picture", "path": "p.jpg"}

    out = make_dataset(tmp_path, ["Hello."] * 4, change=change)
    server.make_project(out)
    (tmp_path / "root").mkdir()
    result = push(out)
    assert result.pushed == 2 and len(result.failed) == 2 and result.left_out == {}
    assert all(clip_id in why for clip_id, why in result.failed.items())
    assert not set(result.failed) & set(server.clips)


def test_damaged_clips_are_replaced_in_a_sample(tmp_path: Path, server: TakingServer) -> None:
    def change(number: int, clip: dict[str, Any], rows: list[dict[str, Any]]) -> None:
        if number % 2:
            clip["audio"] = {"bytes": b"no sound", "path": "a.flac"}

    out = make_dataset(tmp_path, ["Hello."] * 8, change=change)
    server.make_project(out)
    (tmp_path / "root").mkdir()
    result = push(out, sample=3)
    assert result.pushed == 3 and all("audio" in why for why in result.failed.values())
    assert (push(out, sample=3).pushed, push(out, sample=3).failed) == (0, {})
    result = push(out)
    assert (result.pushed, len(result.failed), len(server.tasks)) == (1, 4, 4)


def test_clips_without_pictures_wait_until_asked_for(tmp_path: Path, server: TakingServer) -> None:
    def change(number: int, clip: dict[str, Any], rows: list[dict[str, Any]]) -> None:
        if number < 2:
            clip["preview"] = None
        if number < 1:
            for row in rows:
                row.update(video=None, matte=None, image=None)

    out = make_dataset(tmp_path, ["Hello."] * 3, change=change)
    server.make_project(out)
    (tmp_path / "root").mkdir()
    result = push(out)
    assert (result.pushed, result.left_out) == (2, {"has no picture": 1})
    assert push(out, sound_only=True).pushed == 1


def test_a_lost_answer_doubles_nothing(out: Path, server: TakingServer) -> None:
    hung_up: list[str] = []

    def trouble(method: str, path: str) -> str | None:
        if method == "POST" and path.endswith("/import") and len(hung_up) < 2:
            hung_up.append(path)
            return "after"
        return None

    server.trouble = trouble
    result = push(out)
    assert len(hung_up) == 2 and result.pushed == 12 and result.recovered == 10
    assert Counter(server.clips) == Counter(clip_ids(out))
    server.trouble = lambda method, path: None
    assert push(out).pushed == 0
    journal = LabelStore(out).round().pushed()
    assert {r["task_id"]: r["clip_id"] for r in journal.values()} == {
        number: task["data"]["clip_id"] for number, task in server.tasks.items()
    }


def test_recovered_lines_say_what_lost_ones_would_have(out: Path, server: TakingServer, original: Path) -> None:
    server.trouble = lambda method, path: "after" if (method, path) == ("POST", "/api/projects/1/import") else None
    push(out)
    recovered = LabelStore(out).round().pushed()
    server.trouble = lambda method, path: None
    push(out)  # Fills in what the server's data do not tell.
    healed = LabelStore(out).round().pushed()
    (out / ".label/labelling/pushed.jsonl").unlink()
    server.tasks.clear()
    push(out)
    fresh = LabelStore(out).round().pushed()
    for clip_id, record in fresh.items():
        for name in ("media", "prediction", "prediction_hidden", "gold", "content", "source"):
            assert healed[clip_id][name] == record[name], name
            assert name == "source" or recovered[clip_id][name] == record[name], name


def test_a_request_that_never_arrived_is_an_error_and_can_be_repeated(out: Path, server: TakingServer) -> None:
    server.trouble = lambda method, path: "before" if method == "POST" and path.endswith("/import") else None
    with pytest.raises(LabelServerError, match="broke off"):
        push(out)
    assert server.tasks == {}
    server.trouble = lambda method, path: None
    assert push(out).pushed == 12
    assert Counter(server.clips) == Counter(clip_ids(out))


@pytest.mark.parametrize(("status", "kind"), [(500, LabelServerError), (401, LabelAuthError), (403, LabelAuthError)])
def test_refusals_stop_and_keep_what_was_done(
    status: int, kind: type[LabelServerError], out: Path, server: TakingServer
) -> None:
    imports = 0

    def trouble(method: str, path: str) -> int | None:
        nonlocal imports
        if method == "POST" and path.endswith("/import"):
            imports += 1
            return status if imports == 2 else None
        return None

    server.trouble = trouble
    with pytest.raises(kind) as error:
        push(out)
    assert TOKEN not in str(error.value) and error.value.status == status  # type: ignore[attr-defined]
    assert len(server.tasks) == 5 == len(LabelStore(out).round().pushed())
    server.trouble = lambda method, path: None
    assert push(out).pushed == 7
    assert Counter(server.clips) == Counter(clip_ids(out))


def test_a_server_that_is_not_there(out: Path, server: TakingServer) -> None:
    server.__exit__(None, None, None)
    with pytest.raises(LabelServerError, match="refuses the connection"):
        push(out)
    assert not (out.parent / "root/clips-1").exists()


def test_a_deleted_project_and_a_changed_form(out: Path, server: TakingServer) -> None:
    server.config = server.config.replace('value="blood"', 'value="family"')
    with pytest.raises(LabelProjectError, match="'blood' is now 'family'"):
        push(out)
    server.gone = True
    with pytest.raises(LabelProjectError, match="not on"):
        push(out)
    assert server.tasks == {}


def test_no_project_and_no_dataset(original: Path, tmp_path: Path, server: TakingServer) -> None:
    import shutil

    from rsat_data.errors import DatasetError

    shutil.copytree(original, tmp_path / "copy")
    with pytest.raises(LabelError, match="no labelling project yet|No label server is known"):
        push(tmp_path / "copy")
    with pytest.raises(DatasetError):
        push(tmp_path / "nothing")


@pytest.mark.parametrize(
    "options",
    [{"sample": 0}, {"hide": 1.5}, {"batch": 0}, {"media": "pigeon"}, {"media": "url"}, {"media_url": "http://x/"}],
)
def test_options_out_of_range(options: dict[str, Any], out: Path) -> None:
    with pytest.raises(UsageError):
        push(out, **options)


def test_doubled_clip_ids_in_a_dataset(tmp_path: Path, server: TakingServer) -> None:
    import pyarrow.parquet as pq

    out = make_dataset(tmp_path, ["Hello."] * 3)
    server.make_project(out)
    first = clip_ids(out)[0]
    for shard in (out / "data/clips").glob("*.parquet"):
        table = pq.read_table(shard)
        doubled = table.set_column(0, table.schema.field("clip_id"), [[first] * table.num_rows])
        pq.write_table(doubled, shard)
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    for line in lines:
        if line["file"].startswith("data/clips/"):
            line["bytes"] = (out / line["file"]).stat().st_size
    (out / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(LabelError, match=f"more than once, such as {first}"):
        push(out)
    assert server.calls == []


# What others did on the server --------------------------------------------------------------------------------------


def test_tasks_that_were_doubled_are_undone_unless_answered(out: Path, server: TakingServer) -> None:
    push(out, sample=4)
    one, two, three, _ = server.clips
    for clip_id in (one, two, three):
        server.add(dict(next(t["data"] for t in server.tasks.values() if t["data"]["clip_id"] == clip_id)))
    kept = max(n for n, task in server.tasks.items() if task["data"]["clip_id"] == two)
    server.tasks[kept]["annotations"].append({"id": 9})
    for task in server.tasks.values():
        if task["data"]["clip_id"] == three:
            task["annotations"].append({"id": 10 + task["id"]})
    result = push(out, sample=4)
    assert (result.removed, result.doubled, result.pushed) == (2, (three,), 0)
    assert Counter(server.clips) == {**dict.fromkeys(server.clips, 1), three: 2}
    assert LabelStore(out).round().pushed()[two]["task_id"] == kept


def test_tasks_of_others_are_left_alone(out: Path, server: TakingServer) -> None:
    server.add({"text": "somebody's own"})
    result = push(out)
    assert (result.pushed, result.foreign) == (12, 1)
    calls = len(server.calls)
    again = push(out)
    assert (again.pushed, again.foreign) == (0, 1)
    assert ("GET", "/api/tasks/") not in server.calls[calls:]


def test_a_lost_task_comes_back(out: Path, server: TakingServer) -> None:
    push(out)
    del server.tasks[next(iter(server.tasks))]
    result = push(out)
    assert (result.lost, result.pushed) == (1, 1)
    assert Counter(server.clips) == Counter(clip_ids(out))


def test_a_lost_journal_is_made_again(out: Path, server: TakingServer) -> None:
    push(out)
    (out / ".label/labelling/pushed.jsonl").unlink()
    result = push(out)
    assert (result.recovered, result.pushed, len(server.tasks)) == (12, 0, 12)


def test_clips_built_anew(tmp_path: Path, server: TakingServer) -> None:
    lines = ["Hello.", "Good day.", "Well.", "So."]
    before = make_dataset(tmp_path, lines)
    server.make_project(before)
    (tmp_path / "root").mkdir()
    push(before)

    def change(number: int, clip: dict[str, Any], rows: list[dict[str, Any]]) -> None:
        clip["provenance"]["config_hash"] = "decade"

    after = make_dataset(tmp_path, ["Hello.", "Good day.", "Well, mom.", "So, sir."], change=change, name="after")
    (before / ".label").rename(after / ".label")
    by_source = sorted(clip_ids(after))  # src0, src1, ...: in the order of the lines
    same, unanswered, answered = by_source[0], by_source[2], by_source[3]
    server.answer(answered)
    number = {task["data"]["clip_id"]: n for n, task in server.tasks.items()}
    result = push(after)
    assert (result.replaced, result.outdated, result.pushed) == (1, (answered,), 1)
    now = {task["data"]["clip_id"]: n for n, task in server.tasks.items()}
    assert now[same] == number[same] and now[answered] == number[answered] and now[unanswered] != number[unanswered]
    assert server.tasks[now[unanswered]]["data"]["transcript"][0]["text"] == "Well, mom."
    assert server.tasks[now[answered]]["data"]["transcript"][0]["text"] == "So."
    again = push(after)
    assert (again.replaced, again.outdated, again.pushed) == (0, (answered,), 0)


# Media --------------------------------------------------------------------------------------------------------------


def test_upload_sends_each_file_once(out: Path, server: TakingServer) -> None:
    result = push(out, media="upload", media_root=None, sample=3)
    names = [name for name in server.uploads.values()]
    assert result.media == "upload" and len(set(names)) == len(names)
    for task in server.tasks.values():
        for name in ("video", "audio", "face_a", "face_b"):
            assert task["data"][name].removeprefix("/data/") in names
    assert len(server.shelves) == 1
    # Nothing is kept twice: the server has the files now.
    assert not list((out / ".label/media").iterdir())
    assert push(out, media="upload", media_root=None, sample=3).pushed == 0
    assert len(server.uploads) == len(names)
    push(out, media="upload", media_root=None, sample=4)
    assert len(server.shelves) == 1


def test_uploads_that_were_broken_off_go_on(out: Path, server: TakingServer) -> None:
    count = 0

    def trouble(method: str, path: str) -> int | None:
        nonlocal count
        if path.startswith("/api/import/file-upload/"):
            count += 1
            return 500 if count >= 6 else None
        return None

    server.trouble = trouble
    with pytest.raises(LabelServerError):
        push(out, media="upload", media_root=None)
    noted = len(LabelStore(out).round().read("uploads"))
    assert noted == 5 and server.tasks == {}
    server.trouble = lambda method, path: None
    push(out, media="upload", media_root=None)
    known = [record["name"] for record in LabelStore(out).round().read("uploads")]
    assert len(known) == len(set(known)) and Counter(server.clips) == Counter(clip_ids(out))


def test_own_addresses(out: Path, server: TakingServer, tmp_path: Path) -> None:
    push(out, media="url", media_url="https://media.example.org/c", media_root=tmp_path / "served", sample=2)
    for task in server.tasks.values():
        prefix, _, file = task["data"]["video"].rpartition("/")
        assert prefix == "https://media.example.org/c" and (tmp_path / "served" / file).exists()


def test_auto_uploads_where_the_servers_folder_is_not_known(out: Path, server: TakingServer, tmp_path: Path) -> None:
    assert push(out, media_root=None, sample=1).media == "upload"


def test_auto_takes_the_folder_that_serve_noted(out: Path, server: TakingServer, tmp_path: Path) -> None:
    LabelStore(out).write_server(url=server.url, media_root=str(tmp_path / "root"))
    assert push(out, media_root=None, sample=1).media == "local"
    assert push(out, media_root=None, sample=2).media == "local"


# Kills --------------------------------------------------------------------------------------------------------------

SCRIPT = """
import sys
from pathlib import Path
from annotation import PushOptions, ledger, push
ledger.SETTLED_S = 0.3
push(Path(sys.argv[1]), PushOptions(media_root=Path(sys.argv[2]), batch=1))
"""


def test_killed_again_and_again_nothing_is_doubled_or_lost(out: Path, server: TakingServer) -> None:
    """SIGKILL shortly after the n-th import has begun: the server goes on with it, the pusher never hears."""
    server.slow_s = 0.15
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "LABEL_STUDIO_API_KEY": TOKEN, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCRIPT, str(out), str(out.parent / "root")]
    for wanted, delay in ((1, 0.0), (2, 0.1), (2, 0.17)):
        begun = sum(call == ("POST", "/api/projects/1/import") for call in server.calls)
        process = subprocess.Popen(command, env=environment, start_new_session=True)
        while sum(c == ("POST", "/api/projects/1/import") for c in list(server.calls)) < begun + wanted:
            assert process.poll() is None
            time.sleep(0.005)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert 0 < len(server.tasks) < 12
    subprocess.run(command, env=environment, check=True, timeout=120)
    assert Counter(server.clips) == Counter(clip_ids(out))
    journal = LabelStore(out).round().pushed()
    assert {n: t["data"]["clip_id"] for n, t in server.tasks.items()} == {
        record["task_id"]: record["clip_id"] for record in journal.values()
    }
    assert not list((out.parent / "root" / "clips-1").glob(".*"))


def test_the_result_is_json(out: Path, server: TakingServer) -> None:
    from rsat_data.cli.label.push import as_json_text, describe

    result = push(out)
    assert json.loads(as_json_text(result))["pushed"] == 12
    assert dataclasses.asdict(result)["requests"] == result.requests
    assert "pushed 12 of 13 clips" in describe(result, dry_run=False)
    assert TOKEN not in describe(result, dry_run=False)
    for path in (out / ".label").rglob("*"):
        assert path.is_dir() or TOKEN.encode() not in path.read_bytes()


def test_the_command(out: Path, server: TakingServer) -> None:
    from click.testing import CliRunner

    from rsat_data.cli.label.push import push as command

    def run(*more: str) -> tuple[int | None, str]:
        arguments = [str(out), "--media-root", str(out.parent / "root"), "--quiet", *more]
        result = CliRunner().invoke(command, arguments, standalone_mode=False)
        assert result.exception is None, result.output
        return result.return_value, result.stdout

    code, text = run("--dry-run", "--sample", "5")
    assert code == 0 and "would push 5 of 13 clips" in text and server.tasks == {}
    code, text = run("--sample", "5", "--json")
    assert code == 0 and json.loads(text)["pushed"] == 5 == len(server.tasks)
    assert run("--no-predictions")[1].startswith("pushed 7 of 13 clips")
    assert TOKEN not in text


def test_too_many_damaged_clips_are_told_by_the_exit_code(tmp_path: Path, server: TakingServer) -> None:
    from click.testing import CliRunner

    from rsat_data.cli.label.push import push as command

    def change(number: int, clip: dict[str, Any], rows: list[dict[str, Any]]) -> None:
        if number == 1:
            clip["audio"] = {"bytes": b"no sound", "path": "a.flac"}

    out = make_dataset(tmp_path, ["Hello."] * 4, change=change)
    server.make_project(out)
    (tmp_path / "root").mkdir()
    for limit, code in (("5%", 3), ("25%", 0), ("1", 0), ("0", 3)):
        arguments = [str(out), "--media-root", str(tmp_path / "root"), "--quiet", "--max-failed", limit]
        result = CliRunner().invoke(command, arguments, standalone_mode=False)
        assert result.return_value == code, (limit, result.output)
        assert "its audio cannot be used" in result.stdout


def test_the_gold_file_of_the_docs_can_be_read(tmp_path: Path) -> None:
    from annotation.gold import read_gold

    page = (Path(__file__).resolve().parents[2] / "docs/labelling_push.md").read_text(encoding="utf-8")
    path = tmp_path / "gold.csv"
    path.write_text("clip_id" + page.split("```\nclip_id")[1].split("```")[0], encoding="utf-8")
    assert [answer.senior for answer in read_gold(path).values()] == [None, "A"]
