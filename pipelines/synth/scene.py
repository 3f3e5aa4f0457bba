"""Where the two heads stand, which camera sees them, and how motion becomes codes of a head model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from model.camera import Camera
from pipelines.synth.records import ARKIT, ARKIT_INDEX, PERSONS, Motion, rng_for
from pipelines.synth.relations import Relation, RelationEffects

if TYPE_CHECKING:
    from model.head import HeadModel

SHAPE_LIMIT = 2.0
"""Identity codes stay within this many standard deviations."""
_HALF_EYES_M = 0.031
_FIXATION_M = 1.4
"""Distance at which the lines of sight of both eyes meet."""


@dataclass(frozen=True)
class Head:
    """Facts of a head model, as plain arrays, so that codes can be made without posing a mesh."""

    id: str
    """``head_model`` of a dataset."""
    expression_names: tuple[str, ...]
    """(E,) names, ARKit's."""
    num_shape: int
    """S."""
    root: np.ndarray
    """(3, 1 + S) metres: root joint of the average head in column 0, then how it moves with each shape code."""
    neck: np.ndarray
    """(3, 1 + S) neck joint, metres."""
    eyes: np.ndarray
    """(3, 1 + S) point between the eye joints, metres."""


def head_facts(head: HeadModel) -> Head:
    """Read what a scene needs from a ``model.head.HeadModel``."""
    template = head.J_template.cpu().numpy().astype(np.float64)
    directions = head.J_shapedirs.cpu().numpy().astype(np.float64)
    joints = np.concatenate([template[:, :, None], directions], axis=2)
    return Head(
        id=head.id,
        expression_names=tuple(head.expression_names),
        num_shape=int(head.num_shape),
        root=joints[0],
        neck=joints[1],
        eyes=joints[3:5].mean(axis=0),
    )


@dataclass(frozen=True)
class Placement:
    """Where a person's head is at rest."""

    eyes: np.ndarray
    """(3,) point between the eyes, metres, camera frame."""
    yaw: float
    """Turn towards the partner, radians."""
    pitch: float
    """Downwards, radians."""


@dataclass(frozen=True)
class Scene:
    """Camera and places of one clip."""

    camera: Camera
    """Sees both."""
    places: dict[str, Placement]
    """A (left in the image) and B."""


@dataclass(frozen=True)
class Codes:
    """Mesh codes of one person in one clip, as in format 1.0: float32, radians, metres, camera frame."""

    shape: np.ndarray
    """(S,)"""
    expression: np.ndarray
    """(T, E)"""
    jaw: np.ndarray
    """(T, 3)"""
    neck: np.ndarray
    """(T, 3), zero: a neck cannot be told from a head turn without a body."""
    eyes: np.ndarray
    """(T, 6) left, right."""
    rotation: np.ndarray
    """(T, 3)"""
    translation: np.ndarray
    """(T, 3)"""


FRAME_CODES = ("expression", "jaw", "neck", "eyes", "rotation", "translation")
"""Fields of :class:`Codes` with one row a frame."""


def make_scene(width: int, height: int, seed: int, lens: float = 1.6) -> Scene:
    """Two people side by side about a metre away, faces 200 to 300 pixels wide in a frame of 1280 x 720.

    Args:
        width: of the frame, pixels.
        height: of the frame, pixels.
        seed: distances, turns, and the focal length within 5 % of ``lens``.
        lens: focal length in units of the longer side. The camera stands where faces stay as large in the frame.
    """
    rng = rng_for(seed, "scene")
    focal = lens * max(width, height) * float(rng.uniform(0.95, 1.05))
    camera = Camera(focal, focal, width / 2, height / 2, width, height)
    # The people fill the frame whatever its shape and the focal length: half a frame each.
    distance = 1.05 * float(rng.uniform(0.97, 1.06)) * focal / (1.6 * max(width, 16 / 9 * height))
    half = 0.26 * width * distance / focal
    places = {}
    for person in PERSONS:
        x = (-half if person == "A" else half) + float(rng.uniform(-0.006, 0.006))
        y = -0.03 * height * distance / focal + float(rng.uniform(-0.010, 0.010))
        eyes = np.array([x, y, distance + float(rng.uniform(-0.025, 0.025))])
        places[person] = Placement(eyes, math.radians(rng.uniform(9, 18)), math.radians(rng.uniform(-3, 3)))
    return Scene(camera, places)


