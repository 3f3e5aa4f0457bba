"""The server's own start and stop, projects on it, and the doctor: against the real server."""

from __future__ import annotations

import contextlib
import logging
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("httpx", reason="needs the extra 'annotate'")

import httpx

from annotation.client import Client, Secret
from annotation.doctor import DoctorOptions, doctor
from annotation.form import load_form
from annotation.project import InitOptions, check_project, init, make_project
from annotation.server import Account, ServeOptions, serve, state, stop
from annotation.server.accounts import personal_token, sign_in
from annotation.store import ADJUDICATION, LabelStore
from rsat_data.errors import LabelAuthError, LabelProjectError, LabelServerError
from tests.annotation.server_fixture import LabelServer

pytestmark = pytest.mark.label_server

TASK = {
    "data": {
        "clip_id": "c1",
        "video": "/v.mp4",
        "audio": "/a.wav",
        "face_a": "/a.jpg",
        "face_b": "/b.jpg",
        "transcript": [{"speaker": "A", "text": "Hello.", "start": 0.1, "end": 1.0}],
        "title": "t",
        "schema": "rsat/1",
    }
}
RESULT = [{"from_name": "kinship", "to_name": "video", "type": "choices", "value": {"choices": ["blood"]}}]


def test_server_listens_here_alone_and_calls_nobody(label_server: LabelServer) -> None:
    # A machine has addresses besides 127.0.0.1; 127.0.0.2 stands for them and needs no network.
    port = int(label_server.url.rpartition(":")[2])
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.2", port)) != 0
    with httpx.Client(base_url=label_server.url, timeout=30) as browser:
        page = browser.get("/user/login/").text
        assert "googletagmanager" not in page and "sentry" not in page
        # The start page asks the server for tips, and the server the internet: that ends before it leaves.
        begun = time.monotonic()
        assert browser.get("/heidi-tips").status_code == 404
        assert time.monotonic() - begun < 4
        # Another name for this machine, as a page on the internet could give it, is refused.
        assert browser.get("/user/login/", headers={"Host": "evil.example.org"}).status_code == 400
        foreign = browser.get("/api/version", headers={"Origin": "https://evil.example.org"})
        assert "access-control-allow-origin" not in foreign.headers


def test_nobody_signs_up_without_an_invitation(label_server: LabelServer) -> None:
    with httpx.Client(base_url=label_server.url, timeout=30) as browser:
        browser.get("/user/signup/")
        form = {
            "email": "x@example.org",
            "password": "long enough 1",
            "csrfmiddlewaretoken": browser.cookies["csrftoken"],
        }
        assert browser.post("/user/signup/", data=form).status_code == 403


def test_files_of_the_server_are_of_this_user_alone(label_server: LabelServer) -> None:
    data = label_server.server.state.data
    assert (data / "server").stat().st_mode & 0o077 == 0 and (data / "media").stat().st_mode & 0o077 == 0
    assert (data / "server.log").stat().st_mode & 0o077 == 0
    assert label_server.token_file.stat().st_mode & 0o777 == 0o600


