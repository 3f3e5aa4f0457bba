""":mod:`model.photometric.view` as batched torch: what pictures show of a posed surface, on any device.

Rasterising is ``model.raster``'s. No sum here depends on the order in which threads arrive. Rules of visibility and
formulas are those of ``kernels.py``: ``observe``, ``shade``, ``vertex_normals``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.camera import Camera
from model.head import HeadModel
from model.photometric.surface import Surface
from model.photometric.torch_appearance import polynomials
from model.photometric.view import SEEN
from model.raster import Backend, Fragments, rasterize

RASTERISER: Backend = "auto"
"""pytorch3d or plain torch on a GPU, numba on the CPU, where this module runs only to be compared."""
MIN_DEPTH = 0.02
"""Metres, as in the kernels."""


@dataclass(frozen=True)
class Sites:
    """K places on the surface."""

    corners: Tensor
    """(K, 3) int64 vertices."""
    bary: Tensor
    """(K, 3) float32."""
    skin: Tensor
    """(K,) bool: skin, not eyeball."""

    def mix(self, values: Tensor) -> Tensor:
        """Values (T, V, 3) of the vertices at the places: (T, K, 3)."""
        out = values[:, self.corners[:, 0]] * self.bary[:, 0, None]
        for corner in (1, 2):
            out = torch.addcmul(out, values[:, self.corners[:, corner]], self.bary[:, corner, None])
        return out


@dataclass(frozen=True)
class DeviceSurface:
    """A surface's arrays on a device; see ``Surface``."""

    head: HeadModel
    faces: Tensor
    skin: Tensor
    resolution: Tensor
    offset: Tensor
    samples: Sites
    texels: Sites
    sample_texels: Tensor
    """(K,) int64 the samples among the texels."""
    around: Tensor
    """(V, D) int64 faces round every vertex, then F as often as needed."""

    def pose(self, shape: Tensor, codes: Tensor, root: Tensor) -> Tensor:
        """Vertices (T, V, 3) of codes (T, E + 15); all float32."""
        e = codes.shape[1] - 15
        return self.head.pose(
            shape, expression=codes[:, :e], jaw=codes[:, e : e + 3], eyes=codes[:, e + 3 : e + 9],
            rotation=codes[:, e + 9 : e + 12], translation=codes[:, e + 12 :] - root,
        )[0]  # fmt: skip


def upload_surface(surface: Surface, place: torch.device) -> DeviceSurface:
    """A surface on a device."""

    def there(array: np.ndarray) -> Tensor:
        return torch.as_tensor(array, device=place)

    skin = surface.skin[surface.texel_face]
    return DeviceSurface(
        surface.head.to(place), there(surface.faces), there(surface.skin), there(surface.resolution),
        there(surface.offset),
        Sites(there(surface.sample_corners), there(surface.sample_bary), there(skin[surface.samples])),
        Sites(there(surface.texel_corners), there(surface.texel_bary), there(skin)),
        there(surface.samples), there(_faces_around(surface.faces, surface.head.num_vertices)),
    )  # fmt: skip


def _faces_around(faces: np.ndarray, vertices: int) -> np.ndarray:
    """(V, D) faces of every vertex, filled up with F."""
    vertex, face = faces.reshape(-1), np.repeat(np.arange(len(faces)), 3)
    order = np.argsort(vertex, kind="stable")
    counts = np.bincount(vertex, minlength=vertices)
    out = np.full((vertices, int(counts.max())), len(faces), dtype=np.int64)
    starts = np.cumsum(counts) - counts
    out[vertex[order], np.arange(len(order)) - starts[vertex[order]]] = face[order]
    return out


@dataclass(frozen=True)
class DevicePosed:
    """A surface in T frames and the faces behind the pixels of their pictures."""

    vertices: Tensor
    """(T, V, 3)."""
    normals: Tensor
    """(T, V, 3) unit."""
    fragments: Fragments


def posed(surface: DeviceSurface, vertices: Tensor, camera: Camera) -> DevicePosed:
    """Normals and visible faces of vertices (T, V, 3) float32."""
    a, b, c = vertices[:, surface.faces].unbind(2)
    across = torch.nn.functional.pad(torch.linalg.cross(b - a, c - a), (0, 0, 0, 1))
    normals = across.new_zeros(vertices.shape)
    for number in range(surface.around.shape[1]):
        normals += across[:, surface.around[:, number]]
    normals /= normals.norm(dim=-1, keepdim=True).clamp_min(1e-20)
    return DevicePosed(vertices, normals, rasterize(vertices, surface.faces, camera, RASTERISER))


def place(x: Tensor, y: Tensor, width: int, height: int) -> tuple[Tensor, Tensor, Tensor]:
    """Where pixels (T, K) are read: the upper left neighbour in the flat batch, shares of the right and the lower."""
    x, y = (x - 0.5).clamp(0, width - 1), (y - 0.5).clamp(0, height - 1)
    i, j = x.long().clamp_max(width - 2), y.long().clamp_max(height - 2)
    first = torch.arange(len(x), device=x.device)[:, None] * (width * height)
    return first + j * width + i, x - i, y - j


def neighbours(flat: Tensor, width: int) -> Tensor:
    """The four pixels (..., 4) that a place between them mixes: upper two, then lower two."""
    corner = torch.arange(4, device=flat.device)  # made there: a copy from the host would be waited for
    return flat[..., None] + corner % 2 + torch.div(corner, 2, rounding_mode="floor") * width


