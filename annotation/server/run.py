"""Starting and stopping the label server of this machine.

Layout of its data folder (by default ``<RSAT_DATA_HOME>/label-server/data``)::

    lock            held by the server's process itself, so it is free exactly when nothing runs
    running.json    address and process of the server that runs
    last.json       its port at the last start, which is the default of the next
    owner.json      the first user's e-mail, once a token was handed out
    server.log      what the server says
    server/         the server's database and settings
    media/          the document root: the server shows files below it, and no others of this machine
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from annotation.client import Secret
from annotation.server.accounts import Account, personal_token, sign_in
from annotation.server.environment import find_executable, make_environment, server_home
from annotation.store import LabelStore
from rsat_data.errors import LabelAuthError, LabelServerError
from rsat_data.files import is_locked, write_json
from rsat_data.optional import require

HOST = "127.0.0.1"
DEFAULT_PORT = 8080
OWNER = "owner@localhost.localdomain"

Progress = Callable[[str], None]


@dataclass(frozen=True)
class ServeOptions:
    """How a server of one's own is started."""

    port: int | None = None
    """Port on 127.0.0.1; 0 takes a free one; None: the one of the last start, at first 8080."""
    data: Path | None = None
    """Folder for database and media; None: one for all datasets of this user."""
    executable: Path | None = None
    """label-studio of an installation that exists; None: RSAT_LABEL_SERVER, or an environment that is made."""
    timeout_s: float = 600.0
    """How long the server may take to answer. Its first start makes the database: 1 to 2 minutes."""
    new_token: bool = False
    """Make a new password and token for the owner; earlier ones stop working."""
    token_file: Path | None = None
    """Write the token, when there is a new one, to this file, which only this user can read."""


@dataclass(frozen=True)
class ServerState:
    """A server that runs."""

    url: str
    """Its address."""
    pid: int
    """Its process, leader of its process group."""
    media_root: Path
    """Its document root."""
    data: Path
    """Its data folder."""
    log: Path
    """What it says."""


@dataclass
class RunningServer:
    """A server this process started. As a context manager it is stopped at the end."""

    state: ServerState
    """Where it is."""
    account: Account | None = field(repr=False)
    """The owner with password and token; None where they were handed out at an earlier start."""
    process: subprocess.Popen[bytes] = field(repr=False)
    """The server."""

    @property
    def url(self) -> str:
        """Its address."""
        return self.state.url

    def __enter__(self) -> RunningServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait(self) -> int:
        """Wait until the server ends by itself; its exit code."""
        return self.process.wait()

    def stop(self) -> None:
        """End the server and all it started."""
        end_group(self.process)
        (self.state.data / "running.json").unlink(missing_ok=True)


def serve(
    out: Path | None = None, options: ServeOptions | None = None, progress: Progress = lambda _: None
) -> RunningServer:
    """Start a label server on 127.0.0.1 and wait until it answers. The dataset's store, if one is named, learns of it.

    Sign-up is closed but for invited people; no telemetry, version check or error reports leave the machine.

    Raises:
        LabelServerError: it runs already, the port is taken, or it ended or did not answer in time.
    """
    options = options or ServeOptions()
    data = data_folder(options)
    for folder in (data, data / "server", media_root(data)):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for folder in (data / "server", media_root(data)):
        folder.chmod(0o700)
    lock = _lock(data)
    try:
        port = _port(_last_port(data) if options.port is None else options.port)
        url = f"http://{HOST}:{port}"
        if out is not None:
            _refuse_another_address(LabelStore(out), url, data)
        executable = find_executable(options.executable) or make_environment(progress)
        handed_out = (data / "owner.json").is_file()
        first = not (data / "server" / "label_studio.sqlite3").exists()
        password = secrets.token_urlsafe(15)
        environment = server_environment(data, port)
        if not handed_out:
            environment |= {"LABEL_STUDIO_USERNAME": OWNER, "LABEL_STUDIO_PASSWORD": password}
        log = data / "server.log"
        progress("starting the server" + (": the first time it makes its database, 1 to 2 minutes" if first else ""))
        process = _start(executable, port, data, environment, log, lock)
    finally:
        os.close(lock)  # The server holds it on.
    try:
        _wait_until_healthy(process, url, options.timeout_s, log, progress)
        account = None
        if options.new_token or not handed_out:
            account = _owner(url, password, executable, data, fresh=not handed_out, progress=progress)
            if options.token_file is not None:
                write_secret(options.token_file, account.token)
            write_json(data / "owner.json", {"email": OWNER})
        running = ServerState(url, process.pid, media_root(data), data, log)
        write_json(data / "running.json", {"url": url, "pid": process.pid})
        write_json(data / "last.json", {"port": port})
        if out is not None:
            LabelStore(out).write_server(url=url, media_root=str(running.media_root))
    except BaseException:
        end_group(process)
        raise
    return RunningServer(running, account, process)


