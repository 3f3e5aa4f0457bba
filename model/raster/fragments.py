"""What a mesh rasteriser returns, and how its barycentrics follow from the vertices.

The geometry, once for all backends. A pixel with centre (px, py) looks along d = ((px - cx) / fx, (py - cy) / fy, 1).
It meets the plane of the triangle (v0, v1, v2) where t d = b0 v0 + b1 v1 + b2 v2 with b0 + b1 + b2 = 1, hence

    E0 = d . (v1 x v2),  E1 = d . (v2 x v0),  E2 = d . (v0 x v1),   b_i = E_i / (E0 + E1 + E2),
    t = v0 . (v1 x v2) / (E0 + E1 + E2).

As d has z = 1, t is the depth, and the b_i are perspective-correct. The E_i need no division by a vertex's depth, so a
triangle that reaches behind the camera needs no clipping: its pixels are those with b_i >= 0 and t >= near.
(Homogeneous rasterisation: Olano and Greer, "Triangle scan conversion using 2D homogeneous coordinates", 1997.)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from model.camera import Camera

NEAR = 0.01
"""Default near plane, metres."""

DEGENERATE = 1e-14
"""A triangle is skipped where abs(det(v0, v1, v2)) <= DEGENERATE * |v0| |v1| |v2|: no area, or seen along its plane."""


@dataclass(frozen=True)
class Fragments:
    """The nearest surface behind every pixel."""

    face_id: torch.Tensor
    """(B, H, W) int32, the face seen at the pixel's centre; -1 where there is none."""
    bary: torch.Tensor
    """(B, H, W, 3) perspective-correct barycentrics in the order of the face's vertices; 0 where empty.
    Carries gradients to the vertices when those require them."""
    depth: torch.Tensor
    """(B, H, W) z in the camera frame, metres; 0 where empty. Carries gradients like ``bary``."""

    @property
    def mask(self) -> torch.Tensor:
        """(B, H, W) bool, whether any face covers the pixel."""
        return self.face_id >= 0


def pixel_rays(pixels: torch.Tensor, camera: Camera, dtype: torch.dtype) -> torch.Tensor:
    """Rays (N, 3) with z = 1 through the centres of flat pixel indices (N,) int64 of one image (row by row)."""
    x = (pixels % camera.width).to(dtype) + 0.5
    y = torch.div(pixels, camera.width, rounding_mode="floor").to(dtype) + 0.5
    return torch.stack([(x - camera.cx) / camera.fx, (y - camera.cy) / camera.fy, torch.ones_like(x)], dim=-1)


def intersect(corners: torch.Tensor, rays: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Barycentrics and depth where rays from the origin meet the planes of triangles; differentiable in both.

    Args:
        corners: (N, 3, 3) vertices of a triangle per ray, camera frame, metres.
        rays: (N, 3) directions with z = 1.

    Returns:
        bary (N, 3) and depth (N,), in the dtype of ``corners``.

    Equal to the formula in the module's docstring. It is written with differences to the first vertex, where the plain
    one would lose four digits in float32: E_i is of the size of a triangle's area, its summands of the depth squared.
    """
    v0, v1, v2 = corners.unbind(dim=1)
    edge1, edge2 = v1 - v0, v2 - v0
    # The point of the ray at the depth of v0, relative to v0: its z is zero by construction.
    start = rays * v0[:, 2:] - v0
    ray_edge2 = torch.linalg.cross(rays, edge2)
    total = (edge1 * ray_edge2).sum(-1)
    start_edge1 = torch.linalg.cross(start, edge1)
    b1 = (start * ray_edge2).sum(-1) / total
    b2 = (rays * start_edge1).sum(-1) / total
    bary = torch.stack([1 - b1 - b2, b1, b2], dim=-1)
    depth = v0[:, 2] + b1 * edge1[:, 2] + b2 * edge2[:, 2]
    return bary, depth


def fragments_from_faces(
    face_id: torch.Tensor, vertices: torch.Tensor, faces: torch.Tensor, camera: Camera
) -> Fragments:
    """Fragments with gradients: barycentrics and depth recomputed in torch from the vertices of the faces seen.

    Args:
        face_id: (B, H, W) int32, -1 where empty.
        vertices: (B, V, 3) camera frame.
        faces: (F, 3) int64.
        camera: intrinsics of the image.

    Which face a pixel shows is piecewise constant in the vertices; its jumps at silhouettes have no gradient here.
    """
    batch, height, width = face_id.shape
    flat = face_id.reshape(-1)
    covered = (flat >= 0).nonzero().squeeze(-1)
    item = torch.div(covered, height * width, rounding_mode="floor")
    corner_ids = faces[flat[covered].long()] + (item * vertices.shape[1])[:, None]
    corners = vertices.reshape(-1, 3)[corner_ids]
    bary, depth = intersect(corners, pixel_rays(covered % (height * width), camera, vertices.dtype))
    bary_image = vertices.new_zeros(flat.shape[0], 3).index_put((covered,), bary)
    depth_image = vertices.new_zeros(flat.shape[0]).index_put((covered,), depth)
    return Fragments(face_id, bary_image.reshape(batch, height, width, 3), depth_image.reshape(batch, height, width))
