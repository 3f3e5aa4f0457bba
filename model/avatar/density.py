"""Where Gaussians are added and removed. Children ride on their parent's triangle, and no triangle loses its last one.

Splitting works in LOCAL units throughout: offsets are drawn from the local scales, along the Gaussian's own local axes.
(Offsets in metres added to local positions, where the triangle's scale is a thousandth of a metre, would put both
children on the parent's place.)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from model.gaussians import BoundGaussians
from model.quaternions import quaternion_to_matrix

_OFFSET = 0.5
"""Distance of a child from its parent's middle, in standard deviations along the longest axis."""
_SHRINK = 0.6
"""A child's longest axis in units of its parent's."""
_NARROW = 0.85
"""A child's other axes in units of its parent's."""


@dataclass(frozen=True)
class Descent:
    """Where the Gaussians of a changed set come from."""

    parent: Tensor
    """(M,) int64 rows of the old set."""
    fresh: Tensor
    """(M,) bool: new ones, without a history of gradients."""


def survivors(gaussians: BoundGaussians, least_opacity: float) -> Tensor:
    """(N,) bool: opaque enough and finite, or the best one of a face that would lose all.

    Args:
        gaussians: N of them.
        least_opacity: in (0, 1).
    """
    finite = torch.ones(len(gaussians), dtype=torch.bool, device=gaussians.device)
    for value in gaussians.parameters().values():
        finite &= torch.isfinite(value.detach()).flatten(1).all(1) if value.ndim > 1 else torch.isfinite(value.detach())
    opacity = torch.where(finite, torch.sigmoid(gaussians.opacity.detach()), -1.0)
    keep = opacity >= least_opacity
    faces = int(gaussians.face.max()) + 1 if len(gaussians) else 0
    # The most opaque of each face: the last one written in ascending order.
    order = torch.argsort(opacity, stable=True)
    best = torch.full((faces,), -1, dtype=torch.int64, device=gaussians.device)
    best = best.scatter_reduce(
        0, gaussians.face[order], torch.arange(len(order), device=order.device), "amax", include_self=True
    )
    owned = torch.zeros(faces, dtype=torch.bool, device=gaussians.device)
    owned[gaussians.face[keep]] = True
    alone = (best >= 0) & ~owned
    keep[order[best[alone]]] = True
    return keep


def repair(gaussians: BoundGaussians) -> None:
    """Give Gaussians that are not finite the start of one on their triangle, grey and nearly transparent, in place."""
    with torch.no_grad():
        bad = torch.zeros(len(gaussians), dtype=torch.bool, device=gaussians.device)
        for value in gaussians.parameters().values():
            bad |= ~torch.isfinite(value).reshape(len(value), -1).all(1)
        if not bool(bad.any()):
            return
        gaussians.mean[bad], gaussians.log_scale[bad], gaussians.sh[bad] = 0.0, -1.0, 0.0
        gaussians.opacity[bad] = -3.0
        gaussians.rotation[bad] = gaussians.rotation.new_tensor([1.0, 0.0, 0.0, 0.0])


def choose(score: Tensor, share: float, room: int) -> Tensor:
    """Indices of the Gaussians to divide: the ``share`` with the largest positive score, at most ``room``."""
    count = min(int(share * len(score)), room, int((score > 0).sum()))
    if count <= 0:
        return torch.zeros(0, dtype=torch.int64, device=score.device)
    return torch.sort(torch.topk(score, count).indices).values


def divide(gaussians: BoundGaussians, which: Tensor) -> tuple[BoundGaussians, Descent]:
    """Replace the Gaussians ``which`` (K,) by two children each, half a standard deviation to each side.

    The children lie along the parent's longest axis, which is shortened; face, colour and opacity are inherited. The
    first child takes the parent's row, the second ones are appended.

    Returns:
        N + K Gaussians without gradients, and where they come from.
    """
    result = gaussians.clone()
    scale = result.log_scale[which].exp()
    longest = scale.argmax(dim=1)
    axes = quaternion_to_matrix(result.rotation[which])  # columns are the axes in the triangle's frame
    axis = torch.gather(axes, 2, longest[:, None, None].expand(-1, 3, 1))[..., 0]
    offset = axis * (_OFFSET * scale.gather(1, longest[:, None]))
    shrink = torch.full_like(scale, _NARROW).scatter(1, longest[:, None], _SHRINK).log()
    result.log_scale[which] += shrink
    children = result.select(which).clone()
    result.mean[which] += offset
    children.mean -= offset
    fields = {name: torch.cat([value, children.parameters()[name]]) for name, value in result.parameters().items()}
    divided = BoundGaussians(**fields, face=torch.cat([result.face, children.face]))
    parent = torch.cat([torch.arange(len(gaussians), device=which.device), which])
    fresh = torch.zeros(len(parent), dtype=torch.bool, device=which.device)
    fresh[which] = True
    fresh[len(gaussians) :] = True
    return divided, Descent(parent, fresh)
