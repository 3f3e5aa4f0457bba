"""Joints, skinning weights and pose correctives of the open head.

The source moves the jaw and the eyes by blendshapes (ARKit's jawOpen, jawLeft, jawRight, eyeLook...). A code must be
unique, so here the joints do that work: for each such blendshape the joint angle is found that reproduces it best,
and what remains (lips that part, lids that follow the gaze) becomes a corrective linear in the entries of R - I, as in
FLAME. Turning the jaw to jawOpen's angle gives the source's full-strength shape exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.head.build_source import Source

JOINTS = ("root", "neck", "jaw", "left_eye", "right_eye")
PARENTS = (-1, 0, 1, 1, 1)
BONES = {"root": "neck01", "neck": "head", "jaw": "jaw", "left_eye": "eye.L", "right_eye": "eye.R"}
NECK_SHARE = {"neck01": 0.0, "neck02": 0.25, "neck03": 0.6}
"""How much of a cervical bone's weight goes to the joint `neck`, the rest going to `root`: a soft bend."""
MAX_ANGLE = 0.8
"""Largest angle searched, radians."""


@dataclass(frozen=True)
class PosedTarget:
    """A blendshape of the source that a joint takes over."""

    joint: str
    axis: int
    """0: about x (up and down), 1: about y (left and right)."""
    delta: np.ndarray
    """(V, 3) full-strength displacements, metres."""


def collapse_weights(source: Source, vertex_ids: np.ndarray) -> np.ndarray:
    """Weights (V, 5) of the open head's joints: every bone's weight goes to its nearest kept ancestor."""
    joint_of_bone = {bone: JOINTS.index(joint) for joint, bone in BONES.items()}
    result = np.zeros((len(vertex_ids), len(JOINTS)))
    for bone, weights in source.bone_weights().items():
        here = weights[vertex_ids]
        if not here.any():
            continue
        if bone in NECK_SHARE:
            result[:, 1] += NECK_SHARE[bone] * here
            result[:, 0] += (1 - NECK_SHARE[bone]) * here
            continue
        ancestor = bone
        while ancestor and ancestor not in joint_of_bone:
            ancestor = source.rig[ancestor]["parent"]
        joint = joint_of_bone[ancestor] if ancestor else 0
        # special05.* hang under the head and carry the lids; only eye.* itself is an eyeball.
        result[:, joint] += here
    return result / result.sum(1, keepdims=True)


def rotation(axis: int, angle: float) -> np.ndarray:
    """Rotation matrix (3, 3) about a coordinate axis, right-handed."""
    c, s = np.cos(angle), np.sin(angle)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[i, i] = matrix[j, j] = c
    matrix[i, j], matrix[j, i] = -s, s
    return matrix


def skinned_displacement(vertices: np.ndarray, joint: np.ndarray, weight: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """(V, 3) displacements when one joint turns, everything above it at rest."""
    return weight[:, None] * ((vertices - joint) @ (turn - np.eye(3)).T)


def best_angle(target: PosedTarget, vertices: np.ndarray, joint: np.ndarray, weight: np.ndarray) -> float:
    """Angle (radians) at which skinning alone comes nearest to the target, over the rigidly moved vertices."""
    rigid = weight > 0.95
    angles = np.linspace(-MAX_ANGLE, MAX_ANGLE, 3201)
    errors = [
        np.sum((target.delta - skinned_displacement(vertices, joint, weight, rotation(target.axis, angle)))[rigid] ** 2)
        for angle in angles
    ]
    return float(angles[int(np.argmin(errors))])


def correctives(
    targets: list[PosedTarget],
    vertices: np.ndarray,
    joint: np.ndarray,
    weight: np.ndarray,
    angles: list[float] | None = None,
) -> tuple[np.ndarray, list[float]]:
    """Correctives (V, 3, 9) of one joint, linear in the entries of R - I, and the angle (radians) of each target.

    Without ``angles`` each is the one at which skinning comes nearest to its target.

    Only the skew part of R - I is used, which is sin(angle) times the axis: a corrective is then odd in the angle and
    bounded. (The diagonal, cos - 1, would let opposite targets be met exactly, but it grows with the square of the
    angle: fitted at 10 degrees it is nine times too strong at 30.) Per axis, least squares over its targets.
    """
    result = np.zeros((len(vertices), 3, 3, 3))
    if angles is None:
        angles = [best_angle(target, vertices, joint, weight) for target in targets]
    for axis in {target.axis for target in targets}:
        chosen = [(t, a) for t, a in zip(targets, angles, strict=True) if t.axis == axis]
        sines = np.array([np.sin(angle) for _, angle in chosen])
        residuals = []
        for target, angle in chosen:
            turn = rotation(axis, angle)
            missing = target.delta - skinned_displacement(vertices, joint, weight, turn)
            # Correctives are added before skinning, which then turns them as it turns the vertex: undo that turn.
            blended = np.eye(3) + weight[:, None, None] * (turn - np.eye(3))
            residuals.append(np.linalg.solve(blended, missing[..., None])[..., 0])
        slope = np.tensordot(sines, np.stack(residuals), axes=1) / (sines @ sines)
        i, j = (axis + 1) % 3, (axis + 2) % 3
        result[:, :, j, i] += 0.5 * slope
        result[:, :, i, j] -= 0.5 * slope
    return result.reshape(len(vertices), 3, 9), angles
