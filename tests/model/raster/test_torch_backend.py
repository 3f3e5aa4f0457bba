"""The plain torch backend where it differs from the others: pieces, precision, devices."""

from __future__ import annotations

import pytest
import torch

from model.raster import interpolate, rasterize, torch_backend
from model.raster.interpolate import mix_in_torch
from tests.model.raster.meshes import CAMERA, soup, sphere


@pytest.mark.parametrize("at_once", [1, 37, 1000])
def test_pieces_do_not_change_the_picture(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    vertices, faces = soup(3, 40, batch=3)
    whole = torch_backend.face_ids(vertices, faces, CAMERA)
    monkeypatch.setattr(torch_backend, "CANDIDATES_AT_ONCE", at_once)
    assert torch.equal(torch_backend.face_ids(vertices, faces, CAMERA), whole)


def test_pieces_are_counted_right() -> None:
    areas = torch.tensor([0, 5, 3, 0, 9, 2])
    drawn = areas.nonzero().squeeze(-1)
    pieces = torch_backend._chunks(drawn, areas)
    assert [int(areas[faces].sum()) for faces, _ in pieces] == [count for _, count in pieces]
    assert torch.cat([faces for faces, _ in pieces]).equal(drawn)


def test_single_precision_sees_what_double_sees() -> None:
    vertices, faces = sphere(20)
    single, double = (rasterize(v, faces, CAMERA, "torch") for v in (vertices.float(), vertices))
    assert (single.face_id != double.face_id).float().mean() < 0.005
    assert single.bary.dtype == single.depth.dtype == torch.float32
    same = single.face_id == double.face_id
    assert torch.allclose(single.depth[same].double(), double.depth[same], atol=1e-5)


def test_no_step_leaves_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tensor on a device has no numpy; nor may the picture be made by way of the host."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the torch path went to the host")

    vertices, faces = soup(4, 30, batch=2)
    for name in ("numpy", "cpu", "__array__"):
        monkeypatch.setattr(torch.Tensor, name, refuse)
    leaf = vertices.requires_grad_()
    fragments = rasterize(leaf, faces, CAMERA, "torch")
    image = mix_in_torch(fragments, faces, torch.rand(1, vertices.shape[1], 3, dtype=torch.float64))
    image.sum().backward()
    assert leaf.grad is not None and leaf.grad.abs().sum() > 0


def test_tensors_on_two_devices_are_refused_by_name() -> None:
    vertices, faces = soup(0, 3)
    with pytest.raises(ValueError, match="faces lie on meta, vertices on cpu"):
        rasterize(vertices, faces.to("meta"), CAMERA, "torch")


@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["torch", "auto"])
def test_on_the_gpu_as_on_the_cpu(backend: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU")
    vertices, faces = soup(5, 60, batch=4)
    colours = torch.rand(1, vertices.shape[1], 3, dtype=torch.float64)
    here = rasterize(vertices, faces, CAMERA, "numba")
    there = rasterize(vertices.cuda(), faces.cuda(), CAMERA, backend)  # type: ignore[arg-type]
    assert there.face_id.is_cuda
    differs = here.face_id != there.face_id.cpu()
    assert differs.float().mean() < 0.01
    first = interpolate(here, faces, colours)
    second = interpolate(there, faces.cuda(), colours.cuda()).cpu()
    assert torch.allclose(first[~differs], second[~differs], atol=1e-4)
