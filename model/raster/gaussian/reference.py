"""Gaussians drawn in plain torch, row by row: slow and obvious, on any device, in float32 or float64.

Gradients are torch's own. The other backends are tested against it. Formulas: :mod:`model.raster.gaussian.conventions`.
"""

from __future__ import annotations

import torch

from model.camera import Camera
from model.raster.gaussian.conventions import ALPHA_MAX, ALPHA_MIN, CLAMP, EPS2D, FAR, NEAR, STOP


def rotation_matrices(quats: torch.Tensor) -> torch.Tensor:
    """Rotation matrices (..., 3, 3) of quaternions (..., 4) wxyz of any length but zero."""
    w, x, y, z = (quats / quats.norm(dim=-1, keepdim=True)).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def usable(means: torch.Tensor, quats: torch.Tensor, scales: torch.Tensor, opacities: torch.Tensor,
           colours: torch.Tensor) -> torch.Tensor:  # fmt: skip
    """(B, N) bool: every number of the Gaussian is finite and its quaternion is not zero."""
    total = means.sum(-1) + quats.sum(-1) + scales.sum(-1) + opacities + colours.sum(-1)
    return torch.isfinite(total.detach()) & (quats.detach().square().sum(-1) > 0)


def projected(
    means: torch.Tensor, quats: torch.Tensor, scales: torch.Tensor, opacities: torch.Tensor, camera: Camera,
    view: torch.Tensor, screen: torch.Tensor | None, drawn: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    """Means (B, N, 2) in pixels, conics (B, N, 3), depths (B, N), boxes (B, N, 2).

    Conics are the inverse covariances' xx, xy and yy. ``drawn`` (B, N) names the Gaussians that may be used; boxes are
    the half-sizes of what is drawn, 0 for nothing.
    """
    means_c = means @ view[:, :3, :3].transpose(1, 2) + view[:, None, :3, 3]
    z = means_c[..., 2]
    drawn = drawn & (z.detach() >= NEAR) & (z.detach() <= FAR)
    # What is not drawn becomes something harmless, so that no NaN enters a gradient.
    one = torch.ones((), dtype=means.dtype, device=means.device)
    x, y, z = (torch.where(drawn, value, one) for value in means_c.unbind(-1))
    scales = torch.where(drawn[..., None], scales, one)
    quats = torch.where(drawn[..., None], quats, one)

    margin_x, margin_y = CLAMP * 0.5 * camera.width / camera.fx, CLAMP * 0.5 * camera.height / camera.fy
    tx = z * (x / z).clamp(-camera.cx / camera.fx - margin_x, (camera.width - camera.cx) / camera.fx + margin_x)
    ty = z * (y / z).clamp(-camera.cy / camera.fy - margin_y, (camera.height - camera.cy) / camera.fy + margin_y)
    zero = torch.zeros_like(z)
    jacobian = torch.stack(
        [camera.fx / z, zero, -camera.fx * tx / z**2, zero, camera.fy / z, -camera.fy * ty / z**2], dim=-1
    ).unflatten(-1, (2, 3))
    half = jacobian @ view[:, None, :3, :3] @ (rotation_matrices(quats) * scales[..., None, :])
    covariance = half @ half.transpose(-1, -2)
    cxx, cxy, cyy = covariance[..., 0, 0] + EPS2D, covariance[..., 0, 1], covariance[..., 1, 1] + EPS2D
    det = cxx * cyy - cxy * cxy
    means2d = torch.stack([camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy], dim=-1)
    if screen is not None:
        means2d = means2d + screen

    with torch.no_grad():
        drawn = drawn & (det > 0) & torch.isfinite(det) & (opacities >= ALPHA_MIN) & torch.isfinite(means2d).all(-1)
        reach = (2 * (opacities / ALPHA_MIN).clamp_min(1).log()).sqrt()
        box = torch.ceil(reach[..., None] * torch.stack([cxx, cyy], dim=-1).sqrt())
        size = torch.tensor([camera.width, camera.height], dtype=means.dtype, device=means.device)
        drawn = drawn & ((means2d + box > 0) & (means2d - box < size)).all(-1)
        box = torch.where(drawn[..., None], box, 0 * one)
    det = torch.where(drawn, det, one)
    conics = torch.stack([cyy / det, -cxy / det, cxx / det], dim=-1)
    return means2d, conics, z, box


def composite(
    means2d: torch.Tensor, conics: torch.Tensor, opacities: torch.Tensor, values: torch.Tensor, depths: torch.Tensor,
    box: torch.Tensor, width: int, height: int,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """One picture: (sum of weighted values (H, W, C), transmittance left (H, W)) of Gaussians (N, ...)."""
    order = torch.argsort(depths.detach(), stable=True)
    order = order[box[order, 0] > 0]
    means2d, conics, opacities, values, box = (t[order] for t in (means2d, conics, opacities, values, box))
    columns = torch.arange(width, dtype=means2d.dtype, device=means2d.device) + 0.5
    sums, left = [], []
    for row in range(height):
        # A little more than the box: the test of alpha below decides.
        near = ((row + 0.5 - means2d[:, 1]).detach().abs() <= box[:, 1] + 1).nonzero()[:, 0]
        m, (a, b, c), opacity = means2d[near], conics[near].unbind(-1), opacities[near]
        dx, dy = columns - m[:, :1], (row + 0.5 - m[:, 1])[:, None]
        sigma = 0.5 * (a[:, None] * dx * dx + c[:, None] * dy * dy) + b[:, None] * dx * dy
        alpha = (opacity[:, None] * torch.exp(-sigma)).clamp_max(ALPHA_MAX)
        with torch.no_grad():
            counts = (sigma >= 0) & (alpha >= ALPHA_MIN)
            # Transmittance never rises, so what lies before the stop is where it is still above it.
            counts &= torch.cumprod(torch.where(counts, 1 - alpha, 1), dim=0) > STOP
        alpha = torch.where(counts, alpha, 0)
        after = torch.cumprod(1 - alpha, dim=0)
        before = torch.cat([torch.ones_like(after[:1]), after[:-1]]) if len(near) else after
        sums.append(torch.einsum("nw,nc->wc", before * alpha, values[near]))
        left.append(after[-1] if len(near) else torch.ones_like(columns))
    return torch.stack(sums), torch.stack(left)


def draw(
    means: torch.Tensor, quats: torch.Tensor, scales: torch.Tensor, opacities: torch.Tensor, colours: torch.Tensor,
    camera: Camera, view: torch.Tensor, screen: torch.Tensor | None, threads: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    """Colours (B, H, W, 3) without background, transmittance (B, H, W), weighted depth (B, H, W), radii (B, N) int32.

    Args:
        means: (B, N, 3); quats (B, N, 4); scales (B, N, 3); opacities (B, N); colours (B, N, 3).
        camera: intrinsics and size.
        view: (B, 4, 4), world to camera.
        screen: (B, N, 2) or None, added to the projected means.
        threads: not used.
    """
    drawn = usable(means, quats, scales, opacities, colours)
    means, quats, scales, colours = (torch.where(drawn[..., None], t, 0) for t in (means, quats, scales, colours))
    opacities = torch.where(drawn, opacities, 0)
    means2d, conics, depths, box = projected(means, quats, scales, opacities, camera, view, screen, drawn)
    values = torch.cat([colours, depths[..., None]], dim=-1)
    pictures = [
        composite(means2d[i], conics[i], opacities[i], values[i], depths[i], box[i], camera.width, camera.height)
        for i in range(len(means))
    ]
    sums = torch.stack([picture[0] for picture in pictures])
    left = torch.stack([picture[1] for picture in pictures])
    return sums[..., :3], left, sums[..., 3], box.amax(-1).to(torch.int32)
