"""What a build will cost: measured where something was measured, and by the profile asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rsat_data.estimate import DEFAULT_COST, FULL_COST, estimate, measured_cost
from rsat_data.workspace import DONE, Workspace


def finished(root: Path, name: str, stage: str, seconds: float, summary: dict[str, object]) -> None:
    folder = root / "units" / stage / name
    folder.mkdir(parents=True)
    unit = {"start_s": 2.0, "end_s": 12.0}
    content = {"stage": stage, "unit": unit, "cpu_seconds": seconds, "summary": summary}
    (folder / DONE).write_text(json.dumps(content), encoding="utf-8")


def test_measured_cost_keeps_profiles_apart(tmp_path: Path) -> None:
    finished(tmp_path, "a", "flame", 3.0, {"profile": "fast"})
    finished(tmp_path, "b", "flame", 50.0, {"profile": "full"})
    finished(tmp_path, "c", "speech", 10.0, {})
    (tmp_path / "units" / "flame" / "broken").mkdir()
    (tmp_path / "units" / "flame" / "broken" / DONE).write_text("{", encoding="utf-8")
    assert measured_cost(tmp_path) == pytest.approx({"flame": 0.3, "speech": 1.0})
    assert measured_cost(tmp_path, "full") == pytest.approx({"flame": 5.0, "speech": 1.0})


def test_full_is_estimated_dearer_before_anything_is_measured(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "set")
    fast, full = (estimate([], workspace, 1, profile) for profile in ("fast", "full"))
    assert fast.sources == full.sources == 0 and not full.measured
    assert FULL_COST > 10 * DEFAULT_COST["flame"]
