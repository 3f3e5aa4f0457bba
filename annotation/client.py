"""Talking to the label server: one client whose every failure is a typed error that says what to do.

Addresses come from the caller, ``LABEL_STUDIO_URL``, or the dataset's store; the token from a file or
``LABEL_STUDIO_API_KEY``. The token is in no message, representation, log line or file.

Two kinds of token exist. A personal access token is a JWT that says of itself that it is for refreshing: it is traded
for an access token of a few minutes at ``/api/token/refresh/``, which goes into the header ``Bearer``. A legacy token,
switched off on new servers unless their owner allows it, goes into the header ``Token``.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit, urlunsplit

from rsat_data.errors import LabelAuthError, LabelServerError
from rsat_data.optional import require

URL_VARIABLE = "LABEL_STUDIO_URL"
TOKEN_VARIABLE = "LABEL_STUDIO_API_KEY"
PAGE = 100

#: Answers after which the same request may succeed. 500 is none of them: this server means it.
_TRANSIENT = frozenset({408, 429, 502, 503, 504})
_MAX_WAIT_S = 30.0
_MAX_TOKEN_BYTES = 10_000


@dataclass(frozen=True)
class TokenInfo:
    """What a token says of itself; nothing of this lets anybody in."""

    kind: str
    """none, personal (JWT for refreshing), access (JWT of a few minutes), legacy, unreadable."""
    source: str
    """Where it came from, such as ``environment variable LABEL_STUDIO_API_KEY``."""
    expires: datetime | None
    """UTC; None where it does not say."""

    @property
    def expired(self) -> bool:
        """Whether its time is over."""
        return self.expires is not None and self.expires <= datetime.now(UTC)


class Secret:
    """A token that does not show itself."""

    __slots__ = ("_value", "info")

    def __init__(self, value: str, source: str) -> None:
        self._value = value
        self.info = _describe(value, source)

    def reveal(self) -> str:
        """The token itself, for a header."""
        return self._value

    def redact(self, text: str) -> str:
        """``text`` without the token."""
        return text.replace(self._value, "[token]") if self._value else text

    def __repr__(self) -> str:
        return f"Secret({self.info.kind})"

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        raise TypeError("a token is not sent to other processes: let them read it themselves")


def find_token(token_file: Path | None = None) -> Secret:
    """The token, from the file or else from ``LABEL_STUDIO_API_KEY``; an empty one of kind none where there is none.

    Raises:
        LabelAuthError: the file cannot be read or holds no token.
    """
    if token_file is None:
        return Secret(os.environ.get(TOKEN_VARIABLE, "").strip(), f"environment variable {TOKEN_VARIABLE}")
    try:
        with Path(token_file).open("rb") as stream:
            content = stream.read(_MAX_TOKEN_BYTES + 1)
        text = content.decode("ascii").strip()
    except OSError as error:
        raise LabelAuthError(
            f"The token file {token_file} cannot be read: {error.strerror}.",
            hint="Give a file that holds the token and nothing else.",
            path=token_file,
        ) from error
    except UnicodeDecodeError:
        text = ""
    if not text or len(text) > _MAX_TOKEN_BYTES or any(character.isspace() for character in text):
        raise LabelAuthError(
            f"The token file {token_file} holds no token.",
            hint="Give a file that holds the token and nothing else.",
            path=token_file,
        )
    return Secret(text, f"file {token_file}")


def find_url(url: str | None = None, stored: str | None = None) -> str:
    """The server's address: the one given, else ``LABEL_STUDIO_URL``, else the stored one.

    Raises:
        LabelServerError: there is none, or it is not an http address.
    """
    found = url or os.environ.get(URL_VARIABLE) or stored
    if not found:
        raise LabelServerError(
            "No label server is known.",
            hint=f"Start one with: rsat-data label serve OUT. Or name yours: --url http://..., or {URL_VARIABLE}.",
        )
    parts = urlsplit(found.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise LabelServerError(
            f"'{_without_user(found)}' is not the address of a server.",
            hint="It must look like http://127.0.0.1:8080 or https://labels.example.org.",
        )
    if parts.username or parts.password:
        raise LabelServerError(
            "The server's address holds a user name or password.",
            hint=f"Take it out; the token goes into {TOKEN_VARIABLE} or a --token-file.",
        )
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))


def connect(
    url: str | None = None,
    token_file: Path | None = None,
    *,
    stored_url: str | None = None,
    timeout_s: float = 30.0,
    retries: int = 4,
    sleep: Callable[[float], None] = time.sleep,
) -> Client:
    """A client for a server; no request is made yet.

    Args:
        url: address; else ``LABEL_STUDIO_URL``, else ``stored_url``.
        token_file: file with the token; else ``LABEL_STUDIO_API_KEY``.
        stored_url: what the dataset's store knows (``LabelStore(out).url``).
        timeout_s: how long one request may take to be answered.
        retries: how often a request is tried again after a failure that may pass.
        sleep: waits between tries; for tests.

    Raises:
        LabelServerError: no usable address.
        LabelAuthError: no token, or one whose time is over.
    """
    address = find_url(url, stored_url)
    secret = find_token(token_file)
    info = secret.info
    if info.kind == "none":
        raise LabelAuthError(
            f"There is no token for {address}.",
            hint=f"Set {TOKEN_VARIABLE}, or give --token-file. Where to get one: rsat-data label doctor.",
        )
    if info.kind == "unreadable":
        raise LabelAuthError(
            f"The token from the {info.source} holds characters that no token has.", hint="Copy it again."
        )
    if info.expired:
        raise LabelAuthError(_expired(info), hint=_new_token_hint(address))
    return Client(address, secret, timeout_s=timeout_s, retries=retries, sleep=sleep)


class Client:
    """A label server, seen through its API. Safe to use from several threads.

    Every method raises :class:`LabelServerError` (not reachable, wrong answer; the message carries the server's own
    words) or :class:`LabelAuthError` (401, 403). ``status`` of the error is the HTTP status, or None.
    """

    def __init__(
        self, url: str, secret: Secret, *, timeout_s: float, retries: int, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        httpx = require("httpx", needed_for="talking to a label server")
        self.url = url
        self.requests = 0
        """Requests made so far, tries and token exchanges included."""
        self._secret = secret
        self._retries, self._timeout_s, self._sleep = retries, timeout_s, sleep
        self._lock = threading.Lock()
        self._access: Secret | None = None
        self._shelves: dict[int, int] = {}
        self._shelf_lock = threading.Lock()
        self._httpx = httpx
        # Its debug lines hold headers of answers whole, with session cookies.
        logging.getLogger("httpcore").setLevel(logging.WARNING)
        # Redirects are not followed: the API makes none, and a login page must not pass for an answer.
        self._http = httpx.Client(
            timeout=httpx.Timeout(timeout_s, connect=min(10.0, timeout_s)),
            follow_redirects=False,
            verify=needs_certificates(url),
        )

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    @property
    def token(self) -> TokenInfo:
        """What kind of token is used."""
        return self._secret.info

    # The server ------------------------------------------------------------------------------------------------

    def healthy(self) -> bool:
        """Whether a label server answers at the address (asks without a token)."""
        response = self._send("GET", "/health", authorised=False, retries=0)
        return response.status_code == 200

    def version(self) -> str:
        """Version of the server, such as ``1.23.2``."""
        answer = self._object("GET", "/api/version")
        package = answer.get("label-studio-os-package")
        found = package.get("version") if isinstance(package, dict) else None
        return str(found or answer.get("release") or "unknown")

    def whoami(self) -> dict[str, Any]:
        """The user the token belongs to: id, email, first_name, ..."""
        return self._object("GET", "/api/current-user/whoami")

    def token_settings(self) -> dict[str, Any]:
        """Which kinds of tokens the server accepts: api_tokens_enabled, legacy_api_tokens_enabled."""
        return self._object("GET", "/api/jwt/settings")

    # Projects --------------------------------------------------------------------------------------------------

    def project(self, project: int) -> dict[str, Any]:
        """One project, with label_config, maximum_annotations, task_number, ...; status 404 where there is none."""
        return self._object("GET", f"/api/projects/{project}/")

    def projects(self) -> Iterator[dict[str, Any]]:
        """All projects the user sees."""
        yield from self._pages("/api/projects/", {}, "results")

    def create_project(self, title: str, label_config: str, **settings: Any) -> dict[str, Any]:
        """Make a project."""
        return self._object("POST", "/api/projects/", json={"title": title, "label_config": label_config, **settings})

    def update_project(self, project: int, **settings: Any) -> dict[str, Any]:
        """Change settings of a project."""
        return self._object("PATCH", f"/api/projects/{project}/", json=settings)

    def delete_project(self, project: int) -> None:
        """Remove a project with all its tasks and annotations."""
        self._call("DELETE", f"/api/projects/{project}/")

    # Tasks -----------------------------------------------------------------------------------------------------

    def import_tasks(self, project: int, tasks: Sequence[Mapping[str, Any]]) -> list[int]:
        """Add tasks (each {"data": ..., "predictions": [...]}) in one request. Returns their numbers, in order.

        Not tried again when the answer is lost, because the tasks may be there all the same: look with :meth:`tasks`.
        """
        path = f"/api/projects/{project}/import"
        answer = self._object("POST", path, json=list(tasks), params={"return_task_ids": "true"}, repeatable=False)
        ids = answer.get("task_ids")
        if not isinstance(ids, list) or len(ids) != len(tasks):
            raise self._error(f"took {answer.get('task_count')} of {len(tasks)} tasks and gave no list of them")
        return [int(task) for task in ids]

    def tasks(
        self, project: int, *, updated_after: str | None = None, fields: str = "all", page_size: int = PAGE
    ) -> Iterator[dict[str, Any]]:
        """Tasks by number, with annotations, drafts and predictions for ``fields="all"``; pages are read as needed.

        Args:
            project: its number.
            updated_after: ISO 8601; only tasks that changed later.
            fields: ``all``, or ``task_only``: without annotations and predictions, which is faster.
            page_size: tasks a request.
        """
        query: dict[str, Any] = {"ordering": ["tasks:id"]}
        if updated_after is not None:
            wanted = {"filter": "filter:tasks:updated_at", "operator": "greater", "type": "Datetime"}
            query["filters"] = {"conjunction": "and", "items": [{**wanted, "value": updated_after}]}
        parameters = {"project": project, "fields": fields, "query": json.dumps(query), "page_size": page_size}
        yield from self._pages("/api/tasks/", parameters, "tasks")

    def task(self, task: int) -> dict[str, Any]:
        """One task with its annotations and predictions."""
        return self._object("GET", f"/api/tasks/{task}/")

    def delete_task(self, task: int) -> None:
        """Remove a task with its annotations."""
        self._call("DELETE", f"/api/tasks/{task}/")

    def create_annotation(
        self,
        task: int,
        result: Sequence[Mapping[str, Any]],
        *,
        ground_truth: bool = False,
        lead_time_s: float | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        """Answer a task as the token's user. Not tried again when the answer is lost."""
        body: dict[str, Any] = {"result": list(result), "ground_truth": ground_truth, **more}
        if lead_time_s is not None:
            body["lead_time"] = lead_time_s
        return self._object("POST", f"/api/tasks/{task}/annotations/", json=body, repeatable=False)

    def update_annotation(self, annotation: int, **values: Any) -> dict[str, Any]:
        """Change an annotation."""
        return self._object("PATCH", f"/api/annotations/{annotation}/", json=values)

    def annotations(self, task: int) -> list[dict[str, Any]]:
        """All annotations of a task."""
        answer = self._call("GET", f"/api/tasks/{task}/annotations/")
        if not isinstance(answer, list):
            raise self._error("gave no list of annotations")
        return answer

    # Media -----------------------------------------------------------------------------------------------------

    def upload(self, project: int, path: Path) -> str:
        """Put a file on the server; returns the address tasks use for it, such as ``/data/upload/3/1a2b-clip.mp4``.

        The server makes no task of it. It takes files only into projects whose form shows one thing, so they lie in a
        second project, made with the first file. Not tried again when the answer is lost.
        """
        shelf = self._shelf(project)
        parameters = {"commit_to_project": "false"}
        with Path(path).open("rb") as stream:
            files = {"file": (Path(path).name, stream)}
            answer = self._object(
                "POST", f"/api/projects/{shelf}/import", params=parameters, files=files, repeatable=False
            )
        ids = answer.get("file_upload_ids")
        if not isinstance(ids, list) or len(ids) != 1:
            raise self._error(f"did not take the file {Path(path).name}")
        name = self._object("GET", f"/api/import/file-upload/{ids[0]}").get("file")
        if not isinstance(name, str):
            raise self._error(f"did not say where it put {Path(path).name}")
        return f"/data/{name}"

    def _shelf(self, project: int) -> int:
        """The project that holds a project's files; found by the mark in its description, else made."""
        with self._shelf_lock:
            if project not in self._shelves:
                mark = f"rsat-files-of-{project}."
                found = next((entry for entry in self.projects() if mark in str(entry.get("description"))), None)
                if found is None:
                    form = '<View><Video name="file" value="$file"/></View>'
                    about = f"Videos, sound and pictures; nothing to label here. {mark}"
                    found = self.create_project(f"Files of project {project}", form, description=about)
                self._shelves[project] = int(found["id"])
            return self._shelves[project]

    def add_local_storage(self, project: int, folder: Path, title: str = "media") -> dict[str, Any]:
        """Allow the project to show files of a folder on the server's machine, once; returns the storage.

        The folder must lie below the document root the server was started with, and not be it.
        """
        for storage in self.local_storages(project):
            if storage.get("path") == str(folder):
                return storage
        body = {"project": project, "path": str(folder), "title": title, "use_blob_urls": True}
        return self._object("POST", "/api/storages/localfiles/", json=body)

    def local_storages(self, project: int) -> list[dict[str, Any]]:
        """Folders whose files the project may show."""
        answer = self._call("GET", "/api/storages/localfiles/", params={"project": project})
        if not isinstance(answer, list):
            raise self._error("gave no list of storages")
        return answer

    def probe(self, address: str) -> None:
        """Make sure that the server shows a file of a task, such as ``/data/local-files/?d=...``; reads its beginning.

        Raises:
            LabelServerError: it does not.
        """
        response = self._send("GET", address, headers={"Range": "bytes=0-99"})
        path = address.partition("?")[0]
        if response.status_code >= 300:
            self._read(response, "GET", path)

    # Requests --------------------------------------------------------------------------------------------------

    def _pages(self, path: str, parameters: Mapping[str, Any], key: str) -> Iterator[dict[str, Any]]:
        page, seen = 1, 0
        while True:
            # This server pages tasks itself, and says 404 behind the last page.
            answer = self._object("GET", path, params={"page_size": PAGE, **parameters, "page": page})
            rows = answer.get(key)
            total = answer.get("total", answer.get("count"))
            if not isinstance(rows, list) or not isinstance(total, int):
                raise self._error(f"gave no list of {key}")
            yield from rows
            seen += len(rows)
            if not rows or seen >= total:
                return
            page += 1

    def _object(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        answer = self._call(method, path, **options)
        if not isinstance(answer, dict):
            raise self._error(f"answered {method} {path} with something else than an object")
        return answer

    def _call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        files: Any = None,
        repeatable: bool = True,
    ) -> Any:
        """One request; the parsed answer, or None for an empty one."""
        response = self._send(method, path, params=params, json=json, files=files, repeatable=repeatable)
        if response.status_code == 401 and self.token.kind == "personal" and self._access is not None and not files:
            # The access token may have run out on the way, or the server may have got a new key: once more.
            self._access = None
            response = self._send(method, path, params=params, json=json, repeatable=repeatable)
        return self._read(response, method, path)

    def _read(self, response: Any, method: str, path: str) -> Any:
        status = response.status_code
        if status in (401, 403):
            raise self._refusal(status, _said(response), method, path)
        if 300 <= status < 400:
            where = response.headers.get("location", "")
            hint = "Give the address under which the API answers."
            if "login" in where:
                raise self._error(
                    f"sends {path} to a login page", auth=True, status=status, hint=_new_token_hint(self.url)
                )
            raise self._error(f"sends {path} on to {where[:200]}", status=status, hint=f"{hint} Perhaps https://?")
        if status >= 400:
            self._fail(status, _said(response), method, path)
        if not response.content:
            return None
        try:
            return response.json()
        except ValueError:
            kind = response.headers.get("content-type", "no content type").split(";")[0]
            raise self._error(
                f"answered {method} {path} with {kind} instead of JSON",
                status=status,
                hint="Is this the address of the label server itself, and not of a page or proxy before it?",
            ) from None

    def _fail(self, status: int, said: str, method: str, path: str) -> NoReturn:
        reason = f": {said}" if said else ""
        if status == 404:
            hint = "Is it there still, and does the token's user see it? See: rsat-data label doctor OUT"
        elif status == 413:
            hint = (
                "The server, or a proxy before it, takes smaller requests only: raise its limit, or push fewer at once."
            )
        elif status >= 500:
            hint = "Look into the server's log. Nothing is lost: run the same command again when it is well."
        else:
            hint = "Compare versions with: rsat-data label doctor"
        raise self._error(f"answered {method} {path} with {status}{reason}", status=status, hint=hint)

    def _refusal(self, status: int, said: str, method: str, path: str) -> LabelServerError:
        info = self.token
        reason = f" ({said})" if said else ""
        if status == 403:
            return self._error(
                f"does not let the token's user do {method} {path}{reason}",
                auth=True,
                status=status,
                hint="Ask the owner of the project for the right, or take the owner's token.",
            )
        if info.expired:
            return self._error(_expired(info), auth=True, status=status, hint=_new_token_hint(self.url), bare=True)
        hint = _new_token_hint(self.url)
        if info.kind == "legacy":
            hint = f"Legacy tokens are off on new servers: take a personal access token instead. {hint}"
        return self._error(f"does not accept the {info.kind} token{reason}", auth=True, status=status, hint=hint)

    def _send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        files: Any = None,
        repeatable: bool = True,
        headers: Mapping[str, str] | None = None,
        authorised: bool = True,
        retries: int | None = None,
    ) -> Any:
        """One request with its repetitions; the last response, whatever its status."""
        httpx = self._httpx
        tries = 1 + (self._retries if retries is None else retries)
        # A file that was sent half is not at its beginning any more.
        if files:
            tries = 1
        for attempt in range(1, tries + 1):
            sent = {**(headers or {}), **(self._authorisation() if authorised else {})}
            with self._lock:
                self.requests += 1
            # The token alone says who asks; a session the server opens on the side is not taken up.
            self._http.cookies.clear()
            try:
                response = self._http.request(
                    method, self.url + path, params=params, json=json, files=files, headers=sent
                )
            except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
                # The request did not get there: trying again doubles nothing.
                if attempt == tries or _is_final(error):
                    raise self._unreachable(error) from None
            except httpx.TransportError as error:
                if attempt == tries or not repeatable:
                    raise self._broken(error, method, path, repeatable) from None
            except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, ValueError, UnicodeError) as error:
                raise self._error(f"cannot be asked: {type(error).__name__}", hint="Check the address.") from None
            else:
                # What a server refuses for now with 429 or 503 it did not do; after other answers it may have.
                again = response.status_code in (_TRANSIENT if repeatable else (429, 503))
                if not again or attempt == tries:
                    return response
                self._wait(attempt, response.headers.get("retry-after"))
                continue
            self._wait(attempt)
        raise AssertionError("not reached")

    def _wait(self, attempt: int, retry_after: str | None = None) -> None:
        try:
            seconds = float(retry_after) if retry_after else 0.0
        except ValueError:
            seconds = 0.0
        if not 0 < seconds <= _MAX_WAIT_S:
            seconds = min(_MAX_WAIT_S, 0.5 * 2 ** (attempt - 1)) * (0.8 + 0.4 * random.random())
        self._sleep(seconds)

    def _authorisation(self) -> dict[str, str]:
        kind = self.token.kind
        if kind == "legacy":
            return {"Authorization": f"Token {self._secret.reveal()}"}
        if kind == "access":
            return {"Authorization": f"Bearer {self._secret.reveal()}"}
        with self._lock:
            access = self._access
        if access is None or _ends_soon(access.info):
            access = self._refresh()
        return {"Authorization": f"Bearer {access.reveal()}"}

    def _refresh(self) -> Secret:
        path = "/api/token/refresh/"
        response = self._send("POST", path, json={"refresh": self._secret.reveal()}, authorised=False)
        answer = self._read(response, "POST", path)
        found = answer.get("access") if isinstance(answer, dict) else None
        if not isinstance(found, str):
            raise self._error("gave no access token for the personal token", auth=True, hint=_new_token_hint(self.url))
        access = Secret(found, "the server")
        with self._lock:
            self._access = access
        return access

    # Errors ----------------------------------------------------------------------------------------------------

    def _error(
        self, what: str, *, status: int | None = None, hint: str = "", auth: bool = False, bare: bool = False
    ) -> LabelServerError:
        """An error whose text holds no token; ``status`` is kept on it."""
        kind = LabelAuthError if auth else LabelServerError
        error = kind(self._redact(what if bare else f"The label server {self.url} {what}."), hint=self._redact(hint))
        error.status = status
        return error

    def _redact(self, text: str) -> str:
        text = self._secret.redact(text)
        return self._access.redact(text) if self._access is not None else text

    def _unreachable(self, error: Exception) -> LabelServerError:
        text = str(error).lower()
        host = urlsplit(self.url).hostname or ""
        if isinstance(error, self._httpx.ConnectTimeout):
            return self._error("does not answer (connection timed out)", hint="Is a firewall or VPN in between?")
        if any(word in text for word in ("name or service", "nodename", "getaddrinfo", "name resolution")):
            return self._error(f"cannot be found: there is no machine called '{host}'", hint="Check the address.")
        if "certificate" in text or "ssl" in text:
            return self._error(f"cannot be trusted: {str(error)[:200]}", hint="Is it http:// instead of https://?")
        if "refused" in text:
            return self._error(
                "refuses the connection: nothing listens there",
                hint="Start it (your own: rsat-data label serve OUT), or check address and port.",
            )
        return self._error(f"cannot be reached: {str(error)[:200] or type(error).__name__}", hint="Check the address.")

    def _broken(self, error: Exception, method: str, path: str, repeatable: bool) -> LabelServerError:
        if isinstance(error, self._httpx.TimeoutException):
            what = f"did not answer {method} {path} within {self._timeout_s:g} s"
        else:
            what = f"broke off at {method} {path} ({type(error).__name__})"
        hint = "Nothing is lost: run the same command again."
        if not repeatable:
            hint = "What was sent may be there all the same: the same command looks first, and sends what is missing."
        return self._error(what, hint=hint)


