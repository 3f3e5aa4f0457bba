"""A small head made of formulas, with the interface of a real one: whatever the fit should recover is known exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from model.fitting import regions

NAMES = ("eyeBlinkLeft", "eyeBlinkRight", "mouthSmileLeft", "mouthSmileRight", "browInnerUp", "mouthPucker")


@dataclass(frozen=True)
class Embedding:
    """Landmarks on triangles, as a real head has them."""

    face_index: torch.Tensor
    bary: torch.Tensor
    weight: torch.Tensor


def rotate(axis_angle: torch.Tensor) -> torch.Tensor:
    """Rotation matrices (B, 3, 3) by the matrix exponential: slow, and shares nothing with the code under test."""
    x, y, z = axis_angle.unbind(-1)
    o = torch.zeros_like(x)
    hat = torch.stack([o, -z, y, z, o, -x, -y, x, o], -1).reshape(*axis_angle.shape[:-1], 3, 3)
    return torch.linalg.matrix_exp(hat)


@dataclass(frozen=True)
class MadeHead:
    """Linear blend skinning over root, neck, jaw, left eye and right eye."""

    v_template: torch.Tensor
    faces: torch.Tensor
    shapedirs: torch.Tensor
    exprdirs: torch.Tensor
    posedirs: torch.Tensor | None
    J_template: torch.Tensor
    J_shapedirs: torch.Tensor
    weights: torch.Tensor
    landmarks: Embedding
    expression_names: tuple[str, ...] = NAMES
    id: str = "made-head@test"
    parents: tuple[int, ...] = (-1, 0, 1, 1, 1)

    def pose(self, shape, expression, jaw, neck, eyes, rotation, translation):  # type: ignore[no-untyped-def]
        """Vertices (B, V, 3) and joints (B, 5, 3) in the camera frame."""
        rest = self.v_template + torch.einsum("vxs,bs->bvx", self.shapedirs, shape)
        rest = rest + torch.einsum("vxe,be->bvx", self.exprdirs, expression)
        if self.posedirs is not None:
            turns = torch.stack([rotate(jaw), rotate(eyes[:, :3]), rotate(eyes[:, 3:])], 1) - torch.eye(
                3, dtype=jaw.dtype
            )
            rest = rest + torch.einsum("vxk,bk->bvx", self.posedirs, turns.reshape(-1, 27))
        joints = self.J_template + torch.einsum("jxs,bs->bjx", self.J_shapedirs, shape)
        locals_ = [rotate(rotation), rotate(neck), rotate(jaw), rotate(eyes[:, :3]), rotate(eyes[:, 3:])]
        turns, places = [locals_[0]], [joints[:, 0] + translation]
        for j in range(1, 5):
            p = self.parents[j]
            turns.append(turns[p] @ locals_[j])
            places.append(places[p] + (turns[p] @ (joints[:, j] - joints[:, p])[..., None])[..., 0])
        out = torch.zeros_like(rest)
        for j in range(5):
            moved = (rest - joints[:, None, j]) @ turns[j].transpose(1, 2) + places[j][:, None]
            out = out + self.weights[:, j, None] * moved
        return out, torch.stack(places, 1)

    def landmark_points(self, vertices: torch.Tensor) -> torch.Tensor:
        """(B, 478, 3)."""
        corners = vertices[:, self.faces[self.landmarks.face_index]]
        return torch.einsum("blkx,lk->blx", corners, self.landmarks.bary.to(vertices.dtype))


def _places() -> np.ndarray:
    """(478, 2) x right, y down, metres: rough places of MediaPipe's regions on a face 14 cm wide."""
    rng = np.random.default_rng(7)
    radius, angle = 0.065 * np.sqrt(rng.uniform(0.05, 1, 478)), rng.uniform(0, 2 * np.pi, 478)
    xy = np.stack([radius * np.cos(angle), 1.25 * radius * np.sin(angle)], 1)

    def ring(indices: tuple[int, ...], cx: float, cy: float, rx: float, ry: float) -> None:
        turn = np.linspace(0, 2 * np.pi, len(indices), endpoint=False)
        xy[list(indices)] = np.stack([cx + rx * np.cos(turn), cy + ry * np.sin(turn)], 1)

    ring(regions.OVAL, 0, 0, 0.068, 0.09)
    ring(regions.LIPS_OUTER, 0, 0.045, 0.025, 0.012)
    ring(regions.LIPS_INNER, 0, 0.045, 0.018, 0.004)
    ring(regions.RIGHT_EYE, -0.031, -0.02, 0.014, 0.005)
    ring(regions.LEFT_EYE, 0.031, -0.02, 0.014, 0.005)
    ring(regions.RIGHT_IRIS, -0.031, -0.02, 0.005, 0.005)
    ring(regions.LEFT_IRIS, 0.031, -0.02, 0.005, 0.005)
    for upper, lower in regions.LIP_PAIRS:
        x = rng.uniform(-0.016, 0.016)
        xy[upper], xy[lower] = (x, 0.043), (x, 0.047)
    for pairs, x0 in ((regions.LID_PAIRS[:5], -0.031), (regions.LID_PAIRS[5:], 0.031)):
        for i, (upper, lower) in enumerate(pairs):
            x = x0 + 0.004 * (i - 2)
            xy[upper], xy[lower] = (x, -0.025), (x, -0.015)
    return xy


