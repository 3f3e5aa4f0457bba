"""Users of a label server: signing in with a password, personal tokens, annotators by invitation.

The API takes tokens only, and a token is given to who signs in through the login page: so these few steps speak with
the pages a person would use, as a browser does (session cookie and its CSRF token).
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any

from annotation.client import Client, Secret, needs_certificates
from rsat_data.errors import LabelAuthError, LabelServerError
from rsat_data.optional import require


@dataclass(frozen=True)
class Account:
    """A user and what lets him in; a repr shows neither password nor token."""

    email: str
    """Name to sign in with."""
    password: str = field(repr=False)
    """For the login page."""
    token: Secret = field(repr=False)
    """Personal access token, for the API."""


def sign_in(url: str, email: str, password: str, *, timeout_s: float = 60.0) -> Any:
    """An ``httpx.Client`` whose cookies are those of a signed-in user.

    Raises:
        LabelAuthError: e-mail and password do not fit.
    """
    session = _session(url, timeout_s)
    try:
        answer = _post_form(session, "/user/login/", {"email": email, "password": password, "persist_session": "on"})
        if answer.status_code != 302:
            raise LabelAuthError(f"The label server {url} does not let {email} in with this password.")
    except BaseException:
        session.close()
        raise
    return session


def personal_token(session: Any) -> Secret:
    """A new personal access token for the signed-in user; an earlier one, of which a user has one, is revoked.

    Raises:
        LabelServerError: personal tokens are switched off there.
    """
    answer = session.post("/api/token/", headers=_csrf(session))
    if answer.status_code == 409:
        for old in session.get("/api/token/").json():
            session.post("/api/token/blacklist/", json={"refresh": old["token"]}, headers=_csrf(session))
        answer = session.post("/api/token/", headers=_csrf(session))
    if answer.status_code != 201:
        raise LabelServerError(
            f"The label server gave no personal access token (status {answer.status_code}).",
            hint="Are personal access tokens allowed there? Organization settings, API Tokens.",
        )
    return Secret(answer.json()["token"], "the label server")


def invite(client: Client) -> str:
    """Address at which somebody who is given it can make an account; needs the right to invite."""
    answer = client._object("GET", "/api/invite")
    return f"{client.url}{answer['invite_url']}"


def add_account(client: Client, email: str, password: str | None = None) -> Account:
    """Make an account through the invitation, as its owner would; e-mail need not exist.

    Raises:
        LabelServerError: it exists already, or the server does not like e-mail or password.
    """
    password = password or secrets.token_urlsafe(12)
    path = invite(client).removeprefix(client.url)
    session = _session(client.url, 60.0)
    try:
        answer = _post_form(session, path, {"email": email, "password": password})
        if answer.status_code != 302:
            raise LabelServerError(
                f"The label server {client.url} did not make an account for {email}.",
                hint="Is there one already? A password needs 8 characters.",
            )
        return Account(email, password, personal_token(session))
    finally:
        session.close()


def _session(url: str, timeout_s: float) -> Any:
    httpx = require("httpx", needed_for="talking to a label server")
    return httpx.Client(base_url=url, timeout=timeout_s, follow_redirects=False, verify=needs_certificates(url))


def _post_form(session: Any, path: str, values: dict[str, str]) -> Any:
    session.get(path)  # Sets the CSRF cookie.
    token = session.cookies.get("csrftoken", "")
    return session.post(path, data={**values, "csrfmiddlewaretoken": token}, headers=_csrf(session))


def _csrf(session: Any) -> dict[str, str]:
    return {"X-CSRFToken": session.cookies.get("csrftoken", ""), "Referer": str(session.base_url)}
