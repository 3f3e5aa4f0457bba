"""gsplat's kernels need CUDA. What can be said without: that we call it rightly (with a double of its four functions,
whose signatures are checked against the package where that is installed), and that our projection is the one of its own
plain torch code.
"""

from __future__ import annotations

import inspect
from types import ModuleType

import pytest
import torch

from model.camera import Camera
from model.raster.gaussian import gsplat_backend, reference
from tests.model.raster.gaussian import gsplat_double
from tests.model.raster.gaussian.scenes import CAMERA, cloud, view_matrix

SMALL = Camera(12.0, 13.0, 8.3, 5.1, 18, 9)
FUNCTIONS = ("fully_fused_projection", "isect_tiles", "isect_offset_encode", "rasterize_to_pixels")


def _gsplat(part: str = "gsplat") -> ModuleType:
    pytest.importorskip("jaxtyping", reason="gsplat needs it")
    return pytest.importorskip(part, reason="gsplat is not installed: pip install 'rsat-data[gpu]'")


def test_draws_and_differentiates_like_the_reference_through_its_double() -> None:
    scene, view = cloud(31, 12, batch=2, scale=0.1, dtype=torch.float32), view_matrix().float()
    weights = torch.rand(2, 9, 18, 3)
    results = []
    for backend in (lambda *a: gsplat_backend.draw_with(gsplat_double, *a), reference.draw):  # type: ignore[arg-type]
        leaves, shift = scene.leaves(), torch.zeros(2, 12, 2, requires_grad=True)
        rgb, left, depth, radii = backend(*leaves.tensors, SMALL, view.expand(2, 4, 4), shift)
        grads = torch.autograd.grad((rgb * weights).sum() + left.sum() + depth.sum(), [*leaves.tensors, shift])
        results.append([rgb, left, depth, radii, *grads])
    assert results[0][1].min() < 0.5
    for ours, theirs in zip(*results, strict=True):
        assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
        assert torch.allclose(ours, theirs, atol=1e-4, rtol=1e-3)


def test_nothing_to_draw_needs_no_kernel() -> None:
    scene = cloud(0, 0, batch=2, dtype=torch.float32)
    rgb, left, depth, radii = gsplat_backend.draw_with(
        ModuleType("no gsplat"), *scene.tensors, SMALL, torch.eye(4).expand(2, 4, 4), None
    )
    assert rgb.shape == (2, 9, 18, 3) and not rgb.any() and (left == 1).all() and radii.shape == (2, 0)


@pytest.mark.filterwarnings("ignore")
def test_the_double_has_the_signatures_of_the_package() -> None:
    gsplat = _gsplat()
    for name in FUNCTIONS:
        theirs = list(inspect.signature(getattr(gsplat, name)).parameters)
        ours = list(inspect.signature(getattr(gsplat_double, name)).parameters)
        assert theirs[: len(ours)] == ours or name == "isect_offset_encode", name
        assert len(theirs) >= len(ours)


@pytest.mark.filterwarnings("ignore")
def test_projection_is_that_of_gsplats_plain_torch_code() -> None:
    """Values and gradients, float64, with means beyond the Jacobian's clamp."""
    theirs = _gsplat("gsplat.cuda._torch_impl")
    scene = cloud(32, 50, batch=2, scale=0.3)
    scene.means[:, ::3, :2] *= 3
    view = view_matrix()
    weights = [torch.randn(2, 50, n, generator=torch.Generator().manual_seed(n)).double() for n in (2, 3, 1)]

    def judged(mean: torch.Tensor, conic: torch.Tensor, depth: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
        images = (mean, conic, depth[..., None])
        return torch.stack([(w * i)[which].sum() for w, i in zip(weights, images, strict=True)]).sum()

    a, b = scene.leaves(), scene.leaves()
    everything = torch.ones(2, 50, dtype=torch.bool)
    means2d, conics, depths, box = reference.projected(
        a.means, a.quats, a.scales, torch.ones(2, 50).double(), CAMERA, view.expand(2, 4, 4), None, everything
    )
    covariances, _ = theirs._quat_scale_to_covar_preci(b.quats, b.scales, True, False, False)
    matrix = torch.from_numpy(CAMERA.matrix()).expand(2, 1, 3, 3)
    radii, *flat, _ = theirs._fully_fused_projection(
        b.means, covariances, view.expand(2, 1, 4, 4), matrix, CAMERA.width, CAMERA.height
    )
    radii, their_means, their_depths, their_conics = (t[:, 0] for t in (radii, *flat))
    which = box[..., 0] > 0
    assert which.sum() > 40 and torch.equal(which, (radii > 0).all(-1))
    # Opacity 1: sqrt(2 ln 255) = 3.3291 standard deviations here, 3.33 there.
    assert ((box - radii)[which].abs() <= 1).all()
    for ours, other in ((means2d, their_means), (conics, their_conics), (depths, their_depths)):
        assert torch.allclose(ours[which], other[which], rtol=1e-9, atol=1e-9)
    judged(means2d, conics, depths, which).backward()
    judged(their_means, their_conics, their_depths, which).backward()
    for ours, other in zip(a.tensors[:3], b.tensors[:3], strict=True):
        assert ours.grad is not None and other.grad is not None
        assert (ours.grad - other.grad).norm() < 1e-9 * other.grad.norm()
