"""3D Gaussians that ride on the triangles of a head, of any topology: local values, and where they lie on a posed mesh.

The binding is the one published with GaussianAvatars (Qian et al., CVPR 2024, section 3.2; formulas as in its code).
For a triangle (v0, v1, v2), with e0 = v1 - v0 and e1 = v2 - v0::

    a0 = e0 / |e0|      a1 = (a0 x e1) / |a0 x e1|      a2 = a0 x a1
    R = [a0 a1 a2]      T = (v0 + v1 + v2) / 3          k = (|e0| + |a2 . e1|) / 2

R is a rotation (a1 is the normal, a2 lies in the plane) and k the mean of base edge and height, so a similarity
x -> s Q x + t of the mesh takes (R, T, k) to (Q R, s Q T + t, s k). A Gaussian of local values (mu, q, s, o) lies at::

    mu' = k R mu + T      q' = q(R) * q / |q|      scales' = k exp(s)      opacity' = sigmoid(o)

Colours are spherical harmonics in the frame of the *world*, as published: they are not turned with R. A head seen by a
single camera should be fitted with degree 0, which depends on no direction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from model.quaternions import matrix_to_quaternion, multiply
from model.triangles import frames as frames_of

if TYPE_CHECKING:
    from model.head import HeadModel

START_OPACITY = 0.1
"""Opacity of a Gaussian at the published start."""
SH_DEGREES = (0, 1, 2, 3)

_C0 = 0.28209479177387814
_C1 = 0.4886025119029199
_C2 = (1.0925484305920792, -1.0925484305920792, 0.31539156525252005, -1.0925484305920792, 0.5462742152960396)
_C3 = (
    -0.5900435899266435, 2.890611442640554, -0.4570457994644658, 0.3731763325901154,
    -0.4570457994644658, 1.445305721320277, -0.5900435899266435,
)  # fmt: skip


@dataclass(eq=False)
class BoundGaussians:
    """N Gaussians in the local frames of triangles; everything is raw, as it is optimised and stored.

    Float tensors are float32 (float64 works too), on one device.
    """

    mean: Tensor
    """(N, 3) position in units of the triangle's scale k, along (a0, a1, a2); 0 is the centroid."""
    log_scale: Tensor
    """(N, 3) logarithm of the standard deviations along the Gaussian's axes, in units of k."""
    rotation: Tensor
    """(N, 4) quaternion w, x, y, z of the Gaussian's axes in the triangle's frame; any length but 0."""
    opacity: Tensor
    """(N,) logit."""
    sh: Tensor
    """(N, K, 3) spherical harmonics of red, green, blue, K = (degree + 1)^2, in the order of 3D Gaussian splatting."""
    face: Tensor
    """(N,) int64: the triangle each one rides on."""

    def __len__(self) -> int:
        return self.mean.shape[0]

    @property
    def degree(self) -> int:
        """Degree of the spherical harmonics, 0 to 3."""
        return math.isqrt(self.sh.shape[1]) - 1

    @property
    def device(self) -> torch.device:
        """Where the tensors lie."""
        return self.mean.device

    def parameters(self) -> dict[str, Tensor]:
        """What can be optimised, by name: everything but ``face``."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "face"}

    def to(self, device: torch.device | str) -> BoundGaussians:
        """The same Gaussians on another device."""
        return BoundGaussians(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})

    def detach(self) -> BoundGaussians:
        """The same values without their history."""
        return BoundGaussians(**{field.name: getattr(self, field.name).detach() for field in fields(self)})

    def clone(self) -> BoundGaussians:
        """A copy of the values, without their history."""
        return BoundGaussians(**{field.name: getattr(self, field.name).detach().clone() for field in fields(self)})

    def select(self, which: Tensor) -> BoundGaussians:
        """Those at the indices, or under the mask, ``which`` (M,) or (N,)."""
        return BoundGaussians(**{field.name: getattr(self, field.name)[which] for field in fields(self)})

    def requires_grad_(self, on: bool = True) -> BoundGaussians:
        """Ask for gradients to all parameters (in place), as of a tensor."""
        for value in self.parameters().values():
            value.requires_grad_(on)
        return self

    def with_degree(self, degree: int) -> BoundGaussians:
        """The same with higher terms cut off, or filled with zeros.

        Raises:
            ValueError: not a degree from 0 to 3.
        """
        if degree not in SH_DEGREES:
            raise ValueError(f"The degree of spherical harmonics is 0, 1, 2 or 3, not {degree}")
        count = (degree + 1) ** 2
        kept = self.sh[:, :count]
        more = self.sh.new_zeros(len(self), count - kept.shape[1], 3)
        return replace(self, sh=torch.cat([kept, more], dim=1))


def join(parts: Sequence[BoundGaussians]) -> BoundGaussians:
    """All Gaussians of several sets of one degree, in order."""
    return BoundGaussians(
        **{field.name: torch.cat([getattr(part, field.name) for part in parts]) for field in fields(BoundGaussians)}
    )


@dataclass(frozen=True, eq=False)
class TriangleFrames:
    """Frames of all triangles of a batch of posed meshes; computed when they are first asked for."""

    vertices: Tensor
    """(B, V, 3) metres."""
    faces: Tensor
    """(F, 3) int64."""

    @cached_property
    def _parts(self) -> tuple[Tensor, Tensor, Tensor]:
        return frames_of(self.vertices, self.faces)

    @property
    def rotation(self) -> Tensor:
        """(B, F, 3, 3): columns a0, a1, a2; determinant +1."""
        return self._parts[0]

    @property
    def origin(self) -> Tensor:
        """(B, F, 3) centroids, metres."""
        return self._parts[1]

    @property
    def scale(self) -> Tensor:
        """(B, F) k, metres; 0 where all corners coincide."""
        return self._parts[2]


@dataclass(frozen=True, eq=False)
class World:
    """Gaussians on a batch of posed meshes, ready for :func:`model.raster.gaussian.rasterize_gaussians`."""

    means: Tensor
    """(B, N, 3) metres, in the frame of the vertices."""
    quats: Tensor
    """(B, N, 4) w, x, y, z, unit length."""
    scales: Tensor
    """(B, N, 3) standard deviations, metres."""
    opacities: Tensor
    """(N,) in (0, 1)."""
    colours: Tensor
    """(N, 3) at degree 0, else (B, N, 3); not below 0."""


def triangle_frames(vertices: Tensor, faces: Tensor) -> TriangleFrames:
    """Rotation, origin and scale of every triangle, as the formulas at the top; differentiable in the vertices.

    A triangle without area gives a rotation all the same (fixed axes stand in for those it does not have) and finite
    gradients: zero through what it does not have.

    Args:
        vertices: (B, V, 3) metres.
        faces: (F, 3) int64.
    """
    if vertices.ndim != 3 or vertices.shape[-1] != 3 or faces.ndim != 2 or faces.shape[-1] != 3:
        raise ValueError(f"Expected vertices (B, V, 3) and faces (F, 3), got {vertices.shape} and {faces.shape}")
    return TriangleFrames(vertices, faces)


def to_world(gaussians: BoundGaussians, frames: TriangleFrames, view_directions_from: Tensor | None = None) -> World:
    """Where the Gaussians lie on posed meshes; differentiable in every parameter and in the vertices.

    Args:
        gaussians: N of them; a ``face`` outside the frames' F is an IndexError.
        frames: of B poses, from :func:`triangle_frames`.
        view_directions_from: (3,) or (B, 3), where the camera stands in the frame of the vertices, metres, for colours
            that depend on the direction; None is the origin, right for vertices in the camera's frame. Colours of
            degree 0 do not need it. No gradient flows into directions.
    """
    means, quats, scales = placed(gaussians, frames)
    return World(
        means, quats, scales, torch.sigmoid(gaussians.opacity), _colours(gaussians, means, view_directions_from)
    )


def placed(gaussians: BoundGaussians, frames: TriangleFrames) -> tuple[Tensor, Tensor, Tensor]:
    """Means (B, N, 3), quaternions (B, N, 4) and scales (B, N, 3) on posed meshes.

    On a CPU by numba (:mod:`model.gaussians_numba`), elsewhere in plain torch.
    """
    face, count = gaussians.face, frames.faces.shape[0]
    if len(face) and (int(face.min()) < 0 or int(face.max()) >= count):
        raise IndexError(
            f"Gaussians are bound to faces {int(face.min())} to {int(face.max())}, but the mesh has {count} faces"
        )
    same = len({value.dtype for value in (frames.vertices, gaussians.mean, gaussians.log_scale, gaussians.rotation)})
    if frames.vertices.device.type == "cpu" and same == 1:
        from model.gaussians_numba import Place

        values = (frames.vertices, gaussians.mean, gaussians.log_scale, gaussians.rotation)
        return Place.apply(*values, face, frames.faces)
    return placed_reference(gaussians, frames)


def placed_reference(gaussians: BoundGaussians, frames: TriangleFrames) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`placed` in plain torch, on any device."""
    face = gaussians.face
    rotation, scale = frames.rotation[:, face], frames.scale[:, face]
    means = scale[..., None] * (rotation @ gaussians.mean[None, ..., None])[..., 0] + frames.origin[:, face]
    local = torch.nn.functional.normalize(gaussians.rotation, dim=-1)
    quats = multiply(matrix_to_quaternion(rotation), local.expand(rotation.shape[0], -1, -1))
    return means, quats, scale[..., None] * gaussians.log_scale.exp()


