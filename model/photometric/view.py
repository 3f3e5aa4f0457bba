"""What pictures show of a posed surface: colours of its points, and the surface rendered again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.camera import Camera
from model.photometric import kernels
from model.photometric.appearance import Appearance, factors, fit_albedo, fit_appearance, fit_gain, shine
from model.photometric.surface import Surface
from model.photometric.term import blocks, intrinsics
from model.raster.jit import run_jobs
from model.raster.numba_backend import rasterize_arrays

SEEN = 0.1
"""Cosine between surface and view from which a pixel is compared."""


@dataclass(frozen=True)
class Posed:
    """A surface in T frames and the faces behind the pixels of their pictures."""

    normals: np.ndarray
    """(T, V, 3) float32."""
    vertices: np.ndarray
    """(T, V, 3) float32, camera frame, metres."""
    face_id: np.ndarray
    """(T, H, W) int32, -1 where empty."""
    bary: np.ndarray
    """(T, H, W, 3) float32."""
    depth: np.ndarray
    """(T, H, W) float32."""


@dataclass(frozen=True)
class Skin:
    """Texture and light of a clip, ready to be rendered."""

    albedo: np.ndarray
    """(N, 3) float32 colours of the texels in average light."""
    known: np.ndarray
    """(N,) bool."""
    light: np.ndarray
    """(9, 3) float32 spherical harmonics of the incoming light."""


def pose(surface: Surface, vertices: np.ndarray, camera: Camera, threads: int = 1) -> Posed:
    """Normals and visible faces of vertices (T, V, 3) float32."""
    normals = np.empty_like(vertices)
    jobs = [(first, last, vertices, surface.faces, normals) for first, last in blocks(len(vertices))]
    run_jobs(kernels.vertex_normals, jobs, threads)
    face_id, bary, depth = rasterize_arrays(vertices, surface.faces, camera, threads=threads)
    return Posed(normals, vertices, face_id, bary, depth)


def look(
    surface: Surface, posed: Posed, images: np.ndarray, camera: Camera, facing: float, *, texels: bool = False,
    threads: int = 1,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Colours (T, K, 3) in [0, 1], normals (T, K, 3) and weights (T, K) of the sample points, or of all texels.

    Args:
        surface: the surface.
        posed: its poses.
        images: (T, H, W, 4) uint8.
        camera: of these pictures.
        facing: least cosine between surface and view.
        texels: all texels instead of the samples.
        threads: jobs at a time.
    """
    if texels:
        corners, bary, skin = surface.texel_corners, surface.texel_bary, surface.skin[surface.texel_face]
    else:
        corners, bary = surface.sample_corners, surface.sample_bary
        skin = surface.skin[surface.texel_face[surface.samples]]
    num, k = len(images), len(corners)
    colour, normal = np.empty((num, k, 3), np.float32), np.empty((num, k, 3), np.float32)
    weight = np.empty((num, k), np.float32)
    fixed = (
        images, posed.vertices, posed.normals, posed.face_id, posed.depth, surface.skin, corners, bary,
        np.ascontiguousarray(skin), intrinsics(camera), np.float32(facing), colour, normal, weight,
    )  # fmt: skip
    run_jobs(kernels.observe, [(first, last, *fixed) for first, last in blocks(num)], threads)
    return colour, normal, weight


def describe(
    surface: Surface, vertices: np.ndarray, images: np.ndarray, camera: Camera, facing: float,
    *, texels: bool = True, threads: int = 1,
) -> tuple[Appearance, Skin | None]:  # fmt: skip
    """Texture, light and exposure from some frames of a clip.

    Returns:
        The appearance at the sample points, and at all texels if asked.

    Raises:
        ValueError: the face is seen in none of the frames.
    """
    posed = pose(surface, vertices, camera, threads)
    colour, normal, weight = look(surface, posed, images, camera, facing, threads=threads)
    skin = surface.skin[surface.texel_face[surface.samples]]
    found = fit_appearance(colour, normal, weight, skin, threads)
    if not texels:
        return found, None
    colour, normal, weight = look(surface, posed, images, camera, facing, texels=True, threads=threads)
    albedo, known = fit_albedo(colour, normal, weight, found.light, found.gain, found.noise, threads)
    return found, Skin(albedo, known, found.light)


