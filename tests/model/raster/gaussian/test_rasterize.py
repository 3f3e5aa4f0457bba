from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.camera import Camera
from model.raster.gaussian import chosen_backend, rasterize_gaussians
from rsat_data.errors import MissingDependencyError
from rsat_data.optional import is_installed
from tests.model.raster.gaussian.scenes import CAMERA, Scene, by_hand, cloud, single, view_matrix

BACKENDS = ["numba", "reference"]
CLOSE = 3e-5
"""Largest difference of a colour or of alpha between the float32 kernels and the reference in float64, for colours in
[0, 1]: rounding of the projection (pixels in float32) times the slope of a Gaussian. A pixel at which an alpha of just
1/255 falls on the other side differs by up to 1/255; the seeds here have none."""


def assert_same_picture(scene: Scene, camera: Camera = CAMERA, close: float = CLOSE, **options: object) -> None:
    ours = scene.to(torch.float32).draw(
        camera, **{k: v.float() if isinstance(v, torch.Tensor) else v for k, v in options.items()}
    )
    slow = scene.draw(camera, "reference", **options)
    assert (ours.rgb - slow.rgb).abs().max() < close
    assert (ours.alpha - slow.alpha).abs().max() < close
    assert (ours.depth * ours.alpha - slow.depth * slow.alpha).abs().max() < 3 * close
    assert (ours.radii - slow.radii).abs().max() <= 1  # rounded up from values that differ in the last bits
    assert torch.equal(ours.radii > 0, slow.radii > 0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_is_what_gsplats_kernel_does_pixel_by_pixel(backend: str) -> None:
    camera = Camera(30.0, 33.0, 8.3, 12.1, 19, 17)
    scene = cloud(3, 40, scale=0.06)
    rgb, alpha, depth = by_hand(scene, camera)
    splats = scene.draw(camera, backend)
    assert alpha.max() > 0.8
    assert np.abs(splats.rgb[0].numpy() - rgb).max() < CLOSE
    assert np.abs(splats.alpha[0].numpy() - alpha).max() < CLOSE
    assert np.abs(splats.depth[0].numpy() - depth / np.maximum(alpha, 1e-10)).max() < 1e-4


@pytest.mark.parametrize("size", [(1, 1), (17, 5), (16, 16), (33, 64), (53, 47)])
def test_any_size_and_principal_point(size: tuple[int, int]) -> None:
    camera = Camera(40.0, 44.0, 0.37 * size[0] - 3, 0.81 * size[1] + 2, *size)
    assert_same_picture(cloud(5, 60, batch=2), camera, background=torch.rand(2, size[1], size[0], 3).double())


@given(seed=st.integers(0, 10**6), scale=st.floats(-4.5, -0.5), count=st.integers(1, 50))
@settings(max_examples=20, deadline=None)
def test_agrees_with_the_reference_on_any_cloud(seed: int, scale: float, count: int) -> None:
    scene = cloud(seed, count, scale=10.0**scale)
    ours, slow = scene.to(torch.float32).draw(), scene.draw(backend="reference")
    far = (ours.rgb - slow.rgb).abs().amax(-1) > CLOSE
    # Where an alpha is 1/255 but for rounding, or a transmittance 1e-4, either side is right.
    assert far.double().mean() < 0.005 and (ours.rgb - slow.rgb).abs().max() < 0.02


def test_a_batch_is_its_items_one_by_one_and_shared_colours_are_shared() -> None:
    scene = cloud(7, 50, batch=3, dtype=torch.float32)
    scene = replace(scene, opacities=scene.opacities[0], colours=scene.colours[0])
    together = scene.draw()
    for i in range(3):
        alone = Scene(*(t[i : i + 1] if t.ndim > 1 and len(t) == 3 else t for t in scene.tensors)).draw()
        for a, b in zip(together, alone, strict=True):
            assert torch.equal(a[i : i + 1], b)


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_the_same_bytes_with_any_number_of_threads(threads: int) -> None:
    scene = cloud(11, 5000, scale=0.01, dtype=torch.float32)  # several chunks of the projection

    def run(count: int) -> list[torch.Tensor]:
        leaves = scene.leaves()
        view = view_matrix().float().requires_grad_()
        splats = leaves.draw(threads=count, view=view)
        (splats.rgb.square().sum() + splats.depth.sum()).backward()
        return [*splats, *(t.grad for t in (*leaves.tensors, view) if t.grad is not None)]

    one, many = run(1), run(threads)
    assert len(one) == 10
    for a, b in zip(one, many, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_to_draw(backend: str) -> None:
    background = torch.rand(1, CAMERA.height, CAMERA.width, 3)
    none = cloud(0, 0, dtype=torch.float32)
    behind = replace(cloud(0, 5, dtype=torch.float32), means=torch.tensor([[[0.0, 0, -1]]]).repeat(1, 5, 1))
    beside = replace(behind, means=torch.tensor([[[9.0, 0, 1]]]).repeat(1, 5, 1))
    faint = replace(cloud(0, 5, dtype=torch.float32), opacities=torch.full((1, 5), 0.0039))
    for scene in (none, behind, beside, faint):
        leaves = scene.leaves()
        splats = leaves.draw(backend=backend, background=background)
        assert torch.equal(splats.rgb, background) and not splats.alpha.any() and not splats.depth.any()
        assert splats.radii.dtype == torch.int32 and not splats.radii.any()
        if splats.rgb.requires_grad:
            (splats.rgb.sum() + splats.depth.sum()).backward()
            assert all(t.grad is None or not t.grad.any() for t in leaves.tensors)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.004, 0.01), (0.9, 1.0)])
