"""The import map of docs/architecture.md, held to what the sources import."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOORS = {"schemas": 1, "model": 2, "pipelines": 3, "annotation": 3, "rsat_data": 4}
LOWER = {"errors", "optional", "registry", "content", "files", "config", "mp4", "reader", "__version__"}
"""Modules of rsat_data that lower floors may import."""
PUBLISHED = {"manifest", "amend", "labels", "duplicate", "load"}
"""And those that the labelling loop may."""


def imports(package: str) -> Iterator[tuple[str, str]]:
    """(module, what it imports) for every import of ours in a package, wherever in the file it stands."""
    for path in sorted((ROOT / package).rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [f"{node.module}.{name.name}" for name in node.names]
            elif isinstance(node, ast.Import):
                names = [name.name for name in node.names]
            else:
                continue
            yield from ((module, name) for name in names if name.split(".")[0] in FLOORS)


@pytest.mark.parametrize("package", list(FLOORS))
def test_imports_point_down(package: str) -> None:
    allowed = LOWER | (PUBLISHED if package == "annotation" else set())
    for module, name in imports(package):
        other = name.split(".")[0]
        if other == package or FLOORS[other] < FLOORS[package]:
            continue
        assert other == "rsat_data" and (name == other or name.split(".")[1] in allowed), f"{module} imports {name}"


def test_rooms_of_the_motion_model_import_what_the_page_says() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rooms = re.findall(r"^\| `model/(\w+)/` \|.*\| (.*) \|$", page, re.MULTILINE)
    assert [name for name, _ in rooms] == ["motion", "train", "metrics", "evaluate", "render"]
    for name, said in rooms:
        found = {other.split(".")[1] for _, other in imports(f"model/{name}") if other.startswith("model.")}
        assert found - {name} <= set(re.findall(r"`(\w+)`", said)), name
