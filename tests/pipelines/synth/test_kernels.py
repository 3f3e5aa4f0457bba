from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.camera import Camera
from model.raster.reference import rasterize_arrays
from pipelines.synth import kernels
from pipelines.synth.texels import make_grid


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_faces_drawn_equal_the_reference_rasteriser(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vertices = rng.normal(size=(30, 3)) * 0.3 + [0, 0, 1.4]
    vertices[:, 2] = np.maximum(vertices[:, 2], 0.3)
    faces = rng.integers(0, 30, (20, 3))
    camera = Camera(40.0, 40.0, 21.0, 17.0, 41, 33)
    expected, _, depth = rasterize_arrays(vertices[None], faces, camera)
    points = np.empty((30, 3))
    kernels.project_vertices(vertices, camera.fx, camera.fy, camera.cx, camera.cy, points)
    nearest, ids = np.zeros((33, 41), np.float32), np.full((33, 41), -1, np.int32)
    material = np.full(20, kernels.HAIR, np.uint8)  # drawn from both sides
    kernels.draw_faces(points, faces, material, np.zeros(30, np.float32), nearest, ids, np.zeros((33, 41), np.float32))
    differs = ids != expected[0]
    assert differs.mean() < 0.01  # float32 depths, and an overlap of 1e-6 of a sample
    same = ~differs & (ids >= 0)
    assert np.allclose(1 / nearest[same], depth[0][same], rtol=1e-5)


def test_closed_materials_are_seen_from_one_side_only() -> None:
    vertices = np.array([[-1.0, -1, 2], [1, -1, 2], [0, 1, 2]])
    points = np.empty((3, 3))
    kernels.project_vertices(vertices, 20.0, 20.0, 16.0, 16.0, points)
    counts = []
    for face in ([0, 1, 2], [2, 1, 0]):
        for kind in (kernels.SKIN, kernels.HAIR):
            nearest, ids = np.zeros((32, 32), np.float32), np.full((32, 32), -1, np.int32)
            darkness = np.zeros((32, 32), np.float32)
            kernels.draw_faces(
                points, np.array([face]), np.array([kind], np.uint8), np.zeros(3, np.float32), nearest, ids, darkness
            )
            counts.append(int((ids >= 0).sum()))
    assert sorted(counts)[0] == 0 and counts.count(max(counts)) == 3


@pytest.mark.parametrize("resolution", [1, 2, 5, 17])
def test_texels_reproduce_linear_colours(resolution: int) -> None:
    rng = np.random.default_rng(resolution)
    i, j = np.array([(i, j) for i in range(resolution + 1) for j in range(resolution + 1 - i)]).T
    bary = np.stack([i, j, resolution - i - j], axis=1) / resolution
    corners = rng.uniform(0, 255, (3, 4))
    texels = bary @ corners
    out = np.empty(4)
    for b in [*rng.dirichlet((1, 1, 1), 200), *np.eye(3), [0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.5, 0.0, 0.5]]:
        kernels._texel(texels, 0, resolution, float(b[0]), float(b[1]), out)
        assert np.allclose(out, b @ corners / 255, atol=1e-9)


def test_grid_numbers_agree_with_the_kernel() -> None:
    vertices = np.array([[0.0, 0, 0], [0.01, 0, 0], [0, 0.02, 0], [0.03, 0.03, 0]])
    faces = np.array([[0, 1, 2], [1, 3, 2]])
    grid = make_grid(vertices, faces, 0.002)
    assert (grid.resolution > 5).all() and grid.count == len(grid.bary) == grid.offset[1] + (grid.face == 1).sum()
    values = np.repeat(grid.interpolate(faces, vertices), 2, axis=1)[:, :4].astype(np.float64)
    out = np.empty(4)
    for face in (0, 1):
        bary = np.array([0.2, 0.5, 0.3])
        kernels._texel(values, grid.offset[face], grid.resolution[face], bary[0], bary[1], out)
        expected = np.repeat(bary @ vertices[faces[face]], 2)[:4]
        assert np.allclose(out * 255, expected, atol=1e-7)
