"""``rsat-data models heads``, ``import-flame``, ``import-ict`` from the command line: what a wrong file says."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from rsat_data.cli import run
from tests.model.head.flame_factory import tiny_flame, write


class Touch:
    """Pickles as a shell command."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own and no network: a wrong file must be refused before anything is fetched."""
    monkeypatch.setenv("RSAT_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RSAT_DATA_OFFLINE", "1")
    return tmp_path / "home"


def test_heads_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "heads"]) == 0
    said = capsys.readouterr().out
    assert "open-head-" in said and "import-flame" in said and "import-ict" in said
    assert run(["models", "heads", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["heads"]}
    assert rows["open"]["here"] and rows["open"]["shape"] == 100 and not rows["flame2023"]["here"]


def test_a_payload_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], home: Path) -> None:
    canary = tmp_path / "canary"
    path = write(tmp_path / "generic_model.pkl", tiny_flame() | {"v_template": Touch(canary)})
    assert run(["models", "import-flame", str(path)]) == 1
    said = capsys.readouterr().err
    assert "system" in said and "refused" in said and "generic_model.pkl" in said
    assert not canary.exists() and not (home / "heads").exists()


def test_wrong_files_and_unknown_versions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "import-flame", str(tmp_path / "none.pkl")]) == 1
    assert "does not exist" in capsys.readouterr().err
    path = write(tmp_path / "model.pkl", tiny_flame())
    assert run(["models", "import-flame", str(path)]) == 2
    assert "--name" in capsys.readouterr().err
    assert run(["models", "import-flame", str(path), "--name", "../evil"]) == 1
    assert "cannot name" in capsys.readouterr().err
    assert run(["models", "import-ict", str(tmp_path)]) == 1
    assert "no ICT-FaceKit" in capsys.readouterr().err
