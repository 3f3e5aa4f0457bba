from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("httpx", reason="needs the extra 'annotate'")

from annotation.doctor import Check, doctor
from annotation.form import load_form
from annotation.store import LabelStore, Media, Project
from rsat_data.cli import run
from tests.annotation.fault_server import HTML, Answer, FaultServer, fault_server, make_token

FORM = load_form()


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with fault_server() as running:
        yield running


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch, server: FaultServer) -> str:
    value = make_token("refresh", 10 * 86_400)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", value)
    monkeypatch.setenv("LABEL_STUDIO_URL", server.url)
    return value


@pytest.fixture
def dataset(tmp_path: Path, server: FaultServer) -> Path:
    """A dataset whose project lies on the server, unchanged, with one task."""
    project = Project(server.url, 5, "Talks", FORM.hash, FORM.xml, 3, "v1", Media("local", "/m"))
    LabelStore(tmp_path).round().write_project(project)
    LabelStore(tmp_path).round().append_pushed([{"clip_id": "c", "task_id": 9}])
    answer = {
        "id": 5,
        "title": "Talks",
        "label_config": FORM.xml,
        "maximum_annotations": 3,
        "model_version": "v1",
        "task_number": 1,
        "total_annotations_number": 2,
    }
    server.on("/api/projects/5/", Answer(body=answer))
    server.on("/api/storages/localfiles/", Answer(body=[{"id": 1, "path": str(tmp_path / "absent")}]))
    server.on("/api/tasks/9/", Answer(body={"id": 9, "data": {"video": "/data/v.mp4", "audio": "https://cdn/a.wav"}}))
    server.on("/data/v.mp4", Answer(206, HTML))
    return tmp_path


def named(checks: tuple[Check, ...], name: str) -> Check:
    return next(check for check in checks if check.name == name)


def test_all_is_well(dataset: Path, token: str) -> None:
    report = doctor(dataset)
    assert report.healthy
    assert named(report.checks, "labelling project").state == "ok"
    assert [check.state for check in report.checks if check.name == "labelling media"] == ["note", "ok", "note"]


def test_nothing_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LABEL_STUDIO_URL", raising=False)
    monkeypatch.delenv("LABEL_STUDIO_API_KEY", raising=False)
    report = doctor(tmp_path)
    assert not report.healthy
    assert "label serve" in named(report.checks, "address").fix
    assert "LABEL_STUDIO_API_KEY is not set" in named(report.checks, "token").text
    assert named(doctor(tmp_path / "absent").checks, "dataset").state == "problem"


@pytest.mark.parametrize(
    ("kind", "seconds", "state", "told"),
    [
        ("refresh", -60, "problem", "expired since"),
        ("refresh", 86_400, "note", "valid until"),
        ("refresh", 400 * 86_400, "ok", "personal access token"),
        ("access", 200, "note", "access token of a few minutes"),
    ],
)
def test_tokens_are_described(
    kind: str, seconds: float, state: str, told: str, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABEL_STUDIO_URL", server.url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", make_token(kind, seconds))
    check = named(doctor().checks, "token")
    assert check.state == state and told in check.text
    assert (check.fix != "") == (state != "ok")


