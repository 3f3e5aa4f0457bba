"""A user's own model/ or schemas.py hides ours only loudly, and never stops reading."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_a_shadowing_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "schemas.py").write_text("raise RuntimeError('imported')", encoding="utf-8")
    result = python("from rsat_data.siblings import check_siblings; check_siblings()", tmp_path)
    assert "ShadowedPackageError" in result.stderr and str(tmp_path / "schemas.py") in result.stderr
    assert "imported" not in result.stderr


def test_import_of_the_package_and_the_reader_needs_no_sibling(tmp_path: Path) -> None:
    for name in ("schemas.py", "model.py", "pipelines.py", "annotation.py"):
        (tmp_path / name).write_text("raise RuntimeError('imported')", encoding="utf-8")
    result = python(
        "import sys, rsat_data; rsat_data.load; assert 'torch' not in sys.modules and 'schemas' not in sys.modules",
        tmp_path,
    )
    assert result.returncode == 0, result.stderr


def test_it_is_silent_where_all_is_well(tmp_path: Path) -> None:
    result = python("from rsat_data.siblings import check_siblings; check_siblings()", tmp_path)
    assert result.returncode == 0, result.stderr
