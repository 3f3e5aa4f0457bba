from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from annotation.form import load_form
from annotation.store import LabelStore
from annotation.votes import read_votes
from rsat_data.cli import run
from rsat_data.errors import EXIT_ERROR, EXIT_OK, EXIT_USAGE
from rsat_data.validate import validate
from tests.annotation.little_server import LittleServer
from tests.annotation.test_pull import prepared
from tests.annotation.test_results import answers
from tests.dataset_factory import ClipSpec, make_dataset
from tests.rsat_data.test_writer import tree

SPECS = [ClipSpec(f"src{n}", f"s{n}", f"t{n}", video=False, frames=4, seed=n) for n in range(3)]
CLIPS = [spec.clip_id for spec in SPECS]
TOKEN = "0123456789" * 4


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("published"), SPECS)[0]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LittleServer]:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", TOKEN)
    monkeypatch.delenv("LABEL_STUDIO_URL", raising=False)
    with LittleServer(load_form().xml) as running:
        yield running


@pytest.fixture
def out(published: Path, tmp_path: Path, server: LittleServer) -> Path:
    out = prepared(Path(shutil.copytree(published, tmp_path / "out")), server)
    tasks = [server.push(clip) for clip in CLIPS]
    LabelStore(out).round().append_pushed(
        {"clip_id": clip, "task_id": task} for clip, task in zip(CLIPS, tasks, strict=True)
    )
    for user, kinship in ((5, "blood"), (6, "non_blood")):
        server.annotate(tasks[0], user, answers())
        server.annotate(tasks[1], user, answers(kinship=kinship))
    server.annotate(tasks[2], 5, answers(kinship="cousins"))
    return out


def test_pull_adjudicate_and_apply_from_the_command_line(
    out: Path, server: LittleServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["label", "pull", str(out), "--quiet"]) == EXIT_OK
    told = capsys.readouterr()
    assert "4 new votes from 5 annotations on 3 changed tasks" in told.out
    assert "refused: 1" in told.out and CLIPS[2] in told.out and "'cousins'" in told.out
    assert run(["label", "pull", str(out), "--json", "--quiet", "--full"]) == EXIT_OK
    record = json.loads(capsys.readouterr().out)
    assert (record["votes"], record["total"], len(record["refused"])) == (0, 4, 1)
    assert run(["label", "adjudicate", str(out), "--dry-run", "--json", "--quiet"]) == EXIT_OK
    assert [item["clip_id"] for item in json.loads(capsys.readouterr().out)["items"]] == [CLIPS[1]]
    assert run(["label", "adjudicate", str(out), "--quiet"]) == EXIT_OK
    assert "1 clips are not settled" in (told := capsys.readouterr().out) and "sent now: 1" in told
    files = tree(out)
    assert run(["label", "apply", str(out), "--dry-run", "--quiet"]) == EXIT_OK
    told = capsys.readouterr().out
    assert "would change 2 clips" in told and "unknown, unknown [unlabelled] -> blood, equal [votes 1.00]" in told
    assert tree(out) == files
    assert run(["label", "apply", str(out), "--out", str(out.parent / "v2"), "--json", "--quiet"]) == EXIT_OK
    record = json.loads(capsys.readouterr().out)
    assert record["out"] == str(out.parent / "v2") and record["labels"] == {"votes": 2, "unlabelled": 1}
    assert tree(out) == files
    assert run(["label", "apply", str(out), "--quiet"]) == EXIT_OK
    assert "changed 2 clips" in capsys.readouterr().out
    assert validate(out).ok and validate(out.parent / "v2").ok


def test_failures_say_what_to_do_and_never_the_token(
    out: Path, server: LittleServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["label", "pull", str(tmp_path), "--quiet"]) == EXIT_ERROR
    assert "no dataset" in capsys.readouterr().err
    assert run(["label", "pull", str(out), "--round", "adjudication", "--quiet"]) == EXIT_ERROR
    assert "rsat-data label adjudicate" in capsys.readouterr().err
    server.trouble = lambda path: 401
    assert run(["label", "pull", str(out), "--quiet"]) == EXIT_ERROR
    told = capsys.readouterr()
    assert "does not accept" in told.err and TOKEN not in told.err + told.out
    assert read_votes(out).num_rows == 0
    assert run(["label", "apply", str(out), "--majority", "0.2"]) == EXIT_USAGE
    monkeypatch.delenv("LABEL_STUDIO_API_KEY")
    assert run(["label", "pull", str(out), "--quiet"]) == EXIT_ERROR
    assert "LABEL_STUDIO_API_KEY" in capsys.readouterr().err
