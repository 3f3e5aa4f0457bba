"""A small head of FLAME's kind, made here: an ellipsoid with smooth random directions, in FLAME's own axes (y up).

``pose_y_up`` is FLAME's posing written out in numpy, in FLAME's axes: the yardstick for every conversion of axes.
``write`` stores the same head turned, as an importer would.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import ConvexHull
from scipy.spatial.transform import Rotation

from model.head.file import FORMAT, write_head_file
from model.head.names import component_names

S, E, V = 12, 10, 400
PARENTS = (-1, 0, 1, 1, 1)
TURN = np.array([1.0, -1.0, -1.0])


@dataclass(frozen=True)
class MadeFlame:
    """Arrays in FLAME's axes."""

    v_template: np.ndarray
    faces: np.ndarray
    shapedirs: np.ndarray
    exprdirs: np.ndarray
    posedirs: np.ndarray
    J_template: np.ndarray
    J_shapedirs: np.ndarray
    weights: np.ndarray

    def pose_y_up(
        self,
        shape: np.ndarray,
        expression: np.ndarray,
        jaw: np.ndarray,
        neck: np.ndarray,
        eyes: np.ndarray,
        rotation: np.ndarray,
        translation: np.ndarray,
    ) -> np.ndarray:
        """Vertices (V, 3) of one frame, FLAME's axes; arguments (S,), (E,), (3,), (3,), (6,), (3,), (3,)."""
        turns = [rotation, neck, jaw, eyes[:3], eyes[3:]]
        local = [Rotation.from_rotvec(turn).as_matrix() for turn in turns]
        feature = np.concatenate([(matrix - np.eye(3)).reshape(-1) for matrix in local[2:]])
        rest = self.v_template + self.shapedirs @ shape + self.exprdirs @ expression + self.posedirs @ feature
        joints = self.J_template + self.J_shapedirs @ shape
        world: list[np.ndarray] = []
        for number, parent in enumerate(PARENTS):
            step = np.eye(4)
            step[:3, :3] = local[number]
            step[:3, 3] = joints[number] - (joints[parent] if parent >= 0 else 0)
            world.append(step if parent < 0 else world[parent] @ step)
        result = np.zeros_like(rest)
        for number, matrix in enumerate(world):
            moved = (rest - joints[number]) @ matrix[:3, :3].T + matrix[:3, 3]
            result += self.weights[:, number : number + 1] * moved
        return result + translation

    def root(self, shape: np.ndarray) -> np.ndarray:
        """Root joint of an identity, FLAME's axes."""
        return self.J_template[0] + self.J_shapedirs[0] @ shape

    def write(self, path: Path, name: str, expressions: int = E) -> None:
        """As a head file, in this project's axes."""
        both = np.tile(np.outer(TURN, TURN).reshape(-1), 3)
        tensors = {
            "v_template": (self.v_template * TURN).astype(np.float32),
            "faces": self.faces.astype(np.int32),
            "shapedirs": (self.shapedirs * TURN[:, None]).astype(np.float32),
            "exprdirs": (self.exprdirs * TURN[:, None]).astype(np.float32),
            "posedirs": (self.posedirs * TURN[:, None] * both).astype(np.float32),
            "J_template": (self.J_template * TURN).astype(np.float32),
            "J_shapedirs": (self.J_shapedirs * TURN[:, None]).astype(np.float32),
            "weights": self.weights.astype(np.float32),
            "parents": np.array(PARENTS, np.int32),
        }
        metadata = {
            "format": FORMAT,
            "name": name,
            "version": "1",
            "expression_names": json.dumps(component_names(expressions)),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        write_head_file(path, tensors, metadata)


def make_flame(seed: int = 0) -> MadeFlame:
    """A head; another seed gives another one of the same mesh sizes."""
    rng = np.random.default_rng(seed)
    # Points spread evenly over a sphere (Fibonacci's spiral), stretched to a head's size.
    number = np.arange(V) + 0.5
    height, around = 1 - 2 * number / V, np.pi * (1 + 5**0.5) * number
    flat = np.sqrt(1 - height**2)
    sphere = np.stack([flat * np.cos(around), height, flat * np.sin(around)], axis=1)
    template = sphere * [0.075, 0.11, 0.095]
    faces = ConvexHull(sphere).simplices
    outward = np.cross(sphere[faces[:, 1]] - sphere[faces[:, 0]], sphere[faces[:, 2]] - sphere[faces[:, 0]])
    wrong = (outward * sphere[faces[:, 0]]).sum(1) < 0
    faces[wrong] = faces[wrong][:, ::-1]
    joints = np.array([[0, -0.12, -0.02], [0, -0.06, -0.02], [0, -0.03, 0.0], [0.03, 0.03, 0.07], [-0.03, 0.03, 0.07]])
    distance = np.linalg.norm(template[:, None] - joints, axis=-1)
    weights = np.exp(-((distance / 0.05) ** 2)) + 1e-3 * np.array([1, 30, 1, 0, 0])
    weights /= weights.sum(1, keepdims=True)

    def smooth(count: int, size: float) -> np.ndarray:
        """(V, 3, count): each a soft bump."""
        centres = sphere[rng.integers(0, V, count)]
        bump = np.exp(-4 * ((sphere[:, None] - centres) ** 2).sum(-1))  # (V, count)
        return size * bump[:, None] * rng.normal(size=(3, count))

    return MadeFlame(
        template,
        faces,
        smooth(S, 0.004),
        smooth(E, 0.004),
        smooth(27, 0.002),
        joints,
        rng.normal(0, 0.002, (5, 3, S)),
        weights,
    )


def make_codes(frames: int, seed: int = 0, *, neck: bool = True) -> dict[str, np.ndarray]:
    """Smooth codes of a moving head in FLAME's axes, in front of VHAP's camera; (T, D) and shape (S,), float32."""
    rng = np.random.default_rng(seed)

    def walk(width: int, size: float) -> np.ndarray:
        phase = rng.uniform(0, 6, width)
        speed = rng.uniform(0.05, 0.3, width)
        return (size * np.sin(np.arange(frames)[:, None] * speed + phase)).astype(np.float32)

    return {
        "shape": rng.normal(size=S).astype(np.float32),
        "expression": walk(E, 1.0),
        "jaw": np.abs(walk(3, 0.2)) * np.float32([1, 0.1, 0.1]),
        "neck": walk(3, 0.1) if neck else np.zeros((frames, 3), np.float32),
        "eyes": walk(6, 0.2),
        "rotation": walk(3, 0.4),
        "translation": walk(3, 0.03),
    }