def test_thousands_of_gaussians_on_one_pixel(low: float, high: float) -> None:
    count, g = 4000, torch.Generator().manual_seed(1)
    scene = Scene(
        torch.tensor([0.01, 0.02, 1.0]).double() + 1e-3 * torch.randn(1, count, 3, generator=g).double(),
        torch.randn(1, count, 4, generator=g).double(),
        torch.full((1, count, 3), 0.01).double(),
        low + (high - low) * torch.rand(1, count, generator=g).double(),
        torch.rand(1, count, 3, generator=g).double(),
    )
    assert_same_picture(scene, close=2e-4)  # rounding adds up over the list
    assert scene.draw().alpha.max() > 0.999


@pytest.mark.parametrize("scale", [0.0, 1e-12, 1e-3, 10.0, 1e4])
def test_tiny_and_huge_scales(scale: float) -> None:
    scene = cloud(2, 30)
    assert_same_picture(replace(scene, scales=torch.full_like(scene.scales, scale)), close=1e-4)


def test_beyond_all_measure_is_left_out() -> None:
    scene = replace(single(), scales=torch.full((1, 1, 3), 1e200, dtype=torch.float64))
    assert not scene.draw().radii.any() and not scene.draw(backend="reference").radii.any()


def test_a_needle_keeps_its_ridge() -> None:
    """Long, thin and slanted: the quadratic form of the inverse covariance loses all its digits there in float32."""
    angle = np.pi / 8
    scene = single(
        quats=torch.tensor([[[np.cos(angle), 0, 0, np.sin(angle)]]]),
        scales=torch.tensor([[[50.0, 1e-4, 1e-4]]]).double(),
    )
    camera = Camera(500.0, 500.0, 250.5, 250.5, 501, 501)
    along = torch.arange(501)
    ours, slow = scene.to(torch.float32).draw(camera).alpha[0], scene.draw(camera, "reference").alpha[0]
    assert slow[along, along].min() > 0.79
    assert (ours - slow)[along, along].abs().max() < 1e-4


