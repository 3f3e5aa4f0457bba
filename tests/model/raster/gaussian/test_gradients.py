from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from model.camera import Camera
from model.raster.gaussian import rasterize_gaussians
from tests.model.raster.gaussian.scenes import CAMERA, Scene, cloud, single, view_matrix

CLOSE = 1e-4
"""Largest norm of the difference of two gradients, as a part of their norm: the float32 kernels against the reference
in float64."""
NAMES = ("means", "quats", "scales", "opacities", "colours", "view", "screen", "background")


def gradients(
    scene: Scene, camera: Camera, backend: str, dtype: torch.dtype, images: tuple[str, ...], seed: int = 0
) -> dict[str, torch.Tensor]:
    """Gradients of a random linear function of the images to everything that has one."""
    g = torch.Generator().manual_seed(seed)
    batch, count = scene.means.shape[:2]
    leaves = scene.to(dtype).leaves()
    background = torch.rand(batch, camera.height, camera.width, 3, generator=g).to(dtype).requires_grad_()
    view = view_matrix().to(dtype).requires_grad_()
    screen = torch.zeros(batch, count, 2, dtype=dtype, requires_grad=True)
    splats = leaves.draw(camera, backend, view=view, background=background, screen=screen)
    loss = torch.zeros((), dtype=dtype)
    for name in images:
        image = getattr(splats, name)
        loss = loss + (image * torch.randn(image.shape, generator=g).to(dtype)).sum()
    wanted = (*leaves.tensors, view, screen, background)
    found = torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)
    return dict(zip(NAMES, (t.double() for t in found), strict=True))


@pytest.mark.parametrize("images", [("rgb",), ("alpha",), ("depth",), ("rgb", "alpha", "depth")])
def test_kernels_have_the_gradients_of_the_reference(images: tuple[str, ...]) -> None:
    scene = cloud(21, 60, batch=2)
    ours = gradients(scene, CAMERA, "numba", torch.float32, images)
    slow = gradients(scene, CAMERA, "reference", torch.float64, images)
    for name in NAMES:
        # depth is divided by alpha, which is small at every outline
        assert (ours[name] - slow[name]).norm() <= (5 if "depth" in images else 1) * CLOSE * slow[name].norm(), name


@pytest.mark.parametrize("scale", [1e-4, 1.0])
def test_gradients_of_tiny_and_huge_gaussians(scale: float) -> None:
    scene = cloud(22, 30, scale=scale)
    ours = gradients(scene, CAMERA, "numba", torch.float32, ("rgb",))
    slow = gradients(scene, CAMERA, "reference", torch.float64, ("rgb",))
    for name in NAMES:
        assert (ours[name] - slow[name]).norm() <= 5 * CLOSE * slow[name].norm() + 1e-9, name


def test_gradients_where_the_jacobian_is_clamped() -> None:
    scene = cloud(23, 60, scale=0.6)
    means = scene.means.clone()
    means[:, ::2, :2] *= 4  # far outside of the picture, but large enough to reach into it
    scene = replace(scene, means=means)
    ours = gradients(scene, CAMERA, "numba", torch.float32, ("rgb",))
    slow = gradients(scene, CAMERA, "reference", torch.float64, ("rgb",))
    for name in NAMES:
        assert (ours[name] - slow[name]).norm() <= 5 * CLOSE * slow[name].norm(), name


def test_gradients_of_thousands_on_one_pixel() -> None:
    count, g = 2000, torch.Generator().manual_seed(1)
    scene = Scene(
        torch.tensor([0.01, 0.02, 1.0]).double() + 1e-3 * torch.randn(1, count, 3, generator=g).double(),
        torch.randn(1, count, 4, generator=g).double(),
        0.005 + 0.01 * torch.rand(1, count, 3, generator=g).double(),
        0.004 + 0.01 * torch.rand(1, count, generator=g).double(),
        torch.rand(1, count, 3, generator=g).double(),
    )
    ours = gradients(scene, CAMERA, "numba", torch.float32, ("rgb",))
    slow = gradients(scene, CAMERA, "reference", torch.float64, ("rgb",))
    for name in NAMES:
        assert (ours[name] - slow[name]).norm() <= 5e-3 * slow[name].norm(), name


