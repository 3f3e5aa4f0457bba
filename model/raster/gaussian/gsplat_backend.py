"""Gaussians drawn by gsplat (1.5) on CUDA, where it is installed. Its functions are called one by one, as its own
``rasterization`` does, because ``screen`` is added between projection and tiles.
"""

from __future__ import annotations

from types import ModuleType

import torch

from model.camera import Camera
from model.raster.gaussian.conventions import EPS2D, FAR, NEAR
from model.raster.gaussian.reference import usable
from rsat_data.optional import require

TILE = 16
"""Side of gsplat's tiles, pixels."""


def draw(
    means: torch.Tensor, quats: torch.Tensor, scales: torch.Tensor, opacities: torch.Tensor, colours: torch.Tensor,
    camera: Camera, view: torch.Tensor, screen: torch.Tensor | None, threads: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    """Colours (B, H, W, 3) without background, transmittance (B, H, W), weighted depth (B, H, W), radii (B, N) int32.

    Args and shapes as in :func:`model.raster.gaussian.reference.draw`; tensors on CUDA. gsplat works in float32:
    float64 is converted and the result converted back.

    Raises:
        MissingDependencyError: gsplat is not installed.
        ValueError: the tensors lie on another device.
    """
    gsplat = require("gsplat", needed_for="The Gaussian raster backend 'gsplat'")
    if means.device.type != "cuda":
        raise ValueError(f"The backend 'gsplat' draws on CUDA, the tensors lie on {means.device}: take 'numba'")
    return draw_with(gsplat, means, quats, scales, opacities, colours, camera, view, screen)


def draw_with(
    gsplat: ModuleType, means: torch.Tensor, quats: torch.Tensor, scales: torch.Tensor, opacities: torch.Tensor,
    colours: torch.Tensor, camera: Camera, view: torch.Tensor, screen: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    """:func:`draw` by the functions of a given module: gsplat's, or a double of them."""
    batch, count = means.shape[:2]
    dtype, width, height = means.dtype, camera.width, camera.height
    if count == 0:
        empty = means.new_zeros(batch, height, width)
        return empty[..., None].expand(-1, -1, -1, 3), empty + 1, empty, empty.new_zeros((batch, 0), dtype=torch.int32)
    drawn = usable(means, quats, scales, opacities, colours)
    means, scales, colours = (torch.where(drawn[..., None], t, 1).float() for t in (means, scales, colours))
    quats = torch.where(drawn[..., None], quats, 1).float()
    opacities = torch.where(drawn, opacities, 0).float()  # below gsplat's smallest alpha: not drawn
    matrix = torch.from_numpy(camera.matrix()).to(means).expand(batch, 1, 3, 3)
    radii, means2d, depths, conics, _ = gsplat.fully_fused_projection(
        means, None, quats, scales, view[:, None].float().contiguous(), matrix.contiguous(), width, height, eps2d=EPS2D,
        near_plane=NEAR, far_plane=FAR, opacities=opacities,
    )  # fmt: skip
    # One camera an item: (B, 1, N, ...) to (B, N, ...).
    radii, means2d, depths, conics = (t[:, 0] for t in (radii, means2d, depths, conics))
    if screen is not None:
        means2d = means2d + screen.float()
    across, down = -(-width // TILE), -(-height // TILE)
    _, keys, ids = gsplat.isect_tiles(means2d, radii, depths, TILE, across, down, n_images=batch)
    offsets = gsplat.isect_offset_encode(keys, batch, across, down)
    values = torch.cat([colours, depths[..., None]], dim=-1)
    sums, alpha = gsplat.rasterize_to_pixels(
        means2d.contiguous(), conics.contiguous(), values, opacities, width, height, TILE, offsets, ids
    )
    sums, left = sums.to(dtype), 1 - alpha[..., 0].to(dtype)
    return sums[..., :3], left, sums[..., 3], radii.amax(-1).to(torch.int32)