def data_folder(options: ServeOptions) -> Path:
    """The data folder that options name."""
    return (options.data or server_home() / "data").expanduser().absolute()


def media_root(data: Path) -> Path:
    """The document root below a data folder."""
    return data / "media"


def state(options: ServeOptions | None = None) -> ServerState | None:
    """The server that runs on the data folder, whoever started it; None where none does."""
    data = data_folder(options or ServeOptions())
    if not is_locked(data / "lock"):
        return None
    try:
        record = json.loads((data / "running.json").read_text(encoding="utf-8"))
        return ServerState(record["url"], int(record["pid"]), media_root(data), data, data / "server.log")
    except (OSError, ValueError, KeyError, TypeError):
        return None


def stop(options: ServeOptions | None = None, timeout_s: float = 20.0) -> ServerState | None:
    """End the server that runs on the data folder; returns it, or None where none ran.

    Raises:
        LabelServerError: it does not end.
    """
    running = state(options)
    if running is None:
        return None
    lock = running.data / "lock"
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        # The lock says that the process of running.json lives: its number cannot be somebody else's by now.
        if is_locked(lock):
            _signal_group(running.pid, number)
        end = time.monotonic() + timeout_s / 3
        while is_locked(lock) and time.monotonic() < end:
            time.sleep(0.05)
        if not is_locked(lock):
            (running.data / "running.json").unlink(missing_ok=True)
            return running
    raise LabelServerError(f"The label server (process {running.pid}) does not end.", hint="End it by hand.")


def server_environment(data: Path, port: int) -> dict[str, str]:
    """Environment of the server: what it needs of ours, and every switch that keeps it to this machine."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ") if name in os.environ}
    own = {
        "BASE_DATA_DIR": str(data / "server"),
        "DJANGO_DB": "sqlite",
        "LOCAL_FILES_SERVING_ENABLED": "true",
        "LOCAL_FILES_DOCUMENT_ROOT": str(media_root(data)),
        "DISABLE_SIGNUP_WITHOUT_LINK": "true",
        # Only pages of this server may use it, and only under these names: a page on the internet can make a browser
        # send requests to 127.0.0.1.
        "ALLOWED_HOSTS": f"{HOST},localhost",
        "CORS_ALLOWED_ORIGINS": f"http://{HOST}:{port},http://localhost:{port}",
        "CSRF_TRUSTED_ORIGINS": "",
        "COLLECT_ANALYTICS": "false",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
        "LATEST_VERSION_CHECK": "false",
        "FEATURE_FLAGS_OFFLINE": "true",
        "DEBUG": "false",
        "LOG_LEVEL": "WARNING",
    }
    # What is left of requests to the internet (tips on the start page) ends here at once.
    nowhere = {name: f"http://{HOST}:9" for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")}
    return {
        **kept,
        **nowhere,
        **{name.lower(): value for name, value in nowhere.items()},
        "NO_PROXY": f"{HOST},localhost",
        "no_proxy": f"{HOST},localhost",
        **{f"LABEL_STUDIO_{name}": value for name, value in own.items()},
        # Predictions that do not fit the form are refused at import.
        "fflag_feat_utc_210_prediction_validation_15082025": "true",
        "PYTHONUNBUFFERED": "1",
    }


def write_secret(path: Path, secret: Secret) -> None:
    """Write a token to a file that only this user can read; an earlier file is replaced.

    Raises:
        LabelServerError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0), 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as stream:
            stream.write(secret.reveal() + "\n")
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise LabelServerError(
            f"The token file {path} cannot be written: {error.strerror}.", hint="Name another --token-file.", path=path
        ) from error


