"""A label server of one's own: its environment, its start and stop, its first user. For this machine only."""

from __future__ import annotations

from annotation.server.accounts import Account, add_account, invite
from annotation.server.environment import SERVER_VERSION, find_executable, make_environment
from annotation.server.run import Progress, RunningServer, ServeOptions, ServerState, serve, state, stop

__all__ = [
    "SERVER_VERSION",
    "Account",
    "Progress",
    "RunningServer",
    "ServeOptions",
    "ServerState",
    "add_account",
    "find_executable",
    "invite",
    "make_environment",
    "serve",
    "state",
    "stop",
]
