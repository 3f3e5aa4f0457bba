from __future__ import annotations

import logging
import pickle
import socket
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

pytest.importorskip("httpx", reason="needs the extra 'annotate'")

from annotation.client import Client, Secret, connect, find_token, find_url
from rsat_data.errors import LabelAuthError, LabelServerError
from tests.annotation.fault_server import HTML, Answer, FaultServer, fault_server, make_token

LEGACY = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LABEL_STUDIO_URL", raising=False)
    monkeypatch.delenv("LABEL_STUDIO_API_KEY", raising=False)


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with fault_server() as running:
        yield running


@pytest.fixture
def waited() -> list[float]:
    return []


@pytest.fixture
def client(server: FaultServer, waited: list[float]) -> Iterator[Client]:
    secret = Secret(make_token("refresh"), "a test")
    with Client(server.url, secret, timeout_s=2.0, retries=3, sleep=waited.append) as made:
        yield made


def all_of(error: BaseException) -> str:
    """Everything somebody might see of an error."""
    return "".join([*traceback.format_exception(error), repr(error), str(error), getattr(error, "hint", "")])


# Addresses and tokens ------------------------------------------------------------------------------------------------


def test_address_given_beats_environment_beats_store(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_url(None, "http://stored:1") == "http://stored:1"
    monkeypatch.setenv("LABEL_STUDIO_URL", "http://environment:2/")
    assert find_url(None, "http://stored:1") == "http://environment:2"
    assert find_url("https://given.example.org/labels/", "http://stored:1") == "https://given.example.org/labels"


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://x", "http://", "/data", "file:///etc/passwd"])
def test_address_that_is_none(url: str) -> None:
    with pytest.raises(LabelServerError, match="not the address of a server"):
        find_url(url)


def test_no_address() -> None:
    with pytest.raises(LabelServerError, match="No label server is known") as caught:
        connect()
    assert "label serve" in caught.value.hint


@pytest.mark.parametrize("url", ["http://anna:geheim@host:1", "nonsense://anna:geheim@host"])
def test_password_in_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(LabelServerError) as caught:
        find_url(url)
    assert "geheim" not in all_of(caught.value).partition("LabelServerError")[2]


def test_no_token(server: FaultServer) -> None:
    with pytest.raises(LabelAuthError, match="no token") as caught:
        connect(server.url)
    assert "LABEL_STUDIO_API_KEY" in caught.value.hint and server.requests == []


def test_kinds_of_tokens() -> None:
    assert Secret("", "x").info.kind == "none"
    assert Secret(LEGACY, "x").info.kind == "legacy"
    assert Secret("a.b.c", "x").info.kind == "legacy"
    assert Secret("schlüssel", "x").info.kind == "unreadable"
    personal = Secret(make_token("refresh", 3600), "x").info
    assert personal.kind == "personal" and not personal.expired
    assert personal.expires is not None and abs(personal.expires - datetime.now(UTC) - timedelta(hours=1)) < timedelta(
        seconds=5
    )
    assert Secret(make_token("access"), "x").info.kind == "access"
    assert Secret(make_token("refresh", exp=10**30), "x").info.expires is None


def test_expired_token_is_told_before_any_request(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    token = make_token("refresh", -60)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", token)
    with pytest.raises(LabelAuthError, match="expired at") as caught:
        connect(server.url)
    assert "/user/account" in caught.value.hint and token not in all_of(caught.value) and server.requests == []


def test_token_file_beats_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", LEGACY)
    file = tmp_path / "token"
    file.write_text(f"  {make_token('refresh')}\n")
    assert find_token(file).info.kind == "personal"
    assert find_token().info.kind == "legacy"


@pytest.mark.parametrize("content", [b"", b"\n", b"two words\n", b"\xff\xfe\x00", b"x" * 20_000])
def test_token_file_without_token(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(LabelAuthError, match="holds no token"):
        find_token(file)


def test_token_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(LabelAuthError, match="cannot be read"):
        find_token(tmp_path / "nothing")


def test_secret_shows_nothing() -> None:
    secret = Secret(LEGACY, "x")
    assert LEGACY not in f"{secret} {secret!r} {[secret]} {secret.info}"
    with pytest.raises(TypeError):
        pickle.dumps(secret)


# How the token is sent -----------------------------------------------------------------------------------------------


def test_personal_token_is_traded_once(server: FaultServer, client: Client) -> None:
    assert client.whoami()["email"] == "anna@example.org"
    assert client.version() == "1.23.2"
    assert server.count("/api/token/refresh/") == 1
    sent = [headers.get("Authorization") for _, path, headers, _ in server.requests if "refresh" not in path]
    assert sent == [f"Bearer {server.access}"] * 2
    assert client.requests == 3 == len(server.requests)


def test_access_token_that_runs_out_is_renewed(server: FaultServer, client: Client) -> None:
    server.on("/api/token/refresh/", Answer(body={"access": make_token("access", 5)}))
    client.whoami()
    client.whoami()
    assert server.count("/api/token/refresh/") == 2


def test_access_token_refused_on_the_way_is_renewed(server: FaultServer, client: Client) -> None:
    client.whoami()
    server.on("/api/version", Answer(401, {"detail": "expired"}), Answer(body={"release": "1.23.2"}))
    assert client.version() == "1.23.2"
    assert server.count("/api/token/refresh/") == 2


def test_legacy_token_goes_as_it_is(server: FaultServer) -> None:
    with Client(server.url, Secret(LEGACY, "x"), timeout_s=2, retries=0) as client:
        client.whoami()
    assert server.requests[0][2]["Authorization"] == f"Token {LEGACY}"
    assert server.count("/api/token/refresh/") == 0


# Failures ------------------------------------------------------------------------------------------------------------


def test_401_of_each_kind(server: FaultServer, client: Client) -> None:
    server.on("/api/current-user/whoami", Answer(401, {"detail": "Invalid token."}))
    with pytest.raises(LabelAuthError, match="does not accept the personal token .Invalid token") as caught:
        client.whoami()
    assert caught.value.status == 401 and "personal-access-token" in caught.value.hint
    with Client(server.url, Secret(LEGACY, "x"), timeout_s=2, retries=0) as legacy:
        with pytest.raises(LabelAuthError, match="does not accept the legacy token") as caught:
            legacy.whoami()
    assert "Legacy tokens are off" in caught.value.hint


def test_revoked_personal_token(server: FaultServer, client: Client) -> None:
    server.on("/api/token/refresh/", Answer(401, {"detail": "Token is blacklisted"}))
    with pytest.raises(LabelAuthError, match="Token is blacklisted"):
        client.whoami()
    assert len(server.requests) == 1


def test_403(server: FaultServer, client: Client, waited: list[float]) -> None:
    server.on("/api/projects/5/", Answer(403, {"detail": "You do not have permission."}))
    with pytest.raises(LabelAuthError, match="You do not have permission") as caught:
        client.project(5)
    assert caught.value.status == 403 and waited == []


def test_404_names_what_is_gone(client: Client, waited: list[float]) -> None:
    with pytest.raises(LabelServerError, match="/api/projects/5/ with 404") as caught:
        client.project(5)
    assert caught.value.status == 404 and not isinstance(caught.value, LabelAuthError) and waited == []


def test_500_is_not_tried_again(server: FaultServer, client: Client, waited: list[float]) -> None:
    server.on("/api/projects/5/", Answer(500, {"detail": "division by zero"}))
    with pytest.raises(LabelServerError, match="with 500: division by zero") as caught:
        client.project(5)
    assert "log" in caught.value.hint and server.count("/api/projects/5/") == 1 and waited == []


def test_validation_errors_are_passed_on(server: FaultServer, client: Client) -> None:
    body = {"detail": "Validation error", "validation_errors": {"label_config": ["no such tag:\n  <Foo>"]}}
    server.on("/api/projects/", Answer(400, body))
    with pytest.raises(LabelServerError, match="Validation error.*label_config.*no such tag"):
        client.create_project("x", "<View/>")


def test_transient_failures_are_tried_again(server: FaultServer, client: Client, waited: list[float]) -> None:
    server.on("/api/projects/5/", Answer(503, {}), Answer(502, HTML), Answer(drop=True), Answer(body={"id": 5}))
    assert client.project(5)["id"] == 5
    assert len(waited) == 3 and waited[0] < waited[1] < waited[2]


def test_server_says_how_long_to_wait(server: FaultServer, client: Client, waited: list[float]) -> None:
    late = {"Retry-After": "7"}
    server.on("/api/projects/5/", Answer(429, {}, late), Answer(429, {}, {"Retry-After": "soon"}), Answer(body={}))
    client.project(5)
    assert waited[0] == 7.0 and waited[1] < 2.0


def test_patience_ends(server: FaultServer, client: Client, waited: list[float]) -> None:
    server.on("/api/projects/5/", Answer(503, {"detail": "maintenance"}))
    with pytest.raises(LabelServerError, match="with 503: maintenance"):
        client.project(5)
    assert server.count("/api/projects/5/") == 4 and len(waited) == 3


def test_time_out(server: FaultServer, waited: list[float]) -> None:
    server.on("/api/projects/5/", Answer(body={}, delay_s=1.0))
    with Client(server.url, Secret(LEGACY, "x"), timeout_s=0.1, retries=1, sleep=waited.append) as client:
        with pytest.raises(LabelServerError, match=r"did not answer GET /api/projects/5/ within 0.1 s"):
            client.project(5)
    assert len(waited) == 1


@pytest.mark.parametrize("answer", [Answer(body={}, delay_s=4.0), Answer(drop=True), Answer(502, HTML)])
def test_import_whose_answer_is_lost_is_not_sent_twice(server: FaultServer, answer: Answer) -> None:
    server.on("/api/projects/5/import", answer)
    # Long enough for a busy machine to send the request, too short for the late answer.
    with Client(server.url, Secret(LEGACY, "x"), timeout_s=2.0, retries=3, sleep=lambda _: None) as client:
        with pytest.raises(LabelServerError):
            client.import_tasks(5, [{"data": {}}])
    assert server.count("/api/projects/5/import") == 1


def test_import_refused_for_now_is_sent_again(server: FaultServer, client: Client) -> None:
    server.on("/api/projects/5/import", Answer(429, {}), Answer(201, {"task_count": 1, "task_ids": [9]}))
    assert client.import_tasks(5, [{"data": {}}]) == [9]


def test_import_that_takes_fewer(server: FaultServer, client: Client) -> None:
    server.on("/api/projects/5/import", Answer(201, {"task_count": 1, "task_ids": [9]}))
    with pytest.raises(LabelServerError, match="took 1 of 2 tasks"):
        client.import_tasks(5, [{"data": {}}, {"data": {}}])


def test_html_instead_of_json(server: FaultServer, client: Client) -> None:
    server.on("/api/projects/5/", Answer(200, HTML))
    with pytest.raises(LabelServerError, match="text/html instead of JSON") as caught:
        client.project(5)
    assert "address" in caught.value.hint and "Sign in" not in str(caught.value)


def test_redirect_to_a_login_page(server: FaultServer, client: Client) -> None:
    server.on("/api/projects/5/", Answer(302, HTML, {"Location": "/user/login/?next=/api"}))
    with pytest.raises(LabelAuthError, match="login page"):
        client.project(5)


def test_redirect_to_https(server: FaultServer, client: Client) -> None:
    server.on("/api/projects/5/", Answer(301, HTML, {"Location": "https://elsewhere.example.org/api"}))
    with pytest.raises(LabelServerError, match="elsewhere.example.org") as caught:
        client.project(5)
    assert "https" in caught.value.hint


def test_list_where_an_object_belongs(server: FaultServer, client: Client) -> None:
    server.on("/api/projects/5/", Answer(body=[1, 2]))
    with pytest.raises(LabelServerError, match="something else than an object"):
        client.project(5)


def test_connection_refused(waited: list[float]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}", Secret(LEGACY, "x"), timeout_s=2, retries=2, sleep=waited.append) as client:
        with pytest.raises(LabelServerError, match="refuses the connection") as caught:
            client.whoami()
    assert "label serve" in caught.value.hint and len(waited) == 2


def test_unknown_machine(waited: list[float]) -> None:
    url = "http://labels.invalid"
    with Client(url, Secret(LEGACY, "x"), timeout_s=5, retries=2, sleep=waited.append) as client:
        with pytest.raises(
            LabelServerError, match="no machine called 'labels.invalid'|name resolution|cannot be"
        ) as caught:
            client.whoami()
    assert caught.value.status is None


def test_https_where_http_is_spoken(server: FaultServer) -> None:
    url = server.url.replace("http://", "https://")
    with Client(url, Secret(LEGACY, "x"), timeout_s=2, retries=0) as client, pytest.raises(LabelServerError) as caught:
        client.whoami()
    assert "http://" in caught.value.hint


# The token appears nowhere -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        Answer(401, {"detail": "bad token {token}"}),
        Answer(400, {"detail": "{token}"}),
        Answer(500, {"detail": "Authorization: Bearer {token}"}),
        Answer(302, HTML, {"Location": "https://elsewhere.example.org/?t={token}"}),
        Answer(drop=True),
    ],
)
def test_token_is_in_no_error_and_no_log(
    answer: Answer, server: FaultServer, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    token = make_token("refresh")
    if isinstance(answer.body, dict):
        answer = Answer(answer.status, {"detail": answer.body["detail"].replace("{token}", f"{token} {server.access}")})
    elif "Location" in answer.headers:
        answer = Answer(302, HTML, {"Location": answer.headers["Location"].replace("{token}", token)})
    server.on("/api/projects/5/", answer)
    with caplog.at_level(logging.DEBUG), Client(server.url, Secret(token, "x"), timeout_s=2, retries=0) as client:
        with pytest.raises(LabelServerError) as caught:
            client.project(5)
        seen = all_of(caught.value) + repr(client) + repr(vars(client)) + caplog.text + "".join(capfd.readouterr())
    for secret in (token, server.access):
        assert secret not in seen
        # Not even its signature, which is what makes it one.
        assert secret.rsplit(".", 1)[1] not in seen


# Pages ---------------------------------------------------------------------------------------------------------------


def test_tasks_are_read_page_by_page(server: FaultServer, client: Client) -> None:
    pages = [[{"id": 1}, {"id": 2}], [{"id": 3}, {"id": 4}], [{"id": 5}]]
    server.on("/api/tasks/", *(Answer(body={"tasks": page, "total": 5}) for page in pages))
    found = client.tasks(5, page_size=2, updated_after="2026-01-01T00:00:00Z")
    assert next(found)["id"] == 1 and server.count("/api/tasks/") == 1
    assert [task["id"] for task in found] == [2, 3, 4, 5]
    assert server.count("/api/tasks/") == 3
    first = next(path for _, path, _, _ in server.requests if path.startswith("/api/tasks/"))
    assert "2026-01-01" in first and "updated_at" in first and "page=1" in first and "project=5" in first


def test_tasks_that_go_away_while_pages_are_read(server: FaultServer, client: Client) -> None:
    server.on("/api/tasks/", Answer(body={"tasks": [{"id": 1}], "total": 2}), Answer(404, {"detail": "Invalid page."}))
    assert [task["id"] for task in client.tasks(5)] == [1]
    with pytest.raises(LabelServerError, match="Invalid page"):
        list(client.tasks(5))


def test_project_whose_answer_is_lost_is_not_made_twice(server: FaultServer, client: Client) -> None:
    server.on("/api/projects/", Answer(drop=True))
    with pytest.raises(LabelServerError, match="broke off"):
        client.create_project("x", "<View/>")
    assert server.count("/api/projects/") == 1


def test_no_tasks(server: FaultServer, client: Client) -> None:
    server.on("/api/tasks/", Answer(body={"tasks": [], "total": 0}))
    assert list(client.tasks(5)) == []


def test_pages_of_something_else(server: FaultServer, client: Client) -> None:
    server.on("/api/tasks/", Answer(body={"detail": "ok"}))
    with pytest.raises(LabelServerError, match="no list of tasks"):
        list(client.tasks(5))


def test_upload(server: FaultServer, client: Client, tmp_path: Path) -> None:
    file = tmp_path / "clip.mp4"
    file.write_bytes(b"video")
    other = {"id": 4, "description": "rsat-files-of-55."}
    server.on("/api/projects/", Answer(body={"results": [other], "count": 1}), Answer(201, {"id": 6}))
    server.on("/api/projects/6/import", Answer(201, {"file_upload_ids": [3]}))
    server.on("/api/import/file-upload/3", Answer(body={"id": 3, "file": "upload/6/ab-clip.mp4"}))
    assert client.upload(5, file) == client.upload(5, file) == "/data/upload/6/ab-clip.mp4"
    assert [method for method, path, _, _ in server.requests if path.startswith("/api/projects/?")] == ["GET"]
    sent = next(body for method, path, _, body in server.requests if "import?" in path)
    assert b"video" in sent and b'filename="clip.mp4"' in sent


def test_local_storage_is_added_once(server: FaultServer, client: Client) -> None:
    server.on("/api/storages/localfiles/", Answer(body=[]), Answer(201, {"id": 1, "path": "/m/a"}))
    assert client.add_local_storage(5, Path("/m/a"))["id"] == 1
    server.on("/api/storages/localfiles/", Answer(body=[{"id": 1, "path": "/m/a"}]))
    assert client.add_local_storage(5, Path("/m/a"))["id"] == 1
    assert [method for method, path, _, _ in server.requests if "localfiles" in path] == ["GET", "POST", "GET"]
