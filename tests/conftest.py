"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "2")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real recordings (clips/, audio/, heads/, ...): RSAT_TEST_DATA, or ../shared/data of the checkout."""
    root = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("RSAT_TEST_DATA", root.parent / "shared" / "data"))
    if not (folder / "clips").is_dir():
        pytest.skip(f"no real recordings at {folder}: set RSAT_TEST_DATA to a folder that has them")
    return folder
