"""Artefacts of the stage `shape` as if people had been measured: known shapes, known cameras, noise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from pipelines.shape.pack import pack
from pipelines.stage import Member

SIZE = 12
PICTURES = 12.0
FOCALS = (0.9, 1.2, 1.6, 2.1, 2.8)


def write_person(folder: Path, letter: str, who: int, rng: np.random.Generator, focal: float) -> None:
    """Measure person number ``who``: a shape of its own, seen through a camera of ``focal``, with noise."""
    own = np.random.default_rng([7, who])
    shape, skin = own.standard_normal(SIZE), own.normal(0.9, 0.3, 2)
    texture = np.concatenate([_unit(own.random(448) + 3), _unit(own.random(3304) + 0.8)])
    cost, information, vector = [], [], []
    for candidate in FOCALS:
        factor = rng.standard_normal((SIZE, 3 * SIZE))
        matrix = 40.0 * (np.eye(SIZE) + 0.1 * factor @ factor.T / SIZE)
        # Another camera is made up for by another shape, and fits a little worse.
        miss = np.log(candidate / focal)
        seen = shape + 0.8 * miss + 0.1 * rng.standard_normal(SIZE)
        right = matrix @ seen
        best = np.linalg.solve(matrix + np.eye(SIZE), right)
        cost.append(60.0 * miss**2 + 0.5 * seen @ right - 0.5 * right @ best)
        information.append(pack(matrix))
        vector.append(right)
    np.savez(
        folder / f"{letter}.npz",
        cost=np.array(cost),
        information=np.stack(information),
        vector=np.stack(vector),
        num_seen=np.array(80),
        texture=(texture + rng.normal(0, 1e-3, texture.shape)).astype(np.float32),
        colours=np.concatenate([skin, own.standard_normal(9)]) + rng.normal(0, 0.01, 11),
        voice=np.zeros(0, np.float32),
    )


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def member(root: Path, clip: int, *people: int, focal: float = 1.6, names: dict[str, str] | None = None) -> Member:
    """Clip number ``clip`` with one or two people, from a source of its own."""
    folder = root / f"shape{clip}"
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([clip, 3])
    letters = "AB"[: len(people)]
    for letter, who in zip(letters, people, strict=True):
        write_person(folder, letter, who, rng, focal)
    record = {"head_model": "open@1", "focals": FOCALS, "shape_sd": 1.0, "pictures": PICTURES}
    record["persons"] = {letter: {} for letter in letters}
    (folder / "shape.json").write_text(json.dumps(record), encoding="utf-8")
    unit = {"clip_id": f"clip_{clip:02d}", "source_id": f"src_{clip:02d}", "start_s": 0.0, "end_s": 4.0}
    return Member(unit, {"shape": folder}, {"subjects": names} if names else {})
