"""Motion that was predicted, beside the tracked motion of the same frames: what a picture can still say about it.

A prediction is not aligned with its frame: lips are a little early, blinks come from nowhere. So a pixel is compared
as far as that does not matter. Both meshes stand at the same place (pose and torso as tracked), what differs is
expression, jaw and eyes. With d the distance on the screen, in pixels, between where a point of the face lies under
both motions, a pixel's weight is::

    w = exp(-(d / s)^2 / 2)

taken over the surface that is seen in either. Where w is small, only the picture's coarse grid is compared: a mouth
that opens too early should be dark inside, and a closed lid should have the colour of skin.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from model.avatar.losses import photometric
from model.avatar.track import Track
from model.camera import Camera, project
from model.gaussians import BoundGaussians
from model.head import HeadModel
from model.raster import interpolate, rasterize

COARSE = 16
"""Cells of the coarse grid along a picture's side."""
REACH = 2
"""Pixels that a disagreement reaches beyond where it is seen."""


@dataclass(frozen=True, eq=False)
class Driven:
    """Predicted motion of a fit's frames, and how much it counts."""

    train: Track
    """The training frames with predicted expression, jaw and eyes; everything else as tracked."""
    validation: Track
    """The validation frames likewise."""
    known: tuple[int, ...]
    """Training frames that there is a prediction for."""
    share: float
    """Share of the steps that look at predicted motion, in [0, 1]."""
    pixels: float
    """s, pixels of the picture compared."""
    coarse_weight: float
    """Weight of the coarse grid's difference."""
    keep_weight: float
    """Pull of every Gaussian towards ``anchor``."""
    anchor: BoundGaussians
    """What it is refined from."""
    units: dict[str, float]
    """Size of a usual change of each parameter."""

    def is_due(self, step: int) -> bool:
        """Whether a step looks at predicted motion: evenly spread over the steps."""
        return bool(self.known) and int((step + 1) * self.share) > int(step * self.share)


@torch.no_grad()
def agreement(
    head: HeadModel, tracked: Tensor, driven: Tensor, camera: Camera, pixels: float, threads: int | None = None
) -> Tensor:
    """(H, W) weights w of a picture's pixels; 1 where no surface is.

    Args:
        head: the head model.
        tracked: (1, V, 3) vertices under the tracked motion, camera frame.
        driven: (1, V, 3) under the predicted motion.
        camera: of the picture.
        pixels: s.
        threads: of the rasteriser.
    """
    apart = (project(tracked, camera) - project(driven, camera)).norm(dim=-1, keepdim=True)
    away = torch.nan_to_num(apart, 0.0)
    seen = [
        interpolate(rasterize(vertices, head.faces, camera, threads=threads), head.faces, away)
        for vertices in (tracked, driven)
    ]
    most = torch.maximum(*seen).permute(0, 3, 1, 2)
    most = functional.max_pool2d(most, 2 * REACH + 1, 1, REACH)[0, 0]
    return torch.exp(-0.5 * (most / pixels).square())


def driven_loss(
    image: Tensor, target: Tensor, weight: Tensor, ssim_weight: float, coarse_weight: float, threads: int | None = None
) -> Tensor:
    """Difference of a picture under predicted motion from its frame; a scalar, differentiable in ``image``.

    Args:
        image: (S, S, 3) in [0, 1].
        target: (S, S, 3) likewise.
        weight: (S, S) from :func:`agreement`.
        ssim_weight: as for :func:`model.avatar.losses.photometric`.
        coarse_weight: of the coarse grid.
        threads: of the kernels.
    """
    # Blended with the target, not multiplied: what does not agree is taken for right, by both L1 and SSIM.
    near = target + weight[..., None] * (image - target)
    loss = photometric(near, target, ssim_weight, threads=threads)
    if not coarse_weight:
        return loss
    cell = max(image.shape[0] // COARSE, 1)
    both = (value.permute(2, 0, 1)[None] for value in (image, target))
    first, second = (functional.avg_pool2d(value, cell) for value in both)
    return loss + coarse_weight * (first - second).abs().mean()


@torch.no_grad()
def add_pull(gaussians: BoundGaussians, driven: Driven) -> None:
    """Add the gradient of ``keep_weight`` / (2 N) sum |(x - anchor) / unit|^2 to that of all parameters x, in place."""
    if not driven.keep_weight:
        return
    anchor = driven.anchor.parameters()
    for name, value in gaussians.parameters().items():
        if value.grad is not None:
            scale = driven.keep_weight / (driven.units[name] ** 2 * len(gaussians))
            value.grad.add_(value - anchor[name], alpha=scale)
