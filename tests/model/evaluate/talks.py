"""Small conversations made of numbers, whose relation does something to the motion, or nothing."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from model.motion.conversation import UNKNOWN, Conversation, Relation

RELATIONS = (
    Relation("blood", "equal", "none"),
    Relation("non_blood", "equal", "none"),
    Relation("blood", "unequal", "A"),
    Relation("non_blood", "unequal", "B"),
)
WIDTHS = {"expression": 6, "jaw": 3, "rotation": 3, "eyes": 6, "neck": 3, "translation": 3}


def smooth(rng: np.random.Generator, frames: int, width: int) -> np.ndarray:
    """(T, d) motion that wanders, about 0.1 in size."""
    steps = rng.normal(size=(frames + 24, width))
    kernel = np.hanning(25) / np.hanning(25).sum()
    moved = np.stack([np.convolve(steps[:, i], kernel, mode="valid") for i in range(width)], 1)
    return moved.astype(np.float32) * 0.4


def effect_of(relation: Relation, seed: int = 99) -> dict[str, np.ndarray]:
    """What a relation adds to every frame where it does something: one offset a group."""
    key = abs(hash_of(relation)) % 1000
    rng = np.random.default_rng([seed, key])
    return {name: rng.normal(size=WIDTHS[name]).astype(np.float32) for name in ("expression", "jaw", "rotation")}


def hash_of(relation: Relation) -> int:
    return sum(ord(c) * (i + 1) for i, c in enumerate(f"{relation.kinship}{relation.status}{relation.senior}"))


def talk(
    number: int,
    *,
    seed: int = 0,
    frames: int = 150,
    dyad: int | None = None,
    relation: Relation = UNKNOWN,
    effect: float = 0.0,
    head_model: str = "",
    num_expression: int = 6,
) -> Conversation:
    """A conversation of dyad ``dyad`` (its own number by default)."""
    rng = np.random.default_rng([seed, number])
    widths = {**WIDTHS, "expression": num_expression}
    codes: dict[str, Mapping[str, np.ndarray]] = {}
    for person in ("A", "B"):
        codes[person] = {name: smooth(rng, frames, width) for name, width in widths.items()}
        for name, offset in effect_of(relation).items() if effect else ():
            codes[person][name][:] += effect * offset
    turn = (np.arange(frames) // 40 + number) % 2 == 0
    samples = rng.normal(size=(2, frames * 640)).astype(np.float32) * 0.1
    pair = number if dyad is None else dyad
    return Conversation(
        clip_id=f"clip-{number}",
        dyad_id=f"dyad-{pair}",
        source_id=f"source-{number}",
        split="test",
        subject_id={"A": f"s{2 * pair}", "B": f"s{2 * pair + 1}"},
        head_model=head_model,
        num_frames=frames,
        codes=codes,
        shape={p: rng.normal(size=100).astype(np.float32) for p in ("A", "B")},
        valid={p: np.ones(frames, bool) for p in ("A", "B")},
        speaking={"A": turn, "B": ~turn},
        relation=relation,
        sound={p: (lambda p=p: samples["AB".index(p)]) for p in ("A", "B")},
    )
