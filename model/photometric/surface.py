"""The part of a head whose colours are compared: skin of the face and eyeballs, its texels and sample points.

Texels lie on the triangles themselves (mesh colours: Yuksel, Keyser and House, ACM ToG 29(2), 2010), so any head has
them, with or without a texture layout. Texel (i, j) of a triangle of resolution R has the barycentrics
(i, j, R - i - j) / R and is number i (2 R + 3 - i) / 2 + j of the triangle's texels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from model.fitting.landmark_model import LandmarkModel, landmark_model
from model.head.landmarks import LandmarkEmbedding

if TYPE_CHECKING:
    from model.head import HeadModel

MAX_RESOLUTION = 12
_NEAR_LANDMARK_M = 0.02
"""A vertex this near to a landmark belongs to the face of a head that does not name its parts."""
_EYE_FRONT = 0.25
"""An eyeball's triangles face the front by at least this cosine at rest: what no gaze brings to light is left out."""
_DETAIL = {"lips": 2.0, "eyelids": 2.0, "eyes": 2.5, "brows": 1.5}
"""How much denser samples lie where colours have edges."""
_HIDDEN = ("lashes", "teeth", "tongue", "mouth_interior", "eye_sockets")
"""Parts whose colours are not compared: thin, translucent, or not modelled well enough to be told from the dark."""


@dataclass(frozen=True, eq=False)
class Surface:
    """Face and eyeballs of a head, ready for the kernels. Vertices are those of ``head``, a subset of the whole."""

    head: HeadModel
    """The vertices compared, and no others."""
    faces: np.ndarray
    """(F, 3) int64."""
    skin: np.ndarray
    """(F,) bool: skin, not eyeball."""
    resolution: np.ndarray
    """(F,) int64 texel resolution R of each face."""
    offset: np.ndarray
    """(F,) int64 number of each face's first texel."""
    texel_face: np.ndarray
    """(N,) int64."""
    texel_bary: np.ndarray
    """(N, 3) float32."""
    samples: np.ndarray
    """(K,) int64 texels whose colours drive the codes, neighbours together."""
    points: LandmarkModel
    """The K samples as functions of expressions, shape and motion, like landmarks."""
    layout: tuple[np.ndarray, np.ndarray] | None
    """The head's texture layout for these faces: coordinates (U, 2) in [0, 1] and (F, 3) rows of them."""

    @property
    def num_texels(self) -> int:
        """N."""
        return len(self.texel_face)

    @cached_property
    def sample_corners(self) -> np.ndarray:
        """(K, 3) int64 vertices of the samples' triangles."""
        return np.ascontiguousarray(self.faces[self.texel_face[self.samples]])

    @cached_property
    def sample_bary(self) -> np.ndarray:
        """(K, 3) float32."""
        return np.ascontiguousarray(self.texel_bary[self.samples])

    @cached_property
    def texel_corners(self) -> np.ndarray:
        """(N, 3) int64 vertices of the texels' triangles."""
        return np.ascontiguousarray(self.faces[self.texel_face])

    def pose(self, shape: np.ndarray, codes: np.ndarray, root_joint: np.ndarray) -> np.ndarray:
        """Posed vertices (T, V, 3) float32, camera frame, of codes (T, E + 15) as the fit orders them."""
        at = torch.as_tensor(np.asarray(codes), dtype=torch.float32)
        e = at.shape[1] - 15
        root = torch.as_tensor(np.asarray(root_joint), dtype=torch.float32)
        with torch.no_grad():
            vertices, _ = self.head.pose(
                torch.as_tensor(np.asarray(shape), dtype=torch.float32),
                expression=at[:, :e], jaw=at[:, e : e + 3], eyes=at[:, e + 3 : e + 9],
                rotation=at[:, e + 9 : e + 12], translation=at[:, e + 12 :] - root,
            )  # fmt: skip
        return np.ascontiguousarray(vertices.numpy())


def _mask(head: HeadModel, name: str) -> np.ndarray:
    out = np.zeros(head.num_vertices, dtype=bool)
    if name in head.groups:
        out[np.asarray(head.groups[name])] = True
    return out


def _face_mask(head: HeadModel) -> np.ndarray:
    """Vertices (V,) of the skin of the face."""
    face = _mask(head, "face")
    if not face.any():
        template = head.v_template
        marks = head.landmark_points(template[None])[0]
        face = (torch.cdist(template, marks).amin(1) < _NEAR_LANDMARK_M).numpy()
    for name in (*_HIDDEN, "eyes"):
        face &= ~_mask(head, name)
    return face