def _colours(gaussians: BoundGaussians, means: Tensor, view_from: Tensor | None) -> Tensor:
    if gaussians.degree == 0:
        return sh_colours(gaussians.sh)
    eye = means.new_zeros(3) if view_from is None else view_from.to(means)
    directions = torch.nn.functional.normalize(means.detach() - (eye if eye.ndim == 1 else eye[:, None]), dim=-1)
    return sh_colours(gaussians.sh, directions)


def sh_colours(sh: Tensor, directions: Tensor | None = None) -> Tensor:
    """Colours of spherical harmonics as 3D Gaussian splatting defines them: 0.5 + sum of terms, not below 0.

    Args:
        sh: (N, K, 3), K = 1, 4, 9 or 16.
        directions: (..., N, 3) unit vectors from the camera to the Gaussian; not needed for K = 1.

    Returns:
        (N, 3) for K = 1 without directions, else (..., N, 3).
    """
    if sh.shape[1] == 1 and directions is None:
        return torch.clamp(sh[:, 0] * _C0 + 0.5, min=0.0)
    if directions is None:
        raise ValueError("Spherical harmonics above degree 0 need directions")
    terms = sh_basis(directions, math.isqrt(sh.shape[1]) - 1)
    return torch.clamp((terms[..., None] * sh).sum(-2) + 0.5, min=0.0)


