"""What stands in the way of labelling: address, token, versions, project, and what the server may show of its machine.

Nothing is changed by looking. The token is described, never shown.
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from annotation.client import TOKEN_VARIABLE, URL_VARIABLE, Client, Secret, find_token, find_url
from annotation.project import check_project
from annotation.server.environment import SERVER_VERSION
from annotation.store import ROUNDS, LabelStore, Project
from rsat_data.errors import LabelServerError, RsatError
from rsat_data.optional import is_installed

State = Literal["ok", "problem", "note", "skipped"]

#: What tasks refer to; anything else in a folder that the server shows is there by mistake.
_MEDIA = frozenset({".mp4", ".wav", ".jpg", ".jpeg", ".png"})
_SOON_DAYS = 3
_MOST_FILES = 100_000


@dataclass(frozen=True)
class DoctorOptions:
    """Where to look."""

    url: str | None = None
    """Address of the server; None: LABEL_STUDIO_URL, or what the dataset's store knows."""
    token_file: Path | None = None
    """File with the token; None: LABEL_STUDIO_API_KEY."""
    timeout_s: float = 10.0
    """How long one request may take."""


@dataclass(frozen=True)
class Check:
    """One thing looked at."""

    name: str
    """What, in a word or two."""
    state: State
    """ok; problem (labelling does not work, or shows too much); note; skipped (something before it failed)."""
    text: str
    """What was seen."""
    fix: str = ""
    """What to do about it."""


@dataclass(frozen=True)
class DoctorReport:
    """All checks, in the order in which one depends on the other."""

    checks: tuple[Check, ...]
    """At least one."""

    @property
    def healthy(self) -> bool:
        """Whether there is no problem."""
        return all(check.state != "problem" for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"healthy": self.healthy, "checks": [asdict(check) for check in self.checks]}


def doctor(out: Path | None = None, options: DoctorOptions | None = None) -> DoctorReport:
    """Look at everything labelling needs. Raises nothing: what goes wrong is in the report."""
    options = options or DoctorOptions()
    store = None if out is None else LabelStore(Path(out))
    return DoctorReport(tuple(_examine(store, options)))


def _examine(store: LabelStore | None, options: DoctorOptions) -> Iterator[Check]:
    yield from _packages()
    if store is not None and not store.out.is_dir():
        yield Check("dataset", "problem", f"{store.out} is not a folder", "Give the folder of a dataset.")
        store = None
    url = None
    try:
        stored = store.url if store is not None else None
        url = find_url(options.url, stored)
        where = "--url" if options.url else URL_VARIABLE if os.environ.get(URL_VARIABLE) else "the dataset's notes"
        yield Check("address", "ok", f"{url} (from {where})")
    except RsatError as error:
        yield Check("address", "problem", error.message, error.hint)
    secret = None
    try:
        secret = find_token(options.token_file)
        yield _token(secret, url)
    except RsatError as error:
        yield Check("token", "problem", error.message, error.hint)
    if url is None or secret is None:
        return
    with Client(url, secret, timeout_s=options.timeout_s, retries=0) as client:
        yield from _server(client, secret, store)


def _packages() -> Iterator[Check]:
    if not is_installed("label_studio_sdk"):
        yield Check("SDK", "problem", "label-studio-sdk is not installed", "pip install 'rsat-data[annotate]'")
        return
    version = importlib.metadata.version("label-studio-sdk")
    if _numbers(version) < (2, 1) or _numbers(version) >= (3,):
        yield Check("SDK", "problem", f"label-studio-sdk {version}", "pip install 'label-studio-sdk>=2.1,<3'")
    else:
        yield Check("SDK", "ok", f"label-studio-sdk {version}")


def _token(secret: Secret, url: str | None) -> Check:
    info = secret.info
    place = f"{url}/user/account" if url else "the server, Account & Settings"
    get_one = f"Make a personal access token at {place}, then: export {TOKEN_VARIABLE}=..., or --token-file FILE."
    if info.kind == "none":
        return Check("token", "problem", f"there is none ({TOKEN_VARIABLE} is not set)", get_one)
    if info.kind == "unreadable":
        return Check("token", "problem", f"the {info.source} holds characters that no token has", get_one)
    names = {"personal": "personal access token", "access": "access token of a few minutes", "legacy": "legacy token"}
    text = f"{names[info.kind]} from the {info.source}"
    if info.expires is not None:
        text += f", {'expired' if info.expired else 'valid'} until {info.expires:%Y-%m-%d %H:%M} UTC"
        if info.expired:
            return Check("token", "problem", text.replace("expired until", "expired since"), get_one)
        if (info.expires - datetime.now(UTC)).days < _SOON_DAYS:
            return Check("token", "note", text, get_one if info.kind == "access" else "It ends soon: make another.")
    return Check("token", "ok", text)