def end_group(process: subprocess.Popen[bytes], patience_s: float = 8.0) -> None:
    """End a process and its group: first politely."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            break
        _signal_group(process.pid, number)
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            continue
    # What its own end did not take along.
    _signal_group(process.pid, signal.SIGKILL)
    process.wait(patience_s)


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def _start(
    executable: Path, port: int, data: Path, environment: dict[str, str], log: Path, lock: int
) -> subprocess.Popen[bytes]:
    command = [str(executable), "start", "--no-browser", "--internal-host", HOST, "--port", str(port)]
    handle = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    try:
        return subprocess.Popen(
            command,
            cwd=data / "server",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=subprocess.STDOUT,
            # A group of its own: Ctrl-C reaches us alone, and we end all of it.
            start_new_session=True,
            pass_fds=(lock,),
        )
    except OSError as error:
        raise LabelServerError(f"The label server {executable} cannot be started: {error}.") from error
    finally:
        os.close(handle)


def _wait_until_healthy(
    process: subprocess.Popen[bytes], url: str, timeout_s: float, log: Path, progress: Progress
) -> None:
    httpx = require("httpx", needed_for="talking to a label server")
    begun = time.monotonic()
    told = begun
    while True:
        code = process.poll()
        if code is not None:
            raise LabelServerError(
                f"The label server ended by itself with exit code {code}: {_last_words(log)}",
                hint=f"All that it said is in {log}",
                path=log,
            )
        try:
            # Plain HTTP on this machine: no certificates to load.
            if httpx.get(f"{url}/health", timeout=5.0, verify=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        now = time.monotonic()
        if now - begun > timeout_s:
            raise LabelServerError(
                f"The label server did not answer within {timeout_s:g} s: {_last_words(log)}",
                hint=f"All that it said is in {log}. Start it again: what it did is kept.",
                path=log,
            )
        if now - told > 10:
            told = now
            progress(f"starting the server: {now - begun:.0f} s")
        time.sleep(0.5)


def _owner(url: str, password: str, executable: Path, data: Path, *, fresh: bool, progress: Progress) -> Account:
    """The first user, with the new password, and a new token."""
    progress("making a token")
    session: Any = None
    if fresh:
        try:
            session = sign_in(url, OWNER, password)
        except LabelAuthError:
            session = None  # An earlier start made the user, and was broken off before anybody was told the password.
    if session is None:
        _reset_password(executable, data, password)
        session = sign_in(url, OWNER, password)
    try:
        return Account(OWNER, password, personal_token(session))
    finally:
        session.close()


def _reset_password(executable: Path, data: Path, password: str) -> None:
    # The command asks for the password on the terminal; in a session without one it reads it from standard input. So
    # it appears in no list of processes.
    done = subprocess.run(
        [str(executable), "reset_password", "--username", OWNER],
        input=f"{password}\n".encode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=server_environment(data, 0),
        cwd=data / "server",
        start_new_session=True,
        check=False,
    )
    if done.returncode != 0 or b"successfully changed" not in done.stdout:
        tail = done.stdout.decode("utf-8", "replace").replace(password, "[password]").strip().splitlines()[-1:]
        raise LabelServerError(
            f"The label server did not change the owner's password: {' '.join(tail)[:300]}",
            hint="Change it there by hand, and make a token in Account & Settings.",
        )


def _port(wanted: int) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Without it, connections of a server that just ended would hold the port for a minute.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted))
        except OSError as error:
            raise LabelServerError(
                f"Port {wanted} of this machine cannot be used: {error.strerror}.",
                hint="Is another server there? Choose another port, such as --port 8081 (0: any free one).",
            ) from error
        return int(probe.getsockname()[1])


def _last_port(data: Path) -> int:
    try:
        return int(json.loads((data / "last.json").read_text(encoding="utf-8"))["port"])
    except (OSError, ValueError, KeyError, TypeError):
        return DEFAULT_PORT


def _refuse_another_address(store: LabelStore, url: str, data: Path) -> None:
    """Votes carry the server's address in their ids: one database must not be used under two."""
    project = store.round().project()
    if project is None or project.url == url or store.read_server().get("media_root") != str(media_root(data)):
        return
    port = urlsplit(project.url).port
    raise LabelServerError(
        f"The project of {store.out} was made at {project.url}, and its votes are told apart by this address.",
        hint=f"Start the server there: --port {port}",
        path=store.out,
    )


def _lock(data: Path) -> int:
    handle = os.open(data / "lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        running = state(ServeOptions(data=data))
        where = f" at {running.url}" if running else ""
        raise LabelServerError(
            f"The label server runs already{where} (data: {data}).",
            hint="Use it as it is, or end it: rsat-data label serve --stop",
            path=data,
        ) from None
    return handle


def _last_words(log: Path) -> str:
    try:
        lines = [line.strip() for line in log.read_text("utf-8", errors="replace").splitlines() if line.strip()]
    except OSError:
        lines = []
    return (lines[-1] if lines else "it said nothing")[:400]