def sh_basis(directions: Tensor, degree: int) -> Tensor:
    """Basis (..., (degree + 1)^2) at unit vectors (..., 3), with the signs and the order of 3D Gaussian splatting."""
    x, y, z = directions.unbind(-1)
    terms = [torch.full_like(x, _C0)]
    if degree > 0:
        terms += [-_C1 * y, _C1 * z, -_C1 * x]
    if degree > 1:
        second = (x * y, y * z, 2 * z * z - x * x - y * y, x * z, x * x - y * y)
        terms += [factor * term for factor, term in zip(_C2, second, strict=True)]
    if degree > 2:
        third = (
            y * (3 * x * x - y * y), x * y * z, y * (4 * z * z - x * x - y * y),
            z * (2 * z * z - 3 * x * x - 3 * y * y), x * (4 * z * z - x * x - y * y),
            z * (x * x - y * y), x * (x * x - 3 * y * y),
        )  # fmt: skip
        terms += [factor * term for factor, term in zip(_C3, third, strict=True)]
    return torch.stack(terms, dim=-1)


def colour_to_sh(colour: Tensor) -> Tensor:
    """Coefficient of degree 0 of a colour in [0, 1], any shape: the inverse of ``0.5 + C0 sh``."""
    return (colour - 0.5) / _C0


