"""The driver, the engine and the workspace together, on toy stages."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.line import load_stage
from rsat_data.build import BuildResult, Line
from rsat_data.engine.local import LocalEngine
from rsat_data.errors import DiskFullError, WorkspaceError
from rsat_data.plan import Recipe
from rsat_data.progress import Bars
from rsat_data.sources import find_sources
from rsat_data.workspace import Workspace, read_state
from tests.toy_stages import LINE, CountConfig, SplitConfig


def recipe(**count: object) -> Recipe:
    stages = {name: load_stage(address) for name, address in LINE.items()}
    configs = {"ingest": SplitConfig(), "count": CountConfig(**count), "double": CountConfig()}  # type: ignore[arg-type]
    return Recipe(LINE, stages, configs, {}, {}, "test")


def videos(folder: Path, **texts: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.mp4").write_text(text, encoding="utf-8")
    return folder


def build(folder: Path, out: Path, workers: int = 2, **count: object) -> BuildResult:
    with Workspace(out) as workspace, Bars(enabled=False) as bars:
        return Line(workspace, recipe(**count), LocalEngine(workers=workers), bars).run(find_sources(folder))


def values(result: BuildResult) -> list[int]:
    return sorted(int((folder / "double.txt").read_text(encoding="utf-8")) for folder in result.clip_dirs)


def test_runs_every_unit_and_finds_them_again(tmp_path: Path) -> None:
    folder = videos(tmp_path / "v", one="a\nbb\nccc", two="dddd")
    first = build(folder, tmp_path / "out")
    assert values(first) == [2, 4, 6, 8]
    assert (first.units_run, first.units_found) == (10, 0)
    second = build(folder, tmp_path / "out")
    assert values(second) == [2, 4, 6, 8]
    assert (second.units_run, second.units_found) == (0, 10)
    assert list((tmp_path / "out/.work/tmp").iterdir()) == []


def test_changed_option_reruns_only_what_depends_on_it(tmp_path: Path) -> None:
    folder = videos(tmp_path / "v", one="a\nbb")
    build(folder, tmp_path / "out")
    again = build(folder, tmp_path / "out", factor=10)
    assert values(again) == [20, 40]
    assert (again.units_run, again.units_found) == (4, 1)


def test_sidecar_field_reruns_only_stages_that_read_it(tmp_path: Path) -> None:
    folder = videos(tmp_path / "v", one="a")
    build(folder, tmp_path / "out")
    (folder / "one.yaml").write_text("licence: CC-BY-4.0", encoding="utf-8")
    assert build(folder, tmp_path / "out").units_run == 0
    (folder / "one.yaml").write_text("relation: {kinship: blood}", encoding="utf-8")
    assert build(folder, tmp_path / "out").units_run == 2


def test_bad_units_are_recorded_and_the_rest_goes_on(tmp_path: Path) -> None:
    folder = videos(
        tmp_path / "v", good="fine", broken="unreadable", empty="", nobody="nobody", partly="ok\nbug here\nfine!"
    )
    (folder / "same.mp4").write_text("fine", encoding="utf-8")
    result = build(folder, tmp_path / "out")
    assert values(result) == [4, 8, 10]
    reasons = {failure.name: failure.error for failure in result.failures}
    assert reasons == {
        "broken.mp4": "UnreadableSource",
        "empty.mp4": "UnreadableSource",
        "nobody.mp4": "SkippedSource",
        "partly.mp4": "RuntimeError",
        "same.mp4": "DuplicateSource",
    }
    assert result.failed_sources == {"broken.mp4", "empty.mp4", "partly.mp4"}
    bug = next(failure for failure in result.failures if failure.error == "RuntimeError")
    assert not bug.permanent and bug.trace_hash and "a bug" in bug.stderr_tail
    again = build(folder, tmp_path / "out")
    assert next(f for f in again.failures if f.error == "RuntimeError").attempts == 2  # tried again: may be transient
    assert next(f for f in again.failures if f.name == "broken.mp4").attempts == 1  # the file's own fault: not tried


def test_worker_death_and_time_limit_cost_only_the_unit(tmp_path: Path) -> None:
    folder = videos(tmp_path / "v", one="a\ncrash\nhang\nbb")
    result = build(folder, tmp_path / "out")
    assert values(result) == [2, 4]
    assert sorted(failure.error for failure in result.failures) == ["UnitTimeout", "WorkerDied"]
    assert "SIGKILL" in next(f for f in result.failures if f.error == "WorkerDied").message


def test_full_disk_stops_the_build_and_keeps_what_is_done(tmp_path: Path) -> None:
    folder = videos(tmp_path / "v", a="a", b="full")
    with pytest.raises(DiskFullError, match="No space"):
        build(folder, tmp_path / "out", workers=1)
    (folder / "b.mp4").write_text("b", encoding="utf-8")
    result = build(folder, tmp_path / "out")
    assert values(result) == [2, 2]
    assert result.units_found > 0


def test_damaged_artefact_is_made_again(tmp_path: Path) -> None:
    folder = videos(tmp_path / "v", one="abc")
    first = build(folder, tmp_path / "out")
    (first.clip_dirs[0] / "double.txt").unlink()
    second = build(folder, tmp_path / "out")
    assert values(second) == [6]
    assert second.units_run == 1


def test_two_builds_in_one_folder_are_refused(tmp_path: Path) -> None:
    with Workspace(tmp_path / "out"), pytest.raises(WorkspaceError, match="Another build"), Workspace(tmp_path / "out"):
        pass


def test_state_tells_counts_and_that_nobody_runs(tmp_path: Path) -> None:
    folder = videos(tmp_path / "v", one="a\nbug")
    build(folder, tmp_path / "out")
    state = read_state(tmp_path / "out")
    assert state is not None and not state["alive"]
    assert state["status"] == "computed"
    assert state["stages"]["count"]["units"] == 2
    assert state["stages"]["double"]["units"] == 1
    assert state["quarantined"][0]["error"] == "RuntimeError"


SCRIPT = """
import sys
from pathlib import Path
from tests.rsat_data.test_build import build
build(Path(sys.argv[1]), Path(sys.argv[2]), sleep_s=0.2)
"""


def units_done(out: Path) -> int:
    # os.walk passes over folders that vanish while it looks; rglob does not.
    return sum("done.json" in names for _, _, names in os.walk(out / ".work/units"))


def test_kill_9_at_random_moments_then_the_same_result(tmp_path: Path) -> None:
    folder = videos(tmp_path / "v", **{f"v{i}": f"{'x' * i}\nline{i}\nmore{i}" for i in range(1, 6)})
    expected = values(build(folder, tmp_path / "undisturbed", sleep_s=0.0))
    out = tmp_path / "out"
    root = Path(__file__).resolve().parents[2]
    moments = random.Random(7)
    for kill in range(4):
        driver = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(folder), str(out)], cwd=root, env=os.environ | {"PYTHONPATH": str(root)}
        )
        # Not before it has got further than the run before it, however slow the machine is; then at any moment.
        while driver.poll() is None and units_done(out) < 1 + 3 * kill:
            time.sleep(0.02)
        time.sleep(moments.uniform(0.0, 0.5))
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    result = build(folder, out, sleep_s=0.2)
    assert values(result) == expected
    assert result.units_found > 0
    assert list((out / ".work/tmp").iterdir()) == []
    for done in (out / ".work/units").rglob("done.json"):
        record = json.loads(done.read_text(encoding="utf-8"))
        assert all((done.parent / name).stat().st_size == entry["bytes"] for name, entry in record["files"].items())
