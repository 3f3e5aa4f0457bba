from __future__ import annotations

import pytest
import torch

from model.raster import interpolate, rasterize
from model.raster.interpolate import mix_in_torch
from tests.model.raster.meshes import CAMERA, soup, sphere


def test_interpolating_positions_gives_the_points_on_the_rays() -> None:
    """Perspective-correct means: the mixed position projects to the pixel's own centre."""
    vertices, faces = soup(3, 30, batch=2)
    fragments = rasterize(vertices, faces, CAMERA)
    points = interpolate(fragments, faces, vertices)
    batch, row, column = fragments.mask.nonzero(as_tuple=True)
    seen = points[batch, row, column]
    assert torch.allclose(seen[:, 0] / seen[:, 2] * CAMERA.fx + CAMERA.cx, column.double() + 0.5)
    assert torch.allclose(seen[:, 1] / seen[:, 2] * CAMERA.fy + CAMERA.cy, row.double() + 0.5)
    assert torch.allclose(seen[:, 2], fragments.depth[fragments.mask])
    assert (points[~fragments.mask] == 0).all()


@pytest.mark.parametrize("items", [1, 3])
@pytest.mark.parametrize("shared", [True, False])
def test_kernels_equal_torch_in_value_and_gradient(items: int, shared: bool) -> None:
    vertices, faces = soup(11, 40, batch=items)
    attributes = torch.randn(1 if shared else items, vertices.shape[1], 5, dtype=torch.float64)
    weight = torch.randn(items, CAMERA.height, CAMERA.width, 5, dtype=torch.float64)
    results = []
    for mix in (interpolate, mix_in_torch):
        points, values = vertices.clone().requires_grad_(), attributes.clone().requires_grad_()
        backend = "numba" if mix is interpolate else "torch"
        image = mix(rasterize(points, faces, CAMERA, backend), faces, values)  # type: ignore[arg-type]
        (image * weight).sum().backward()
        results.append((image.detach(), points.grad, values.grad))
    for fast, slow in zip(*results, strict=True):
        assert fast is not None and slow is not None
        assert torch.allclose(fast, slow, rtol=1e-6, atol=1e-7 * float(slow.abs().max()))


def test_gradcheck_of_attributes() -> None:
    vertices, faces = sphere(rings=4)
    fragments = rasterize(vertices, faces, CAMERA)
    values = torch.randn(1, vertices.shape[1], 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a: interpolate(fragments, faces, a), (values,))


def test_mixed_precision_takes_the_dtype_of_the_attributes() -> None:
    vertices, faces = sphere(rings=4)
    fragments = rasterize(vertices.float(), faces, CAMERA)
    assert interpolate(fragments, faces, vertices).dtype == torch.float64


def test_wrong_attributes_are_named() -> None:
    vertices, faces = soup(1, 4, batch=3)
    fragments = rasterize(vertices, faces, CAMERA)
    with pytest.raises(ValueError, match="attributes"):
        interpolate(fragments, faces, torch.zeros(2, vertices.shape[1], 3))
