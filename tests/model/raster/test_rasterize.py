from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.camera import Camera
from model.raster import Fragments, rasterize
from model.raster.fragments import fragments_from_faces
from tests.model.raster.meshes import CAMERA, soup, sphere

FAST = ["numba", "torch"]


def assert_same(fast: Fragments, slow: Fragments, ties: float = 1e-5) -> None:
    """Same faces except where two are equally near (within rounding); same barycentrics and depths elsewhere."""
    differs = fast.face_id != slow.face_id
    if differs.any():
        assert (fast.depth - slow.depth)[differs].abs().max() < ties
    same = ~differs
    assert torch.allclose(fast.bary[same], slow.bary[same], atol=1e-7)
    assert torch.allclose(fast.depth[same], slow.depth[same], rtol=1e-7)


@pytest.mark.parametrize("backend", FAST)
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    faces=st.integers(0, 25),
    depth=st.sampled_from([0.9, 0.2]),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    centre=st.tuples(st.floats(-30, 60), st.floats(-30, 60)),
)
def test_agrees_with_the_reference(
    backend: str, seed: int, faces: int, depth: float, size: tuple[int, int], centre: tuple[float, float]
) -> None:
    vertices, triangles = soup(seed, faces, batch=2, depth=depth)
    camera = Camera(40.0, 36.0, *centre, *size)
    fast = rasterize(vertices, triangles, camera, backend)
    slow = rasterize(vertices, triangles, camera, "reference")
    assert fast.face_id.shape == (2, size[1], size[0])
    # The torch backend compares depths in float32.
    assert_same(fast, slow, ties=1e-12 if backend == "numba" else 1e-6)


@pytest.mark.parametrize("backend", FAST)
def test_closed_surface_has_no_holes(backend: str) -> None:
    """Rays between the poles' outline hit the sphere: also those exactly through vertices and edges."""
    vertices, faces = sphere(rings=16)
    camera = Camera(160.0, 160.0, 32.5, 32.5, 65, 65)  # pixel centres on the axis, where vertices project to
    fragments = rasterize(vertices, faces, camera, backend)
    y, x = np.mgrid[0:65, 0:65] + 0.5 - 32.5
    inner = torch.from_numpy(np.hypot(x, y) < 0.95 * 160 * 0.1 / 0.6)
    assert fragments.mask[0][inner].all()
    front = 0.6 - 0.1
    assert fragments.depth[0, 32, 32] == pytest.approx(front, abs=2e-3)


@pytest.mark.parametrize("backend", [*FAST, "reference"])
def test_lower_face_wins_a_tie(backend: str) -> None:
    vertices = torch.tensor([[[-1.0, -1, 1], [1, -1, 1], [0, 1, 1]]])
    faces = torch.tensor([[0, 1, 2], [0, 1, 2], [0, 1, 2]])
    face_id = rasterize(vertices, faces, CAMERA, backend).face_id
    assert set(face_id.unique().tolist()) == {-1, 0}


@pytest.mark.parametrize("backend", [*FAST, "reference"])
def test_order_of_faces_only_renames_them(backend: str) -> None:
    vertices, faces = soup(5, 20)
    forward = rasterize(vertices, faces, CAMERA, backend)
    backward = rasterize(vertices, faces.flip(0), CAMERA, backend)
    assert torch.equal(forward.mask, backward.mask)
    renamed = torch.where(backward.mask, 19 - backward.face_id, -1)
    assert (renamed != forward.face_id).sum() == 0


def test_result_does_not_depend_on_threads() -> None:
    vertices, faces = soup(7, 300, batch=3)
    camera = Camera(150.0, 150.0, 70.0, 51.0, 131, 97)
    one, many = (rasterize(vertices, faces, camera, "numba", threads=n) for n in (1, 5))
    for name in ("face_id", "bary", "depth"):
        assert torch.equal(getattr(one, name), getattr(many, name))


@pytest.mark.parametrize("backend", [*FAST, "reference"])
def test_nothing_to_draw(backend: str) -> None:
    vertices, faces = soup(1, 5)
    for points, triangles in [
        (vertices, faces[:0]),
        (vertices - torch.tensor([0.0, 0.0, 9.0]), faces),  # behind
        (vertices + torch.tensor([90.0, 0.0, 0.0]), faces),  # beside
        (vertices[:0], faces),
    ]:
        fragments = rasterize(points, triangles, CAMERA, backend)
        assert (fragments.face_id == -1).all()
        assert (fragments.bary == 0).all() and (fragments.depth == 0).all()


@pytest.mark.parametrize("backend", [*FAST, "reference"])
def test_degenerate_and_broken_triangles_are_skipped(backend: str) -> None:
    vertices = torch.tensor(
        [[[0.0, 0, 1], [0.1, 0, 1], [0.2, 0, 1], [0, 0, 2], [float("nan"), 0, 1], [-0.3, -0.3, 1.0], [0.3, 0.3, 1.2]]]
    ).double()
    degenerate = [[0, 0, 1], [0, 1, 2], [0, 3, 3], [5, 5, 5]]
    assert not rasterize(vertices, torch.tensor(degenerate), CAMERA, backend).mask.any()
    if backend != "reference":
        fragments = rasterize(vertices, torch.tensor([[4, 1, 5], [4, 4, 4], [5, 1, 6]]), CAMERA, backend)
        assert set(fragments.face_id.unique().tolist()) <= {-1, 2}
        assert fragments.depth.isfinite().all()


