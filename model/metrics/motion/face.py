"""From codes to what vertex measures need: vertices without head pose, sets of them with hashes, the lips' gap."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from model.head.groups import vertex_mask
from model.head.load import JOINT_NAMES, HeadModel
from model.head.pose import axis_angle_to_matrix
from model.metrics.motion.figures import Floats

Vertices = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

LIP_PAIRS = ((13, 14), (82, 87), (312, 317))
"""MediaPipe's landmarks in the middle of the inner lips, upper and lower."""
UPPER_REACH = 0.25
"""The upper face reaches from the eyes down by this share of the way to the lips."""
MM = 1000.0
JAW = JOINT_NAMES.index("jaw")


@dataclass(frozen=True)
class VertexSet:
    """Vertices that a measure looks at."""

    name: str
    """lips, upper_face or all."""
    ids: Ints
    """Sorted vertex ids of the head model."""

    @property
    def sha256(self) -> str:
        """Hash of the ids (little-endian int64): two figures compare where it is the same."""
        return hashlib.sha256(np.ascontiguousarray(self.ids, "<i8").tobytes()).hexdigest()


class FaceShape:
    """One head model, ready to turn codes into vertices in millimetres, with root, neck and eyes at rest.

    Only expression and jaw move the face here: measures of the face must not see how the head is held or where the eyes
    look. The same numbers come from ``head.pose`` (a test compares), at several times the cost.
    """

    def __init__(self, head: HeadModel) -> None:
        self.head = head

    @cached_property
    def sets(self) -> dict[str, VertexSet]:
        """lips, upper_face and all. Empty where the head lacks the groups that they are made of."""
        groups = self.head.groups
        none = np.zeros(0, np.int64)
        lips = groups["lips"].numpy() if "lips" in groups else none
        return {
            "lips": VertexSet("lips", lips.astype(np.int64)),
            "upper_face": VertexSet("upper_face", self._upper()),
            "all": VertexSet("all", np.arange(self.head.num_vertices)),
        }

    def _upper(self) -> Ints:
        """Of the group face: down to a quarter of the way from the eyes' centres to the lips; no eyeballs."""
        groups = self.head.groups
        if not {"face", "lips", "eyes"} <= groups.keys():
            return np.zeros(0, np.int64)
        y = self.head.v_template[:, 1]
        eyes, lips = y[groups["eyes"]].mean(), y[groups["lips"]].mean()
        inside = vertex_mask(self.head, "face") & (y < eyes + UPPER_REACH * (lips - eyes))
        inside &= ~vertex_mask(self.head, "eyes", "mouth_interior")
        found: Ints = torch.nonzero(inside)[:, 0].numpy()
        return found

    @cached_property
    def _basis(self) -> npt.NDArray[np.float32]:
        """(E + 9, 3 V): what expressions and the jaw's R - I add, metres; all x, then all y, then all z."""
        posedirs = self.head.posedirs
        jaw = self.head.v_template.new_zeros(*posedirs.shape[:2], 9)
        if posedirs.shape[-1]:
            # The last joints are jaw, left eye, right eye; before them comes the neck where there is one.
            first = posedirs.shape[-1] - 27
            jaw = posedirs[..., first : first + 9]
        moving = torch.cat([self.head.exprdirs, jaw], -1)  # (V, 3, E + 9)
        return moving.permute(2, 1, 0).flatten(1).contiguous().numpy()

    def rest(self, shape: npt.ArrayLike) -> Vertices:
        """(V, 3) vertices of an identity at rest, mm."""
        vertices, _ = self.head.shaped(torch.as_tensor(np.asarray(shape, np.float32).copy()))
        return (vertices[0].numpy() * MM).astype(np.float32)

    def vertices(self, shape: npt.ArrayLike, expression: npt.ArrayLike, jaw: npt.ArrayLike) -> Vertices:
        """(T, V, 3) vertices in mm of codes (S,), (T, E), (T, 3); in memory, coordinates lie apart."""
        codes = torch.as_tensor(np.asarray(shape, np.float32).copy())
        moving, turns = np.asarray(expression, np.float32), np.asarray(jaw, np.float32)
        if len(moving) > 1 and (moving == moving[0]).all() and (turns == turns[0]).all():  # a face that does not move
            one = self.vertices(shape, moving[:1], turns[:1])
            return np.broadcast_to(one, (len(moving), *one.shape[1:]))
        if self.head.J_exprdirs is not None:  # joints that follow the expression: no short cut
            with torch.no_grad():
                posed, _ = self.head.pose(codes, expression=torch.as_tensor(moving), jaw=torch.as_tensor(turns))
            return np.asarray(posed.numpy() * MM, np.float32)
        turned = axis_angle_to_matrix(torch.as_tensor(turns)).numpy() - np.eye(3, dtype=np.float32)
        rest, joints = self.head.shaped(codes)
        found = np.concatenate([moving, turned.reshape(-1, 9)], 1) @ self._basis
        planes = found.reshape(len(moving), 3, -1)
        planes += rest[0].numpy().T
        part, weights = self._jaw
        arm = planes[:, :, part] - joints[0, JAW].numpy()[:, None]
        # One matrix product a coordinate would be one a frame; sums of products are quicker for 3 x 3.
        for i in range(3):
            lift = sum(turned[:, i, j, None] * arm[:, j] for j in range(3))
            planes[:, i, part] += weights * lift
        planes *= MM
        return planes.transpose(0, 2, 1)

    @cached_property
    def _jaw(self) -> tuple[slice | Ints, Vertices]:
        """Vertices that the jaw carries, and how much of each."""
        weights = self.head.weights[:, JAW].numpy()
        ids = np.flatnonzero(weights)
        if len(ids) * 2 > len(weights):  # most of them: all, without gathering
            return slice(None), weights
        return ids, weights[ids]

    def lip_gap(self, vertices: npt.NDArray[np.floating[Any]]) -> Floats | None:
        """(T,) mean distance of the inner lips in their middle, mm; None for a head without landmarks."""
        marks = self.head.landmarks
        if marks is None:
            return None
        pairs = np.asarray(LIP_PAIRS)
        corners = self.head.faces[marks.face_index].numpy()
        bary = marks.bary.numpy().astype(np.float64)
        upper, lower = (
            (vertices[:, corners[pairs[:, side]]] * bary[pairs[:, side]][None, :, :, None]).sum(2) for side in (0, 1)
        )
        found: Floats = np.linalg.norm(upper - lower, axis=-1).mean(1)
        return found

    def smile(self, expression: npt.ArrayLike) -> Floats | None:
        """(T,) mean of the two smile codes; None for a head whose codes are components without names."""
        names = self.head.expression_names
        if not {"mouthSmileLeft", "mouthSmileRight"} <= set(names):
            return None
        columns = [names.index("mouthSmileLeft"), names.index("mouthSmileRight")]
        found: Floats = np.asarray(expression, np.float64)[:, columns].mean(1)
        return found
