"""Rasteriser in plain torch for any device: faces expanded to fragments, depth and face packed, scatter-min.

Every face becomes one candidate per pixel of its bounding box; the candidates that pass the edge tests compete for
their pixel by the minimum of (depth bits << 32 | face id), whatever the order in which they arrive. Positive
float32 numbers order like their bits. Geometry: see :mod:`model.raster.fragments`.
"""

from __future__ import annotations

import torch

from model.camera import Camera
from model.raster.fragments import DEGENERATE, NEAR

CANDIDATES_AT_ONCE = 1 << 22
"""Candidates expanded at a time: about 0.6 GB of temporaries in float64."""

_EMPTY = torch.iinfo(torch.int64).max


@torch.no_grad()
def face_ids(vertices: torch.Tensor, faces: torch.Tensor, camera: Camera, near: float = NEAR) -> torch.Tensor:
    """The nearest face at every pixel.

    Args:
        vertices: (B, V, 3) camera frame, metres, any device.
        faces: (F, 3) int64, same device.
        camera: intrinsics and image size.
        near: surfaces nearer than this (metres) are cut away.

    Returns:
        (B, H, W) int32, -1 where empty. Depths are compared in float32: surfaces closer together than 1e-7 of their
        depth count as equal, and the lower face id wins.
    """
    batch, height, width = vertices.shape[0], camera.height, camera.width
    # Edge functions cancel badly in float32; Apple's devices have nothing better.
    exact = torch.float32 if vertices.device.type == "mps" else torch.float64
    corners = vertices.to(exact)[:, faces].reshape(-1, 3, 3)  # (B*F, 3, 3)
    edges, determinant, usable = _edge_functions(corners, camera)
    left, right, top, bottom = _boxes(corners, camera, near)
    spans_x, spans_y = (right - left + 1).clamp_min(0), (bottom - top + 1).clamp_min(0)
    areas = torch.where(usable, spans_x * spans_y, torch.zeros_like(spans_x))
    drawn = areas.nonzero().squeeze(-1)
    packed = torch.full((batch * height * width,), _EMPTY, dtype=torch.int64, device=vertices.device)
    for chunk, total in _chunks(drawn, areas):
        counts = areas[chunk]
        # With the total given, the host does not wait for the device to count.
        owner = torch.repeat_interleave(chunk, counts, output_size=total)
        starts = torch.repeat_interleave(counts.cumsum(0) - counts, counts, output_size=total)
        place = torch.arange(owner.shape[0], device=vertices.device) - starts
        columns = spans_x[owner]
        x = left[owner] + place % columns
        y = top[owner] + torch.div(place, columns, rounding_mode="floor")
        position = torch.stack([x.to(exact) + 0.5, y.to(exact) + 0.5, torch.ones_like(x, dtype=exact)], dim=-1)
        value = (edges[owner] * position[:, None]).sum(-1)  # (N, 3), already divided by the determinant
        depth = 1.0 / value.sum(-1)
        inside = ((value >= 0).all(-1) & (depth >= near)).nonzero().squeeze(-1)
        owner, x, y = owner[inside], x[inside], y[inside]
        bits = depth[inside].float().view(torch.int32).long()
        item, face = torch.div(owner, faces.shape[0], rounding_mode="floor"), owner % faces.shape[0]
        packed.scatter_reduce_(0, (item * height + y) * width + x, (bits << 32) | face, reduce="amin")
    result = torch.where(packed == _EMPTY, -1, packed & 0xFFFFFFFF)
    return result.to(torch.int32).reshape(batch, height, width)


def _edge_functions(corners: torch.Tensor, camera: Camera) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Coefficients (N, 3, 3) of E_i / det in (px, py, 1), det (N,), and which triangles are not degenerate."""
    v0, v1, v2 = corners.unbind(1)
    normals = torch.stack([torch.linalg.cross(v1, v2), torch.linalg.cross(v2, v0), torch.linalg.cross(v0, v1)], dim=1)
    determinant = (v0 * normals[:, 0]).sum(-1)
    usable = determinant.abs() > DEGENERATE * corners.norm(dim=-1).prod(-1)
    along_x, along_y = normals[..., 0] / camera.fx, normals[..., 1] / camera.fy
    constant = normals[..., 2] - camera.cx * along_x - camera.cy * along_y
    coefficients = torch.stack([along_x, along_y, constant], dim=-1)
    return coefficients / torch.where(usable, determinant, 1.0)[:, None, None], determinant, usable


def _boxes(corners: torch.Tensor, camera: Camera, near: float) -> tuple[torch.Tensor, ...]:
    """Inclusive pixel boxes (left, right, top, bottom) of the parts beyond the near plane, (N,) int64; may be empty."""
    following = corners.roll(-1, dims=1)
    step = (near - corners[..., 2]) / (following[..., 2] - corners[..., 2])
    crossing = (corners[..., 2] >= near) != (following[..., 2] >= near)
    cut = corners + step[..., None] * (following - corners)
    points = torch.cat([corners, cut], dim=1)
    valid = torch.cat([corners[..., 2] >= near, crossing], dim=1)
    # The cut lies on the near plane up to rounding; dividing by `near` there is exact enough for a box.
    depth = torch.cat([corners[..., 2], torch.full_like(step, near)], dim=1).clamp_min(near)
    x = camera.fx * points[..., 0] / depth + camera.cx
    y = camera.fy * points[..., 1] / depth + camera.cy

    def low(values: torch.Tensor, limit: int) -> torch.Tensor:
        smallest = torch.where(valid, values, torch.inf).amin(1).nan_to_num(nan=limit + 1.0)
        return (smallest.clamp(0, limit + 1) - 0.501).ceil().clamp_min(0).long()

    def high(values: torch.Tensor, limit: int) -> torch.Tensor:
        largest = torch.where(valid, values, -torch.inf).amax(1).nan_to_num(nan=-1.0)
        return (largest.clamp(-1, limit) - 0.499).floor().clamp_max(limit - 1).long()

    return low(x, camera.width), high(x, camera.width), low(y, camera.height), high(y, camera.height)


def _chunks(drawn: torch.Tensor, areas: torch.Tensor) -> list[tuple[torch.Tensor, int]]:
    """Cut the faces drawn into runs of about CANDIDATES_AT_ONCE candidates, and count those of each run.

    A single face may exceed the limit.
    """
    if drawn.numel() == 0:
        return []
    ends = areas[drawn].cumsum(0)
    number = torch.div(ends, CANDIDATES_AT_ONCE, rounding_mode="floor")
    sizes = torch.unique_consecutive(number, return_counts=True)[1]
    last = ends[sizes.cumsum(0) - 1]
    totals = torch.diff(last, prepend=last.new_zeros(1))
    counts, candidates = torch.stack([sizes, totals]).tolist()
    return list(zip(drawn.split(counts), candidates, strict=True))