def test_legacy_token_on_a_server_without(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABEL_STUDIO_URL", server.url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "0123456789" * 4)
    server.on("/api/current-user/whoami", Answer(401, {"detail": "Invalid token."}))
    report = doctor()
    assert "legacy token" in named(report.checks, "token").text
    assert "Legacy tokens are off" in named(report.checks, "user").fix
    assert report.checks[-1].state == "skipped"


@pytest.mark.parametrize(
    ("answer", "told"),
    [(Answer(404, HTML), "no label server"), (Answer(500, {}), "no label server"), (Answer(drop=True), "broke off")],
)
def test_something_else_answers(answer: Answer, told: str, server: FaultServer, token: str) -> None:
    server.on("/health", answer)
    report = doctor()
    assert told in named(report.checks, "server").text and not report.healthy


def test_other_version(server: FaultServer, token: str) -> None:
    server.on("/api/version", Answer(body={"release": "1.8.0"}))
    check = named(doctor().checks, "version")
    assert check.state == "note" and "1.8.0" in check.text


def test_settings_only_for_administrators(server: FaultServer, token: str) -> None:
    server.on("/api/jwt/settings", Answer(403, {"detail": "no"}))
    report = doctor()
    assert named(report.checks, "token kinds").state == "skipped" and report.healthy


def test_project_that_was_edited_or_deleted(dataset: Path, token: str, server: FaultServer) -> None:
    form = FORM.xml.replace('value="blood"', 'value="family"')
    server.on("/api/projects/5/", Answer(body={"id": 5, "label_config": form}))
    check = named(doctor(dataset).checks, "labelling project")
    assert check.state == "problem" and "choice 'blood' is now 'family'" in check.text
    server.on("/api/projects/5/", Answer(404, {"detail": "No Project matches the given query."}))
    assert "--again" in named(doctor(dataset).checks, "labelling project").fix


def test_folder_that_shows_too_much(dataset: Path, token: str, server: FaultServer) -> None:
    folder = dataset / "media"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(b"")
    server.on("/api/storages/localfiles/", Answer(body=[{"id": 1, "path": str(folder)}]))
    assert doctor(dataset).healthy
    (folder / "keys").mkdir()
    (folder / "keys" / "id_rsa").write_text("")
    assert any("id_rsa" in check.text for check in doctor(dataset).checks if check.state == "problem")
    (folder / "keys" / "id_rsa").unlink()
    (folder / "b.mp4").symlink_to("/etc/hostname")
    assert any("b.mp4" in check.text for check in doctor(dataset).checks if check.state == "problem")


def test_media_that_cannot_be_shown(dataset: Path, token: str, server: FaultServer) -> None:
    server.on("/data/v.mp4", Answer(404, HTML))
    server.on("/api/storages/localfiles/", Answer(body=[]))
    problems = [check.text for check in doctor(dataset).checks if check.state == "problem"]
    assert len(problems) == 2 and "annotators see no video" in problems[0] and "video of the last task" in problems[1]


def test_command(dataset: Path, token: str, server: FaultServer, capsys: pytest.CaptureFixture[str],
                 caplog: pytest.LogCaptureFixture) -> None:  # fmt: skip
    with caplog.at_level(logging.DEBUG):
        assert run(["label", "doctor", str(dataset), "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["healthy"] and {"name", "state", "text", "fix"} == set(report["checks"][0])
        server.on("/api/projects/5/", Answer(404, {"detail": f"nothing for {token}"}))
        assert run(["label", "doctor", str(dataset)]) == 1
    seen = "".join(capsys.readouterr()) + caplog.text + json.dumps(report)
    assert "PROBLEM" in seen and token not in seen and server.access not in seen


def test_commands_name_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LABEL_STUDIO_URL", raising=False)
    monkeypatch.delenv("LABEL_STUDIO_API_KEY", raising=False)
    assert run(["label", "init", str(tmp_path / "absent")]) == 1
    assert "is not a folder" in capsys.readouterr().err
    assert run(["label", "init", str(tmp_path)]) == 1
    assert "No label server is known" in capsys.readouterr().err
    assert run(["label", "init", str(tmp_path), "--url", "http://127.0.0.1:9"]) == 1
    assert "There is no token" in capsys.readouterr().err
    for wrong in (["--overlap", "0"], ["--title", "x"], ["--title", "x" * 51]):
        assert run(["label", "init", str(tmp_path), *wrong]) == 2
    assert run(["label", "serve", str(tmp_path / "absent")]) == 2
    assert run(["label", "serve", "--stop", "--data", str(tmp_path), "--json"]) == 0
    assert '{"stopped": null}' in capsys.readouterr().out
    assert not (tmp_path / ".label" / "labelling").exists()
