"""Where the vertices of one head lie on the surface of another: the bridge between two topologies.

Both heads are posed with the mouth a little open, so that the lips are apart. MediaPipe's landmarks on both give a
similarity transform and a smooth warp (biharmonic radial basis functions) of the target onto the source; then each
vertex goes to the nearest surface point whose normal agrees, and the steps are smoothed over the mesh, a few times.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import coo_matrix, csr_matrix
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from torch import Tensor

from model.fitting.regions import LIPS_INNER
from model.head.groups import face_mask, vertex_mask
from model.head.load import HeadModel
from rsat_data.errors import ModelFileError
from rsat_data.registry import home

NOT_SKIN = ("eyes", "lashes", "teeth", "tongue", "mouth_interior", "eye_sockets")
"""Faces of the source that no skin lies on, and vertices of the target that are no skin."""
JAW_RAD = 0.12
"""The jaw's angle at which the two heads are compared."""
MIN_TRUST = 0.2
"""Landmarks with less weight in either embedding do not guide."""
SMOOTHING = 2e-4
"""Stiffness of the warp, metres: landmarks are off by about 2 mm, and the warp should not follow that."""
MAX_DISTANCE_M = 0.006
"""A vertex farther than this from the source's surface has no counterpart there."""
MIN_COSINE = 0.5
"""Normals must agree at least so much."""
ROUNDS = 8
CANDIDATES = 16
FIRST_IRIS = 468


@dataclass(frozen=True)
class Correspondence:
    """Every vertex of a target head as a point on the surface of a source head."""

    face_index: np.ndarray
    """(V_target,) int64 triangle of the source."""
    bary: np.ndarray
    """(V_target, 3) float64 barycentric coordinates in it."""
    distance: np.ndarray
    """(V_target,) float64 metres between the warped vertex and its point: how unlike the two heads are there."""
    valid: np.ndarray
    """(V_target,) bool: near enough, with a normal that agrees."""
    in_face: np.ndarray
    """(V_target,) bool: valid, and in the part of the face that the source's group ``face`` or ``lips`` names."""

    def points(self, vertices: Tensor, faces: Tensor, ids: Tensor | None = None) -> Tensor:
        """Places (B, K, 3) of target vertices (all, or ``ids``) on posed source vertices (B, V_source, 3)."""
        chosen = torch.from_numpy(self.face_index) if ids is None else torch.from_numpy(self.face_index)[ids]
        mix = torch.from_numpy(self.bary).to(vertices.dtype)
        mix = mix if ids is None else mix[ids]
        return (vertices[:, faces[chosen]] * mix[None, :, :, None]).sum(2)

    def transfer(self, faces: Tensor, values: Tensor) -> Tensor:
        """(V_target, C) mixes of the source's vertex values (V_source, C)."""
        corners = values[faces[torch.from_numpy(self.face_index)]]
        return (corners * torch.from_numpy(self.bary).to(values.dtype)[..., None]).sum(1)