@pytest.mark.parametrize("backend", FAST)
def test_triangle_through_the_camera_plane_is_cut_at_near(backend: str) -> None:
    """A floor that starts behind the camera: seen below the horizon, never nearer than the near plane."""
    vertices = torch.tensor([[[-50.0, 1, -3], [50.0, 1, -3], [0.0, 1, 80]]]).double()
    camera = Camera(20.0, 20.0, 20.0, 20.0, 40, 40)
    fragments = rasterize(vertices, torch.tensor([[0, 1, 2]]), camera, backend, near=1.5)
    assert not fragments.mask[0, :20].any()
    depth = fragments.depth[0, :, 20]
    expected = torch.tensor([20.0 / (row + 0.5 - 20) if row >= 20 else 0.0 for row in range(40)]).double()
    visible = (expected >= 1.5) & (expected < 78)
    assert torch.allclose(depth[visible], expected[visible])
    assert (depth[expected < 1.5] == 0).all()


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_gradients_match_finite_differences(seed: int) -> None:
    vertices, faces = soup(seed, 6, batch=2)
    fragments = rasterize(vertices, faces, CAMERA)
    weight_bary = torch.randn_like(fragments.bary) * (fragments.bary > 1e-3).all(-1, keepdim=True)
    weight_depth = torch.randn_like(fragments.depth) * (fragments.bary > 1e-3).all(-1)
    # Slivers seen along their plane have unbounded second derivatives, and finite differences fail there.
    ids = fragments.face_id.long().clamp_min(0)
    corners = torch.stack([vertices[b][faces[ids[b]]] for b in range(2)])
    normals = torch.linalg.cross(corners[..., 1, :] - corners[..., 0, :], corners[..., 2, :] - corners[..., 0, :])
    facing = normals[..., 2].abs() > 0.02
    weight_bary, weight_depth = weight_bary * facing[..., None], weight_depth * facing

    def loss(points: torch.Tensor, frozen: bool) -> torch.Tensor:
        if frozen:  # the faces seen stay, as they do in the derivative
            moved = fragments_from_faces(fragments.face_id, points, faces, CAMERA)
        else:
            moved = rasterize(points, faces, CAMERA)
        return (moved.bary * weight_bary).sum() + (moved.depth * weight_depth).sum()

    leaf = vertices.clone().requires_grad_()
    (fast,) = torch.autograd.grad(loss(leaf, frozen=False), leaf)
    (slow,) = torch.autograd.grad(loss(leaf, frozen=True), leaf)
    assert torch.allclose(fast, slow, rtol=1e-6, atol=1e-6 * float(slow.abs().max() + 1))
    direction = torch.randn_like(vertices)
    step = 1e-7
    numeric = (loss(vertices + step * direction, True) - loss(vertices - step * direction, True)) / (2 * step)
    assert float((fast * direction).sum()) == pytest.approx(float(numeric), rel=1e-3, abs=1e-3)


def test_depth_gradient_of_a_plane_is_known() -> None:
    """Moving a frontal plane away by 1 moves every depth by 1."""
    vertices = torch.tensor([[[-1.0, -1, 1], [1, -1, 1], [0, 1, 1]]], requires_grad=True)
    fragments = rasterize(vertices, torch.tensor([[0, 1, 2]]), CAMERA)
    fragments.depth.sum().backward()
    assert vertices.grad is not None
    assert vertices.grad[0, :, 2].sum().item() == pytest.approx(float(fragments.mask.sum()), rel=1e-5)


def test_float32_stays_close_to_float64() -> None:
    vertices, faces = sphere(rings=40)
    camera = Camera(300.0, 300.0, 64.0, 64.0, 128, 128)
    single = vertices.float().requires_grad_()
    double = vertices.float().double()
    fast, exact = rasterize(single, faces, camera), rasterize(double, faces, camera)
    assert torch.equal(fast.face_id, exact.face_id)
    assert (fast.bary.double() - exact.bary).abs().max() < 1e-7
    in_torch = fragments_from_faces(fast.face_id, single, faces, camera)
    facing = (exact.depth > 0) & (exact.depth < 0.55)
    assert (in_torch.bary.double() - exact.bary)[facing].abs().max() < 1e-3


@pytest.mark.parametrize(
    ("vertices", "faces", "message"),
    [
        (torch.zeros(4, 3), torch.zeros(1, 3, dtype=torch.int64), "shape"),
        (torch.zeros(1, 4, 3, dtype=torch.int32), torch.zeros(1, 3, dtype=torch.int64), "float"),
        (torch.zeros(1, 4, 3), torch.zeros(1, 3, dtype=torch.int32), "int64"),
        (torch.zeros(1, 4, 3), torch.full((1, 3), 4), "there are 4"),
        (torch.zeros(1, 4, 3), torch.full((1, 3), -1), "there are 4"),
    ],
)
def test_wrong_input_is_named(vertices: torch.Tensor, faces: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rasterize(vertices, faces, CAMERA)


def test_unknown_backend_and_near() -> None:
    vertices, faces = soup(1, 2)
    with pytest.raises(ValueError, match="choose auto"):
        rasterize(vertices, faces, CAMERA, "vulkan")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="near"):
        rasterize(vertices, faces, CAMERA, near=0.0)
