"""The token of a label server: found, described, and shown nowhere.

Two kinds exist. A personal access token is a JWT that says of itself that it is for refreshing: it is traded for an
access token of a few minutes. A legacy token, switched off on new servers unless their owner allows it, goes as it is.
"""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from rsat_data.errors import LabelAuthError

TOKEN_VARIABLE = "LABEL_STUDIO_API_KEY"

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


def ends_soon(info: TokenInfo) -> bool:
    """Whether a token is to be renewed before it is used again."""
    return info.expires is not None and (info.expires - datetime.now(UTC)).total_seconds() < 20


def expired_text(info: TokenInfo) -> str:
    """That a token is expired, in words."""
    assert info.expires is not None
    return f"The {info.kind} token from the {info.source} expired at {info.expires:%Y-%m-%d %H:%M} UTC."


def new_token_hint(url: str) -> str:
    """Where to get another one."""
    return f"Make one at {url}/user/account/personal-access-token, then set {TOKEN_VARIABLE} or give --token-file."


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