def test_token_and_password_are_on_no_command_line_and_in_no_file(label_server: LabelServer, owner: Client) -> None:
    owner.whoami()
    token, password = label_server.owner.token.reveal(), label_server.owner.password
    listed = subprocess.run(["ps", "-ww", "axo", "args"], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert token not in listed and password not in listed and "label-studio start" in listed
    data = label_server.server.state.data
    for path in (*data.glob("*"), *data.glob("server/*")):
        if path.is_file() and path.suffix != ".sqlite3":
            content = path.read_bytes()
            assert token.encode() not in content and password.encode() not in content, path


def test_second_start_says_that_it_runs(label_server: LabelServer) -> None:
    options = ServeOptions(port=0, data=label_server.server.state.data)
    running = state(options)
    assert running is not None and running.url == label_server.url
    with pytest.raises(LabelServerError, match=f"runs already at {label_server.url}"):
        serve(None, options)


def test_port_that_is_taken(label_server: LabelServer, tmp_path: Path) -> None:
    port = int(label_server.url.rpartition(":")[2])
    with pytest.raises(LabelServerError, match=f"Port {port} of this machine cannot be used") as caught:
        serve(None, ServeOptions(port=port, data=tmp_path))
    assert "--port" in caught.value.hint and state(ServeOptions(data=tmp_path)) is None


def test_executable_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(LabelServerError, match="not a program"):
        serve(None, ServeOptions(port=0, data=tmp_path, executable=tmp_path / "nothing"))
    program = tmp_path / "label-studio"
    program.write_text("#!/bin/sh\necho cannot do it >&2\nexit 3\n")
    program.chmod(0o755)
    with pytest.raises(LabelServerError, match="exit code 3: cannot do it"):
        serve(None, ServeOptions(port=0, data=tmp_path / "data", executable=program))


def test_start_that_takes_too_long_leaves_nothing_behind(tmp_path: Path) -> None:
    program = tmp_path / "label-studio"
    program.write_text("#!/bin/sh\ntrap '' INT\nsleep 300 &\necho $! > child\nwait\n")
    program.chmod(0o755)
    with pytest.raises(LabelServerError, match="did not answer within 1 s"):
        serve(None, ServeOptions(port=0, data=tmp_path / "data", executable=program, timeout_s=1))
    assert is_gone(int((tmp_path / "data" / "server" / "child").read_text()))


def is_gone(pid: int, seconds: float = 10.0) -> bool:
    """Whether a process ends; one whose parent has not asked for its end yet has ended, too."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False


def copy_of(label_server: LabelServer, data: Path) -> Path:
    """A data folder with the database of the server that runs: a first start takes minutes."""
    source = label_server.server.state.data
    (data / "server").mkdir(parents=True)
    shutil.copy(source / "owner.json", data)
    shutil.copy(source / "server" / ".env", data / "server")
    with (
        contextlib.closing(sqlite3.connect(source / "server" / "label_studio.sqlite3")) as live,
        contextlib.closing(sqlite3.connect(data / "server" / "label_studio.sqlite3")) as copy,
    ):
        live.backup(copy)
    return data


def test_stop_by_signal(label_server: LabelServer, tmp_path: Path) -> None:
    """The command ends the server when it is ended itself, and the next start finds users and tokens again."""
    data = copy_of(label_server, tmp_path / "data")
    command = [sys.executable, "-m", "rsat_data", "label", "serve", "--port", "0", "--data", str(data), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        running = state(ServeOptions(data=data))
        assert running is not None and f'"url": "{running.url}"' in line and "password" not in line
        with Client(running.url, label_server.owner.token, timeout_s=30, retries=1) as client:
            assert client.whoami()["email"] == label_server.owner.email
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert state(ServeOptions(data=data)) is None
    assert is_gone(running.pid)


def test_first_start_broken_off_before_the_password_was_told(label_server: LabelServer, tmp_path: Path) -> None:
    """The user is there, nobody knows the password: it is set anew. Then the dataset is bound to the address."""
    data = copy_of(label_server, tmp_path / "data")
    (data / "owner.json").unlink()
    out, token_file = tmp_path / "out", tmp_path / "token"
    out.mkdir()
    token_file.write_text("an old one")
    with serve(out, ServeOptions(port=0, data=data, token_file=token_file)) as server:
        assert server.account is not None and server.account.password != label_server.owner.password
        assert token_file.stat().st_mode & 0o777 == 0o600
        project = init(out, InitOptions(token_file=token_file)).project
        assert project.url == server.url and LabelStore(out).read_server()["media_root"] == str(data / "media")
        url = server.url
    assert stop(ServeOptions(data=data)) is None
    port = int(url.rpartition(":")[2])
    other = ServeOptions(port=port + 1 if port < 65_000 else port - 1, data=data)
    with pytest.raises(LabelServerError, match="made at") as caught:
        serve(out, other)
    assert f"--port {port}" in caught.value.hint


# Accounts ------------------------------------------------------------------------------------------------------------


def test_annotators_have_tokens_of_their_own(
    label_server: LabelServer, annotator: Callable[[], tuple[Account, Client]]
) -> None:
    account, client = annotator()
    assert client.whoami()["email"] == account.email != label_server.owner.email
    assert account.password not in repr(account) and account.token.reveal() not in repr(account)


def test_wrong_password(label_server: LabelServer) -> None:
    with pytest.raises(LabelAuthError, match="does not let"):
        sign_in(label_server.url, label_server.owner.email, "wrong")


def test_new_token_revokes_the_old(label_server: LabelServer, annotator: Callable[[], tuple[Account, Client]]) -> None:
    account, client = annotator()
    with sign_in_closing(label_server.url, account) as session:
        fresh = personal_token(session)
    with pytest.raises(LabelAuthError):
        client.whoami()
    with Client(label_server.url, fresh, timeout_s=30, retries=0) as again:
        assert again.whoami()["email"] == account.email


def test_annotator_who_may_not(label_server: LabelServer) -> None:
    with Client(label_server.url, Secret("0" * 40, "a test"), timeout_s=30, retries=0) as client:
        with pytest.raises(LabelAuthError, match="legacy token"):
            client.whoami()


class sign_in_closing:  # noqa: N801
    def __init__(self, url: str, account: Account) -> None:
        self.session = sign_in(url, account.email, account.password)

    def __enter__(self) -> httpx.Client:
        assert isinstance(self.session, httpx.Client)
        return self.session

    def __exit__(self, *_: object) -> None:
        self.session.close()


# Projects ------------------------------------------------------------------------------------------------------------


def test_init_twice_makes_one_project(owner: Client, tmp_path: Path) -> None:
    out = tmp_path / "family <dinners> & more"
    out.mkdir()
    before = len(list(owner.projects()))
    first = init(out, InitOptions(overlap=2))
    second = init(out, InitOptions(overlap=4))
    assert first.created and not second.created and second.project == first.project
    assert any("overlap is 2" in note for note in second.notes)
    assert len(list(owner.projects())) == before + 1
    server = owner.project(first.project.project_id)
    assert server["maximum_annotations"] == 2 and server["show_instruction"] and not server["enable_empty_annotation"]
    assert "blood relatives" in server["expert_instruction"] and "• <strong>" in server["expert_instruction"]
    assert check_project(owner, LabelStore(out)).notes == ()


def test_project_made_but_not_noted_is_found_again(owner: Client, tmp_path: Path) -> None:
    made = init(tmp_path).project
    # As after a kill between the server's answer and the note.
    (tmp_path / ".label" / "labelling" / "project.json").unlink()
    again = init(tmp_path)
    assert not again.created and again.project.project_id == made.project_id


def test_project_edited_by_hand(owner: Client, tmp_path: Path) -> None:
    made = init(tmp_path).project
    looks = made.form_xml.replace("1. Are A and B", "Are they")
    owner.update_project(made.project_id, label_config=looks, title="Renamed", maximum_annotations=5)
    notes = check_project(owner, LabelStore(tmp_path), load_form()).notes
    assert [word for word in ("Renamed", "now 5", "looks different") if any(word in note for note in notes)] == [
        "Renamed",
        "now 5",
        "looks different",
    ]
    owner.update_project(made.project_id, label_config=made.form_xml.replace('value="blood"', 'value="family"'))
    for look in (lambda: check_project(owner, LabelStore(tmp_path)), lambda: init(tmp_path)):
        with pytest.raises(LabelProjectError, match="choice 'blood' is now 'family'") as caught:
            look()
        assert not caught.value.gone
    assert any("is now 'family'" in check.text for check in doctor(tmp_path).checks if check.state == "problem")


def test_project_that_was_deleted(owner: Client, tmp_path: Path) -> None:
    made = init(tmp_path).project
    LabelStore(tmp_path).round().append_pushed([{"clip_id": "c1", "task_id": 1}])
    owner.delete_project(made.project_id)
    with pytest.raises(LabelProjectError, match="deleted") as caught:
        init(tmp_path)
    assert caught.value.gone and "--again" in caught.value.hint
    again = init(tmp_path, InitOptions(again=True))
    assert again.created and again.project.project_id != made.project_id
    assert LabelStore(tmp_path).round().pushed() == {}
    assert (tmp_path / ".label" / "labelling.old-1" / "pushed.jsonl").exists()


def test_project_of_another_server(owner: Client, tmp_path: Path) -> None:
    init(tmp_path)
    with Client("http://127.0.0.1:9", Secret("0" * 40, "x"), timeout_s=1, retries=0) as other:
        with pytest.raises(LabelProjectError, match="lies on"):
            check_project(other, LabelStore(tmp_path))


def test_second_round_is_a_project_of_its_own(owner: Client, tmp_path: Path) -> None:
    first = init(tmp_path).project
    store = LabelStore(tmp_path)
    with store.lock():
        second = make_project(
            owner, store.round(ADJUDICATION), load_form(), title="Second round", overlap=1, prediction_version="votes-1"
        ).project
    assert second.project_id != first.project_id and second.round == ADJUDICATION
    assert check_project(owner, store, None, ADJUDICATION).project == second


def test_tasks_annotations_and_pages(
    owner: Client, tmp_path: Path, annotator: Callable[[], tuple[Account, Client]]
) -> None:
    project = init(tmp_path).project.project_id
    tasks = owner.import_tasks(project, [TASK] * 7)
    assert len(set(tasks)) == 7
    _, anna = annotator()
    made = anna.create_annotation(tasks[2], RESULT, lead_time_s=4.5)
    seen = list(owner.tasks(project, page_size=3))
    assert [task["id"] for task in seen] == tasks
    annotations = seen[2]["annotations"]
    assert [a["id"] for a in annotations] == [made["id"]] and annotations[0]["lead_time"] == 4.5
    later = list(owner.tasks(project, updated_after=made["created_at"]))
    assert [task["id"] for task in later] == [tasks[2]]
    anna.update_annotation(made["id"], result=[])
    assert owner.annotations(tasks[2])[0]["result"] == []
    owner.delete_task(tasks[0])
    assert [task["id"] for task in owner.tasks(project, fields="task_only")] == tasks[1:]


def test_predictions_the_form_does_not_know_are_refused(owner: Client, tmp_path: Path) -> None:
    project = init(tmp_path).project.project_id
    wrong = [{**RESULT[0], "value": {"choices": ["cousins"]}}]
    with pytest.raises(LabelServerError, match="cousins") as caught:
        owner.import_tasks(project, [{**TASK, "predictions": [{"model_version": "v", "result": wrong}]}])
    assert caught.value.status == 400 and list(owner.tasks(project)) == []


def test_files_uploaded_and_files_of_a_folder(label_server: LabelServer, owner: Client, tmp_path: Path) -> None:
    project = init(tmp_path).project.project_id
    picture = tmp_path / "face a.jpg"
    picture.write_bytes(b"\xff\xd8\xff\xe0 no picture, and nobody looks")
    owner.probe(owner.upload(project, picture))
    name = f"clips-of-{project}"
    folder = label_server.media_root / name
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"x" * 200)
    with pytest.raises(LabelServerError):
        owner.probe(f"/data/local-files/?d={name}/a.jpg")
    owner.add_local_storage(project, folder)
    owner.probe(f"/data/local-files/?d={name}/a.jpg")
    assert (folder / ".." / ".." / "owner.json").is_file()
    for outside in (f"{name}/../../owner.json", "../owner.json", "/etc/hostname", f"{name}/%2e%2e/%2e%2e/owner.json"):
        with pytest.raises(LabelServerError):
            owner.probe(f"/data/local-files/?d={outside}")
    for refused in (label_server.media_root, label_server.media_root.parent, Path("/etc")):
        with pytest.raises(LabelServerError, match="400"):
            owner.add_local_storage(project, refused)


# Doctor --------------------------------------------------------------------------------------------------------------


def test_doctor_of_a_healthy_project(
    label_server: LabelServer, owner: Client, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        project = init(tmp_path).project.project_id
        folder = label_server.media_root / f"clips-{project}"
        folder.mkdir()
        for name in ("v.mp4", "a.wav", "a.jpg", "b.jpg"):
            (folder / name).write_bytes(b"x" * 200)
        owner.add_local_storage(project, folder)
        at = f"/data/local-files/?d={folder.name}/"
        data = {
            **TASK["data"],
            "video": at + "v.mp4",
            "audio": at + "a.wav",
            "face_a": at + "a.jpg",
            "face_b": at + "b.jpg",
        }
        (task,) = owner.import_tasks(project, [{"data": data}])
        LabelStore(tmp_path).round().append_pushed([{"clip_id": "c1", "task_id": task}])
        report = doctor(tmp_path)
        assert report.healthy, report
        told = " ".join(f"{check.name}: {check.text}" for check in report.checks)
        for expected in (
            "personal access token",
            "owner@",
            "1.23",
            "1 tasks",
            "all of them media",
            "video of the last task",
        ):
            assert expected in told
        token = label_server.owner.token.reveal()
        assert token not in str(report.to_dict()) + caplog.text
    (folder / "b.jpg").unlink()
    (folder / "passwords").symlink_to("/etc/passwd")
    problems = {check.text[:60]: check for check in doctor(tmp_path).checks if check.state == "problem"}
    assert any("face_b of the last task" in text for text in problems)
    assert any("passwords" in check.text for check in problems.values())


def test_doctor_of_an_annotator_on_a_foreign_machine(
    label_server: LabelServer, annotator: Callable[[], tuple[Account, Client]], tmp_path: Path
) -> None:
    account, _ = annotator()
    file = tmp_path / "token"
    file.write_text(account.token.reveal())
    report = doctor(None, DoctorOptions(url=label_server.url, token_file=file))
    assert report.healthy and any(account.email in check.text for check in report.checks)
