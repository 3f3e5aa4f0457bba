"""Rasterisers of 3D Gaussians with one interface: Gaussians and a camera to colour, alpha and depth.

    splats = rasterize_gaussians(means, quats, scales, opacities, colours, camera)
    splats.rgb, splats.alpha, splats.depth, splats.radii

Backends: ``numba`` (CPU, tiled, multi-core, float32 inside), ``gsplat`` (CUDA, where it is installed), ``reference``
(plain torch on any device, slow, float32 or float64). ``auto`` takes numba for tensors on the CPU and gsplat on CUDA.
All follow the conventions of gsplat 1.5: :mod:`model.raster.gaussian.conventions`.
"""

from __future__ import annotations

from typing import Literal

import torch

from model.camera import Camera
from model.raster.gaussian.conventions import DEPTH_FLOOR, Splats

__all__ = ["Backend", "Splats", "chosen_backend", "rasterize_gaussians"]

Backend = Literal["auto", "numba", "gsplat", "reference"]


def chosen_backend(device: torch.device) -> Backend:
    """What ``auto`` takes for tensors on a device."""
    if device.type == "cpu":
        return "numba"
    return "gsplat" if device.type == "cuda" else "reference"


def rasterize_gaussians(
    means: torch.Tensor,
    quats: torch.Tensor,
    scales: torch.Tensor,
    opacities: torch.Tensor,
    colours: torch.Tensor,
    camera: Camera,
    *,
    view: torch.Tensor | None = None,
    background: torch.Tensor | None = None,
    backend: Backend = "auto",
    threads: int | None = None,
    screen: torch.Tensor | None = None,
) -> Splats:
    """Draw a batch of sets of Gaussians, differentiably in every tensor given.

    Args:
        means: (B, N, 3) metres, float32 or float64; all other tensors have its dtype and device. N may be 0.
        quats: (B, N, 4) wxyz, of any length but zero: they are normalised here.
        scales: (B, N, 3) standard deviations along the axes, metres (not their logarithms).
        opacities: (N,) or (B, N) in [0, 1] (not logits).
        colours: (N, 3) or (B, N, 3), any range.
        camera: intrinsics and picture size; the principal point may lie anywhere.
        view: (4, 4) or (B, 4, 4), world to camera (OpenCV: x right, y down, z away); None if the Gaussians are in the
            camera's frame already.
        background: (3,), (B, 3) or (B, H, W, 3) behind the Gaussians; None for black.
        backend: see the module's docstring.
        threads: threads of the numba backend; None for torch's setting. The result does not depend on it.
        screen: (B, N, 2) zeros, pixels, added to the projected means: its gradient is what densification looks at.

    Returns:
        Splats. A Gaussian with a number that is not finite or a quaternion of length zero is not drawn and gets zero
        gradients.

    Raises:
        ValueError: wrong shapes or dtypes, tensors on different devices, or so many Gaussians over all of the picture
            that their tiles cannot be counted (2 thousand million).
        MissingDependencyError: the backend needs a package that is not installed.
    """
    batch, count = _check(means, quats, scales, opacities, colours, camera, view, background, screen)
    if backend == "auto":
        backend = chosen_backend(means.device)
    opacities = opacities.expand(batch, count)
    colours = colours.expand(batch, count, 3)
    if view is None:
        view = torch.eye(4, dtype=means.dtype, device=means.device)
    view = view.expand(batch, 4, 4)
    if background is not None and background.ndim < 4:
        background = background.expand(batch, 3)[:, None, None].expand(batch, camera.height, camera.width, 3)
    gaussians = (means, quats, scales, opacities, colours)
    if backend == "numba":
        from model.raster.gaussian import numba_backend

        rgb, alpha, depth, radii = numba_backend.draw(*gaussians, camera, view, screen, background, threads)
    else:
        if backend == "reference":
            from model.raster.gaussian import reference as drawer
        elif backend == "gsplat":
            from model.raster.gaussian import gsplat_backend as drawer  # type: ignore[no-redef]
        else:
            raise ValueError(f"Unknown backend {backend!r}: choose auto, numba, gsplat or reference")
        rgb, left, depth, radii = drawer.draw(*gaussians, camera, view, screen)
        alpha = 1 - left
        if background is not None:
            rgb = rgb + left[..., None] * background
    return Splats(rgb, alpha, depth / alpha.clamp_min(DEPTH_FLOOR), radii)


def _check(
    means: torch.Tensor,
    quats: torch.Tensor,
    scales: torch.Tensor,
    opacities: torch.Tensor,
    colours: torch.Tensor,
    camera: Camera,
    view: torch.Tensor | None,
    background: torch.Tensor | None,
    screen: torch.Tensor | None,
) -> tuple[int, int]:
    """(B, N), or ValueError that names the tensor."""
    if means.ndim != 3 or means.shape[-1] != 3 or means.shape[0] == 0:
        raise ValueError(f"means should have shape (B, N, 3) with B >= 1, got {tuple(means.shape)}")
    if means.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"means should be float32 or float64, got {means.dtype}")
    b, n = means.shape[:2]
    given: list[tuple[str, torch.Tensor | None, list[tuple[int, ...]]]] = [
        ("quats", quats, [(b, n, 4)]),
        ("scales", scales, [(b, n, 3)]),
        ("opacities", opacities, [(n,), (b, n)]),
        ("colours", colours, [(n, 3), (b, n, 3)]),
        ("view", view, [(4, 4), (b, 4, 4)]),
        ("background", background, [(3,), (b, 3), (b, camera.height, camera.width, 3)]),
        ("screen", screen, [(b, n, 2)]),
    ]
    for name, tensor, shapes in given:
        if tensor is None:
            continue
        if tuple(tensor.shape) not in shapes:
            wanted = " or ".join(str(shape) for shape in shapes)
            raise ValueError(f"{name} should have shape {wanted}, got {tuple(tensor.shape)}")
        if tensor.dtype != means.dtype or tensor.device != means.device:
            raise ValueError(
                f"{name} is {tensor.dtype} on {tensor.device}, means are {means.dtype} on {means.device}: convert one"
            )
    return b, n
