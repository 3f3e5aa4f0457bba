"""One focal length per camera and one shape per subject, from the evidence of every clip.

Why shapes are averaged and their evidence not summed: a landmark network errs on one face in one way, in every frame
and every clip. Summed evidence takes such errors for knowledge and leaves the prior; docs/subjects.md has the figures.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.fitting.evidence import FocalChoice, choose_focal
from pipelines.subjects.people import Crowd, read_evidence


def source_focals(crowd: Crowd, default: float, *, fixed: bool) -> dict[str, FocalChoice]:
    """Focal length of every camera: its clips and people share it, so their cost curves add up.

    A source has one camera, a conversation of several recordings one for each; see ``Person.camera``.

    Args:
        crowd: everybody.
        default: focal length where the clips do not tell.
        fixed: take the default for all.
    """
    curves: dict[str, list[list[float]]] = {}
    for person in crowd.people:
        own = curves.setdefault(person.camera, [])
        if not fixed:
            with np.load(person.path, allow_pickle=False) as stored:
                own.append(stored["cost"].tolist())
    return {source: choose_focal(own, crowd.focals, default) for source, own in sorted(curves.items())}


def fuse_groups(crowd: Crowd, groups: Sequence[int], focals: dict[str, FocalChoice]) -> dict[int, np.ndarray]:
    """One shape (S,) per group: the mean of the clips' most probable shapes, each at its camera's focal length.

    A clip weighs as much as the number of codes it decides rather than the prior, trace(I (I + P)^-1) with information
    I and prior precision P. Only one person's evidence is in memory at a time.

    Args:
        crowd: everybody.
        groups: group of everybody.
        focals: camera -> focal length.
    """
    totals: dict[int, np.ndarray] = {}
    weights: dict[int, float] = {}
    for person, group in zip(crowd.people, groups, strict=True):
        evidence = read_evidence(person.path)
        information, vector = evidence.at(focals[person.camera].focal, crowd.focals)
        posterior = information + np.eye(len(vector)) / crowd.shape_sd**2
        solved = np.linalg.solve(posterior, np.column_stack([vector, information]))
        weight = float(np.trace(solved[:, 1:]))
        totals[group] = totals.get(group, 0.0) + weight * solved[:, 0]
        weights[group] = weights.get(group, 0.0) + weight
    return {group: total / max(weights[group], 1e-12) for group, total in totals.items()}
