"""What surrounds a synthetic head: shoulders that stay where they are when the head turns, a shirt, long hair."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.synth.layout import Layout, smoothstep

RINGS = ((0.035, 1.03, 1.10), (0.08, 1.06, 1.30), (0.14, 1.07, 1.45), (0.24, 1.04, 1.50), (0.40, 1.00, 1.50))
"""Rings below the head model's rim: drop in metres, widening sideways, widening front to back."""


@dataclass(frozen=True)
class Shoulders:
    """How the rim of a head model is carried by a torso."""

    anchors: np.ndarray
    """(K,) vertices that follow the root joint alone."""
    anchor_places: np.ndarray
    """(K, 3) these on the template, relative to ``pivot``."""
    pivot: np.ndarray
    """(3,) the base of the neck on the template."""
    carried: np.ndarray
    """(V,) 0: moves with the head, 1: with the torso."""
    loop: np.ndarray
    """(L,) the rim's vertices, in order."""
    faces: np.ndarray
    """(2 L R, 3) faces of the rings below it; indices count on from V."""

    @property
    def extra(self) -> int:
        """Number of vertices that :func:`carry` adds."""
        return len(self.loop) * len(RINGS)


def rim(faces: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """The longest closed loop of boundary edges among vertices of the mask ``candidates``, (L,) in order."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    keys = {(int(a), int(b)) for a, b in edges}
    following = {a: b for a, b in keys if (b, a) not in keys and candidates[a] and candidates[b]}
    best: list[int] = []
    unseen = set(following)
    while unseen:
        start = min(unseen)
        loop, here = [start], following.get(start)
        unseen.discard(start)
        while here is not None and here != start and here in unseen:
            unseen.discard(here)
            loop.append(here)
            here = following.get(here)
        if len(loop) > len(best):
            best = loop
    return np.array(best, dtype=np.int64)


def make_shoulders(layout: Layout) -> Shoulders:
    """Find the neck's base and the rim of the head model."""
    skin = np.ones(len(layout.vertices), bool)
    for name in ("lashes", "teeth", "left_eye", "right_eye", "tongue"):
        if name in layout.masks:
            skin &= layout.masks[name] == 0
    loop = rim(layout.faces, skin)
    below = layout.vertices[:, 1] - layout.middle[1]
    rim_height = below[loop].min()
    neck = layout.masks["neck"] > 0
    # From the throat down to the rim the skin passes from the head to the torso.
    carried = smoothstep(0.55 * rim_height, 0.95 * rim_height, below) * neck
    anchors = np.flatnonzero(neck & (below > 0.9 * rim_height))
    pivot = layout.middle + np.array([0.0, 0.85 * rim_height, 0.115])
    count, length = len(layout.vertices), len(loop)
    rows = [loop] + [count + ring * length + np.arange(length) for ring in range(len(RINGS))]
    faces = []
    for upper, lower in zip(rows[:-1], rows[1:], strict=True):
        after = np.roll(upper, -1), np.roll(lower, -1)
        # The rim runs along its own faces' direction; the new faces must run against it to face outwards as well.
        faces += [np.stack([after[0], upper, lower], axis=1), np.stack([after[0], lower, after[1]], axis=1)]
    return Shoulders(
        anchors, layout.vertices[anchors] - pivot, pivot, carried.astype(np.float64), loop, np.concatenate(faces)
    )


def rigid_fit(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rotation (3, 3) and both centres, so that target ~ (source - first) R^T + second (Kabsch)."""
    first, second = source.mean(0), target.mean(0)
    u, _, vt = np.linalg.svd((target - second).T @ (source - first))
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    return u @ flip @ vt, first, second


def yaw_of(rotation: np.ndarray) -> float:
    """Turn about y (radians) of the direction the head looks in."""
    forward = rotation @ np.array([0.0, 0.0, -1.0])
    return float(np.arctan2(-forward[0], -forward[2]))


def carry(shoulders: Shoulders, vertices: np.ndarray, torso_yaw: float, follow: float) -> np.ndarray:
    """Turn the shoulders back to the torso and add the rings below.

    Args:
        shoulders: of the head model.
        vertices: (V, 3) posed head, camera frame.
        torso_yaw: turn of the torso about y, radians.
        follow: share of the head's yaw that the torso follows.

    Returns:
        (V + extra, 3) float64.
    """
    rotation, first, second = rigid_fit(shoulders.anchor_places, vertices[shoulders.anchors])
    pivot = second - first @ rotation.T
    yaw = torso_yaw + follow * yaw_of(rotation)
    cos, sin = np.cos(yaw), np.sin(yaw)
    torso = np.array([[cos, 0.0, sin], [0.0, 1.0, 0.0], [-sin, 0.0, cos]])
    resting = (vertices - pivot) @ rotation
    turned = resting @ torso.T + pivot
    moved = vertices + shoulders.carried[:, None] * (turned - vertices)
    edge = (moved[shoulders.loop] - pivot) @ torso
    middle = edge.mean(0)
    rings = []
    for drop, wide, deep in RINGS:
        ring = middle + (edge - middle) * np.array([wide, 0.5, deep])
        # The rim's sides already hang lower than its front: below, all drop alike.
        ring[:, 1] += drop + 0.15 * drop * np.abs(edge[:, 0] - middle[0]) / 0.2
        rings.append(ring @ torso.T + pivot)
    return np.concatenate([moved, *rings])


@dataclass(frozen=True)
class HairShell:
    """A curtain of long hair round the back and the sides of the head, fixed to the skull."""

    places: np.ndarray
    """(H, 3) on the template."""
    faces: np.ndarray
    """(G, 3)."""
    anchors: np.ndarray
    """(K,) vertices of the scalp."""
    solve: np.ndarray
    """(4, K) gives the affine map from template to posed scalp."""


def make_hair_shell(layout: Layout, volume_m: float, seed: int) -> HairShell:
    """Build the curtain: half an ellipsoid over the skull, hanging straight below the ears, its rim ragged."""
    rng = np.random.default_rng([seed, 0x4A1])
    scalp = layout.vertices[layout.masks["scalp"] > 0] - layout.middle
    top = scalp[:, 1].min()
    half_width = np.abs(scalp[:, 0]).max() + 0.6 * volume_m + 0.010
    back = scalp[:, 2].max()
    centre = np.array([0.0, 0.0, 0.42 * back])
    half_depth = back - centre[2] + 0.8 * volume_m + 0.004
    length = float(rng.uniform(0.085, 0.150))
    reach = np.radians(rng.uniform(100, 112))
    columns, over, hanging = 64, 14, 16
    angle = np.linspace(-reach, reach, columns)
    waves = 0.004 * np.sin(angle[None] * rng.integers(5, 9) + rng.uniform(0, 6))
    rows = []
    for row in range(over + hanging):
        if row < over:
            polar = 0.5 * np.pi * (row + 1) / over
            width, y = np.sin(polar), np.cos(polar) * (top - 0.9 * volume_m)
        else:
            t = (row - over + 1) / hanging
            width, y = 1.0 - 0.16 * t**1.5 + 0.05 * np.sin(3 * t), t * length
        ragged = 0.012 * rng.standard_normal(columns) * (row == over + hanging - 1)
        swing = waves[0] * max(0.0, (row - over) / hanging)
        # Above the ears the curtain opens towards the forehead; low down it stays behind the cheeks.
        opened = angle * (1.0 - 0.05 * max(0, row - over) / hanging)
        rows.append(
            np.stack(
                [
                    centre[0] + np.sin(opened) * (half_width * width + swing),
                    np.full(columns, y) + ragged,
                    centre[2] + np.cos(opened) * (half_depth * width + swing),
                ],
                axis=1,
            )
        )
    places = np.concatenate(rows) + layout.middle
    corner = (np.arange(over + hanging - 1)[:, None] * columns + np.arange(columns - 1)).reshape(-1)
    quads = np.stack(
        [corner, corner + 1, corner + columns + 1, corner, corner + columns + 1, corner + columns], axis=-1
    )
    anchors = np.flatnonzero(layout.masks["scalp"] > 0)
    known = np.concatenate([layout.vertices[anchors], np.ones((len(anchors), 1))], axis=1)
    return HairShell(places, quads.reshape(-1, 3), anchors, np.linalg.pinv(known))


def hang(shell: HairShell, vertices: np.ndarray) -> np.ndarray:
    """The curtain (H, 3) on a posed head (V, 3): the affine map that carries the template's scalp to the posed one."""
    affine = shell.solve @ vertices[shell.anchors]
    return shell.places @ affine[:3] + affine[3]