def one_per_face(
    head: HeadModel | Tensor,
    *,
    degree: int = 0,
    which: Tensor | None = None,
    colours: Tensor | None = None,
    opacity: float = START_OPACITY,
    scale: float = 1.0,
    seed: int = 0,
) -> BoundGaussians:
    """The published start: a Gaussian on every triangle, in its middle, as large as it, nearly grey, opacity 0.1.

    Args:
        head: a head model, or faces (F, 3) int64.
        degree: of the spherical harmonics.
        which: (N,) ids of the faces that get one; None for all. An id that comes n times gets n.
        colours: known colours in [0, 1] to start from: (F, 3) a face, or (V, 3) a vertex (a face takes the mean of its
            corners). F = V is read as faces. None for the published start, where the coefficient of degree 0 is random
            in [0, 1 / 255).
        opacity: start of all opacities, in (0, 1).
        scale: start of all scales, in units of the triangle's k.
        seed: of the random colours.

    Raises:
        ValueError: a number out of its range, or colours that are neither of faces nor of vertices.
    """
    faces = head if isinstance(head, Tensor) else head.faces
    if degree not in SH_DEGREES or not 0 < opacity < 1 or not scale > 0:
        raise ValueError(f"Expected degree 0 to 3, opacity in (0, 1), scale > 0; got {degree}, {opacity}, {scale}")
    device = faces.device
    face = torch.arange(len(faces), device=device) if which is None else which.to(device=device, dtype=torch.int64)
    count = len(face)
    sh = torch.zeros(count, (degree + 1) ** 2, 3, device=device)
    if colours is None:
        draws = torch.rand(count, 3, generator=torch.Generator().manual_seed(seed))
        sh[:, 0] = draws.to(device) / 255
    else:
        given = torch.as_tensor(colours, dtype=torch.float32, device=device)
        if given.ndim != 2 or given.shape[1] != 3 or (len(given) != len(faces) and int(faces.max()) >= len(given)):
            raise ValueError(f"Expected colours (F, 3) = ({len(faces)}, 3) or (V, 3), got {tuple(given.shape)}")
        per_face = given if len(given) == len(faces) else given[faces].mean(1)
        sh[:, 0] = colour_to_sh(per_face[face])
    rotation = torch.zeros(count, 4, device=device)
    rotation[:, 0] = 1.0
    return BoundGaussians(
        mean=torch.zeros(count, 3, device=device),
        log_scale=torch.full((count, 3), math.log(scale), device=device),
        rotation=rotation,
        opacity=torch.full((count,), math.log(opacity / (1 - opacity)), device=device),
        sh=sh,
        face=face,
    )


def from_world(
    means: Tensor, quats: Tensor, scales: Tensor, face: Tensor, frames: TriangleFrames, item: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """The inverse of :func:`placed` for one pose: local means (N, 3), quaternions (N, 4) and log-scales (N, 3).

    Args:
        means: (N, 3) metres, in the frame of the vertices.
        quats: (N, 4) w x y z.
        scales: (N, 3) standard deviations, metres, positive.
        face: (N,) the triangles to bind to; triangles of size 0 give values that are not finite.
        frames: of the pose.
        item: which of its batch.
    """
    rotation, scale = frames.rotation[item, face], frames.scale[item, face]
    local = (rotation.mT @ (means - frames.origin[item, face])[..., None])[..., 0] / scale[:, None]
    unit = torch.nn.functional.normalize(quats, dim=-1)
    back = matrix_to_quaternion(rotation) * unit.new_tensor([1.0, -1.0, -1.0, -1.0])
    return local, multiply(back, unit), (scales / scale[:, None]).log()
