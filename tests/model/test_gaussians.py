"""Bound Gaussians: the published frames, what a similarity does to them, and their gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.gaussians import (
    BoundGaussians,
    colour_to_sh,
    from_world,
    join,
    one_per_face,
    placed,
    placed_reference,
    sh_basis,
    sh_colours,
    to_world,
    triangle_frames,
)
from model.head import load_head
from model.quaternions import quaternion_to_matrix


def random_mesh(seed: int, faces: int = 12, batch: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    vertices = torch.randn(batch, 9, 3, generator=generator, dtype=torch.float64)
    triangles = torch.stack([torch.randperm(9, generator=generator)[:3] for _ in range(faces)])
    return vertices, triangles


def random_gaussians(seed: int, count: int, faces: int, degree: int = 0) -> BoundGaussians:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return BoundGaussians(
        draw(count, 3),
        0.3 * draw(count, 3),
        draw(count, 4),
        draw(count),
        draw(count, (degree + 1) ** 2, 3),
        torch.randint(faces, (count,), generator=generator),
    )


def covariance(quats: Tensor, scales: Tensor) -> Tensor:
    spread = quaternion_to_matrix(quats) * scales[..., None, :]
    return spread @ spread.mT


def test_frame_of_a_triangle_by_hand() -> None:
    vertices = torch.tensor([[[0.0, 0, 0], [2, 0, 0], [0.5, 1, 0]]])
    frames = triangle_frames(vertices, torch.tensor([[0, 1, 2]]))
    expected = torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # a0 = x, a1 = normal z, a2 = a0 x a1 = -y
    assert torch.allclose(frames.rotation[0, 0], expected)
    assert torch.allclose(frames.origin[0, 0], torch.tensor([2.5 / 3, 1 / 3, 0]))
    assert frames.scale[0, 0] == pytest.approx(1.5)  # (base 2 + height 1) / 2


def test_published_code_line_by_line() -> None:
    """The formulas as they stand in the published program, in numpy: a2 = -normalize(a1 x a0), k with |a2 . e1|."""
    vertices, faces = random_mesh(1)
    frames = triangle_frames(vertices, faces)
    for b in range(len(vertices)):
        for f, (i, j, k) in enumerate(faces.tolist()):
            v0, v1, v2 = (vertices[b, n].numpy() for n in (i, j, k))
            a0 = (v1 - v0) / np.linalg.norm(v1 - v0)
            a1 = np.cross(a0, v2 - v0)
            a1 /= np.linalg.norm(a1)
            a2 = -np.cross(a1, a0)
            a2 /= np.linalg.norm(a2)
            scale = (np.linalg.norm(v1 - v0) + abs(a2 @ (v2 - v0))) / 2
            np.testing.assert_allclose(frames.rotation[b, f], np.stack([a0, a1, a2], -1), atol=1e-12)
            np.testing.assert_allclose(frames.scale[b, f], scale, rtol=1e-12)


def test_every_frame_of_the_head_is_a_rotation() -> None:
    head = load_head()
    generator = torch.Generator().manual_seed(3)
    codes = {name: 0.3 * torch.randn(3, value.shape[-1], generator=generator) for name, value in head.neutral().items()}
    vertices, _ = head.pose(codes.pop("shape")[0], **codes)
    rotation = triangle_frames(vertices, head.faces).rotation.double()
    assert torch.allclose(torch.linalg.det(rotation), torch.ones(()).double(), atol=1e-5)
    assert torch.allclose(rotation.mT @ rotation, torch.eye(3).double(), atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 2**31),
    st.floats(0.05, 20),
    st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: sum(x * x for x in q) > 0.01),
    st.lists(st.floats(-5, 5), min_size=3, max_size=3),
)
def test_a_similarity_of_the_mesh_moves_the_gaussians_along(
    seed: int, scale: float, quaternion: list[float], shift: list[float]
) -> None:
    vertices, faces = random_mesh(seed)
    gaussians = random_gaussians(seed, 20, len(faces))
    turn = quaternion_to_matrix(torch.tensor(quaternion, dtype=torch.float64))
    move = torch.tensor(shift, dtype=torch.float64)
    before = to_world(gaussians, triangle_frames(vertices, faces))
    after = to_world(gaussians, triangle_frames(scale * vertices @ turn.mT + move, faces))
    assert torch.allclose(after.means, scale * before.means @ turn.mT + move, atol=1e-8)
    moved = scale**2 * turn @ covariance(before.quats, before.scales) @ turn.mT
    now = covariance(after.quats, after.scales)
    assert torch.allclose(now, moved, rtol=1e-7, atol=1e-9 * float(moved.abs().max()))
    assert torch.equal(after.opacities, before.opacities) and torch.equal(after.colours, before.colours)


@pytest.mark.parametrize("place", [placed, placed_reference])
def test_gradients_against_finite_differences(place) -> None:  # type: ignore[no-untyped-def]
    vertices, faces = random_mesh(5, faces=6)
    start = random_gaussians(5, 8, len(faces))

    def run(points: Tensor, mean: Tensor, log_scale: Tensor, rotation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        gaussians = BoundGaussians(mean, log_scale, rotation, start.opacity, start.sh, start.face)
        return place(gaussians, triangle_frames(points, faces))  # type: ignore[no-any-return]

    inputs = [value.clone().requires_grad_() for value in (vertices, start.mean, start.log_scale, start.rotation)]
    assert torch.autograd.gradcheck(run, inputs)


def test_gradients_of_opacity_and_colours() -> None:
    vertices, faces = random_mesh(6)
    start = random_gaussians(6, 5, len(faces), degree=3)

    def run(opacity: Tensor, sh: Tensor) -> tuple[Tensor, Tensor]:
        gaussians = BoundGaussians(start.mean, start.log_scale, start.rotation, opacity, sh, start.face)
        world = to_world(gaussians, triangle_frames(vertices, faces), torch.tensor([0.0, 0, -4]))
        return world.opacities, world.colours

    sh = (0.1 * start.sh).requires_grad_()  # away from the clamp at 0
    assert torch.autograd.gradcheck(run, (start.opacity.clone().requires_grad_(), sh))


def degenerate_mesh() -> tuple[Tensor, Tensor]:
    """One good triangle, and: one point, no base edge, three in a line, and a needle."""
    points = [[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0], [2, 0, 0], [1, 1e-9, 0]]
    faces = [[0, 1, 2], [0, 3, 4], [0, 3, 2], [0, 1, 5], [0, 1, 6]]
    return torch.tensor([points], dtype=torch.float64), torch.tensor(faces)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("place", [placed, placed_reference])
def test_triangles_without_area_give_numbers(place, dtype: torch.dtype) -> None:  # type: ignore[no-untyped-def]
    vertices, faces = degenerate_mesh()
    gaussians = random_gaussians(7, 10, 1)
    gaussians.face = torch.arange(10) % len(faces)
    values = [value.to(dtype).requires_grad_() for value in (vertices, *list(gaussians.parameters().values())[:3])]
    local = BoundGaussians(*values[1:], gaussians.opacity, gaussians.sh, gaussians.face)
    outputs = place(local, triangle_frames(values[0], faces))
    rotation = triangle_frames(values[0], faces).rotation
    assert torch.allclose(torch.linalg.det(rotation), torch.ones((), dtype=dtype), atol=1e-5)
    sum((value * torch.arange(value.numel()).reshape(value.shape).cos()).sum() for value in outputs).backward()
    for value in (*outputs, *(each.grad for each in values)):
        assert value is not None and torch.isfinite(value).all()


def test_numba_equals_torch_without_area_too() -> None:
    vertices, faces = degenerate_mesh()
    gaussians = random_gaussians(8, 25, 1)
    gaussians.face = torch.arange(25) % len(faces)
    found = []
    for place in (placed, placed_reference):
        points = vertices.clone().requires_grad_()
        local = gaussians.clone().requires_grad_()
        outputs = place(local, triangle_frames(points, faces))
        sum((value * torch.arange(value.numel()).reshape(value.shape).cos()).sum() for value in outputs).backward()
        grads = [points.grad, local.mean.grad, local.log_scale.grad, local.rotation.grad]
        found.append([*(value.detach() for value in outputs), *grads])
    for fast, slow in zip(*found, strict=True):
        assert torch.allclose(fast, slow, rtol=1e-9, atol=1e-10)


def test_numba_equals_torch_on_a_posed_head_in_float32() -> None:
    head = load_head()
    codes = head.neutral(2)
    codes["jaw"] = torch.tensor([[0.2, 0.0, 0.0], [0.0, 0.0, 0.0]])
    codes["rotation"] = torch.tensor([[0.1, 0.7, 0.0], [0.0, 3.1, 0.1]])
    vertices, _ = head.pose(codes.pop("shape"), **codes)
    start = random_gaussians(9, 3000, len(head.faces))
    found = []
    for place in (placed, placed_reference):
        points = vertices.clone().requires_grad_()
        local = BoundGaussians(*(value.float().requires_grad_() for value in start.parameters().values()), start.face)
        outputs = place(local, triangle_frames(points, head.faces))
        sum((value * torch.arange(value.numel()).reshape(value.shape).cos()).sum() for value in outputs).backward()
        outputs = [value.detach() for value in outputs]
        found.append([*outputs, points.grad, local.mean.grad, local.log_scale.grad, local.rotation.grad])
    for fast, slow in zip(*found, strict=True):
        assert torch.allclose(fast, slow, rtol=2e-3, atol=2e-3 * float(slow.abs().max()) + 1e-7)
        assert (fast - slow).abs().mean() < 1e-5 * slow.abs().mean() + 1e-9


def test_a_face_that_is_not_there_is_refused() -> None:
    vertices, faces = random_mesh(0)
    gaussians = random_gaussians(0, 4, len(faces))
    for wrong in (-1, len(faces)):
        gaussians.face = torch.tensor([0, 1, 2, wrong])
        with pytest.raises(IndexError, match="the mesh has 12 faces"):
            to_world(gaussians, triangle_frames(vertices, faces))


def test_no_gaussian_at_all() -> None:
    vertices, faces = random_mesh(0)
    world = to_world(random_gaussians(0, 0, len(faces)), triangle_frames(vertices, faces))
    assert world.means.shape == (2, 0, 3) and world.colours.shape == (0, 3)


def test_the_published_start() -> None:
    head = load_head()
    gaussians = one_per_face(head, degree=3)
    assert len(gaussians) == len(head.faces) and gaussians.degree == 3
    assert torch.equal(gaussians.face, torch.arange(len(head.faces)))
    assert not gaussians.mean.any() and not gaussians.log_scale.any() and not gaussians.sh[:, 1:].any()
    assert torch.allclose(torch.sigmoid(gaussians.opacity), torch.tensor(0.1))
    assert float(gaussians.sh.max()) < 1 / 255 and float(gaussians.sh.min()) >= 0
    vertices, _ = head.pose(head.neutral()["shape"])
    world = to_world(gaussians.with_degree(0), triangle_frames(vertices, head.faces))
    assert torch.allclose(world.means[0], vertices[0, head.faces].mean(1), atol=1e-6)


def test_a_start_from_known_colours() -> None:
    faces = torch.tensor([[0, 1, 2], [1, 2, 3]])
    of_vertices = torch.rand(4, 3, generator=torch.Generator().manual_seed(1))
    start = one_per_face(faces, colours=of_vertices, which=torch.tensor([1, 1, 0]), opacity=0.9, scale=0.5)
    assert torch.allclose(sh_colours(start.sh), of_vertices[faces].mean(1)[[1, 1, 0]], atol=1e-6)
    assert torch.allclose(start.log_scale, torch.tensor(math.log(0.5)))
    of_faces = torch.rand(2, 3, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(sh_colours(one_per_face(faces, colours=of_faces).sh), of_faces, atol=1e-6)
    with pytest.raises(ValueError, match="Expected colours"):
        one_per_face(faces, colours=torch.zeros(3, 3))


def test_harmonics_are_orthonormal() -> None:
    """On a quadrature of the sphere exact to degree 6: that pins every constant up to its sign."""
    heights, weights = np.polynomial.legendre.leggauss(8)
    angles = np.arange(16) * 2 * np.pi / 16
    z, phi = (grid.ravel() for grid in np.meshgrid(heights, angles, indexing="ij"))
    radius = np.sqrt(1 - z**2)
    directions = torch.from_numpy(np.stack([radius * np.cos(phi), radius * np.sin(phi), z], -1))
    basis = sh_basis(directions, 3).numpy()
    area = np.repeat(weights, 16) * 2 * np.pi / 16
    np.testing.assert_allclose(basis.T @ (area[:, None] * basis), np.eye(16), atol=1e-12)


def test_colours_follow_the_direction_and_stay_above_zero() -> None:
    sh = torch.zeros(1, 4, 3)
    sh[0, 2] = 1.0  # rises along z
    ahead, behind = (sh_colours(sh, torch.tensor([[0.0, 0, z]])) for z in (1.0, -1.0))
    assert torch.allclose(ahead, torch.full((1, 3), 0.5 + 0.4886025)) and torch.allclose(ahead + behind, torch.ones(1))
    assert float(sh_colours(torch.full((1, 1, 3), -9.0)).min()) == 0.0
    colour = torch.rand(5, 3, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(sh_colours(colour_to_sh(colour)[:, None]), colour, atol=1e-6)


def test_harmonics_look_from_where_the_camera_stands() -> None:
    vertices, faces = random_mesh(3)
    gaussians = random_gaussians(3, 6, len(faces), degree=2)
    frames = triangle_frames(vertices, faces)
    eye = torch.tensor([[0.3, 0.1, -5.0], [2.0, 0.0, 0.0]], dtype=torch.float64)
    world = to_world(gaussians, frames, eye)
    for b in range(2):
        directions = torch.nn.functional.normalize(world.means[b] - eye[b], dim=-1)
        assert torch.allclose(world.colours[b], sh_colours(gaussians.sh, directions))
    origin = to_world(gaussians, frames, torch.zeros(3))
    assert torch.equal(origin.colours, to_world(gaussians, frames).colours)


def test_from_world_undoes_placing() -> None:
    vertices, faces = random_mesh(4)
    gaussians = random_gaussians(4, 30, len(faces))
    frames = triangle_frames(vertices, faces)
    means, quats, scales = placed(gaussians, frames)
    mean, rotation, log_scale = from_world(means[1], quats[1], scales[1], gaussians.face, frames, item=1)
    assert torch.allclose(mean, gaussians.mean, atol=1e-9)
    assert torch.allclose(log_scale, gaussians.log_scale, atol=1e-9)
    unit = torch.nn.functional.normalize(gaussians.rotation, dim=-1)
    assert torch.allclose((rotation * unit).sum(-1).abs(), torch.ones(30).double())


def test_choosing_joining_and_degrees() -> None:
    gaussians = random_gaussians(2, 7, 5, degree=1)
    kept = gaussians.select(torch.tensor([True, False] * 3 + [True]))
    assert len(kept) == 4 and torch.equal(kept.face, gaussians.face[::2])
    both = join([gaussians, kept])
    assert len(both) == 11 and torch.equal(both.sh[7:], gaussians.sh[::2])
    higher = gaussians.with_degree(3)
    assert higher.degree == 3 and torch.equal(higher.with_degree(1).sh, gaussians.sh) and not higher.sh[:, 4:].any()
    with pytest.raises(ValueError, match="degree"):
        gaussians.with_degree(4)
