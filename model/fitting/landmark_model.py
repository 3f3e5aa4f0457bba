"""A head reduced to its 478 landmarks: for the fit, the other vertices need not exist.

A landmark is a fixed mix of three vertices, and a vertex is skinned to a few joints. Grouping that mix by joint gives,
with b the linear codes (expressions, and the shape where it is still unknown) and the root as origin::

    x(b, jaw, eyes) = u(b) + R_jaw y(b) + R_eye z(b)          head frame
    X = R x + o                                               camera frame, o = J_root(shape) + translation

where u, y and z are affine in b and in the entries of R - I of jaw and eyes (pose correctives). So a landmark costs a
product with a small precomputed matrix instead of posing the mesh, and its derivatives can be written down. Neck and
root share R, because tracking keeps the neck at 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from model.fitting.regions import LIP_PAIRS
from rsat_data.errors import ModelFileError

if TYPE_CHECKING:
    from model.head import HeadModel

ROOT, NECK, JAW, LEFT_EYE, RIGHT_EYE = range(5)
MIN_TRUST = 0.1
"""Embedding weight below which a landmark has no known place on the mesh: neither fitted nor counted as error."""
MIN_JAW_SHARE = 0.3
"""Skin weight of the jaw that a point of the lower lip's inner edge must have. Calibration by pictures can put it on
the upper lip where the mouth is closed; such a point would keep the mouth from opening."""
MOTION = 15
"""Codes after the linear ones: jaw 3, left eye 3, right eye 3, rotation 3, origin 3."""


@dataclass(frozen=True)
class Part:
    """The share of the landmarks that moves with one joint, affine in the linear codes."""

    index: np.ndarray
    """(L,) int64: row of each landmark in the arrays below, -1 where it has no share in this joint."""
    rest: np.ndarray
    """(3 N,) float32 metres."""
    linear: np.ndarray
    """(N, 3, C) float32: derivative by the linear codes."""
    across: np.ndarray
    """(C, 3 N) float32: the same numbers, a row per code."""
    corrective: np.ndarray
    """(27, 3 N) float32: derivative by the entries of R - I of jaw, left eye, right eye; (0, 3 N) without any."""
    entries: np.ndarray
    """(N, 27, 3) float32: the same numbers, landmark by landmark."""
    bends: np.ndarray
    """(N, 3) bool: whether the correctives of jaw, left eye, right eye move the landmark at all."""


def make_part(index: np.ndarray, rest: np.ndarray, linear: np.ndarray, corrective: np.ndarray) -> Part:
    """A part from rest (N, 3), linear (N, 3, C) and corrective (N, 3, 27 or 0) of any float type."""
    n, _, c = linear.shape
    bends = np.zeros((n, 3), dtype=bool)
    if corrective.shape[2]:
        bends = np.ascontiguousarray(np.abs(corrective.reshape(n, 3, 3, 9)).max(axis=(1, 3)) > 0)
    single = [np.ascontiguousarray(array, dtype=np.float32) for array in (rest, linear, corrective)]
    return Part(
        index,
        single[0].reshape(3 * n),
        single[1],
        np.ascontiguousarray(single[1].reshape(3 * n, c).T),
        np.ascontiguousarray(single[2].reshape(3 * n, corrective.shape[2]).T),
        np.ascontiguousarray(single[2].transpose(0, 2, 1)),
        bends,
    )


@dataclass
class _Draft:
    """A part while it is put together, float64: rest (N, 3), linear (N, 3, C), corrective (N, 3, 27 or 0)."""

    index: np.ndarray
    rest: np.ndarray
    linear: np.ndarray
    corrective: np.ndarray


@dataclass(frozen=True)
class LandmarkModel:
    """Landmarks as a function of C linear codes and 15 motion codes. Arrays are C-contiguous float32."""

    names: tuple[str, ...]
    """Names of the linear codes: expressions first, then shape codes as shape_000 and so on."""
    num_expressions: int
    """How many of the linear codes are expressions."""
    weight: np.ndarray
    """(L,) float64: how far each landmark's place on the mesh is to be trusted, 0 to 1; 0 below ``MIN_TRUST``."""
    root: Part
    """Landmarks' share in root and neck: every landmark has a row."""
    jaw: Part
    """Share in the jaw."""
    eye: Part
    """Share in whichever eye the landmark belongs to."""
    eye_side: np.ndarray
    """(L,) int64: 0 left, 1 right; meaningless where eye.index is -1."""
    root_joint: np.ndarray
    """(3,) float64: J_root at zero shape, metres."""
    root_joint_shape: np.ndarray
    """(3, S) float64: its derivative by the shape."""
    num_offsets: int = 0
    """How many linear codes, after the shape codes, are offsets of the detector (``model.fitting.offsets``)."""

    @property
    def num_linear(self) -> int:
        """C, the number of linear codes."""
        return self.root.linear.shape[2]

    @property
    def num_codes(self) -> int:
        """P, linear and motion codes together."""
        return self.num_linear + MOTION

    @property
    def num_landmarks(self) -> int:
        """L."""
        return len(self.root.index)

    def with_shape(self, shape: np.ndarray) -> LandmarkModel:
        """The model of one subject: shape codes folded into the rest positions, expressions left.

        Args:
            shape: (S,) shape codes; offsets, if the model has any, are left as linear codes. Or (S + K,) with the
                codes of the K offsets, which are then folded in too.
        """
        e = self.num_expressions
        sizes = (self.num_linear - e - self.num_offsets, self.num_linear - e)
        if shape.ndim != 1 or len(shape) not in sizes:
            raise ValueError(f"This model takes {sizes[0]} shape codes, got {shape.shape}")
        known = slice(e, e + len(shape))
        left = np.r_[0:e, e + len(shape) : self.num_linear]

        def fold(part: Part) -> Part:
            n = len(part.linear)
            rest = part.rest.astype(np.float64).reshape(n, 3) + part.linear[:, :, known].astype(np.float64) @ shape
            corrective = part.corrective.T.reshape(n, 3, len(part.corrective))
            return make_part(part.index, rest, part.linear[:, :, left], corrective)

        return LandmarkModel(
            tuple(self.names[i] for i in left),
            e,
            self.weight,
            fold(self.root),
            fold(self.jaw),
            fold(self.eye),
            self.eye_side,
            self.root_joint + self.root_joint_shape @ shape[: sizes[0]],
            np.zeros((3, 0)),
            len(left) - e,
        )