def look(
    surface: DeviceSurface, pose: DevicePosed, images: Tensor, camera: Camera, facing: float, sites: Sites
) -> tuple[Tensor, Tensor, Tensor]:
    """Colours (T, K, 3) in [0, 1], normals (T, K, 3) and weights (T, K) of some places, see ``kernels.observe``."""
    height, width = images.shape[1:3]
    points, normal = sites.mix(pose.vertices), sites.mix(pose.normals)
    normal = normal / (normal.norm(dim=-1, keepdim=True) + 1e-12)
    depth = points[..., 2]
    cosine = -(normal * points).sum(-1) / points.norm(dim=-1)
    near = depth > MIN_DEPTH
    inverse = 1.0 / torch.where(near, depth, 1.0)
    x, y = camera.fx * points[..., 0] * inverse + camera.cx, camera.fy * points[..., 1] * inverse + camera.cy
    shown = near & (cosine > facing) & (x >= 0.5) & (x <= width - 0.5) & (y >= 0.5) & (y <= height - 0.5)
    x, y = torch.where(shown, x, 0.5), torch.where(shown, y, 0.5)
    flat, s, q = place(x, y, width, height)
    around = neighbours(flat, width)

    ids, depths = pose.fragments.face_id.reshape(-1), pose.fragments.depth.reshape(-1)
    slack = 0.002 + 1.5 * depth / camera.fx / cosine
    farthest = torch.where(ids[around] < 0, 1e9, depths[around]).amax(-1)
    first = torch.arange(len(x), device=x.device)[:, None] * (width * height)
    pixel = first + y.long().clamp_max(height - 1) * width + x.long().clamp_max(width - 1)
    face = ids[pixel].long()
    eyeball = (face >= 0) & ~surface.skin[face.clamp_min(0)]
    seen = shown & torch.where(sites.skin, depth <= farthest + slack, eyeball)

    corners = images.reshape(-1, 4)[around][..., :3].float()
    s, q = s[..., None], q[..., None]
    upper = corners[:, :, 0] * (1 - s) + corners[:, :, 1] * s
    lower = corners[:, :, 2] * (1 - s) + corners[:, :, 3] * s
    colour = torch.where(seen[..., None], (upper * (1 - q) + lower * q) / 255, 0.0)
    return colour, normal, torch.where(seen, (cosine - facing) / (1 - facing), 0.0)


def render(
    surface: DeviceSurface, pose: DevicePosed, albedo: Tensor, known: Tensor, light: Tensor, gain: Tensor,
    camera: Camera,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Pictures (T, H, W, 3) in [0, 1], and (T, H, W) bool where they hold something; see ``kernels.shade``.

    Args:
        surface: the surface.
        pose: its poses.
        albedo: (N, 3) colours of the texels.
        known: (N,) bool.
        light: (9, 3) factors of the polynomials.
        gain: (T, 3).
        camera: of the pictures.
    """
    ids = pose.fragments.face_id
    drawn = ids >= 0
    t, row, column = drawn.nonzero().unbind(1)
    face, bary = ids[drawn].long(), pose.fragments.bary[drawn]
    normal = torch.zeros_like(bary)
    for corner in range(3):
        normal = torch.addcmul(normal, pose.normals[t, surface.faces[face, corner]], bary[:, corner, None])
    normal = normal / (normal.norm(dim=-1, keepdim=True) + 1e-12)
    ray = torch.stack([(column + 0.5 - camera.cx) / camera.fx, (row + 0.5 - camera.cy) / camera.fy,
                       torch.ones_like(t, dtype=torch.float32)], dim=-1)  # fmt: skip
    seen = -(normal * ray).sum(-1) > SEEN * ray.norm(dim=-1)

    # Texels of the little triangle that the pixel falls into; its corners' numbers as in ``surface``.
    r, start = surface.resolution[face], surface.offset[face]
    u, v = bary[:, 0].clamp_min(0) * r, bary[:, 1].clamp_min(0) * r
    i, j = torch.minimum(u.long(), r - 1), torch.minimum(v.long(), r - 1)
    j = torch.minimum(j, r - 1 - i)
    su, sv = (u - i).clamp_max(1), (v - j).clamp_max(1)
    here = start + torch.div(i * (2 * r + 3 - i), 2, rounding_mode="floor") + j
    after = start + torch.div((i + 1) * (2 * r + 2 - i), 2, rounding_mode="floor") + j
    upright = (su + sv <= 1) | (i + j + 2 > r)
    texels = torch.stack(
        [torch.where(upright, here, after + 1), torch.where(upright, after, here + 1),
         torch.where(upright, here + 1, after)], dim=-1,
    )  # fmt: skip
    shares = torch.stack(
        [torch.where(upright, (1 - su - sv).clamp_min(0), su + sv - 1), torch.where(upright, su, 1 - su),
         torch.where(upright, sv, 1 - sv)], dim=-1,
    )  # fmt: skip
    seen &= known[texels].all(-1)
    colour = (albedo[texels] * shares[..., None]).sum(1) * (polynomials(normal) @ light).clamp_min(0) * gain[t]
    out, covered = bary.new_zeros(*ids.shape, 3), torch.zeros_like(drawn)
    out[drawn] = torch.where(seen[:, None], colour, 0.0)
    covered[drawn] = seen
    return out, covered


def residuals(
    surface: DeviceSurface, pose: DevicePosed, images: Tensor, rendered: Tensor, covered: Tensor
) -> Tensor:
    """Mean absolute difference of colours (T,) float64 over visible skin; 0 where none is visible."""
    on = covered & surface.skin[pose.fragments.face_id.long().clamp_min(0)]
    apart = (images[..., :3].float() / 255 - rendered).abs().mean(-1)
    total = torch.where(on, apart, 0.0).sum((1, 2), dtype=torch.float64)
    return total / on.sum((1, 2)).clamp_min(1)
