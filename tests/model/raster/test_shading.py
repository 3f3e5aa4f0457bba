from __future__ import annotations

import torch

from model.raster import face_normals, rasterize, shade_lambert, vertex_normals
from model.raster.spherical_harmonics import ambient, directional
from tests.model.raster.meshes import CAMERA, sphere


def test_normals_of_a_sphere_point_along_its_radius() -> None:
    vertices, faces = sphere(rings=24)
    radius = torch.nn.functional.normalize(vertices - torch.tensor([0.0, 0.0, 0.6]), dim=-1)
    normals = vertex_normals(vertices, faces)
    used = radius[..., 1].abs() < 0.999  # at the poles only slivers of rounding meet
    alignment = (normals * radius).sum(-1)[used]
    assert (alignment.abs() > 0.9).all() and alignment.abs().mean() > 0.99
    assert alignment.sign().unique().numel() == 1
    area = 0.5 * face_normals(vertices, faces, unit=False).norm(dim=-1).sum()
    assert abs(area / (4 * torch.pi * 0.1**2) - 1) < 0.02


def test_shading_follows_the_light_and_has_gradients() -> None:
    vertices, faces = sphere(rings=16)
    if (vertex_normals(vertices, faces) * (vertices - vertices.mean(1))).sum() < 0:
        faces = faces.flip(1)
    leaf = vertices.requires_grad_()
    albedo = torch.full((1, vertices.shape[1], 3), 0.5, dtype=torch.float64, requires_grad=True)
    right = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    light = (directional(right, torch.ones(3).double()) + ambient(torch.full((3,), 0.1).double())).requires_grad_()
    fragments = rasterize(leaf, faces, CAMERA)
    image = shade_lambert(fragments, faces, leaf, albedo, light, background=0.25)
    assert (image[~fragments.mask] == 0.25).all()
    column = torch.arange(CAMERA.width)[None].expand(CAMERA.height, -1)
    bright = image[0, ..., 0][fragments.mask[0] & (column > CAMERA.cx + 3)].mean()
    dark = image[0, ..., 0][fragments.mask[0] & (column < CAMERA.cx - 3)].mean()
    assert bright > 3 * dark
    image.sum().backward()
    for tensor in (leaf, albedo, light):
        assert tensor.grad is not None and tensor.grad.isfinite().all() and tensor.grad.abs().sum() > 0