def made_head(num_shape: int = 8, correctives: bool = False, dtype: torch.dtype = torch.float32) -> MadeHead:
    """Every landmark sits in a small triangle of its own on an ellipsoid that faces -z."""
    rng = np.random.default_rng(11)
    centre = _places()
    xy = np.repeat(centre, 3, axis=0) + np.tile([[0.002, 0], [-0.001, 0.0017], [-0.001, -0.0017]], (478, 1))
    depth = -0.09 * np.sqrt(np.maximum(0.02, 1 - (xy[:, 0] / 0.08) ** 2 - (xy[:, 1] / 0.11) ** 2))
    vertices = np.concatenate([xy, depth[:, None]], axis=1)
    iris = np.repeat(np.isin(np.arange(478), regions.LEFT_IRIS + regions.RIGHT_IRIS), 3)
    v = len(vertices)

    def bump(cx: float, cy: float, r: float) -> np.ndarray:
        value = np.exp(-(((xy - [cx, cy]) / r) ** 2).sum(1))
        return np.where((value < 0.01) | iris, 0.0, value)

    expr = np.zeros((v, 3, len(NAMES)))
    upper = np.repeat(centre[:, 1] < -0.02, 3)
    expr[:, 1, 0] = 0.009 * bump(0.031, -0.02, 0.01) * upper
    expr[:, 1, 1] = 0.009 * bump(-0.031, -0.02, 0.01) * upper
    expr[:, :, 2] = bump(0.022, 0.045, 0.012)[:, None] * [0.006, -0.008, 0.002]
    expr[:, :, 3] = bump(-0.022, 0.045, 0.012)[:, None] * [-0.006, -0.008, 0.002]
    expr[:, :, 4] = bump(0, -0.05, 0.03)[:, None] * [0, -0.007, 0]
    expr[:, :, 5] = bump(0, 0.045, 0.03)[:, None] * (np.stack([-xy[:, 0] / 2, 0 * depth, 0 * depth - 0.006], 1))
    waves = rng.normal(size=(num_shape, 2)) * 25
    directions = rng.normal(size=(num_shape, 3)) * 0.0025
    shapes = np.cos(xy @ waves.T + rng.uniform(0, 6, num_shape))[:, None, :] * directions.T[None]
    joints = np.array(
        [[0, 0.08, 0.03], [0, 0.06, 0.02], [0, 0.01, -0.01], [0.031, -0.02, -0.068], [-0.031, -0.02, -0.068]]
    )
    weights = np.zeros((v, 5))
    jaw = 1 / (1 + np.exp(-(xy[:, 1] - 0.045) / 0.004))
    jaw[iris] = 0
    jaw[jaw < 0.02] = 0
    weights[:, 2] = jaw
    weights[:, 1] = (1 - jaw) * 0.6
    weights[:, 0] = (1 - jaw) * 0.4
    for j, points in ((3, regions.LEFT_IRIS), (4, regions.RIGHT_IRIS)):
        rows = (3 * np.array(points)[:, None] + np.arange(3)).ravel()
        weights[rows] = 0
        weights[rows, j] = 1
        vertices[rows, 2] = joints[j, 2] - 0.012
    posedirs = rng.normal(size=(v, 3, 27)) * 0.01 if correctives else None

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(array).to(dtype)

    embedding = Embedding(torch.arange(478), tensor(np.full((478, 3), 1 / 3)), torch.ones(478, dtype=dtype))
    return MadeHead(
        tensor(vertices),
        torch.arange(v).reshape(-1, 3),
        tensor(shapes),
        tensor(expr),
        None if posedirs is None else tensor(posedirs),
        tensor(joints),
        tensor(rng.normal(size=(5, 3, num_shape)) * 0.001),
        tensor(weights),
        embedding,
    )
