from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import rsat_data
from rsat_data.amend import amend
from rsat_data.avatars import fit as fit_module
from rsat_data.avatars import jobs
from rsat_data.avatars.fit import FitOptions, run_fit
from rsat_data.avatars.jobs import find_places
from rsat_data.cli import run
from rsat_data.errors import DatasetError, DiskFullError, HeadMismatch, UsageError, WorkspaceError
from rsat_data.publish import publish
from rsat_data.validate import validate
from tests.dataset_factory import ClipSpec, make_dataset
from tests.rsat_data.test_writer import tree
from tests.toy_avatar import ADDRESS, STEPS

SPECS = [
    ClipSpec("src0", "ann", "bob", frames=5, video=False, seed=1),
    ClipSpec("src1", "ann", frames=6, video=False, seed=2),
]


@pytest.fixture(autouse=True)
def any_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """The factory's head is on no machine, and the toy stage needs none."""
    monkeypatch.setattr("rsat_data.preview.lookup.head_name", lambda head_id: "open")


def fit(out: Path, *subjects: str, **options: Any) -> int:
    return run_fit(FitOptions(out, subjects, quiet=True, workers=2, **options), address=ADDRESS)


def dataset(root: Path, *more: str) -> Path:
    specs = [*SPECS, *(ClipSpec(f"src_{name}", name, frames=5, video=False) for name in more)]
    return make_dataset(root, specs)[0]


