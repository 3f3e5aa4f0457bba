"""Talking to the label server: one client whose every failure is a typed error that says what to do.

Addresses come from the caller, ``LABEL_STUDIO_URL``, or the dataset's store; the token from a file or
``LABEL_STUDIO_API_KEY``.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from annotation.tokens import TOKEN_VARIABLE, Secret, TokenInfo, expired_text, find_token, new_token_hint
from annotation.transport import PAGE, Transport, needs_certificates
from rsat_data.errors import LabelAuthError, LabelServerError

URL_VARIABLE = "LABEL_STUDIO_URL"

__all__ = [
    "PAGE",
    "TOKEN_VARIABLE",
    "URL_VARIABLE",
    "Client",
    "Secret",
    "TokenInfo",
    "connect",
    "find_token",
    "find_url",
    "needs_certificates",
]


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
        raise LabelAuthError(expired_text(info), hint=new_token_hint(address))
    return Client(address, secret, timeout_s=timeout_s, retries=retries, sleep=sleep)


class Client(Transport):
    """A label server, seen through its API. Safe to use from several threads.

    Every method raises :class:`LabelServerError` (not reachable, wrong answer; the message carries the server's own
    words) or :class:`LabelAuthError` (401, 403). ``status`` of the error is the HTTP status, or None.
    """

    def __init__(
        self, url: str, secret: Secret, *, timeout_s: float, retries: int, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        super().__init__(url, secret, timeout_s=timeout_s, retries=retries, sleep=sleep)
        self._shelves: dict[int, int] = {}
        self._shelf_lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

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
        """Make a project. Not tried again when the answer is lost."""
        body = {"title": title, "label_config": label_config, **settings}
        return self._object("POST", "/api/projects/", json=body, repeatable=False)

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
        return self._object("POST", "/api/storages/localfiles/", json=body, repeatable=False)

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


def _without_user(url: str) -> str:
    """An address without what stands before an @, which may be a password."""
    return url.rpartition("@")[2][:200]
