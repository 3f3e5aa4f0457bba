"""How a synthetic person looks: seeded choices, and the colours they give every point of the head's surface.

Colours are evaluated once per texel (half a millimetre apart in the face, see :mod:`pipelines.synth.texels`) as
functions of the place on the *template*, so pores, freckles and strands stick to the skin however it moves, and two
identities share the layout but not the looks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.camera import Camera
from model.raster.normals import vertex_normals
from model.raster.numba_backend import rasterize_arrays
from pipelines.synth import kernels
from pipelines.synth.layout import Layout, SurfaceHead, make_layout
from pipelines.synth.paint import hair_lift, paint
from pipelines.synth.texels import TexelGrid, make_grid
from pipelines.synth.traits import Traits, draw_traits

FINE_M, COARSE_M = 0.0005, 0.0012
"""Distance of texels on the face and the eyeballs, and elsewhere, metres."""


@dataclass(frozen=True)
class HeadAppearance:
    """Everything that is baked once per person; arrays are per vertex or texel of the head model's mesh."""

    traits: Traits
    """The choices behind it."""
    material: np.ndarray
    """(F,) uint8, see :mod:`pipelines.synth.kernels`."""
    grid: TexelGrid
    """Where the texels lie."""
    texels: np.ndarray
    """(N, 4) uint8: square roots of linear red, green, blue, and gloss (half of full scale is normal)."""
    occlusion: np.ndarray
    """(V,) float32, share of the sky that is visible at rest."""
    lift: np.ndarray
    """(V,) float32, metres by which hair stands off along the normal."""


def make_appearance(head: SurfaceHead, seed: int) -> HeadAppearance:
    """Looks of person ``seed`` on a head model; the same seed gives the same bytes.

    Args:
        head: the head model (any identity: the template is what is painted).
        seed: who; different seeds differ in skin, hair, beard, brows, lips, eyes and clothes.
    """
    traits = draw_traits(seed)
    layout = make_layout(head)
    material = face_materials(layout)
    fine = (layout.masks["face"][layout.faces] > 0).any(1) | (material == kernels.EYE)
    grid = make_grid(layout.vertices, layout.faces, np.where(fine, FINE_M, COARSE_M))
    texels = paint(traits, layout, grid, material)
    lift = hair_lift(traits, layout)
    return HeadAppearance(traits, material, grid, texels, ambient_occlusion(layout), lift)


def face_materials(layout: Layout) -> np.ndarray:
    """(F,) uint8 material of every face of the head: the group that holds all its corners."""
    material = np.full(len(layout.faces), kernels.SKIN, np.uint8)
    for names, kind in (
        (("mouth_interior", "teeth", "tongue"), kernels.MOUTH),
        (("left_eye", "right_eye"), kernels.EYE),
        (("lashes",), kernels.LASH),
    ):
        for name in names:
            if name in layout.masks:
                material[(layout.masks[name][layout.faces] > 0).all(1)] = kind
    return material


def ambient_occlusion(layout: Layout, directions: int = 48, size: int = 192) -> np.ndarray:
    """Share of the hemisphere over each vertex that is open at rest, (V,) float32, weighted by the cosine.

    Seen from many directions far away, a vertex is open where nothing lies before it in the depth image. The mouth's
    inside would be black (the lips are shut at rest), so there light fades with the depth behind the lips instead.
    """
    vertices, faces = layout.vertices, layout.faces
    drawn = faces[(layout.masks["lashes"][faces] == 0).all(1)] if "lashes" in layout.masks else faces
    centre = 0.5 * (vertices.min(0) + vertices.max(0))
    radius = float(np.linalg.norm(vertices - centre, axis=1).max())
    normals = np.zeros(vertices.shape, np.float64)
    vertex_normals(vertices, faces, normals)
    i = np.arange(directions) + 0.5
    height = 1 - 2 * i / directions
    turn = np.pi * (1 + np.sqrt(5)) * i
    towards = np.stack([np.sqrt(1 - height**2) * np.cos(turn), height, np.sqrt(1 - height**2) * np.sin(turn)], axis=1)
    towards = towards[towards[:, 1] < 0.6]  # the body below lets no light through
    far = 50.0
    focal = 0.5 * size * far / (1.05 * radius)
    camera = Camera(focal, focal, 0.5 * size, 0.5 * size, size, size)
    lash = np.zeros(len(vertices))
    open_, total = np.zeros(len(vertices)), np.zeros(len(vertices))
    for direction in towards:
        forward = -direction
        side = np.cross(forward, [0.0, 0.0, 1.0] if abs(forward[2]) < 0.9 else [1.0, 0.0, 0.0])
        side /= np.linalg.norm(side)
        axes = np.stack([side, np.cross(forward, side), forward])
        seen = (vertices + 0.002 * normals - centre) @ axes.T + [0, 0, far]
        _, _, depth = rasterize_arrays(((vertices - centre) @ axes.T + [0, 0, far])[None], drawn, camera)
        column, row = (focal * seen[:, :2] / seen[:, 2:] + 0.5 * size).astype(int).clip(0, size - 1).T
        nearest = depth[0, row, column]
        cosine = np.maximum(normals @ direction, 0.0)
        open_ += cosine * ((nearest == 0) | (seen[:, 2] <= nearest + 0.002))
        total += cosine
    result = np.where(total > 0, open_ / np.maximum(total, 1e-9), 1.0)
    front = layout.vertices[layout.masks["lips"] > 0][:, 2].min()
    behind = vertices[:, 2] - front
    for name, near, reach in (("teeth", 0.85, 0.020), ("tongue", 0.7, 0.022), ("mouth_interior", 0.55, 0.016)):
        if name in layout.masks:
            inside = layout.masks[name] > 0
            result[inside] = near * np.exp(-np.maximum(behind[inside] - 0.006, 0) / reach)
    for eye in layout.eyes:  # of a lash: how much of the light behind it it takes, upper ones more
        near = np.abs(vertices[:, 0] - eye[0]) < 0.03
        mine = near & (layout.masks.get("lashes", np.zeros(len(vertices))) > 0)
        upper = vertices[mine, 1] < np.median(vertices[mine, 1]) if mine.any() else mine[mine]
        lash[mine] = np.where(upper, 0.62, 0.22)
    return np.where(lash > 0, lash, _contrast(result)).astype(np.float32)


def _contrast(result: np.ndarray) -> np.ndarray:
    return (0.25 + 0.75 * result).astype(np.float32) * np.where(result < 0.25, 0.25 + 3 * result, 1.0).astype(
        np.float32
    )