def needs_certificates(url: str) -> bool:
    """Whether a connection is to be secured: reading the certificates for one that is not takes half a second."""
    return not url.startswith("http://")


def _describe(value: str, source: str) -> TokenInfo:
    if not value:
        return TokenInfo("none", source, None)
    if not value.isascii() or not value.isprintable() or " " in value:
        return TokenInfo("unreadable", source, None)
    claims = _claims(value)
    if claims is None:
        return TokenInfo("legacy", source, None)
    expires = None
    if isinstance(claims.get("exp"), (int, float)):
        try:
            expires = datetime.fromtimestamp(claims["exp"], UTC)
        except (OverflowError, ValueError, OSError):
            expires = None
    return TokenInfo("access" if claims.get("token_type") == "access" else "personal", source, expires)


def _claims(value: str) -> dict[str, Any] | None:
    """What a JWT says (its signature is the server's business), or None where it is none."""
    parts = value.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, UnicodeDecodeError):
        return None
    return claims if isinstance(claims, dict) else None


def _ends_soon(info: TokenInfo) -> bool:
    return info.expires is not None and (info.expires - datetime.now(UTC)).total_seconds() < 20


def _expired(info: TokenInfo) -> str:
    assert info.expires is not None
    return f"The {info.kind} token from the {info.source} expired at {info.expires:%Y-%m-%d %H:%M} UTC."


def _new_token_hint(url: str) -> str:
    return f"Make one at {url}/user/account/personal-access-token, then set {TOKEN_VARIABLE} or give --token-file."


def _without_user(url: str) -> str:
    """An address without what stands before an @, which may be a password."""
    return url.rpartition("@")[2][:200]


def _is_final(error: Exception) -> bool:
    text = str(error).lower()
    return "certificate" in text or "name or service not known" in text or "nodename" in text


def _said(response: Any) -> str:
    """The server's own words on a failure, in one short line; nothing of an HTML page."""
    try:
        answer = response.json()
    except ValueError:
        return ""
    if not isinstance(answer, dict):
        return json.dumps(answer)[:400]
    parts = [str(answer["detail"])] if answer.get("detail") else []
    if answer.get("validation_errors"):
        parts.append(json.dumps(answer["validation_errors"], ensure_ascii=False))
    if not parts:
        parts = [json.dumps(answer, ensure_ascii=False)]
    return " ".join(" ".join(parts).split())[:600]