def _texels(vertices: np.ndarray, faces: np.ndarray, spacing_m: float) -> tuple[np.ndarray, ...]:
    """Resolution (F,), offset (F,), and face (N,) and bary (N, 3) of all texels."""
    edges = vertices[faces] - vertices[np.roll(faces, 1, axis=1)]
    longest = np.linalg.norm(edges, axis=2).max(axis=1)
    resolution = np.clip(np.ceil(longest / spacing_m), 1, MAX_RESOLUTION).astype(np.int64)
    counts = (resolution + 1) * (resolution + 2) // 2
    offset = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
    face = np.repeat(np.arange(len(faces), dtype=np.int64), counts)
    bary = np.empty((len(face), 3), np.float32)
    for value in np.unique(resolution):
        i, j = np.array([(i, j) for i in range(value + 1) for j in range(value + 1 - i)], np.float32).T
        pattern = np.stack([i, j, value - i - j], axis=1) / np.float32(value)
        members = np.flatnonzero(resolution == value)
        places = offset[members][:, None] + np.arange(len(pattern))
        bary[places.reshape(-1)] = np.tile(pattern, (len(members), 1))
    return resolution, offset, face, bary


def _choose(places: np.ndarray, density: np.ndarray, count: int) -> np.ndarray:
    """``count`` of N texels, spread by systematic sampling along a space-filling order; neighbours stay together."""
    low = places.min(axis=0)
    cells = ((places - low) / max(float(np.ptp(places, axis=0).max()), 1e-9) * 1023).astype(np.int64)
    order = np.zeros(len(places), dtype=np.int64)
    for bit in range(10):
        for axis in range(3):
            order |= ((cells[:, axis] >> bit) & 1) << (3 * bit + axis)
    ranked = np.argsort(order, kind="stable")
    total = np.cumsum(density[ranked])
    at = np.searchsorted(total, (np.arange(count) + 0.5) / count * total[-1])
    return ranked[np.unique(np.minimum(at, len(ranked) - 1))]


def make_surface(head: HeadModel, samples: int, texel_m: float) -> Surface:
    """Cut the compared part out of a head.

    Args:
        head: any head with landmarks; its groups ``face`` and ``eyes`` say what is compared. Without them, the face is
            what lies near landmarks.
        samples: how many points drive the codes.
        texel_m: distance between texels, metres.

    Raises:
        ModelFileError: the head has neither a group ``face`` nor landmarks.
    """
    face, eyes = _face_mask(head), _mask(head, "eyes")
    whole_faces = head.faces.numpy()
    template = head.v_template.numpy()
    sides = np.cross(*(template[whole_faces[:, k]] - template[whole_faces[:, 0]] for k in (1, 2)))
    shown = sides[:, 2] < -_EYE_FRONT * np.linalg.norm(sides, axis=1)
    kept = face[whole_faces].all(1) | (eyes[whole_faces].all(1) & shown)
    ids = np.unique(whole_faces[kept])
    part = replace(head.subset(torch.from_numpy(ids)), landmarks=None)
    new_of_old = np.zeros(head.num_vertices, dtype=np.int64)
    new_of_old[ids] = np.arange(len(ids))
    faces = np.ascontiguousarray(new_of_old[whole_faces[kept]])
    part = replace(part, faces=torch.from_numpy(faces), uv_faces=None)
    template = part.v_template.numpy()
    resolution, offset, texel_face, bary = _texels(template, faces, texel_m)
    corners = faces[texel_face]
    places = np.einsum("nk,nkx->nx", bary, template[corners])
    a, b, c = (template[faces[:, k]] for k in range(3))
    area = 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1)
    density = (area / np.bincount(texel_face, minlength=len(faces)))[texel_face]
    for name, factor in _DETAIL.items():
        density = density * np.where(_mask(head, name)[ids][corners].all(1), factor, 1.0)
    chosen = _choose(places, density, samples)
    embedding = LandmarkEmbedding(
        torch.from_numpy(texel_face[chosen]),
        torch.from_numpy(bary[chosen]),
        torch.ones(len(chosen)),
        torch.zeros(len(chosen)),
    )
    points = landmark_model(replace(part, landmarks=embedding))
    layout = None
    if head.uv is not None and head.uv_faces is not None:
        layout = head.uv.numpy(), head.uv_faces.numpy()[kept]
    return Surface(part, faces, ~eyes[ids][faces].all(1), resolution, offset, texel_face, bary, chosen, points, layout)