def test_the_reference_has_the_slopes_that_it_should() -> None:
    """Finite differences in float64, every input."""
    camera = Camera(12.0, 13.0, 4.3, 3.1, 9, 7)
    scene = cloud(24, 6, scale=0.1)
    inputs = [t.requires_grad_() for t in (*scene.leaves().tensors, view_matrix())]
    screen = torch.zeros(1, 6, 2, dtype=torch.float64, requires_grad=True)
    background = torch.rand(1, 7, 9, 3, dtype=torch.float64, requires_grad=True)

    def draw(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        *gaussians, view, shift, behind = tensors
        splats = rasterize_gaussians(
            *gaussians, camera, view=view, screen=shift, background=behind, backend="reference"
        )
        return splats.rgb, splats.alpha, splats.depth * splats.alpha

    assert draw(*inputs, screen, background)[1].max() > 0.5
    assert torch.autograd.gradcheck(draw, (*inputs, screen, background), eps=1e-7, atol=1e-5)


def test_screen_gradients_are_those_of_the_means_across_the_image() -> None:
    """For a Gaussian on the axis a shift in x by dx is one of fx dx / z pixels; the Jacobian's own change is even."""
    scene = single(means=torch.tensor([[[0.0, 0.0, 2.0]]]).double())
    leaves, screen = scene.leaves(), torch.zeros(1, 1, 2, dtype=torch.float64, requires_grad=True)
    weights = torch.linspace(0, 1, CAMERA.width, dtype=torch.float64)
    (leaves.draw(screen=screen).alpha * weights).sum().backward()
    assert screen.grad is not None and leaves.means.grad is not None
    assert screen.grad[0, 0, 0] > 0
    assert leaves.means.grad[0, 0, 0] == pytest.approx(float(screen.grad[0, 0, 0]) * CAMERA.fx / 2, rel=1e-4)


@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_capped_alpha_has_no_slope_but_its_colour_has(backend: str) -> None:
    leaves = single(opacities=torch.tensor([[1.0]]).double(), scales=torch.full((1, 1, 3), 900.0).double()).leaves()
    splats = leaves.draw(backend=backend)
    assert torch.allclose(splats.alpha, torch.full((), 0.999).double())
    splats.rgb.sum().backward()
    assert leaves.opacities.grad is not None and leaves.colours.grad is not None
    assert not leaves.opacities.grad.any() and (leaves.colours.grad > 0).all()


def test_gradient_can_be_taken_twice_from_one_picture() -> None:
    leaves = cloud(25, 40, dtype=torch.float32).leaves()
    splats = leaves.draw()
    first = torch.autograd.grad(splats.rgb.sum(), leaves.means, retain_graph=True)[0]
    assert torch.equal(first, torch.autograd.grad(splats.rgb.sum(), leaves.means)[0])


def test_an_input_that_was_overwritten_is_noticed() -> None:
    leaves, background = cloud(25, 40, dtype=torch.float32).leaves(), torch.rand(1, CAMERA.height, CAMERA.width, 3)
    splats = leaves.draw(background=background)
    background.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        splats.rgb.sum().backward()


def test_descent_finds_a_gaussian() -> None:
    target = single(means=torch.tensor([[[0.03, -0.02, 1.0]]]).double()).draw().rgb
    mean = torch.zeros(1, 1, 3, dtype=torch.float64)
    mean[..., 2] = 1.0
    mean.requires_grad_()
    optimiser = torch.optim.Adam([mean], lr=3e-3)
    for _ in range(60):
        optimiser.zero_grad()
        (single(means=mean).draw().rgb - target).square().sum().backward()
        optimiser.step()
    assert torch.allclose(mean[0, 0, :2], torch.tensor([0.03, -0.02]).double(), atol=2e-3)
