"""Things before a synthetic face: a hand, sunglasses. Small meshes, lit like the rest, hidden by the head where behind.

Make a thing once (:func:`make_hand`), place it on the posed head of every frame (:func:`place_hand`), and :func:`draw`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.camera import Camera
from model.raster.normals import vertex_normals
from model.raster.numba_backend import rasterize_arrays
from pipelines.synth import kernels
from pipelines.synth.body import rigid_fit
from pipelines.synth.layout import Layout
from pipelines.synth.noise import value_noise

_AWAY_M = 0.30
"""How far below its place a hand starts."""


@dataclass(frozen=True)
class Mesh:
    """A thing in the camera frame."""

    points: np.ndarray
    """(N, 3) metres."""
    faces: np.ndarray
    """(F, 3), seen from both sides."""
    colour: np.ndarray
    """(N, 3) linear albedo."""
    gloss: float
    """Strength of the highlight."""


def capsule(start: np.ndarray, end: np.ndarray, radii: tuple[float, float], flat: float = 1.0) -> Mesh:
    """A rounded rod from ``start`` to ``end`` (3,), thick at its ends as ``radii`` say, metres.

    Args:
        start: centre of one end.
        end: centre of the other.
        radii: at start and end.
        flat: thickness along z, relative to that across.
    """
    start, end = np.asarray(start, np.float64), np.asarray(end, np.float64)
    axis = (end - start) / np.linalg.norm(end - start)
    side = np.cross(axis, [0.0, 0.0, 1.0])
    side /= np.linalg.norm(side)
    deep = np.cross(axis, side)
    around, along = 16, 14
    turn = 2 * np.pi * np.arange(around) / around
    ring = np.cos(turn)[:, None] * side + flat * np.sin(turn)[:, None] * deep
    points = []
    for step in np.linspace(-1.0, 1.0, along):
        # Half spheres at both ends, a cone between.
        cap = max(0.0, abs(step) - 0.6) / 0.4
        where = np.clip(0.5 + step / 1.2, 0, 1)
        radius = (1 - where) * radii[0] + where * radii[1]
        centre = start + where * (end - start) + np.sign(step) * axis * radius * np.sin(0.5 * np.pi * cap)
        points.append(centre + ring * radius * max(np.cos(0.5 * np.pi * cap), 1e-3))
    corner = (np.arange(along - 1)[:, None] * around + np.arange(around)).reshape(-1)
    after = (np.arange(along - 1)[:, None] * around + (np.arange(around) + 1) % around).reshape(-1)
    quads = np.stack([corner, after, after + around, corner, after + around, corner + around], axis=1)
    return Mesh(np.concatenate(points), quads.reshape(-1, 3), np.zeros((along * around, 3)), 0.0)


def joined(parts: list[Mesh], colour: np.ndarray, gloss: float) -> Mesh:
    """Several meshes as one, of one colour (3,)."""
    offsets = np.cumsum([0] + [len(part.points) for part in parts])
    points = np.concatenate([part.points for part in parts])
    faces = np.concatenate([part.faces + offset for part, offset in zip(parts, offsets[:-1], strict=True)])
    return Mesh(points, faces, np.tile(colour, (len(points), 1)), gloss)


def make_hand(skin: tuple[float, float, float], side: float) -> Mesh:
    """A hand with its forearm, the palm's centre at the origin, its back to the camera, fingers up and inwards.

    Args:
        skin: linear albedo.
        side: -1 where the arm comes from the image's left, 1 from its right.
    """
    parts = [capsule(np.array([0, 0.035, 0]), np.array([0, -0.03, 0]), (0.036, 0.042), 0.38)]
    fingers = ((-0.031, 0.060, -0.16), (-0.0105, 0.074, -0.05), (0.0105, 0.070, 0.05), (0.031, 0.052, 0.16))
    for x, reach, lean in fingers:
        base = np.array([x, -0.038, 0.0])
        tip = base + reach * np.array([np.sin(lean), -np.cos(lean), 0.10])
        parts.append(capsule(base, tip, (0.0098, 0.0078)))
    parts.append(capsule(np.array([-0.030, 0.02, 0.0]), np.array([-0.066, -0.028, 0.004]), (0.013, 0.0092)))
    parts.append(capsule(np.array([0, 0.05, 0]), np.array([0.0, 0.33, -0.02]), (0.027, 0.041)))
    hand = joined(parts, np.asarray(skin), 0.05)
    # Creases and knuckles: skin is not one colour.
    shade = 0.86 + 0.26 * value_noise(hand.points, 0.013, 11)
    tilt = side * 0.55
    turn = np.array([[np.cos(tilt), np.sin(tilt), 0.0], [-np.sin(tilt), np.cos(tilt), 0.0], [0.0, 0.0, 1.0]])
    mirror = np.array([-side, 1.0, 1.0])
    return Mesh((hand.points * mirror) @ turn, hand.faces, hand.colour * shade[:, None], hand.gloss)


def make_sunglasses() -> Mesh:
    """Dark glasses; the origin is the point between the eyeballs' centres, axes are the head's."""
    columns, rows = 20, 14
    u, v = np.meshgrid(np.linspace(-1, 1, columns), np.linspace(-1, 1, rows))
    # A square pressed to a rounded one: lenses have corners, but round ones.
    round_u, round_v = u * np.sqrt(1 - 0.35 * v**2), v * np.sqrt(1 - 0.35 * u**2)
    parts = []
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).reshape(-1)
    quads = np.stack([corner, corner + 1, corner + columns + 1, corner, corner + columns + 1, corner + columns], 1)
    for middle in (-0.0335, 0.0335):
        x = middle + 0.0290 * round_u
        y = 0.002 + 0.0235 * round_v
        z = -0.033 + 5.5 * x**2
        points = np.stack([x, y, z], axis=-1).reshape(-1, 3)
        parts.append(Mesh(points, quads.reshape(-1, 3), np.zeros_like(points), 0.0))
    parts.append(capsule(np.array([-0.009, -0.006, -0.033]), np.array([0.009, -0.006, -0.033]), (0.0022, 0.0022)))
    for side in (-1.0, 1.0):
        hinge, ear = np.array([side * 0.064, -0.010, -0.011]), np.array([side * 0.078, -0.012, 0.085])
        parts.append(capsule(hinge, ear, (0.0028, 0.0028)))
    glasses = joined(parts, np.array([0.012, 0.012, 0.014]), 0.5)
    bright = np.clip(-glasses.points[:, 1:2] / 0.025, 0, 1) * 0.035  # the sky in the upper half
    return Mesh(glasses.points, glasses.faces, glasses.colour + bright, glasses.gloss)


def place_hand(hand: Mesh, layout: Layout, vertices: np.ndarray, strength: float) -> np.ndarray:
    """Points (N, 3) of a hand before the lips of a posed head (V, 3); further down where ``strength`` is below 1."""
    lips = vertices[layout.masks["lips"] > 0]
    centre = np.array([lips[:, 0].mean(), lips[:, 1].mean(), lips[:, 2].min() - 0.026])
    return hand.points + centre + [0.0, 0.028 + _AWAY_M * (1 - strength), 0.0]


def place_sunglasses(glasses: Mesh, layout: Layout, vertices: np.ndarray, strength: float) -> np.ndarray:
    """Points (N, 3) of glasses on a posed head (V, 3); above the brow where ``strength`` is below 1."""
    skull = layout.masks["scalp"] > 0
    turn, _, _ = rigid_fit(layout.vertices[skull], vertices[skull])
    ids = np.concatenate([np.flatnonzero(layout.masks[f"{side}_eye"] > 0) for side in ("left", "right")])
    # Eyeballs have most vertices at their fronts: from their mean to the balls' middle it is the same way as at rest.
    centre = vertices[ids].mean(0) + turn @ (layout.middle - layout.vertices[ids].mean(0))
    raised = glasses.points + [0.0, -0.10 * (1 - strength), -0.03 * (1 - strength)]
    return raised @ turn.T + centre


def draw(
    image: np.ndarray,
    thing: Mesh,
    points: np.ndarray,
    head: np.ndarray,
    head_faces: np.ndarray,
    camera: Camera,
    sh: np.ndarray,
    direction: np.ndarray,
    key: np.ndarray,
    table: np.ndarray,
) -> None:
    """Draw a thing into a picture, in place, at 2x2 samples a pixel.

    Args:
        image: (H, W, 3) uint8.
        thing: faces and colours.
        points: (N, 3) its points, camera frame.
        head: (V, 3) posed head that may hide it.
        head_faces: (G, 3).
        camera: of the picture.
        sh, direction, key: light as in :class:`pipelines.synth.render.Lighting`.
        table: encoding of ``pipelines.synth.render.encoding_table``.
    """
    if points[:, 2].min() < 2 * kernels.NEAR:
        return
    seen = points[:, :2] / points[:, 2:] * [camera.fx, camera.fy] + [camera.cx, camera.cy]
    x0, y0 = np.clip(np.floor(seen.min(0)).astype(int), 0, [camera.width, camera.height])
    x1, y1 = np.clip(np.ceil(seen.max(0)).astype(int), 0, [camera.width, camera.height])
    if x1 <= x0 or y1 <= y0:
        return
    window = Camera(
        2 * camera.fx, 2 * camera.fy, 2 * (camera.cx - x0), 2 * (camera.cy - y0), 2 * int(x1 - x0), 2 * int(y1 - y0)
    )
    every = np.concatenate([head, points])
    faces = np.concatenate([head_faces, thing.faces + len(head)])
    ids, bary, _ = rasterize_arrays(every[None], faces, window, threads=1)
    number = ids[0] - len(head_faces)
    mine = number >= 0
    if not mine.any():
        return
    normals = np.zeros(points.shape)
    vertex_normals(points, thing.faces, normals)
    towards = -points / np.linalg.norm(points, axis=1, keepdims=True)
    normals *= np.where((normals * towards).sum(1, keepdims=True) < 0, -1.0, 1.0)
    light = np.zeros(points.shape)
    kernels.vertex_light(normals, sh, light)
    light += np.maximum(normals @ direction, 0.0)[:, None] * key
    middle = direction + towards
    middle /= np.linalg.norm(middle, axis=1, keepdims=True)
    shine = thing.gloss * np.maximum((normals * middle).sum(1), 0.0)[:, None] ** 40 * key
    colour = thing.colour * light + shine
    corners = colour[thing.faces[number[mine]]]
    linear = np.zeros((*mine.shape, 3))
    linear[mine] = (corners * bary[0][mine][:, :, None]).sum(1)
    height, width = y1 - y0, x1 - x0
    alpha = mine.reshape(height, 2, width, 2).mean(axis=(1, 3))[..., None]
    mean = linear.reshape(height, 2, width, 2, 3).mean(axis=(1, 3)) / np.maximum(alpha, 1e-6)
    places = np.sqrt(0.5 * np.clip(mean, 0.0, 1.999)) * (len(table) - 1) + 0.5
    encoded = table[np.minimum(places.astype(np.int64), len(table) - 1)]
    part = image[y0:y1, x0:x1]
    part[:] = np.round(alpha * encoded + (1 - alpha) * part).astype(np.uint8)