@pytest.mark.parametrize("backend", BACKENDS)
def test_quaternions_of_any_length(backend: str) -> None:
    scene = cloud(4, 30)
    longer = replace(scene, quats=scene.quats * torch.rand(1, 30, 1).double().exp() * 7)
    assert torch.allclose(scene.draw(backend=backend).rgb, longer.draw(backend=backend).rgb, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["means", "quats", "scales", "opacities", "colours"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_gaussians_that_are_not_finite_are_skipped(backend: str, name: str, bad: float) -> None:
    scene = cloud(8, 20, dtype=torch.float32)
    broken = getattr(scene, name).clone()
    broken[:, 3:6].view(1, 3, -1)[..., -1] = bad
    leaves = replace(scene, **{name: broken}).leaves()
    splats = leaves.draw(backend=backend)
    (splats.rgb.sum() + splats.depth.sum()).backward()
    keep = torch.tensor([i for i in range(20) if not 3 <= i < 6])
    assert torch.equal(splats.rgb.detach(), scene.pick(keep).draw(backend=backend).rgb)
    assert not splats.radii[:, 3:6].any()
    for tensor in leaves.tensors:
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all() and not tensor.grad[:, 3:6].any() and tensor.grad.any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_quaternion_of_length_zero_is_skipped(backend: str) -> None:
    leaves = single(quats=torch.zeros(1, 1, 4).double()).leaves()
    splats = leaves.draw(backend=backend)
    splats.rgb.sum().backward()
    assert not splats.alpha.any() and all(t.grad is not None and not t.grad.any() for t in leaves.tensors)


@pytest.mark.parametrize("backend", BACKENDS)
def test_opacity_sets_the_extent(backend: str) -> None:
    """Two standard deviations of 3 px around the middle of a pixel: drawn where opacity * exp(-d^2 / 18) >= 1/255."""
    side = float(np.sqrt(9.0 - 0.3)) / 60
    camera = Camera(60.0, 60.0, 24.5, 24.5, 49, 49)
    for opacity in (1 / 255 + 1e-6, 0.05, 0.5, 1.0):
        scene = single(scales=torch.full((1, 1, 3), side).double(), opacities=torch.tensor([[opacity]]).double())
        splats = scene.draw(camera, backend)
        reach = 3 * np.sqrt(2 * np.log(opacity * 255))
        assert int(splats.radii) == int(np.ceil(reach))
        y, x = np.nonzero(splats.alpha[0].numpy())
        assert int(np.hypot(y - 24, x - 24).max()) <= reach
        assert np.count_nonzero(splats.alpha[0]) == sum(
            (i - 24) ** 2 + (j - 24) ** 2 <= reach**2 for i in range(49) for j in range(49)
        )
        assert splats.alpha.max() == pytest.approx(min(opacity, 0.999), abs=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_equal_depths_keep_their_order(backend: str) -> None:
    scene = cloud(6, 30)
    scene = replace(scene, means=scene.means * torch.tensor([1, 1, 0]).double() + torch.tensor([0, 0, 1.5]).double())
    rgb, _, _ = by_hand(scene, CAMERA)
    assert np.abs(scene.draw(backend=backend).rgb[0].numpy() - rgb).max() < CLOSE


def test_order_of_the_arrays_does_not_matter() -> None:
    scene = cloud(9, 300, dtype=torch.float32)
    shuffled = scene.pick(torch.randperm(300, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(scene.draw().rgb, shuffled.draw().rgb)


@given(x0=st.integers(0, 15), y0=st.integers(0, 15))
@settings(max_examples=10, deadline=None)
def test_a_picture_does_not_depend_on_where_its_tiles_lie(x0: int, y0: int) -> None:
    """All means lie in both pictures, so the Jacobian's clamp is never reached."""
    scene = cloud(12, 80, scale=0.01, dtype=torch.float32)
    scene = replace(scene, means=scene.means * torch.tensor([0.03, 0.03, 1.0]))
    camera = Camera(900.0, 900.0, 40.0, 40.0, 80, 80)
    whole = scene.draw(camera).rgb[:, y0:, x0:]
    moved = scene.draw(camera.crop(x0, y0, 80, 80)).rgb[:, : 80 - y0, : 80 - x0]
    assert (whole - moved).abs().max() < 0.01 and ((whole - moved).abs() > 1e-4).double().mean() < 0.01


@pytest.mark.parametrize("backend", BACKENDS)
def test_backgrounds(backend: str) -> None:
    scene = cloud(10, 40, batch=2, dtype=torch.float32)
    plain = scene.draw(backend=backend)
    for background in (torch.rand(3), torch.rand(2, 3), torch.rand(2, CAMERA.height, CAMERA.width, 3)):
        shape = background if background.ndim == 4 else background.view(-1, 1, 1, 3)
        expected = plain.rgb + (1 - plain.alpha[..., None]) * shape
        assert torch.allclose(scene.draw(backend=backend, background=background).rgb, expected, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_view_is_a_change_of_frame(backend: str) -> None:
    scene, view = cloud(13, 40), view_matrix()
    seen = scene.draw(backend=backend, view=view)
    rotation = view[:3, :3]
    w = torch.sqrt(1 + rotation.trace()) / 2
    skew = rotation - rotation.T
    axis = torch.stack([skew[2, 1], skew[0, 2], skew[1, 0]])
    a, b = w, axis / (4 * w)
    c, d = scene.quats[..., :1], scene.quats[..., 1:]
    product = a * d + c * b + torch.linalg.cross(b.expand_as(d), d)
    quats = torch.cat([a * c - (b * d).sum(-1, keepdim=True), product], dim=-1)
    moved = replace(scene, means=scene.means @ rotation.T + view[:3, 3], quats=quats)
    assert torch.allclose(seen.rgb, moved.draw(backend=backend).rgb, atol=1e-5)
    both = torch.stack([view, torch.eye(4).double()])
    pair = Scene(*(t.repeat(2, *[1] * (t.ndim - 1)) for t in scene.tensors)).draw(backend=backend, view=both)
    assert torch.allclose(pair.rgb[0], seen.rgb[0]) and torch.allclose(pair.rgb[1], scene.draw(backend=backend).rgb[0])


@pytest.mark.parametrize("backend", BACKENDS)
def test_screen_moves_the_picture(backend: str) -> None:
    scene = cloud(14, 40)
    shift = torch.tensor([3.0, -2.0]).double().expand(1, 40, 2)
    moved, still = scene.draw(backend=backend, screen=shift).rgb, scene.draw(backend=backend).rgb
    inside = scene.means[..., 2] > 0
    assert inside.any()
    assert torch.allclose(moved[:, : CAMERA.height - 2, 3:], still[:, 2:, : CAMERA.width - 3], atol=1e-5)


def test_depth_is_the_mean_of_what_was_drawn() -> None:
    one = single().draw()
    assert torch.allclose(one.depth[one.alpha > 0], torch.ones(()).double())
    assert not one.depth[one.alpha == 0].any()


def test_wrong_input_is_named() -> None:
    scene = cloud(0, 4, batch=2, dtype=torch.float32)
    for name, value in {
        "quats": scene.quats[..., :3],
        "scales": scene.scales[:1],
        "opacities": scene.opacities[..., None],
        "colours": scene.colours[:, :2],
    }.items():
        with pytest.raises(ValueError, match=f"{name} should have shape"):
            replace(scene, **{name: value}).draw()
    for name, value in {"view": torch.eye(3), "background": torch.ones(4), "screen": torch.zeros(2, 4, 3)}.items():
        with pytest.raises(ValueError, match=f"{name} should have shape"):
            scene.draw(**{name: value})
    with pytest.raises(ValueError, match="means should have shape"):
        replace(scene, means=scene.means[0]).draw()
    with pytest.raises(ValueError, match="float32 or float64"):
        replace(scene, means=scene.means.half()).draw()
    with pytest.raises(ValueError, match="convert one"):
        replace(scene, scales=scene.scales.double()).draw()
    with pytest.raises(ValueError, match="choose auto"):
        scene.draw(backend="opengl")


def test_automatic_choice() -> None:
    assert chosen_backend(torch.device("cpu")) == "numba"
    assert chosen_backend(torch.device("cuda")) == "gsplat"
    scene = cloud(1, 20, dtype=torch.float32)
    assert torch.equal(rasterize_gaussians(*scene.tensors, CAMERA).rgb, scene.draw(backend="numba").rgb)


def test_gsplat_says_what_it_lacks() -> None:
    scene = cloud(1, 20, dtype=torch.float32)
    if is_installed("gsplat"):
        with pytest.raises(ValueError, match="CUDA"):
            scene.draw(backend="gsplat")
    else:
        with pytest.raises(MissingDependencyError, match="gsplat") as raised:
            scene.draw(backend="gsplat")
        assert "rsat-data[gpu]" in raised.value.hint
