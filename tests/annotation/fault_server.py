"""A small real HTTP server that answers like a label server, and fails as it is told to."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HTML = b"<!doctype html><html><body>Sign in</body></html>"


def make_token(kind: str, seconds: float = 3600.0, **claims: Any) -> str:
    """A JWT as the server makes them, valid for so many seconds from now."""

    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    body = {"token_type": kind, "exp": int(time.time() + seconds), "user_id": 1, **claims}
    return f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part(body)}.c2lnbmF0dXJlLW9mLXRoaXMtdG9rZW4"


@dataclass
class Answer:
    """What the server answers once."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    drop: bool = False
    """Close the connection without an answer."""


class FaultServer:
    """Answers are given out per path in their order; the last one stays."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self._answers: dict[str, list[Answer]] = {}
        self.access = make_token("access", 300)
        self.on("/api/token/refresh/", Answer(body={"access": self.access}))
        self.on("/health", Answer(body={"status": "UP"}))
        self.on("/api/version", Answer(body={"release": "1.23.2", "label-studio-os-package": {"version": "1.23.2"}}))
        self.on("/api/current-user/whoami", Answer(body={"id": 7, "email": "anna@example.org"}))
        self.on("/api/jwt/settings", Answer(body={"api_tokens_enabled": True, "legacy_api_tokens_enabled": False}))

    def on(self, path: str, *answers: Answer) -> None:
        self._answers[path] = list(answers)

    def count(self, path: str) -> int:
        return sum(1 for _, asked, _, _ in self.requests if asked.partition("?")[0] == path)

    def take(self, path: str) -> Answer:
        waiting = self._answers.get(path)
        if not waiting:
            return Answer(404, {"status_code": 404, "detail": "Not found."})
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]


@contextmanager
def fault_server() -> Iterator[FaultServer]:
    server = FaultServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            server.requests.append((self.command, self.path, dict(self.headers), body))
            answer = server.take(self.path.partition("?")[0])
            time.sleep(answer.delay_s)
            if answer.drop:
                self.close_connection = True
                self.connection.close()
                return
            data = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            if answer.status == 204:
                data = b""
            kind = "text/html; charset=utf-8" if isinstance(answer.body, bytes) else "application/json"
            try:
                self.send_response(answer.status)
                for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        do_GET = do_POST = do_PATCH = do_DELETE = _answer

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