def correspond(source: HeadModel, target: HeadModel) -> Correspondence:
    """Find each target vertex on the source's skin.

    Args:
        source: a head with landmarks; its groups say what is skin and face.
        target: a head with landmarks, on the CPU as well.

    Raises:
        ModelFileError: a head has no landmark embedding, or they share too few trusted landmarks.
    """
    first, first_marks = _posed(source)
    second, second_marks = _posed(target)
    assert source.landmarks is not None and target.landmarks is not None
    trust = torch.minimum(source.landmarks.weight, target.landmarks.weight).double().numpy()
    trust[FIRST_IRIS:] = 0  # eyeballs turn: they guide nothing
    # Where the mouth was shut in calibration, a point of one lip's inner edge may have ended on the other lip.
    trust[list(LIPS_INNER)] = 0
    guides = np.flatnonzero(trust > MIN_TRUST)
    if len(guides) < 50:
        raise ModelFileError(
            f"{source.id} and {target.id} share only {len(guides)} trusted landmarks",
            hint="Calibrate their landmarks again: python -m model.head.calibrate FILE",
        )
    scale, turn, shift = similarity(second_marks[guides], first_marks[guides], trust[guides])
    moved = scale * second @ turn.T + shift
    marks = scale * second_marks[guides] @ turn.T + shift
    moved = moved + rbf_warp(marks, first_marks[guides] - marks, trust[guides], SMOOTHING)(moved)

    faces = source.faces.numpy()
    skin = np.flatnonzero(~face_mask(source, *NOT_SKIN).numpy())
    surface = Surface(first, faces[skin])
    triangles = target.faces.numpy()
    smooth = neighbour_mean(triangles, len(moved))
    for _ in range(ROUNDS):
        normals = vertex_normals(moved, triangles)
        _, _, nearest, cosine = surface.closest(moved, normals)
        step = nearest - moved
        reach = np.linalg.norm(step, axis=1)
        weight = ((reach < 0.015) & (cosine > MIN_COSINE)).astype(np.float64)
        step = step * weight[:, None]
        for _ in range(6):
            total = smooth @ weight[:, None]
            step = np.where(total > 1e-9, (smooth @ (step * weight[:, None])) / np.maximum(total, 1e-9), smooth @ step)
            weight = np.maximum(weight, np.minimum(total[:, 0], 1.0))
        moved = moved + step
    normals = vertex_normals(moved, triangles)
    face, bary, nearest, cosine = surface.closest(moved, normals)
    distance = np.linalg.norm(nearest - moved, axis=1)
    hidden = vertex_mask(target, *NOT_SKIN).numpy() | (target.weights[:, 3:].sum(1) > 0.5).numpy()
    valid = (distance < MAX_DISTANCE_M) & (cosine > MIN_COSINE) & ~hidden
    part = np.zeros(source.num_vertices, dtype=bool)
    for name in ("face", "lips"):
        if name in source.groups:
            part[source.groups[name].numpy()] = True
    in_face = valid & part[faces[skin[face]]].all(1)
    return Correspondence(skin[face].astype(np.int64), bary, distance, valid, in_face)


def cached_correspondence(source: HeadModel, target: HeadModel) -> Correspondence:
    """:func:`correspond` of two whole heads, kept in the user's cache under both files' hashes."""
    path = home() / "correspondences" / f"2-{source.sha256[:16]}-{target.sha256[:16]}.npz"
    names = [field.name for field in fields(Correspondence)]
    try:
        with np.load(path, allow_pickle=False) as stored:
            found = Correspondence(*(stored[name] for name in names))
        if len(found.valid) == target.num_vertices:
            return found
    except (OSError, ValueError, KeyError, EOFError):
        pass  # absent or damaged: make it again
    found = correspond(source, target)
    _save(path, {name: getattr(found, name) for name in names})
    return found


def _save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write the cache if that is possible: a read-only cache costs time, not the result."""
    import os
    import tempfile

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as stream:
            np.savez(stream, **arrays)  # type: ignore[arg-type]
        os.replace(stream.name, path)
    except OSError:
        return


def _posed(head: HeadModel) -> tuple[np.ndarray, np.ndarray]:
    """The average head with the mouth a little open: vertices (V, 3) and landmarks (478, 3), float64 metres."""
    vertices, _ = head.pose(head.neutral()["shape"], jaw=torch.tensor([[JAW_RAD, 0.0, 0.0]]))
    marks = head.landmark_points(vertices)
    return vertices[0].double().numpy(), marks[0].double().numpy()


def similarity(points: np.ndarray, onto: np.ndarray, weight: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Scale, rotation (3, 3) and shift (3,) that move points (N, 3) onto others best (Umeyama 1991).

    Args:
        points: what is moved: scale * points @ rotation.T + shift.
        onto: (N, 3).
        weight: (N,).
    """
    mass = (weight / weight.sum())[:, None]
    a, b = (mass * points).sum(0), (mass * onto).sum(0)
    u, values, vt = np.linalg.svd((mass * (onto - b)).T @ (points - a))
    flip = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    turn = (u * flip) @ vt
    scale = float((values * flip).sum() / (mass * (points - a) ** 2).sum())
    return scale, turn, b - scale * turn @ a


