from __future__ import annotations

from pathlib import Path

import pytest

from annotation.server import environment
from annotation.server.environment import find_executable, make_environment
from rsat_data.errors import LabelServerError, OfflineError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RSAT_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("RSAT_LABEL_SERVER", raising=False)
    return tmp_path


def test_executable_given_beats_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_executable() is None
    for name in ("one", "two"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("RSAT_LABEL_SERVER", str(tmp_path / "one"))
    assert find_executable() == tmp_path / "one"
    assert find_executable(tmp_path / "two") == tmp_path / "two"
    (tmp_path / "one").chmod(0o644)
    with pytest.raises(LabelServerError, match="not a program"):
        find_executable()


def test_no_network_allowed(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("RSAT_DATA_OFFLINE", "1")
    with pytest.raises(OfflineError, match="not installed") as caught:
        make_environment()
    assert "RSAT_LABEL_SERVER" in caught.value.hint and not environment.environment_folder().exists()


def test_disk_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_DISK_BYTES", 10**18)
    with pytest.raises(LabelServerError, match="are free") as caught:
        make_environment()
    assert "RSAT_DATA_HOME" in caught.value.hint


@pytest.mark.slow
def test_installation_that_fails_is_begun_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_FIND_LINKS": "",
        "PIP_RETRIES": "0",
        "LABEL_STUDIO_API_KEY": "a secret",
    }.items():
        monkeypatch.setenv(name, value)
    said: list[str] = []
    with pytest.raises(LabelServerError, match="could not be installed: ERROR") as caught:
        make_environment(said.append)
    assert len(said) == 2 and caught.value.path is not None and "pip said" in caught.value.hint
    assert "a secret" not in caught.value.path.read_text()
    # Half an environment is not taken for one.
    assert find_executable() is None
