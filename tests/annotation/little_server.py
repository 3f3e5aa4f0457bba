"""A small real HTTP server that answers `pull`'s questions as the label server does, and fails when it is told to.

It was compared with Label Studio 1.23: a task's ``updated_at`` moves when an annotation of it is made, changed, skipped
or deleted, and not when a draft is saved; the filter on it is strict and wants microseconds and a Z.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from annotation.client import Client, Secret
from tests.annotation.local_server import LocalServer

START = datetime(2026, 1, 1, tzinfo=UTC)


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class LittleServer(LocalServer):
    """Tasks in memory behind HTTP; a context manager."""

    def __init__(self, form: str) -> None:
        self.now = START
        self.tasks: dict[int, dict[str, Any]] = {}
        self.config = form
        self.next = 1
        self.requests = 0
        #: Called with each request's path; returns a status to fail with, 0 to hang up, or None.
        self.trouble: Callable[[str], int | None] = lambda path: None
        #: Called after each page of tasks.
        self.after_page: Callable[[int], None] = lambda page: None
        #: Further projects, as `adjudicate` makes them: number -> record; and requests that changed something.
        self.projects: dict[int, dict[str, Any]] = {}
        self.storages: list[dict[str, Any]] = []
        self.changes: list[tuple[str, str]] = []
        super().__init__(_handler(self))

    def client(self, retries: int = 0) -> Client:
        return Client(
            self.url, Secret("0123456789" * 4, "a test"), timeout_s=5.0, retries=retries, sleep=lambda _: None
        )

    # What people do ------------------------------------------------------------------------------------------------

    def tick(self, seconds: float = 1.0) -> datetime:
        self.now += timedelta(seconds=seconds)
        return self.now

    def _new(self) -> int:
        self.next += 1
        return self.next

    def push(self, clip: str, predictions: list[dict[str, Any]] | None = None, *, project: int = 1, **data: Any) -> int:
        number = self._new()
        turns = [{"speaker": "A", "text": "hello dad", "start": 0.01, "end": 1.0}]
        self.tasks[number] = {
            "id": number,
            "data": {"schema": "rsat/1", "transcript": turns, **data, "clip_id": clip},
            "annotations": [],
            "drafts": [],
            "predictions": [{**p, "created_at": stamp(self.now)} for p in predictions or []],
            "project": project,
            "updated_at": stamp(self.tick()),
        }
        return number

    def annotate(self, task: int, user: int, result: list[dict[str, Any]], **more: Any) -> int:
        number = self._new()
        moment = stamp(self.tick())
        record = {"id": number, "result": result, "completed_by": user, "updated_by": user, "lead_time": 9.5}
        self.tasks[task]["annotations"].append(
            {**record, "was_cancelled": False, "created_at": moment, "updated_at": moment, **more}
        )
        self._touch(task)
        return number

    def alter(self, task: int, annotation: int, **values: Any) -> None:
        record = next(a for a in self.tasks[task]["annotations"] if a["id"] == annotation)
        record.update(values, updated_at=stamp(self.tick()))
        self._touch(task)

    def delete(self, task: int, annotation: int) -> None:
        self.tasks[task]["annotations"] = [a for a in self.tasks[task]["annotations"] if a["id"] != annotation]
        self.tick()
        self._touch(task)

    def draft(self, task: int, result: list[dict[str, Any]]) -> None:
        moment = stamp(self.tick())
        self.tasks[task]["drafts"].append(
            {"id": self._new(), "user": "someone@example.org", "result": result, "updated_at": moment}
        )

    def _touch(self, task: int) -> None:
        self.tasks[task]["updated_at"] = stamp(self.tick(0.2))

    # What it answers -----------------------------------------------------------------------------------------------

    def answer(self, path: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        self.requests += 1
        status = self.trouble(path)
        if status is not None:
            return status, {"detail": "told to fail"}
        if path == "/api/projects/":
            return 200, {"results": list(self.projects.values()), "count": len(self.projects)}
        if path == "/api/projects/1/":
            settings = {"title": "t", "maximum_annotations": 3, "model_version": "v1"}
            return 200, {"id": 1, "label_config": self.config, **settings}
        if path.startswith("/api/projects/") and self._number(path) in self.projects:
            return 200, self.projects[self._number(path)]
        if path.startswith("/api/tasks/") and self._number(path) in self.tasks:
            return 200, self.tasks[self._number(path)]
        if path == "/api/storages/localfiles/":
            return 200, [one for one in self.storages if one["project"] == int(query["project"][0])]
        if path == "/api/tasks/":
            asked = json.loads(query["query"][0])
            project = int(query["project"][0])
            tasks = [self.tasks[number] for number in sorted(self.tasks)]
            tasks = [task for task in tasks if task["project"] == project]
            for item in asked.get("filters", {}).get("items", []):
                limit = datetime.strptime(item["value"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
                assert (item["filter"], item["operator"]) == ("filter:tasks:updated_at", "greater")
                tasks = [task for task in tasks if datetime.fromisoformat(task["updated_at"]) > limit]
            size, page = int(query["page_size"][0]), int(query["page"][0])
            rows = json.loads(json.dumps(tasks[(page - 1) * size : page * size]))
            self.after_page(page)
            return 200, {"tasks": rows, "total": len(tasks)}
        return 404, {"detail": "Not found."}

    @staticmethod
    def _number(path: str) -> int:
        found = path.rstrip("/").rsplit("/", 1)[1]
        return int(found) if found.isdigit() else 0

    def change(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """What is sent: projects, tasks, storages."""
        self.requests += 1
        self.changes.append((method, path))
        status = self.trouble(path)
        if status is not None:
            return status, {"detail": "told to fail"}
        if path == "/api/projects/":
            number = 1 + len(self.projects) + 1
            self.projects[number] = {"id": number, **body}
            return 201, self.projects[number]
        if path.endswith("/import"):
            project = self._number(path.removesuffix("import"))
            numbers = [
                self.push(task["data"]["clip_id"], task["predictions"], project=project, **task["data"])
                for task in body
            ]
            return 201, {"task_ids": numbers, "task_count": len(numbers)}
        if path == "/api/storages/localfiles/":
            self.storages.append(body)
            return 201, body
        if method == "PATCH":
            self.projects[self._number(path)].update(body)
            return 200, self.projects[self._number(path)]
        return 404, {"detail": "Not found."}


def _handler(owner: LittleServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            self._send(*owner.answer(parts.path, parse_qs(parts.query)))

        def do_POST(self) -> None:
            sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._send(*owner.change(self.command, urlsplit(self.path).path, sent))

        do_PATCH = do_POST

        def _send(self, status: int, body: Any) -> None:
            if status == 0:
                self.close_connection = True
                self.connection.close()
                return
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: Any) -> None:
            pass

    return Handler
