from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import model.raster
from model.raster.jit import run_jobs


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_every_job_runs_once(threads: int) -> None:
    seen: list[int] = []
    lock = threading.Lock()

    def job(value: int) -> None:
        with lock:
            seen.append(value)

    run_jobs(job, [(i,) for i in range(23)], threads)
    assert sorted(seen) == list(range(23))


def test_an_exception_in_a_thread_is_raised() -> None:
    def job(value: int) -> None:
        if value == 5:
            raise ZeroDivisionError("five")

    with pytest.raises(ZeroDivisionError, match="five"):
        run_jobs(job, [(i,) for i in range(8)], 3)


def test_rasterising_works_in_a_forked_child_and_without_a_writable_cache(tmp_path: Path) -> None:
    """The package is copied to a read-only folder and the user's cache folder is a file: numba can cache nowhere."""
    script = """
import os, sys, torch
from model.camera import Camera
from model.raster import rasterize
v = torch.tensor([[[-1.0, -1, 1], [1, -1, 1], [0, 1, 1]]]); f = torch.tensor([[0, 1, 2]])
camera = Camera(20, 20, 16, 16, 32, 32)
total = int(rasterize(v, f, camera, threads=2).mask.sum())
child = os.fork()
if child == 0:
    os._exit(0 if int(rasterize(v, f, camera, threads=2).mask.sum()) == total > 0 else 3)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork")
    blocked = tmp_path / "file"
    blocked.write_text("not a folder", encoding="utf-8")
    environment = os.environ | {
        "PYTHONPATH": str(Path(model.raster.__file__).resolve().parents[2]),
        "NUMBA_CACHE_DIR": str(blocked / "sub"),
        "NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator",
    }
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_kernel_can_do_without_a_cache(tmp_path: Path) -> None:
    """In a read-only container numba can cache nowhere, and says so when a kernel is declared."""
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    modules = (
        "model.fitting.kernels",
        "model.photometric.kernels",
        "pipelines.synth.kernels",
        "rsat_data.preview.panels",
    )
    environment = os.environ | {
        "PYTHONPATH": str(Path(model.raster.__file__).resolve().parents[2]),
        "NUMBA_CACHE_DIR": str(tmp_path / "file" / "sub"),
        "NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator",
    }
    script = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)"
    done = subprocess.run(
        [sys.executable, "-c", script, *modules], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
