"""The numbers and the result that all rasterisers of Gaussians share. They are those of gsplat 1.5.

A Gaussian with mean m, rotation R_q, scales s and the camera's Jacobian J (2, 3) has the image covariance
C = J R_v R_q diag(s)^2 R_q^T R_v^T J^T + EPS2D * I. At a pixel centre p = (x + 0.5, y + 0.5), with d = p - proj(m),

    sigma = d^T C^-1 d / 2,   alpha = min(ALPHA_MAX, opacity * exp(-sigma)),   skipped where alpha < ALPHA_MIN.

Gaussians are taken by the depth z of their mean, nearest first, equal depths in the order of the arrays, and

    rgb = sum_i T_i alpha_i colour_i + T_end background,   T_(i+1) = T_i (1 - alpha_i),   alpha = 1 - T_end,
    depth = sum_i T_i alpha_i z_i / max(alpha, DEPTH_FLOOR).

The sum ends before the first Gaussian that would take T to STOP or below. J is taken where x/z and y/z are held to the
picture and CLAMP times half its size beyond each edge. A Gaussian is left out where z < NEAR or z > FAR.

gsplat also cuts Gaussians at 3.33 standard deviations. With an opacity of at most 1 alpha falls below ALPHA_MIN at
3.329, so that cut does nothing and is not made here.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

EPS2D = 0.3
"""Added to both variances in the image (square pixels): no Gaussian is thinner than about half a pixel."""
ALPHA_MIN = 1.0 / 255.0
"""A smaller alpha is not drawn at all, so a Gaussian ends where opacity * exp(-sigma) falls below it."""
ALPHA_MAX = 0.999
"""A larger alpha is held to this; there the gradient of alpha is zero."""
STOP = 1e-4
"""A pixel is finished before the Gaussian that would leave this transmittance or less."""
NEAR = 0.01
"""Metres; Gaussians whose mean is nearer are left out."""
FAR = 1e10
"""Metres; Gaussians whose mean is farther are left out."""
CLAMP = 0.3
"""Margin around the picture within which the Jacobian is exact, in halves of the picture's size."""
DEPTH_FLOOR = 1e-10
"""Depth is divided by alpha, or by this where alpha is smaller."""


class Splats(NamedTuple):
    """A batch of drawn pictures."""

    rgb: torch.Tensor
    """(B, H, W, 3), background included; in the unit of the colours."""
    alpha: torch.Tensor
    """(B, H, W) in [0, 1): what of the background is covered."""
    depth: torch.Tensor
    """(B, H, W) metres: the mean depth of what was drawn, weighted as the colours are and divided by alpha (gsplat's
    ``ED``; times ``alpha`` it is gsplat's ``D``). 0 where nothing was drawn."""
    radii: torch.Tensor
    """(B, N) int32: half of the larger side of the box around what is drawn of a Gaussian, pixels, rounded up; 0 for a
    Gaussian that is not drawn (outside the picture, behind the camera, below ALPHA_MIN, not finite). No gradient."""
