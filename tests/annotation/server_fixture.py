"""One real label server for a whole test run: fixtures ``label_server``, ``annotator`` and ``owner``.

conftest.py of this folder brings them to all its tests; mark those that use them with ``label_server``.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from annotation.client import Client, connect
from annotation.server import Account, RunningServer, ServeOptions, add_account, serve


@dataclass(frozen=True)
class LabelServer:
    """A label server that runs, and its owner."""

    server: RunningServer
    owner: Account
    token_file: Path

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def media_root(self) -> Path:
        return self.server.state.media_root

    def client(self, account: Account | None = None) -> Client:
        """A client of the owner, or of another account."""
        secret = (account or self.owner).token
        return Client(self.url, secret, timeout_s=60.0, retries=2)


@pytest.fixture(scope="session")
def label_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelServer]:
    """A server on a free port of 127.0.0.1; its first start takes a minute or two.

    RSAT_LABEL_TEST_DATA names a folder whose database is used again, for those who run these tests often.
    """
    if not os.environ.get("RSAT_LABEL_SERVER"):
        pytest.skip("no label server: run `make test-label`, or set RSAT_LABEL_SERVER to a label-studio executable")
    folder = tmp_path_factory.mktemp("label-server")
    token_file = folder / "token"
    kept = os.environ.get("RSAT_LABEL_TEST_DATA")
    data = Path(kept) if kept else folder / "data"
    options = ServeOptions(port=0, data=data, token_file=token_file, new_token=kept is not None)
    with serve(None, options) as server:
        assert server.account is not None
        yield LabelServer(server, server.account, token_file)
    shutil.rmtree(folder, ignore_errors=True)


_COUNT = itertools.count(1)


@pytest.fixture
def annotator(label_server: LabelServer) -> Iterator[Callable[[], tuple[Account, Client]]]:
    """Makes a new annotator each time it is called: (account, client)."""
    made: list[Client] = []

    def make() -> tuple[Account, Client]:
        with label_server.client() as owner:
            account = add_account(owner, f"annotator{os.getpid()}.{next(_COUNT)}@example.org")
        made.append(label_server.client(account))
        return account, made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def owner(label_server: LabelServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A client of the server's owner; address and token are in the environment, as a user would set them."""
    monkeypatch.setenv("LABEL_STUDIO_URL", label_server.url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", label_server.owner.token.reveal())
    with connect() as client:
        yield client
