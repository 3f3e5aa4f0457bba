"""Vertex attributes to pixels."""

from __future__ import annotations

import torch

from model.raster.autograd import Mix
from model.raster.fragments import Fragments


def interpolate(fragments: Fragments, faces: torch.Tensor, attributes: torch.Tensor) -> torch.Tensor:
    """Mix the attributes of the three vertices behind every pixel.

    Args:
        fragments: result of :func:`model.raster.rasterize`.
        faces: (F, 3) int64, the faces that were rasterised.
        attributes: (B, V, C), or (1, V, C) shared by the batch; float.

    Returns:
        (B, H, W, C), 0 where no face is seen. Differentiable in ``attributes`` and, through the barycentrics, in the
        vertices that were rasterised.
    """
    batch, height, width = fragments.face_id.shape
    if attributes.ndim != 3 or attributes.shape[0] not in (1, batch):
        raise ValueError(f"attributes should have shape ({batch} or 1, V, C), got {tuple(attributes.shape)}")
    if attributes.device.type == "cpu" and attributes.dtype == fragments.bary.dtype:
        return Mix.apply(fragments.bary, attributes, faces, fragments.face_id)  # type: ignore[no-any-return]
    return mix_in_torch(fragments, faces, attributes)


def mix_in_torch(fragments: Fragments, faces: torch.Tensor, attributes: torch.Tensor) -> torch.Tensor:
    """:func:`interpolate` in plain torch operations, for any device."""
    batch, height, width = fragments.face_id.shape
    flat = fragments.face_id.reshape(-1)
    covered = (flat >= 0).nonzero().squeeze(-1)
    corner_ids = faces[flat[covered].long()]
    if attributes.shape[0] > 1:
        item = torch.div(covered, height * width, rounding_mode="floor")
        corner_ids = corner_ids + (item * attributes.shape[1])[:, None]
    corners = attributes.reshape(-1, attributes.shape[-1])[corner_ids]  # (N, 3, C)
    bary = fragments.bary.reshape(-1, 3)[covered]
    mixed = (corners * bary[..., None].to(corners.dtype)).sum(1)
    image = mixed.new_zeros(flat.shape[0], attributes.shape[-1]).index_put((covered,), mixed)
    return image.reshape(batch, height, width, -1)
