"""Files shaped like FLAME's, made from other meshes: the real ones are their owners' and never come with the tests."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import scipy.sparse

from model.head import HeadModel

TURN = np.array([1.0, -1.0, -1.0])


class Ch:
    """Stands for chumpy's array: pickled under chumpy's own name."""

    def __init__(self, x: Any) -> None:
        self.x = x


class Select(Ch):
    """Stands for chumpy's selection."""

    def __init__(self, a: Any, idxs: Any) -> None:
        self.a, self.idxs = a, idxs


Ch.__module__ = "chumpy.ch"
Ch.__qualname__ = "Ch"
Select.__module__ = "chumpy.reordering"


@contextmanager
def chumpy() -> Iterator[None]:
    """Make ``chumpy.ch.Ch`` importable while a file is written."""
    names: dict[str, dict[str, Any]] = {"chumpy": {}, "chumpy.ch": {"Ch": Ch}, "chumpy.reordering": {"Select": Select}}
    for name, content in names.items():
        module = ModuleType(name)
        module.__dict__.update(content)
        sys.modules[name] = module
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]


def write(path: Path, model: Any, protocol: int = 2, as_chumpy: bool = False) -> Path:
    """Pickle a model as the publisher does: arrays in chumpy containers, where asked for."""
    with chumpy():
        if as_chumpy:
            dense = ("v_template", "shapedirs", "posedirs")
            model = {key: Ch(value) if key in dense else value for key, value in model.items()}
        path.write_bytes(pickle.dumps(model, protocol))
    return path


def sphere(rows: int = 12, columns: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """A ball of 0.1 m radius: vertices (rows * columns, 3) and triangles."""
    polar = np.linspace(0.1, np.pi - 0.1, rows)[:, None]
    azimuth = np.linspace(0, 2 * np.pi, columns, endpoint=False)[None]
    points = [np.sin(polar) * np.sin(azimuth), np.cos(polar) + 0 * azimuth, np.sin(polar) * np.cos(azimuth)]
    vertices = 0.1 * np.stack(points, axis=-1).reshape(-1, 3)
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns), indexing="ij")
    a, b = i * columns + j, i * columns + (j + 1) % columns
    c, d = a + columns, b + columns
    return vertices, np.concatenate([np.stack([a, c, b], -1), np.stack([b, c, d], -1)]).reshape(-1, 3)


def tiny_flame(seed: int = 0) -> dict[str, Any]:
    """All arrays of FLAME on a ball of 192 vertices, random where FLAME was learned."""
    rng = np.random.default_rng(seed)
    vertices, faces = sphere()
    count = len(vertices)
    regressor = np.zeros((5, count))
    for joint in range(5):
        chosen = rng.choice(count, 6, replace=False)
        regressor[joint, chosen] = rng.dirichlet(np.ones(6))
    return {
        "v_template": vertices,
        "f": faces.astype(np.uint32),
        "shapedirs": 0.002 * rng.normal(size=(count, 3, 400)),
        "posedirs": 0.002 * rng.normal(size=(count, 3, 36)),
        "J_regressor": scipy.sparse.csc_matrix(regressor),
        "weights": rng.dirichlet(np.ones(5), count),
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]], dtype=np.int64),
        "bs_style": "lbs",
        "bs_type": "lrotmin",
    }


def open_as_flame(head: HeadModel) -> dict[str, Any]:
    """The open head in the form of a FLAME file: y up, 400 blendshapes (those it lacks are zero), 36 pose features."""
    template = head.v_template.double().numpy()
    count = len(template)
    dirs = np.zeros((count, 3, 400))
    dirs[..., : head.num_shape] = head.shapedirs.numpy()
    dirs[..., 300 : 300 + head.num_expression] = head.exprdirs.numpy()
    posedirs = np.zeros((count, 3, 36))
    posedirs[..., 9:] = head.posedirs.numpy()
    entry = np.tile(np.outer(TURN, TURN).reshape(-1), 4)
    regressor = np.zeros((5, count))
    for joint, place in enumerate(head.J_template.double().numpy()):
        if joint >= 3:
            chosen = head.groups["left_eye" if joint == 3 else "right_eye"].numpy()
        else:
            chosen = np.argsort(np.linalg.norm(template - place, axis=1))[:150]
        system = np.vstack([template[chosen].T, np.ones(len(chosen))])
        regressor[joint, chosen] = np.linalg.lstsq(system, np.append(place, 1.0), rcond=None)[0]
    return {
        "v_template": template * TURN,
        "f": head.faces.numpy().astype(np.uint32),
        "shapedirs": dirs * TURN[:, None],
        "posedirs": posedirs * TURN[:, None] * entry,
        "J_regressor": scipy.sparse.csc_matrix(regressor),
        "weights": head.weights.double().numpy(),
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]], dtype=np.int64),
    }


def posed_as_flame_says(
    model: dict[str, Any], betas: np.ndarray, angles: np.ndarray, translation: np.ndarray
) -> np.ndarray:
    """Slow reference of FLAME in its own frame: 400 betas, axis-angles (5, 3), translation (3,) -> (V, 3) metres."""
    from scipy.spatial.transform import Rotation

    turns = Rotation.from_rotvec(angles).as_matrix()
    shaped = model["v_template"] + model["shapedirs"] @ betas
    joints = model["J_regressor"] @ shaped
    bent = shaped + model["posedirs"] @ (turns[1:] - np.eye(3)).reshape(-1)
    world: list[np.ndarray] = []
    for joint, parent in enumerate((-1, 0, 1, 1, 1)):
        local = np.eye(4)
        local[:3, :3] = turns[joint]
        local[:3, 3] = joints[joint] - (joints[parent] if parent >= 0 else 0)
        world.append(local if parent < 0 else world[parent] @ local)
    result = np.zeros_like(bent)
    for joint, matrix in enumerate(world):
        moved = (bent - joints[joint]) @ matrix[:3, :3].T + matrix[:3, 3]
        result += model["weights"][:, joint : joint + 1] * moved
    return np.asarray(result + translation)
