"""The packages this project asks for, which of them are installed, and whether importing them works.

Importing can crash the interpreter where a binary package does not fit the machine, so it happens in another process.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

PackageState = Literal["works", "installed", "missing", "broken"]

IMPORT_TIMEOUT_S = 120.0

#: Where the module is not called like the distribution.
MODULES = {
    "opencv-python": "cv2",
    "opencv-contrib-python": "cv2",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "types-pyyaml": "yaml",
    "markdown-it-py": "markdown_it",
}

# Imports one module after the other and writes a line for each, so that a crash tells which one it was.
_PROBE = """
import importlib, json, sys
for name in sys.argv[1:]:
    print(json.dumps({"start": name}), flush=True)
    try:
        importlib.import_module(name)
        line = {"done": name, "error": None}
    except BaseException as error:
        line = {"done": name, "error": f"{type(error).__name__}: {error}"}
    if name == "torch" and line["error"] is None:
        import torch
        try:
            line["cuda_build"] = torch.version.cuda
            line["gpus"] = [
                {"name": p.name, "memory_bytes": p.total_memory}
                for p in map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
            ]
        except Exception as error:
            line["gpu_error"] = str(error)
    if name == "faster_whisper" and line["error"] is None:
        import ctranslate2
        line["gpus"] = ctranslate2.get_cuda_device_count()
    print(json.dumps(line), flush=True)
"""


@dataclass(frozen=True)
class Package:
    """A distribution this project asks for, core or by an extra."""

    name: str
    """Distribution name."""
    wanted: str
    """Version range asked for, as in pyproject.toml."""
    extra: str | None
    """The extra that asks for it; None for the core."""
    version: str | None
    """Installed version; None if missing."""
    state: PackageState
    """works: imported just now; installed: present, not imported; broken: importing it failed."""
    error: str | None = None
    """Why it is broken."""


def requirements() -> list[tuple[str, str, str | None]]:
    """(distribution, version range, extra) of everything this project asks for, from its own metadata."""
    try:
        lines = importlib.metadata.requires("rsat-data") or []
    except importlib.metadata.PackageNotFoundError:
        # Run from a checkout that was never installed.
        with (Path(__file__).resolve().parents[1] / "pyproject.toml").open("rb") as stream:
            project = tomllib.load(stream)["project"]
        lines = list(project["dependencies"])
        for extra, members in project["optional-dependencies"].items():
            lines += [f'{member}; extra == "{extra}"' for member in members]
    return [parsed for parsed in map(parse_requirement, lines) if parsed is not None]


def parse_requirement(line: str) -> tuple[str, str, str | None] | None:
    """Split a requirement into name, range and extra; None for this project itself and for the extra `all`."""
    match = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^]]*\])?\s*([^;]*)(?:;(.*))?$", line)
    if match is None:
        return None
    name, wanted, marker = match.group(1).lower(), match.group(2).strip(" ()"), match.group(3) or ""
    found = re.search(r"extra\s*==\s*[\"']([^\"']+)", marker)
    extra = found.group(1) if found else None
    return None if name == "rsat-data" or extra == "all" else (name, wanted, extra)


def module_of(distribution: str) -> str:
    """The module a distribution is imported as."""
    return MODULES.get(distribution, distribution.replace("-", "_"))


def look_up(name: str, wanted: str, extra: str | None) -> Package:
    """Find the installed version of one distribution, importing nothing."""
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Package(name, wanted, extra, None, "missing")
    except Exception as error:  # a half-removed installation has metadata that cannot be read
        return Package(name, wanted, extra, None, "broken", f"{type(error).__name__}: {error}")
    if version is None:
        return Package(name, wanted, extra, None, "broken", "its metadata names no version")
    return Package(name, wanted, extra, version, "installed")


def with_probe(package: Package, probe: dict[str, Any] | None) -> Package:
    """Add what importing it has shown."""
    if probe is None or package.version is None:
        return package
    state: PackageState = "broken" if probe.get("error") else "works"
    return Package(package.name, package.wanted, package.extra, package.version, state, probe.get("error"))


def probe_imports(modules: list[str]) -> dict[str, dict[str, Any]]:
    """Import modules in other processes; a crash or a hang is charged to the module that was being imported."""
    found: dict[str, dict[str, Any]] = {}
    left = list(modules)
    while left:
        command = [sys.executable, "-c", _PROBE, *left]
        quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}
        try:
            run = subprocess.run(
                command, capture_output=True, text=True, timeout=IMPORT_TIMEOUT_S, env=quiet, stdin=subprocess.DEVNULL
            )
            output, end = run.stdout, f"the process that imported it ended with code {run.returncode}"
        except subprocess.TimeoutExpired as error:
            output = error.stdout.decode("utf-8", "replace") if isinstance(error.stdout, bytes) else error.stdout or ""
            end = f"not imported within {IMPORT_TIMEOUT_S:.0f} s"
        started = None
        for line in map(_parse_line, output.splitlines()):
            if "start" in line:
                started = line["start"]
            elif "done" in line:
                found[line["done"]] = line
                started = None
        # Without any sign of life, the first module is to blame; this also ends the loop.
        culprit = started or next((name for name in left if name not in found), None)
        if culprit is not None and culprit not in found:
            found[culprit] = {"done": culprit, "error": end}
        left = [name for name in left if name not in found]
    return found


def _parse_line(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:  # a library that writes to standard output
        return {}
    return value if isinstance(value, dict) else {}
