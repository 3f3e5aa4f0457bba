"""Requests to the label server: sent with the token, repeated where that doubles nothing, told in words when they fail.

The token is in no message, representation, log line or file.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn
from urllib.parse import urlsplit

from annotation.tokens import Secret, TokenInfo, ends_soon, expired_text, new_token_hint
from rsat_data.errors import LabelAuthError, LabelServerError
from rsat_data.optional import require

PAGE = 100

#: Answers after which the same request may succeed. 500 is none of them: this server means it.
_TRANSIENT = frozenset({408, 429, 502, 503, 504})
_MAX_WAIT_S = 30.0


class Transport:
    """One server and one token. Safe to use from several threads."""

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
        self._httpx = httpx
        # Its debug lines hold headers of answers whole, with session cookies.
        logging.getLogger("httpcore").setLevel(logging.WARNING)
        # Redirects are not followed: the API makes none, and a login page must not pass for an answer.
        self._http = httpx.Client(
            timeout=httpx.Timeout(timeout_s, connect=min(10.0, timeout_s)),
            follow_redirects=False,
            verify=needs_certificates(url),
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    @property
    def token(self) -> TokenInfo:
        """What kind of token is used."""
        return self._secret.info

    def _pages(self, path: str, parameters: Mapping[str, Any], key: str) -> Iterator[dict[str, Any]]:
        page, seen = 1, 0
        while True:
            # This server pages tasks itself, and says 404 behind the last page.
            try:
                answer = self._object("GET", path, params={"page_size": PAGE, **parameters, "page": page})
            except LabelServerError as error:
                # Rows that went away while pages were read.
                if page > 1 and error.status == 404:
                    return
                raise
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
                    f"sends {path} to a login page", auth=True, status=status, hint=new_token_hint(self.url)
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
            return self._error(expired_text(info), auth=True, status=status, hint=new_token_hint(self.url), bare=True)
        hint = new_token_hint(self.url)
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
        if access is None or ends_soon(access.info):
            access = self._refresh()
        return {"Authorization": f"Bearer {access.reveal()}"}

    def _refresh(self) -> Secret:
        path = "/api/token/refresh/"
        response = self._send("POST", path, json={"refresh": self._secret.reveal()}, authorised=False)
        answer = self._read(response, "POST", path)
        found = answer.get("access") if isinstance(answer, dict) else None
        if not isinstance(found, str):
            raise self._error("gave no access token for the personal token", auth=True, hint=new_token_hint(self.url))
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