class rbf_warp:  # noqa: N801 - used as a function that was fitted once
    """Smooth displacement field through scattered ones: affine part plus biharmonic kernels r, damped.

    Args:
        centres: (N, 3) metres.
        displacements: (N, 3) metres.
        weight: (N,) trust; the less, the less the field follows that point.
        stiffness: added on the diagonal, metres.
    """

    def __init__(self, centres: np.ndarray, displacements: np.ndarray, weight: np.ndarray, stiffness: float) -> None:
        n = len(centres)
        affine = np.concatenate([np.ones((n, 1)), centres], axis=1)
        # The kernel -r is conditionally positive definite: the sign lets the stiffness add up with it.
        system = np.zeros((n + 4, n + 4))
        system[:n, :n] = -cdist(centres, centres) + np.diag(n * stiffness / np.maximum(weight, 1e-3))
        system[:n, n:], system[n:, :n] = affine, affine.T
        self.centres = centres
        self.coefficients = np.linalg.solve(system, np.concatenate([displacements, np.zeros((4, 3))]))

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Displacements (M, 3) at points (M, 3)."""
        n = len(self.centres)
        affine = np.concatenate([np.ones((len(points), 1)), points], axis=1)
        return np.asarray(-cdist(points, self.centres) @ self.coefficients[:n] + affine @ self.coefficients[n:])


class Surface:
    """Triangles that are asked for nearest points.

    Args:
        vertices: (V, 3) metres.
        faces: (F, 3).
    """

    def __init__(self, vertices: np.ndarray, faces: np.ndarray) -> None:
        self.corners = vertices[faces]  # (F, 3, 3)
        normal = np.cross(self.corners[:, 1] - self.corners[:, 0], self.corners[:, 2] - self.corners[:, 0])
        self.normals = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-15)
        self.tree = cKDTree(self.corners.mean(1))

    def closest(
        self, points: np.ndarray, normals: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Nearest surface points, preferring triangles that face the same way.

        Args:
            points: (N, 3).
            normals: (N, 3) unit, or None not to look at them.

        Returns:
            Triangle (N,), barycentric coordinates (N, 3), place (N, 3), and cosine between the normals (N,).
        """
        count = min(CANDIDATES, len(self.corners))
        _, near = self.tree.query(points, k=count)
        near = near.reshape(len(points), count)
        bary = closest_in_triangles(points[:, None], self.corners[near])
        place = (bary[..., None] * self.corners[near]).sum(2)
        distance = np.linalg.norm(place - points[:, None], axis=-1)
        cosine = np.ones_like(distance)
        if normals is not None:
            cosine = (self.normals[near] * normals[:, None]).sum(-1)
        pick = np.argmin(distance + 0.01 * (cosine < MIN_COSINE), axis=1)
        row = np.arange(len(points))
        return near[row, pick], bary[row, pick], place[row, pick], cosine[row, pick]


def closest_in_triangles(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Barycentric coordinates (..., 3) of the point of each triangle (..., 3, 3) nearest to points (..., 3)."""
    a, b, c = triangles[..., 0, :], triangles[..., 1, :], triangles[..., 2, :]
    u, v, w = b - a, c - a, points - a
    uu, uv, vv = (u * u).sum(-1), (u * v).sum(-1), (v * v).sum(-1)
    wu, wv = (w * u).sum(-1), (w * v).sum(-1)
    scale = np.maximum(uu * vv - uv * uv, 1e-30)
    s, t = (vv * wu - uv * wv) / scale, (uu * wv - uv * wu) / scale
    inside = (s >= 0) & (t >= 0) & (s + t <= 1)
    best = np.stack([1 - s - t, s, t], axis=-1)
    error = np.where(inside, 0.0, np.inf)
    for i, j in ((0, 1), (1, 2), (2, 0)):
        start, along = triangles[..., i, :], triangles[..., j, :] - triangles[..., i, :]
        step = np.clip(((points - start) * along).sum(-1) / np.maximum((along * along).sum(-1), 1e-30), 0, 1)
        away = ((start + step[..., None] * along - points) ** 2).sum(-1)
        edge = np.zeros_like(best)
        edge[..., i], edge[..., j] = 1 - step, step
        better = away < error
        best = np.where(better[..., None], edge, best)
        error = np.where(better, away, error)
    return best


def neighbour_mean(faces: np.ndarray, count: int) -> csr_matrix:
    """(count, count) operator that averages each vertex with its neighbours."""
    pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    rows = np.concatenate([pairs[:, 0], pairs[:, 1], np.arange(count)])
    columns = np.concatenate([pairs[:, 1], pairs[:, 0], np.arange(count)])
    matrix = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(count, count)).tocsr()
    matrix.data[:] = 1.0
    return csr_matrix(matrix.multiply(1.0 / matrix.sum(1)))


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V, 3) unit normals, area-weighted."""
    corners = vertices[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    result = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(result, faces[:, k], normal)
    length = np.linalg.norm(result, axis=1, keepdims=True)
    return np.asarray(result / np.maximum(length, 1e-15))