def exposure(
    surface: Surface, posed: Posed, images: np.ndarray, camera: Camera, skin: Skin, facing: float, threads: int = 1
) -> np.ndarray:
    """Gain (T, 3) of each frame for a known texture and light."""
    colour, normal, weight = look(surface, posed, images, camera, facing, threads=threads)
    expected = shine(normal, skin.light) * skin.albedo[surface.samples]
    return fit_gain(colour, expected, weight * skin.known[surface.samples])


def render(
    surface: Surface, posed: Posed, skin: Skin, gain: np.ndarray, camera: Camera, threads: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (T, H, W, 3) float32 in [0, 1], and (T, H, W) bool where they hold something; skin and eyeballs."""
    shape = posed.face_id.shape
    out, covered = np.zeros((*shape, 3), np.float32), np.zeros(shape, bool)
    fixed = (
        posed.normals, surface.faces, posed.face_id, posed.bary, surface.resolution, surface.offset, skin.albedo,
        skin.known, (factors()[:, None] * skin.light).astype(np.float32), gain.astype(np.float32),
        intrinsics(camera), np.float32(SEEN), out, covered,
    )  # fmt: skip
    run_jobs(kernels.shade, [(first, last, *fixed) for first, last in blocks(len(out))], threads)
    return out, covered


def residuals(
    surface: Surface, posed: Posed, images: np.ndarray, rendered: np.ndarray, covered: np.ndarray
) -> np.ndarray:
    """Mean absolute difference of colours (T,) in [0, 1] over visible skin; 0 where none is visible."""
    out = np.zeros(len(images))
    for t in range(len(images)):
        on = covered[t] & surface.skin[np.maximum(posed.face_id[t], 0)]
        if on.any():
            out[t] = np.abs(images[t, ..., :3][on].astype(np.float32) / 255 - rendered[t][on]).mean(dtype=np.float64)
    return out


def texture_image(surface: Surface, skin: Skin, size: int) -> np.ndarray:
    """The texture in the head's own layout, (size, size, 3) uint8; black where nothing is known.

    A head without a layout gives (0, 0, 3).
    """
    if surface.layout is None:
        return np.zeros((0, 0, 3), np.uint8)
    uv, uv_faces = surface.layout
    flat = np.concatenate([uv * size, np.ones((len(uv), 1))], axis=1).astype(np.float32)[None]
    camera = Camera(1.0, 1.0, 0.0, 0.0, size, size)
    face_id, bary, _ = rasterize_arrays(flat, np.ascontiguousarray(uv_faces), camera, threads=1)
    out, covered = np.zeros((1, size, size, 3), np.float32), np.zeros((1, size, size), bool)
    # Drawn under an even light on a plane that faces the view.
    normals = np.zeros((1, int(uv_faces.max()) + 1, 3), np.float32)
    normals[..., 2] = -1
    even = np.zeros((9, 3), np.float32)
    even[0] = 1
    kernels.shade(
        0, 1, normals, np.ascontiguousarray(uv_faces), face_id, bary, surface.resolution, surface.offset, skin.albedo,
        skin.known, even, np.ones((1, 3), np.float32), np.array([1e6, 1e6, 0, 0], np.float32), np.float32(SEEN), out,
        covered,
    )  # fmt: skip
    image = np.round(out[0] * 255).clip(0, 255).astype(np.uint8)
    return _spread(image, covered[0])


def _spread(image: np.ndarray, covered: np.ndarray, steps: int = 2) -> np.ndarray:
    """Let colours run over the border of the covered texels, so that bilinear readers meet no black seam."""
    image, covered = image.copy(), covered.copy()
    for _ in range(steps):
        for axis, shift in ((0, 1), (0, -1), (1, 1), (1, -1)):
            taken = np.roll(covered, shift, axis) & ~covered
            image[taken] = np.roll(image, shift, axis)[taken]
            covered = covered | taken
    return image