def _server(client: Client, secret: Secret, store: LabelStore | None) -> Iterator[Check]:
    try:
        healthy = client.healthy()
    except RsatError as error:
        yield Check("server", "problem", error.message, error.hint)
        yield Check("user, versions, project", "skipped", "the server does not answer")
        return
    if not healthy:
        fix = "Is it the address of a label server, and complete (with the path before /projects)?"
        yield Check("server", "problem", f"something answers at {client.url}, but no label server", fix)
        return
    yield Check("server", "ok", "it answers")
    if secret.info.kind in ("none", "unreadable") or secret.info.expired:
        yield Check("user, versions, project", "skipped", "they cannot be asked for without a token")
        return
    try:
        user = client.whoami()
    except RsatError as error:
        yield Check("user", "problem", error.message, error.hint)
        yield Check("versions, project", "skipped", "the server does not let this token in")
        return
    yield Check("user", "ok", f"{user.get('email')} (number {user.get('id')})")
    yield from _guarded("version", lambda: _version(client))
    yield from _guarded("token kinds", lambda: _token_kinds(client, secret))
    if store is None:
        yield Check("project", "skipped", "no dataset was named: rsat-data label doctor OUT")
        return
    if store.round().project() is None:
        yield Check("project", "note", "not made yet", f"rsat-data label init {store.out}")
        return
    for name in ROUNDS:
        record = store.round(name).project()
        if record is not None:
            yield from _guarded(f"{name} project", lambda name=name: _project(client, store, name))  # type: ignore[misc]
            yield from _guarded(f"{name} media", lambda record=record: _media(client, store, record))  # type: ignore[misc]


def _guarded(name: str, look: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    try:
        yield from list(look())
    except RsatError as error:
        yield Check(name, "problem", error.message, error.hint)


def _version(client: Client) -> Iterator[Check]:
    version = client.version()
    if _numbers(version)[:2] == _numbers(SERVER_VERSION)[:2]:
        yield Check("version", "ok", f"label-studio {version}")
    else:
        fix = f"Where something does not work, compare with {SERVER_VERSION}."
        yield Check("version", "note", f"label-studio {version}; this was tried with {SERVER_VERSION}", fix)


def _token_kinds(client: Client, secret: Secret) -> Iterator[Check]:
    try:
        allowed = client.token_settings()
    except LabelServerError as error:
        if error.status not in (403, 404):
            raise
        yield Check("token kinds", "skipped", "only administrators of the server can ask for them")
        return
    keys = {"personal": "api_tokens_enabled", "legacy": "legacy_api_tokens_enabled"}
    kinds = [name for name, key in keys.items() if allowed.get(key)]
    text = f"the server accepts {' and '.join(kinds) or 'no'} tokens"
    if secret.info.kind == "legacy":
        yield Check("token kinds", "note", text, "Personal access tokens can be revoked and expire: prefer one.")
    else:
        yield Check("token kinds", "ok", text)


def _project(client: Client, store: LabelStore, name: str) -> Iterator[Check]:
    checked = check_project(client, store, None, name)
    noted, server = checked.project, checked.server
    text = (
        f"'{server.get('title')}' (number {noted.project_id}): {server.get('task_number')} tasks, "
        f"{server.get('total_annotations_number')} annotations; its questions are unchanged"
    )
    yield Check(f"{name} project", "ok", text)
    for note in checked.notes:
        yield Check(f"{name} project", "note", note, f"Its settings: {client.url}/projects/{noted.project_id}/settings")


def _media(client: Client, store: LabelStore, record: Project) -> Iterator[Check]:
    name = f"{record.round} media"
    mode = record.media.mode
    pushed = store.round(record.round).pushed()
    if not pushed:
        yield Check(name, "note", "nothing was pushed yet")
        return
    storages = client.local_storages(record.project_id)
    for storage in storages:
        yield _folder(name, Path(str(storage.get("path"))))
    if mode == "local" and not storages:
        fix = "Run push again: it adds the folder as local storage."
        yield Check(name, "problem", "the project may not show files of its folder: annotators see no video", fix)
    # The newest task's files stand for all.
    task = client.task(int(next(reversed(pushed.values()))["task_id"]))
    for key in ("video", "audio", "face_a", "face_b"):
        address = task.get("data", {}).get(key)
        if isinstance(address, str):
            yield _file(name, client, key, address)


def _file(name: str, client: Client, key: str, address: str) -> Check:
    if not address.startswith("/"):
        return Check(name, "note", f"{key} comes from {address[:80]}, which the browser asks for itself")
    try:
        client.probe(address)
    except LabelServerError as error:
        fix = "Was the file moved or removed? Is local file serving on, with the document root above it? Push again."
        return Check(name, "problem", f"{key} of the last task cannot be shown: {error.message}", fix)
    return Check(name, "ok", f"{key} of the last task can be shown")


def _folder(name: str, folder: Path) -> Check:
    """What a local storage lets annotators read, where the server's machine is this one."""
    if not folder.is_dir():
        return Check(name, "note", f"the server may show {folder}, which is not on this machine")
    files = strange = 0
    example = ""
    for root, folders, names in os.walk(folder):
        links = [entry for entry in (*folders, *names) if os.path.islink(os.path.join(root, entry))]
        other = [
            entry for entry in names if Path(entry).suffix.lower() not in _MEDIA and not entry.startswith(".rsat-")
        ]
        files += len(names)
        strange += len(links) + len(other)
        example = example or next((os.path.join(root, entry) for entry in (*links, *other)), "")
        if files > _MOST_FILES:
            break
    text = f"the server may show {folder} ({files}{' or more' if files > _MOST_FILES else ''} files)"
    if strange:
        fix = "Take out what annotators are not meant to read; symbolic links may lead anywhere."
        return Check(name, "problem", f"{text}; {strange} are no media or are links, such as {example}", fix)
    return Check(name, "ok", text + ", all of them media")


def _numbers(version: str) -> tuple[int, ...]:
    found = []
    for part in version.split(".")[:3]:
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        found.append(int(digits))
    return tuple(found)