def _trust(weight: np.ndarray, jaw_index: np.ndarray, jaw_weight: np.ndarray) -> np.ndarray:
    """Embedding weights (L,) with 0 for landmarks whose place on the mesh is unknown or cannot be."""
    share = np.where(jaw_index >= 0, jaw_weight[jaw_index], 0.0)
    lower = np.array([pair[1] for pair in LIP_PAIRS])
    trusted = weight >= MIN_TRUST
    trusted[lower] &= share[lower] >= MIN_JAW_SHARE
    return np.where(trusted, weight, 0.0)


def landmark_model(head: HeadModel) -> LandmarkModel:
    """Reduce a head to its landmarks, with expressions and shape codes as linear codes.

    Args:
        head: any head with FLAME's joints (root, neck, jaw, left eye, right eye) and a landmark embedding.

    Raises:
        ModelFileError: the head has no landmark embedding.
        ValueError: the head has other joints, or a landmark that hangs on both eyes.
    """

    def array(tensor: object) -> np.ndarray:
        return np.asarray(tensor, dtype=np.float64)

    template, shapes, expressions = array(head.v_template), array(head.shapedirs), array(head.exprdirs)
    joints, joint_shapes, skin = array(head.J_template), array(head.J_shapedirs), array(head.weights)
    if skin.shape[1] != 5:
        raise ValueError(f"The fit needs FLAME's 5 joints, head {head.id} has {skin.shape[1]}")
    correctives: np.ndarray = np.zeros((len(template), 3, 0))
    if head.posedirs is not None:
        correctives = array(head.posedirs).reshape(len(template), 3, -1)
        if correctives.shape[2] == 36:  # FLAME's: the neck comes first, and tracking keeps it at rest
            correctives = correctives[:, :, 9:]
        if correctives.shape[2] not in (0, 27):
            raise ValueError(f"Pose correctives must be linear in R - I of jaw and eyes (27), got {correctives.shape}")
        if not correctives.any():
            correctives = correctives[:, :, :0]
    embedding = head.landmarks
    if embedding is None:
        raise ModelFileError(
            f"The head model {head.id} has no landmark embedding",
            hint="Calibrate it: python -m model.head.calibrate FILE",
        )
    corners = np.asarray(head.faces)[np.asarray(embedding.face_index)]  # (L, 3)
    mix = array(embedding.bary)  # (L, 3)
    basis = np.concatenate([expressions, shapes], axis=2)  # (V, 3, C)
    e, c = expressions.shape[2], basis.shape[2]
    num = len(corners)

    def share(selected: list[int]) -> tuple[np.ndarray, _Draft]:
        """Landmarks' share in the given joints (weights, unmoved part)."""
        weight = mix * skin[corners][:, :, selected].sum(axis=-1)
        rows = np.flatnonzero(np.abs(weight).sum(axis=1) > 1e-6)
        index = np.full(num, -1, dtype=np.int64)
        index[rows] = np.arange(len(rows))
        gather = weight[rows]
        return weight.sum(axis=1)[rows], _Draft(
            index,
            np.einsum("lk,lkx->lx", gather, template[corners[rows]]),
            np.einsum("lk,lkxc->lxc", gather, basis[corners[rows]]),
            np.einsum("lk,lkxc->lxc", gather, correctives[corners[rows]]),
        )

    root_weight, root = share([ROOT, NECK])
    if len(root_weight) != num:  # landmarks on the jaw or an eye alone: give them an empty row
        full = _Draft(
            np.arange(num), np.zeros((num, 3)), np.zeros((num, 3, c)), np.zeros((num, 3, correctives.shape[2]))
        )
        rows = np.flatnonzero(root.index >= 0)
        for name in ("rest", "linear", "corrective"):
            getattr(full, name)[rows] = getattr(root, name)
        root = full
    jaw_weight, jaw = share([JAW])
    sides = [share([LEFT_EYE]), share([RIGHT_EYE])]
    both = np.flatnonzero((sides[0][1].index >= 0) & (sides[1][1].index >= 0))
    if len(both):
        raise ValueError(f"Landmarks {both.tolist()} of head {head.id} hang on both eyes")

    def offset(joint: int, rows: np.ndarray, weight: np.ndarray, part: _Draft) -> None:
        """Turn ``part`` about its joint: subtract the joint there and add it to the unmoved part."""
        shift = weight[:, None] * joints[joint]
        part.rest[:] -= shift
        root.rest[rows] += shift
        derivative = weight[:, None, None] * joint_shapes[joint]
        part.linear[:, :, e:] -= derivative
        root.linear[rows, :, e:] += derivative

    offset(JAW, np.flatnonzero(jaw.index >= 0), jaw_weight, jaw)
    eye_side = np.zeros(num, dtype=np.int64)
    eye_index = np.full(num, -1, dtype=np.int64)
    eyes: list[_Draft] = []
    start = 0
    for side, (joint, (weight, part)) in enumerate(zip((LEFT_EYE, RIGHT_EYE), sides, strict=True)):
        rows = np.flatnonzero(part.index >= 0)
        offset(joint, rows, weight, part)
        eye_side[rows] = side
        eye_index[rows] = start + np.arange(len(rows))
        start += len(rows)
        eyes.append(part)
    # The root joint is the origin of x, so that rotation about it is a plain product.
    root.rest[:] -= joints[ROOT]
    root.linear[:, :, e:] -= joint_shapes[ROOT]

    eye = _Draft(
        eye_index,
        *(np.concatenate([getattr(p, name) for p in eyes]) for name in ("rest", "linear", "corrective")),
    )
    names = tuple(head.expression_names) + tuple(f"shape_{i:03d}" for i in range(shapes.shape[2]))
    return LandmarkModel(
        names,
        e,
        _trust(array(embedding.weight), jaw.index, jaw_weight),
        make_part(np.arange(num, dtype=np.int64), root.rest, root.linear, root.corrective),
        make_part(jaw.index, jaw.rest, jaw.linear, jaw.corrective),
        make_part(eye.index, eye.rest, eye.linear, eye.corrective),
        eye_side,
        joints[ROOT],
        joint_shapes[ROOT],
    )
