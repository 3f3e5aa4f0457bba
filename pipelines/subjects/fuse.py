"""Shapes and focal lengths over all clips, in turn: each from the quadratic evidence of every clip given the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.fitting.evidence import FocalChoice, choose_focal
from pipelines.subjects.people import Crowd, read_evidence


@dataclass(frozen=True)
class Fused:
    """One shape a group and one focal length a source."""

    shapes: dict[int, np.ndarray]
    """Group -> (S,) float64."""
    focals: dict[str, FocalChoice]
    """Source -> focal length."""


def single_focals(crowd: Crowd, default: float, *, fixed: bool) -> dict[str, FocalChoice]:
    """Focal length of every source from its own clips, each person with a shape of the own."""
    curves: dict[str, list[np.ndarray]] = {}
    for person in crowd.people:
        curves.setdefault(person.source_id, [])
        if not fixed:
            with np.load(person.path, allow_pickle=False) as stored:
                curves[person.source_id].append(stored["cost"])
    return _choose(curves, crowd, default)


def fuse(
    crowd: Crowd,
    groups: Sequence[int],
    focals: dict[str, FocalChoice],
    default: float,
    *,
    fixed: bool,
    rounds: int,
) -> Fused:
    """Find shapes given focal lengths and focal lengths given shapes, ``rounds`` times.

    One shape in several clips ties their cameras together: a focal length that only one clip's face would like costs
    something in the others. Only one person's evidence is in memory at a time.

    Args:
        crowd: everybody.
        groups: group of everybody.
        focals: to begin with.
        default: focal length where clips do not tell.
        fixed: keep the focal lengths.
        rounds: how often.
    """
    size = _size(crowd)
    shapes: dict[int, np.ndarray] = {}
    for number in range(rounds):
        matrices: dict[int, np.ndarray] = {}
        vectors: dict[int, np.ndarray] = {}
        for person, group in zip(crowd.people, groups, strict=True):
            evidence = read_evidence(person.path, crowd.shape_sd)
            information, vector = evidence.at(focals[person.source_id].focal, crowd.focals)
            matrices[group] = matrices.get(group, np.zeros((size, size))) + information
            vectors[group] = vectors.get(group, np.zeros(size)) + vector
        prior = np.eye(size) / crowd.shape_sd**2
        shapes = {group: np.linalg.solve(prior + matrices[group], vectors[group]) for group in matrices}
        if fixed or number == rounds - 1:
            break
        curves: dict[str, list[np.ndarray]] = {}
        for person, group in zip(crowd.people, groups, strict=True):
            costs = read_evidence(person.path, crowd.shape_sd).costs(shapes[group])
            curves.setdefault(person.source_id, []).append(costs)
        focals = _choose(curves, crowd, default)
    return Fused(shapes, focals)


def _choose(curves: dict[str, list[np.ndarray]], crowd: Crowd, default: float) -> dict[str, FocalChoice]:
    return {
        source: choose_focal([curve.tolist() for curve in own], crowd.focals, default)
        for source, own in sorted(curves.items())
    }


def _size(crowd: Crowd) -> int:
    with np.load(crowd.people[0].path, allow_pickle=False) as stored:
        return int(stored["vector"].shape[1])
