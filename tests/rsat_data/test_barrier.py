"""Stages over the whole dataset: the barrier in the line, on toy stages."""

from __future__ import annotations

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
from rsat_data.errors import StageError
from rsat_data.plan import Recipe
from rsat_data.progress import Bars
from rsat_data.sources import find_sources
from rsat_data.workspace import Workspace, read_state
from tests.rsat_data.test_build import units_done, videos
from tests.toy_stages import JOINED_LINE, CountConfig, SplitConfig


def recipe(**count: object) -> Recipe:
    stages = {name: load_stage(address) for name, address in JOINED_LINE.items()}
    configs = {name: CountConfig() for name in stages} | {"ingest": SplitConfig(), "count": CountConfig(**count)}  # type: ignore[arg-type]
    return Recipe(JOINED_LINE, stages, configs, {}, {}, "test")


def build(folder: Path, out: Path, workers: int = 2, **count: object) -> BuildResult:
    with Workspace(out) as workspace, Bars(enabled=False) as bars:
        return Line(workspace, recipe(**count), LocalEngine(workers=workers), bars).run(find_sources(folder))


def shares(result: BuildResult) -> list[str]:
    return sorted((folder / "double.txt").read_text(encoding="utf-8") for folder in result.clip_dirs)


def test_every_clip_is_handed_what_all_clips_add_up_to(tmp_path: Path) -> None:
    folder = videos(tmp_path / "v", one="a\nbb\nabc", two="bbbb")
    first = build(folder, tmp_path / "out")
    assert shares(first) == ["1/4", "2/6", "3/4", "4/6"]
    assert first.units_run == 2 + 4 + 1 + 4 and list(first.dataset_dirs) == ["total"]
    again = build(folder, tmp_path / "out", workers=1)
    assert shares(again) == shares(first) and (again.units_run, again.units_found) == (0, 11)


def test_a_new_video_reruns_only_clips_whose_own_part_changed(tmp_path: Path) -> None:
    folder = videos(tmp_path / "v", one="a\nbb\nabc", two="bbbb")
    build(folder, tmp_path / "out")
    videos(folder, three="aa")
    result = build(folder, tmp_path / "out")
    assert shares(result) == ["1/6", "2/6", "2/6", "3/6", "4/6"]
    assert result.units_run == 2 + 1 + 3  # its own ingest and count, the sum, and the three clips of a
    (folder / "three.mp4").unlink()
    result = build(folder, tmp_path / "out")
    assert shares(result) == ["1/4", "2/6", "3/4", "4/6"] and result.units_run == 0  # what was is found again


def test_quarantined_clips_and_sources_hold_up_nobody(tmp_path: Path) -> None:
    folder = videos(tmp_path / "v", one="a\nbug\nabc", two="unreadable", three="nobody", four="crash\nbbbb")
    (folder / "empty.mp4").write_text("", encoding="utf-8")
    first = build(folder, tmp_path / "out")
    assert shares(first) == ["1/4", "3/4", "4/4"]
    state = read_state(tmp_path / "out")
    assert state is not None and state["status"] == "computed"
    assert state["stages"]["total"]["units"] == state["stages"]["total"]["done"] == 1
    assert state["stages"]["share"]["done"] == state["stages"]["share"]["total"] == 3
    again = build(folder, tmp_path / "out", workers=1)
    assert shares(again) == shares(first)


def test_without_any_clip_there_is_nothing_to_join(tmp_path: Path) -> None:
    result = build(videos(tmp_path / "v", one="nobody"), tmp_path / "out")
    assert result.clip_dirs == [] and result.dataset_dirs == {}
    state = read_state(tmp_path / "out")
    assert state is not None and state["stages"]["total"]["total"] == 0


def test_its_failure_stops_the_build_with_the_reason_and_keeps_what_is_done(tmp_path: Path) -> None:
    folder = videos(tmp_path / "v", one="a\nbb")
    (folder / "one.yaml").write_text("licence: secret", encoding="utf-8")
    with pytest.raises(StageError, match="secret clip") as error:
        build(folder, tmp_path / "out")
    assert error.value.hint == "Change its licence."
    (folder / "one.yaml").write_text("licence: open", encoding="utf-8")
    result = build(folder, tmp_path / "out")
    assert shares(result) == ["1/1", "2/2"] and result.units_found == 3


def test_the_order_of_finishing_changes_nothing(tmp_path: Path) -> None:
    folder = videos(tmp_path / "v", one="a\nbb\nabc", two="bbbb\naaaaa", three="b")
    results = [build(folder, tmp_path / f"out{workers}", workers) for workers in (1, 3)]
    first, second = ((result.dataset_dirs["total"] / "parts.json").read_bytes() for result in results)
    assert first == second
    assert results[0].dataset_dirs["total"].name == results[1].dataset_dirs["total"].name


SCRIPT = """
import sys
from pathlib import Path
from tests.rsat_data.test_barrier import build
build(Path(sys.argv[1]), Path(sys.argv[2]), sleep_s=0.1)
"""


def test_kill_9_at_random_moments_then_the_same_result(tmp_path: Path) -> None:
    folder = videos(tmp_path / "v", one="a\nbb\nabc", two="bbbb\naaaaa", three="b")
    undisturbed = shares(build(folder, tmp_path / "calm", sleep_s=0.1))
    out, root = tmp_path / "out", Path(__file__).resolve().parents[2]
    moments = random.Random(5)
    for kill in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(folder), str(out)], cwd=root, env=os.environ | {"PYTHONPATH": str(root)}
        )
        while process.poll() is None and units_done(out) < 1 + 4 * kill:  # the last kill falls behind the barrier
            time.sleep(0.02)
        time.sleep(moments.uniform(0.0, 0.2))
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert shares(build(folder, out, sleep_s=0.1)) == undisturbed