def draw_shapes(num_shape: int, relation: Relation, effects: RelationEffects, seed: int) -> dict[str, np.ndarray]:
    """Identity codes of A and B, (S,) float32 within ``SHAPE_LIMIT``; those of relatives resemble each other."""
    rng = rng_for(seed, "shapes")
    a, b = rng.standard_normal((2, num_shape))
    if relation.kinship == "blood":
        rho = effects.blood_shape_correlation
        b = rho * a + math.sqrt(1 - rho**2) * b
    return {p: np.clip(c, -SHAPE_LIMIT, SHAPE_LIMIT).astype(np.float32) for p, c in (("A", a), ("B", b))}


def make_codes(motion: Motion, person: str, place: Placement, shape: np.ndarray, head: Head) -> Codes:
    """Put a motion on a head at a place.

    Args:
        motion: of this person.
        person: A or B; A's partner is to the right in the image.
        place: where the head is at rest.
        shape: (S,) identity.
        head: facts of the head model. Expressions that it does not have are left out: jaw and eyes are joints.
    """
    from scipy.spatial.transform import Rotation

    side = 1.0 if person == "A" else -1.0
    num_frames = len(motion.jaw)
    pitch = place.pitch + motion.head[:, 0].astype(np.float64)
    yaw = -side * (place.yaw + motion.head[:, 1].astype(np.float64))
    roll = side * motion.head[:, 2].astype(np.float64)
    turned = Rotation.from_euler("YXZ", np.stack([yaw, pitch, roll], axis=1))
    matrices = turned.as_matrix()

    full = np.concatenate([[1.0], shape.astype(np.float64)])
    root, pivot, between = head.root @ full, (head.root + head.neck) @ full / 2, head.eyes @ full
    # v = R (v - root) + root + t. Heads turn about the middle of the neck, so t makes up for the turn about the root.
    arm = pivot - root
    swing = arm - matrices @ arm
    rest = Rotation.from_euler("YXZ", [-side * place.yaw, place.pitch, 0.0]).as_matrix()
    start = place.eyes - (rest @ (between - root) + root + arm - rest @ arm)
    translation = start + swing + motion.shift

    # An eye that looks to the image's right turns by a negative angle about y; both meet at the fixation point.
    meet = _HALF_EYES_M / _FIXATION_M
    eyes = np.zeros((num_frames, 6))
    for offset, inward in ((0, meet), (3, -meet)):
        eyes[:, offset] = motion.gaze[:, 1]
        eyes[:, offset + 1] = -side * motion.gaze[:, 0] + inward
    columns = [ARKIT_INDEX[name] if name in ARKIT_INDEX else -1 for name in head.expression_names]
    padded = np.concatenate([motion.expression, np.zeros((num_frames, 1), np.float32)], axis=1)
    expression = _mirrored(padded, person)[:, columns]
    return Codes(
        shape=shape.astype(np.float32),
        expression=np.ascontiguousarray(expression, np.float32),
        jaw=motion.jaw.astype(np.float32),
        neck=np.zeros((num_frames, 3), np.float32),
        eyes=eyes.astype(np.float32),
        rotation=turned.as_rotvec().astype(np.float32),
        translation=translation.astype(np.float32),
    )


def _mirrored(expression: np.ndarray, person: str) -> np.ndarray:
    """Real faces are not symmetric: the side away from the partner moves a little less."""
    result = expression.copy()
    far = "Right" if person == "A" else "Left"
    for name in ARKIT:
        if name.endswith(far) and not name.startswith("eye"):
            result[:, ARKIT_INDEX[name]] *= 0.92
    return result
