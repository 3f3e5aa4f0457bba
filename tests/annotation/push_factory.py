"""Datasets to push, and a small real HTTP server that takes tasks as the label server does, and fails when told to.

It was compared with Label Studio 1.23: an import is done as a whole or not at all, gives task_ids in order, and is done
also when the asker has hung up; media are taken only by a project whose form shows one thing.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow.parquet as pq

import schemas
from annotation.form import load_form
from annotation.store import LabelStore, Media, Project
from rsat_data.publish import CLIPS_FILE, ROWS_FILE, publish
from schemas.arrow import table_from_rows
from tests.annotation.local_server import LocalServer
from tests.dataset_factory import ClipSpec, make_clip, make_row

TOKEN = "0123456789" * 4


def make_dataset(
    root: Path,
    lines: Sequence[str],
    *,
    single: int = 0,
    change: Callable[[int, dict[str, Any], list[dict[str, Any]]], None] = lambda number, clip, rows: None,
    name: str = "out",
) -> Path:
    """A dataset with one clip of two people for each line, which A says, and ``single`` clips of one person."""
    rows: list[dict[str, Any]] = []
    clips: list[dict[str, Any]] = []
    for number in range(len(lines) + single):
        second = f"subj{number}b" if number < len(lines) else None
        spec = ClipSpec(f"src{number}", f"subj{number}a", second, frames=8, seed=number, start_s=float(number))
        people = [make_row(spec, "A")] + ([make_row(spec, "B")] if second else [])
        clip = make_clip(spec, people)
        text = lines[number] if second else "hello"
        clip.update(text=text, turns=[{"person": "A", "start": 0.0, "end": 0.3, "text": text}])
        change(number, clip, people)
        rows += people
        clips.append(clip)
    part = root / f"part-{name}"
    part.mkdir(parents=True)
    for file, table, records in ((ROWS_FILE, "triplets", rows), (CLIPS_FILE, "clips", clips)):
        spec_ = schemas.TABLES[table]
        pq.write_table(
            table_from_rows(spec_, records), part / file, row_group_size=4, **schemas.parquet_options(spec_.schema)
        )
    out = root / name
    publish([part], out)
    return out


class TakingServer(LocalServer):
    """A project that takes tasks, behind HTTP; a context manager."""

    def __init__(self, port: int = 0) -> None:
        self.tasks: dict[int, dict[str, Any]] = {}
        self.uploads: dict[int, str] = {}
        self.config = load_form().xml
        self.shelves: list[dict[str, Any]] = []
        self.gone = False
        self.calls: list[tuple[str, str]] = []
        #: Called with method and path; a status to fail with, "before" or "after" to hang up then, or None.
        self.trouble: Callable[[str, str], int | str | None] = lambda method, path: None
        #: How long an import takes, seconds.
        self.slow_s = 0.0
        self._next, self._lock = 0, threading.Lock()
        super().__init__(_handler(self), port)

    def make_project(self, out: Path) -> None:
        """What `init` would note."""
        form = load_form()
        project = Project(
            url=self.url,
            project_id=1,
            title="test: relationships",
            form_hash=form.hash,
            form_xml=form.xml,
            overlap=2,
            prediction_version="rsat-rel-0.1",
            media=Media(),
        )
        LabelStore(out).round().write_project(project)

    @property
    def clips(self) -> list[str]:
        """clip_id of every task, in the order of their numbers."""
        return [self.tasks[number]["data"].get("clip_id") for number in sorted(self.tasks)]

    def answer(self, clip_id: str) -> int:
        """Somebody labels a clip; returns the task's number."""
        number = next(n for n, task in self.tasks.items() if task["data"]["clip_id"] == clip_id)
        self.tasks[number]["annotations"].append({"id": 1, "result": []})
        return number

    def number(self) -> int:
        """A new number."""
        with self._lock:
            self._next += 1
            return self._next

    def add(self, data: dict[str, Any], predictions: Sequence[dict[str, Any]] = ()) -> int:
        """One more task."""
        number = self.number()
        self.tasks[number] = {
            "id": number,
            "data": data,
            "predictions": list(predictions),
            "annotations": [],
            "drafts": [],
        }
        return number

    def reply(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        """Status and JSON of one request."""
        if path == "/api/projects/1/":
            if self.gone:
                return 404, {"detail": "No Project matches the given query."}
            settings = {"title": "test: relationships", "maximum_annotations": 2, "model_version": "rsat-rel-0.1"}
            return 200, {"id": 1, "label_config": self.config, "task_number": len(self.tasks), **settings}
        if path == "/api/projects/1/import" and isinstance(body, list):
            time.sleep(self.slow_s)
            with self._lock:
                start = self._next
                self._next += len(body)
                for offset, task in enumerate(body, 1):
                    self.tasks[start + offset] = {
                        "id": start + offset,
                        "annotations": [],
                        "drafts": [],
                        **task,
                    }
            return 201, {"task_count": len(body), "task_ids": list(range(start + 1, start + len(body) + 1))}
        if path == "/api/projects/1/import":
            return 400, {"detail": "Your label config has more than one data key"}
        if path == "/api/projects/":
            if method == "POST":
                self.shelves.append(body)
            rows = [{"id": 2 + n, **shelf} for n, shelf in enumerate(self.shelves)]
            return (201, rows[-1]) if method == "POST" else (200, {"results": rows, "count": len(rows)})
        if path == "/api/projects/2/import":
            number = self.number()
            name = body.decode("latin-1").split('filename="')[1].split('"')[0]
            self.uploads[number] = f"upload/2/{number:08x}-{name}"
            return 201, {"file_upload_ids": [number]}
        if path.startswith("/api/import/file-upload/"):
            return 200, {"file": self.uploads[int(path.rsplit("/", 1)[1])]}
        if path == "/api/storages/localfiles/":
            return (200, []) if method == "GET" else (201, {"id": 1})
        if path == "/api/tasks/":
            size, page = int(query["page_size"][0]), int(query["page"][0])
            numbers = sorted(self.tasks)[(page - 1) * size : page * size]
            rows = [
                {"id": n, "data": self.tasks[n]["data"], "total_predictions": len(self.tasks[n]["predictions"])}
                for n in numbers
            ]
            return 200, {"tasks": rows, "total": len(self.tasks)}
        if path.startswith("/api/tasks/"):
            number = int(path.strip("/").split("/")[2])
            if number not in self.tasks:
                return 404, {"detail": "Not found."}
            return (200, self.tasks[number]) if method == "GET" else (204, self.tasks.pop(number) and None)
        return 404, {"detail": "Not found."}


def _handler(owner: TakingServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            parts = urlsplit(self.path)
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            is_json = "json" in (self.headers.get("Content-Type") or "")
            owner.calls.append((self.command, parts.path))
            trouble = owner.trouble(self.command, parts.path)
            if isinstance(trouble, int):
                self.say(trouble, {"detail": "told to fail"})
                return
            if trouble != "before":
                status, answer = owner.reply(
                    self.command, parts.path, parse_qs(parts.query), json.loads(data) if is_json else data
                )
            if trouble is not None:
                self.close_connection = True
                self.connection.close()
                return
            self.say(status, answer)

        do_GET = do_POST = do_DELETE = do_PATCH = handle_any

        def say(self, status: int, answer: Any) -> None:
            data = b"" if answer is None else json.dumps(answer).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
            except OSError:
                self.close_connection = True

        def log_message(self, *arguments: Any) -> None:
            pass

    return Handler
