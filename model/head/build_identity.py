"""Identity basis of the open head: a tight random population of adults, aligned, reduced to whitened components.

The targets were drawn by artists, not learned from scans, so the population's spread is our choice: each local change
gets a standard deviation that moves its strongest vertex by a fixed number of millimetres, left and right sides are
strongly correlated, and the neck is damped. Each person is aligned rigidly to the mean, so neither place nor tilt
remains in the codes: those belong to translation and rotation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from model.head.build_source import Phenotypes, Source


@dataclass(frozen=True)
class PopulationConfig:
    """How the random adults are drawn."""

    people: int = 1500
    """Number of people; each also counts mirrored."""
    components: int = 100
    """Components kept, symmetric and asymmetric ones together, strongest first."""
    seed: int = 20250601
    """Seed of the population."""
    local_std_m: float = 0.0018
    """Standard deviation of a local change at the vertex that it moves most, metres."""
    local_max_std: float = 0.35
    """Largest standard deviation of a local change's coefficient (1 is the artist's extreme)."""
    local_limit: float = 1.0
    """Coefficients are clipped to this magnitude."""
    side_correlation: float = 0.96
    """Correlation between the left and the right version of a change."""
    sideways_share: float = 0.35
    """Spread of changes that shift a middle feature sideways, relative to the others."""


def sample_phenotypes(rng: np.random.Generator, count: int) -> Phenotypes:
    """Adults of all kinds, away from the extremes of build."""

    def normal(mean: float, std: float) -> np.ndarray:
        return np.clip(rng.normal(mean, std, count), 0.0, 1.0)

    return Phenotypes(
        gender=rng.beta(0.5, 0.5, count),
        age=rng.uniform(2 / 3, 0.93, count),
        muscle=normal(0.5, 0.15),
        weight=normal(0.5, 0.18),
        height=normal(0.5, 0.08),
        proportions=normal(0.5, 0.15),
        race=rng.dirichlet((0.7, 0.7, 0.7), count),
    )


def average_phenotype() -> Phenotypes:
    """The one person in the middle: anny's defaults at age 3/4 (about 40 years)."""
    half = np.full(1, 0.5)
    return Phenotypes(half, np.full(1, 0.75), half, half, half, half, np.full((1, 3), 1 / 3))


def sample_local_changes(
    rng: np.random.Generator, names: list[tuple[str, str]], reach_m: np.ndarray, config: PopulationConfig
) -> np.ndarray:
    """Coefficients (people, changes); ``reach_m`` (changes,) is the largest displacement of each change at 1."""
    std = np.minimum(config.local_max_std, config.local_std_m / np.maximum(reach_m, 1e-6))
    draws = rng.normal(size=(config.people, len(names)))
    index = {key: i for i, key in enumerate(names)}
    share = config.side_correlation
    for i, (name, side) in enumerate(names):
        if side == "right" and (name, "left") in index:
            draws[:, i] = share * draws[:, index[name, "left"]] + np.sqrt(1 - share**2) * draws[:, i]
        elif side == "unsided" and name.endswith("-in-out") and "trans" in name:
            draws[:, i] *= config.sideways_share
    return np.clip(draws * std, -config.local_limit, config.local_limit)


def displacements(
    source: Source,
    points: Callable[[np.ndarray], np.ndarray],
    people: Phenotypes,
    local: np.ndarray | None = None,
) -> np.ndarray:
    """Displacements (N, K, 3) of K points from where they are on the base mesh.

    Args:
        points: takes a field on the base mesh (V_base, 3) to its values (K, 3) at the points by a linear map; a joint
            is the mean of its cube's vertices, so joints follow the very same map as the skin.
        people: N phenotypes.
        local: (N, changes) coefficients of the local changes, or None for zeros.
    """
    coefficients, targets = source.phenotype_targets(people)
    basis = np.stack([points(target) for target in targets]).astype(np.float32)
    result = np.tensordot(coefficients.astype(np.float32), basis, axes=1)
    if local is not None:
        changes = source.local_changes()
        plus = np.stack([points(change[2]) for change in changes]).astype(np.float32)
        minus = np.stack([points(change[3]) for change in changes]).astype(np.float32)
        result += np.tensordot(np.maximum(local, 0).astype(np.float32), plus, axes=1)
        result += np.tensordot(np.maximum(-local, 0).astype(np.float32), minus, axes=1)
    return result


def align(shapes: np.ndarray, reference: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Rigidly move every shape (N, K, 3) onto ``reference`` (K, 3), minding ``weight`` (K,) (Kabsch's algorithm)."""
    weight = (weight / weight.sum())[:, None]
    target = reference - (weight * reference).sum(0)
    aligned = np.empty_like(shapes)
    for i, shape in enumerate(shapes):
        centred = shape - (weight * shape).sum(0)
        u, _, vt = np.linalg.svd((weight * centred).T @ target)
        turn = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt
        aligned[i] = centred @ turn
    return aligned + (weight * reference).sum(0)


def whitened_components(
    samples: np.ndarray, mirror: np.ndarray, weight: np.ndarray, components: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Principal components of samples (N, K, 3) and their mirror images; codes of the samples are N(0, 1)-scaled.

    Because every sample also counts mirrored, each component is either exactly symmetric or exactly antisymmetric.

    Args:
        samples: displacements from the mean, metres.
        mirror: (K,) index of each point's partner on the other side.
        weight: (K,) importance of each point in the fit.
        components: number kept.

    Returns:
        Components (components, K, 3) in metres per standard deviation, which of them are symmetric (components,),
        and the share of weighted variance that they hold, one number in an array of shape ().
    """
    flip = np.array([-1.0, 1.0, 1.0], dtype=np.float32)
    root = np.sqrt(weight).astype(np.float32)[:, None]
    found = []
    total = 0.0
    for sign in (1.0, -1.0):
        part = 0.5 * (samples + sign * (samples[:, mirror] * flip))
        flat = (part * root).reshape(len(part), -1).astype(np.float64)
        values, vectors = np.linalg.eigh(flat @ flat.T)
        total += values.sum()
        for k in range(len(values) - 1, max(-1, len(values) - 1 - components), -1):
            found.append((values[k], sign, vectors[:, k], part))
    found.sort(key=lambda item: -item[0])
    found = found[:components]
    basis = np.stack([np.tensordot(vector, part, axes=1) / np.sqrt(len(samples)) for _, _, vector, part in found])
    for component in basis:  # eigenvectors have no sign of their own: make the largest entry positive
        component *= np.sign(component.flat[np.abs(component).argmax()])
    return basis, np.array([s > 0 for _, s, _, _ in found]), np.array(sum(v for v, *_ in found) / total)