def facts(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    value = json.loads(capsys.readouterr().out)
    assert isinstance(value, dict)
    return value


def test_one_fails_one_dies_one_is_skipped_and_the_rest_is_published(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = dataset(tmp_path, "few_frames", "bug", "crash")
    assert fit(out, as_json=True, max_failed="2") == 0
    said = facts(capsys)
    assert [a["subject_id"] for a in said["avatars"]] == ["ann", "bob"]
    failed = {f["subject_id"]: f for f in said["failures"]}
    assert failed["few_frames"] | {"attempts": 1} == {
        "subject_id": "few_frames",
        "skipped": True,
        "error": "SkippedSubject",
        "message": "few_frames has 12 valid frames.",
        "hint": "Film more.",
        "attempts": 1,
    }
    assert failed["bug"]["error"] == "RuntimeError" and not failed["bug"]["skipped"]
    assert failed["crash"]["error"] == "WorkerDied" and "SIGKILL" in failed["crash"]["message"]
    for row in rsat_data.load(out, None):
        have = row["subject_id"] in ("ann", "bob")
        assert (row["avatar_id"] is not None, row["avatar_psnr"]) == (have, 30.0 if have else None)
    assert sorted(path.name for path in (out / "avatars").iterdir()) == ["ann", "bob"]
    assert validate(out).ok and not list((out / ".work/tmp").iterdir())
    # Known to be hopeless is known; what may pass is tried again, and two failures are more than one.
    assert fit(out, as_json=True, max_failed="1") == 3
    again = facts(capsys)
    assert {f["subject_id"]: f["attempts"] for f in again["failures"]} == {"few_frames": 1, "bug": 2, "crash": 2}
    assert [a["fitted"] for a in again["avatars"]] == [False, False]
    assert fit(out, "few_frames", "ann", max_failed="0") == 3  # asked for by name


def test_again_changes_nothing_and_another_option_replaces(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = dataset(tmp_path)
    assert fit(out) == 0
    before = tree(out)
    assert fit(out, as_json=True) == 0
    capsys.readouterr()
    after = tree(out)
    assert {name: after[name] for name in after if not name.startswith(".work")} == {
        name: before[name] for name in before if not name.startswith(".work")
    }
    assert fit(out, "ann", size=32, as_json=True) == 0
    assert [a["subject_id"] for a in facts(capsys)["avatars"]] == ["ann"]
    assert json.loads((out / "avatars/ann/avatar.json").read_text())["size"] == 32
    assert json.loads((out / "avatars/bob/avatar.json").read_text())["size"] == 64
    subjects = {s["subject_id"]: s["avatar_id"] for s in pq.read_table(out / "meta/subjects.parquet").to_pylist()}
    rows = {(row["subject_id"], row["avatar_id"]) for row in rsat_data.load(out, None)}
    assert rows == set(subjects.items()) and None not in subjects.values()
    assert validate(out).ok


def test_a_rebuilt_dataset_keeps_avatars_and_nothing_is_fitted_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = dataset(tmp_path)
    fit(out)
    before = tree(out / "data") | tree(out / "avatars")
    assert publish(sorted((tmp_path / "parts").iterdir()), out).avatars == ("ann", "bob")
    assert tree(out / "data") | tree(out / "avatars") == before
    capsys.readouterr()
    assert fit(out, as_json=True) == 0
    assert [a["fitted"] for a in facts(capsys)["avatars"]] == [False, False]


def test_a_run_that_is_killed_goes_on_where_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = dataset(tmp_path)
    code = (
        "import rsat_data.preview.lookup as l; l.head_name = lambda head: 'open'\n"
        "from pathlib import Path; from rsat_data.avatars.fit import *; from tests.toy_avatar import *\n"
        f"run_fit(FitOptions(Path({str(out)!r}), ('ann',), budget='6s', quiet=True), address=ADDRESS)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[3])
    deadline = time.monotonic() + 100
    while not (steps := list(out.glob(".work/state/avatar/ann-*/steps"))) or steps[0].read_text() == "1":
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = (out / "manifest.jsonl").read_bytes()
    assert all(row["avatar_id"] is None for row in rsat_data.load(out, None))
    # The worker ends with its driver.
    time.sleep(1.0)
    reached = int(steps[0].read_text())
    assert 2 <= reached < STEPS
    assert (out / "manifest.jsonl").read_bytes() == before
    steps[0].write_text(str(STEPS - 1))  # so that the rest is quick
    assert fit(out, "ann", budget="6s", as_json=True) == 0
    assert facts(capsys)["avatars"][0]["begun_at"] == STEPS - 1
    assert not list(out.glob(".work/state/avatar/*"))


def test_no_space_stops_the_run_and_says_so(tmp_path: Path) -> None:
    out = dataset(tmp_path, "full")
    with pytest.raises(DiskFullError, match="avatar of full") as caught:
        fit(out, "full")
    assert "Free some space" in caught.value.hint


def test_a_dry_run_tells_and_touches_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = dataset(tmp_path)
    before = tree(out)
    assert fit(out, budget="3m", dry_run=True, as_json=True) == 0
    plan = facts(capsys)
    assert (plan["subjects"], plan["frames"], plan["finished"], plan["resumed"]) == (2, 16, 0, 0)
    assert plan["wall_s"] > 180 and tree(out) == before
    assert fit(out, budget="3m", dry_run=True) == 0
    assert "2 subjects, 16 frames" in capsys.readouterr().out


def test_what_cannot_be_is_refused_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = dataset(tmp_path)
    with pytest.raises(DatasetError, match="called 'anna'") as unknown:
        fit(out, "anna")
    assert "Nearest: ann, bob" in unknown.value.hint
    with pytest.raises(UsageError, match="not a time"):
        fit(out, budget="soon")
    with pytest.raises(DatasetError, match="no manifest.jsonl"):
        fit(tmp_path / "parts")
    monkeypatch.undo()
    with pytest.raises(HeadMismatch, match="not on this machine"):
        fit(out)
    assert not (out / ".work").exists()


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cpu:1", "cuda:99"])
def test_unknown_devices_are_refused(device: str) -> None:
    with pytest.raises(UsageError, match="--device"):
        find_places(device, None, 3)


def test_a_process_a_gpu_and_all_cores_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "usable_cores", lambda: 16)
    monkeypatch.setattr(jobs, "memory", lambda: (64 << 30, 64 << 30))
    monkeypatch.setattr(jobs, "_gpus", lambda device: ["cuda:0", "cuda:1"])
    places = find_places("auto", None, 9)
    assert (places.devices, places.threads) == (("cuda:0", "cuda:1"), 8)
    monkeypatch.setattr(jobs, "_gpus", lambda device: [])
    assert (find_places("cpu", None, 9).devices, find_places("cpu", None, 9).threads) == (("cpu",) * 4, 4)
    assert (find_places("cpu", None, 1).devices, find_places("cpu", None, 1).threads) == (("cpu",), 16)
    assert find_places("cpu", 16, 40).threads == 1


def test_status_tells_of_avatars_without_a_build(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = dataset(tmp_path, "few_frames")
    assert run(["status", str(out)]) == 1
    assert fit(out) == 0
    capsys.readouterr()
    assert run(["status", str(out), "--json"]) == 0
    state = facts(capsys)["avatars"]
    assert state["done"] == ["ann", "bob"] and state["begun"] == []
    assert [(f["name"], f["error"]) for f in state["failed"]] == [("few_frames", "SkippedSubject")]
    assert run(["status", str(out)]) == 0
    assert "avatars: 2 in the dataset" in capsys.readouterr().out


def test_a_dataset_that_changes_while_it_is_read_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = dataset(tmp_path)
    plain = fit_module.make_jobs

    def meanwhile(*arguments: Any) -> Any:
        made = plain(*arguments)
        amend(out, {}, files={"avatars/x/avatar.ply": b""})
        return made

    monkeypatch.setattr(fit_module, "make_jobs", meanwhile)
    with pytest.raises(WorkspaceError, match="published anew"):
        fit(out)
