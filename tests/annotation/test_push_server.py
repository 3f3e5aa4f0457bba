"""`push` against a real label server, which is killed in the middle."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from annotation import InitOptions, PushOptions, init, push
from annotation.client import Client
from annotation.form import load_form
from annotation.predict import check_predictions
from annotation.server import RunningServer, ServeOptions, serve
from annotation.store import LabelStore
from rsat_data.errors import LabelServerError
from tests.annotation.push_factory import make_dataset
from tests.annotation.server_fixture import LabelServer

pytestmark = pytest.mark.label_server

LINES = ["Thanks, mom.", '<b>Hello</b> & "so" on\n\nthere 😀', "שלום, אמא!", "😀😀 Come here, my son.", ""]


def clips_of(client: Client, project: int) -> Counter[str]:
    return Counter(task["data"].get("clip_id") for task in client.tasks(project, fields="task_only"))


def test_what_is_sent_is_what_the_server_holds(label_server: LabelServer, owner: Client, tmp_path: Path) -> None:
    out = make_dataset(tmp_path, LINES, single=1)
    project = init(out).project.project_id
    first = push(out, PushOptions(media_root=label_server.media_root, hide=0.0))
    assert (first.pushed, first.media, first.failed) == (5, "local", {})
    second = push(out)
    assert (second.pushed, second.present, second.recovered) == (0, 5, 0)
    tasks = {task["data"]["clip_id"]: task for task in owner.tasks(project)}
    journal = LabelStore(out).round().pushed()
    assert {clip_id: task["id"] for clip_id, task in tasks.items()} == {
        clip_id: record["task_id"] for clip_id, record in journal.items()
    }
    texts = {task["data"]["transcript"][0]["text"] for task in tasks.values()}
    assert '<b>Hello</b> & "so" on there 😀' in texts and "\u2067שלום, אמא!\u2069" in texts
    assert "(no words were recognised)" in texts
    seen = [task["predictions"] for task in tasks.values() if task["predictions"]]
    assert len(seen) == 2 and all(len(predictions) == 1 for predictions in seen)
    check_predictions(load_form().xml, [("clip", predictions[0]) for predictions in seen])
    # The files are served, to those who are signed in.
    for task in tasks.values():
        for name in ("video", "audio", "face_a", "face_b"):
            response = owner._send("GET", task["data"][name])
            assert response.status_code == 200 and len(response.content) > 100, (name, response.status_code)


def test_upload(label_server: LabelServer, owner: Client, tmp_path: Path) -> None:
    out = make_dataset(tmp_path, LINES[:2])
    project = init(out).project.project_id
    assert push(out, PushOptions(media="upload")).pushed == 2
    assert push(out).pushed == 0
    for task in owner.tasks(project):
        response = owner._send("GET", task["data"]["video"])
        assert response.status_code == 200 and response.content[4:8] == b"ftyp"


@pytest.mark.slow
def test_the_server_killed_in_the_middle(
    label_server: LabelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server of the same accounts, killed while it takes tasks, comes back: every clip is there once."""
    data = tmp_path / "server"
    shutil.copytree(label_server.server.state.data, data)
    for name in ("running.json", "lock"):
        (data / name).unlink(missing_ok=True)
    out = make_dataset(tmp_path, ["Thanks, mom."] * 40)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", label_server.owner.token.reveal())
    monkeypatch.delenv("LABEL_STUDIO_URL", raising=False)

    def start(port: int) -> RunningServer:
        return serve(out, ServeOptions(port=port, data=data))

    server = start(0)
    port = int(server.url.rpartition(":")[2])
    client = Client(server.url, label_server.owner.token, timeout_s=60.0, retries=1)
    try:
        project = init(out, InitOptions(url=server.url)).project.project_id
        for imports in (1, 4):
            broken = _push_and_kill(out, server, imports)
            assert isinstance(broken, LabelServerError)
            server = start(port)
        result = push(out, PushOptions(batch=4))
        assert result.pushed + result.present == 40
        found = clips_of(client, project)
        assert len(found) == 40 and set(found.values()) == {1}
        journal = LabelStore(out).round().pushed()
        assert {task["id"]: task["data"]["clip_id"] for task in client.tasks(project, fields="task_only")} == {
            record["task_id"]: record["clip_id"] for record in journal.values()
        }
        again = push(out)
        assert (again.pushed, again.recovered, again.lost) == (0, 0, 0)
        assert label_server.owner.token.reveal() not in json.dumps(list(journal.values()))
    finally:
        client.close()
        server.stop()


def _push_and_kill(out: Path, server: RunningServer, imports: int) -> BaseException | None:
    """Push, and kill the server when the n-th batch has been journalled: it is busy with the next one."""
    failure: list[BaseException] = []
    batches = 0

    def show(step: str, done: int, total: int) -> None:
        nonlocal batches
        if step == "tasks" and done:
            batches += 1

    def work(show: Callable[[str, int, int], None]) -> None:
        try:
            push(out, PushOptions(batch=4), progress=show)
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=work, args=(show,))
    thread.start()
    while batches < imports and thread.is_alive():
        time.sleep(0.005)
    time.sleep(0.03)
    os.killpg(os.getpgid(server.process.pid), signal.SIGKILL)
    server.process.wait()
    thread.join()
    return failure[0] if failure else None
