from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import model.raster.gaussian
from model.raster.gaussian import tiles
from tests.model.raster.gaussian.scenes import cloud

SCRIPT = """
import torch
from model.camera import Camera
from model.raster.gaussian import projection, rasterize_gaussians, tiles
tensors = [torch.rand(1, 5, n, requires_grad=True) for n in (3, 4, 3)]
rgb = rasterize_gaussians(*tensors, torch.rand(5), torch.rand(5, 3), Camera(9, 9, 4, 4, 8, 8)).rgb
rgb.sum().backward()
kernels = [tiles.list_blocks, tiles.list_tiles, tiles.blend, tiles.blend_backward]
kernels += [projection.project, projection.project_backward]
print([k.py_func.__name__ for k in kernels if not k.stats.cache_hits or k.stats.cache_misses])
"""


def test_a_second_process_compiles_nothing() -> None:
    leaves = cloud(0, 20, dtype=torch.float32).leaves()
    leaves.draw().rgb.sum().backward()
    if not hasattr(tiles.blend, "stats") or tiles.blend.stats.cache_path is None:
        pytest.skip("numba found no folder that it can write its cache to")
    root = Path(model.raster.gaussian.__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
