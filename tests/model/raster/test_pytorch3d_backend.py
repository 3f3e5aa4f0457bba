from __future__ import annotations

import importlib.util

import pytest
import torch

from model.camera import Camera
from model.raster import chosen_backend, pytorch3d_backend, rasterize
from model.raster.pytorch3d_backend import normalised
from rsat_data.errors import MissingDependencyError
from tests.model.raster import pytorch3d_double
from tests.model.raster.meshes import CAMERA, soup, sphere

REAL = importlib.util.find_spec("pytorch3d") is not None


@pytest.fixture
def pytorch3d(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package itself where it is installed, else its double."""
    if not REAL:
        pytorch3d_double.install(monkeypatch)


@pytest.mark.usefixtures("pytorch3d")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("size", [(47, 31), (31, 47), (24, 24)])
def test_sees_the_same_faces(seed: int, size: tuple[int, int]) -> None:
    vertices, faces = soup(seed, 14, batch=2, depth=0.9 if seed % 2 else 0.3)
    camera = Camera(40.0, 36.0, 20.3, 14.9, *size)
    ours = rasterize(vertices, faces, camera, "pytorch3d")
    slow = rasterize(vertices, faces, camera, "reference")
    # Single pixels on edges and at equal depths.
    assert (ours.face_id != slow.face_id).float().mean() < 0.01
    same = ours.face_id == slow.face_id
    assert torch.allclose(ours.bary[same], slow.bary[same], atol=1e-6)
    assert torch.allclose(ours.depth[same], slow.depth[same], atol=1e-6)


@pytest.mark.usefixtures("pytorch3d")
def test_gradients_are_those_of_every_backend() -> None:
    vertices, faces = sphere(8)
    grads = []
    for backend in ("pytorch3d", "torch"):
        leaf = vertices.float().requires_grad_()
        rasterize(leaf, faces, CAMERA, backend).depth.sum().backward()
        assert leaf.grad is not None
        grads.append(leaf.grad)
    assert torch.allclose(*grads, atol=1e-3)


@pytest.mark.usefixtures("pytorch3d")
def test_broken_faces_are_skipped_and_their_neighbours_are_not() -> None:
    vertices = torch.tensor([[[-1.0, -1, 1], [1, -1, 1], [0, 1, 1], [float("nan"), 0, 1]]])
    faces = torch.tensor([[3, 1, 2], [0, 1, 2]])
    assert set(rasterize(vertices, faces, CAMERA, "pytorch3d").face_id.unique().tolist()) == {-1, 1}
    nothing = pytorch3d_backend.face_ids(vertices, faces[:0], CAMERA)
    assert nothing.shape == (1, CAMERA.height, CAMERA.width) and (nothing == -1).all()


def test_coordinates_of_a_wide_picture() -> None:
    camera = Camera(100.0, 100.0, 40.0, 20.0, 80, 40)
    corners = torch.tensor([[0.0, 0.0, 2.0], [-0.8, -0.4, 2.0], [0.8, 0.4, 2.0]])
    expected = torch.tensor([[0.0, 0.0, 2.0], [2.0, 1.0, 2.0], [-2.0, -1.0, 2.0]])
    assert torch.allclose(normalised(corners, camera), expected, atol=1e-6)
    assert normalised(torch.zeros(1, 3), camera).isfinite().all()


def test_auto_takes_it_on_cuda_only_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for here, expected in ((True, "pytorch3d"), (False, "torch")):
        monkeypatch.setattr("model.raster.is_installed", lambda name, here=here: here)
        assert chosen_backend(torch.device("cuda")) == expected
        assert chosen_backend(torch.device("cpu")) == "numba"
        assert chosen_backend(torch.device("mps")) == "torch"


@pytest.mark.skipif(REAL, reason="pytorch3d is installed")
def test_without_it_the_error_says_how_to_get_on() -> None:
    vertices, faces = soup(0, 3)
    with pytest.raises(MissingDependencyError, match="pytorch3d") as caught:
        rasterize(vertices, faces, CAMERA, "pytorch3d")
    assert "backend 'torch'" in caught.value.hint
