"""What the distribution says of itself, and what starting the command costs."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import rsat_data

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "mediapipe", "cv2", "numpy", "pandas", "pyarrow", "numba", "av", "faster_whisper", "rich")
#: What must not be said in code, and why: reading untrusted data with it runs code, or a shell gets to see it.
BANNED = (
    r"\bpickle\.loads?\(",
    r"allow_pickle\s*=\s*True",
    r"weights_only\s*=\s*False",
    r"\byaml\.load\(",
    r"(?<![\w.])eval\(",
    r"(?<![\w.])exec\(",
    r"shell\s*=\s*True",
    r"\bos\.system\(",
)


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as stream:
        content: dict[str, Any] = tomllib.load(stream)
    return content


def sources() -> list[Path]:
    return [
        path
        for room in ("rsat_data", "pipelines", "annotation", "schemas", "model")
        for path in (ROOT / room).rglob("*.py")
    ]


def run_python(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["build", "--help"], ["models", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from rsat_data.cli import run\n"
        f"code = run({arguments!r})\n"
        f"loaded = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "assert not loaded, loaded\n"
        "sys.exit(code)\n"
    )
    result = run_python(code, tmp_path)
    assert result.returncode == 0, result.stderr
    assert "rsat-data" in result.stdout


def test_every_command_of_the_table_exists() -> None:
    import click

    from rsat_data.cli import COMMANDS, cli

    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None and command.help, name


def test_version_is_said_once(project: dict[str, Any]) -> None:
    assert project["project"]["version"] == rsat_data.__version__ == importlib.metadata.version("rsat-data")


def test_every_cap_says_why(project: dict[str, Any]) -> None:
    """A dependency with an upper bound stands under a comment."""
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    capped = [i for i, line in enumerate(lines) if re.match(r'\s*("|[a-z]+ = \[")[A-Za-z0-9._-]+[^"]*<', line)]
    assert len(capped) >= 5
    for index in capped:
        above = index - 1
        while re.match(r'\s*"[^"]*<[^"]*",?$', lines[above]):
            above -= 1
        assert lines[above].lstrip().startswith("#"), f"line {index + 1} has a cap without a reason: {lines[index]}"


@pytest.mark.parametrize("name", ["constraints-light.txt", "constraints-full.txt"])
def test_constraints_satisfy_the_project(name: str, project: dict[str, Any]) -> None:
    requirements = pytest.importorskip("packaging.requirements")
    utils = pytest.importorskip("packaging.utils")
    text = (ROOT / name).read_text(encoding="utf-8")
    pinned = dict(line.split("==") for line in text.splitlines() if line and not line.startswith("#"))
    pinned = {utils.canonicalize_name(key): value for key, value in pinned.items()}
    extras = project["project"]["optional-dependencies"]
    wanted = list(project["project"]["dependencies"])
    for extra in ("dev", "annotate", "gpu", "cluster", *(["speech"] if "full" in name else [])):
        wanted += extras[extra]
    for text in wanted:
        requirement = requirements.Requirement(text)
        version = pinned.get(utils.canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not in {name}"
        assert requirement.specifier.contains(version), f"{requirement} does not admit {version} of {name}"


def test_core_and_all_extras_are_declared(project: dict[str, Any]) -> None:
    extras = project["project"]["optional-dependencies"]
    assert set(extras) == {"speech", "annotate", "gpu", "cluster", "train", "dev", "all"}
    named = set(re.split(r"[\[\],]", extras["all"][0])) - {"rsat-data", ""}
    assert named == set(extras) - {"all"}


def test_data_files_lie_where_the_packages_expect_them() -> None:
    assert (ROOT / "rsat_data" / "model_files.toml").is_file()
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").lstrip().startswith("Apache License")


@pytest.mark.parametrize("pattern", BANNED)
def test_nothing_unsafe_is_called(pattern: str) -> None:
    found = []
    for path in sources():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if re.search(pattern, line.split("#")[0]) and not re.match(r'\s*("""|``)', line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert found == []


@pytest.mark.full
def test_the_full_environment_is_whole(tmp_path: Path) -> None:
    """Every extra is installed by plain pip, nothing contradicts anything, and whisperx can be imported."""
    from rsat_data.packages import look_up, requirements

    missing = [name for name, wanted, extra in requirements() if look_up(name, wanted, extra).version is None]
    assert missing == []
    assert importlib.metadata.version("torch").startswith("2.8.")
    check = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    assert check.returncode == 0, check.stdout
    result = run_python("import whisperx, torch, mediapipe, cv2; print(cv2.__version__)", tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip().endswith(".".join(importlib.metadata.version("opencv-python").split(".")[:3]))
