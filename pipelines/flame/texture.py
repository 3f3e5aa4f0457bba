"""The face as a small picture of its own, laid flat: what part of it has another texture than in the rest of the clip.

A hand has the colour of the face it hides, but not its brows, nose and lips, and it brings edges of its own. So the
face of every frame is warped to one flat layout (triangles between the landmarks, as they lie in the clip's median
face seen from the front), freed of its light by a local mean, and compared texel by texel with its own median over the
clip, in units of what the texel varies by: lips and lids vary much when somebody talks and blinks, a cheek hardly.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import binary_erosion
from scipy.spatial import Delaunay, QhullError, cKDTree

from model.fitting.regions import LEFT_EYE, LIPS_OUTER, RIGHT_EYE
from pipelines.flame.appearance import RIGID

SIZE = 64
"""Texels across the layout: one is about 2 mm of a face, and 4 px of a crop of 512."""
_POINTS = 468
"""Landmarks without the irises, which do not lie in the skin."""
_RIM = 4
"""Texels from the outline that are not judged: the outline slides over hair and background."""
_BLACK = 12.0
"""Added to luma (0 to 255) before logarithms, as in ``appearance``."""
_LIGHT = 8.0
"""Standard deviation, in texels, of the local mean that counts as light."""
_LEAST_SD = 0.025
"""Least standard deviation of a texel's log luma."""
_WINDOW = 9
"""Texels over which deviations are averaged."""
_UNLIKE = 2.5
"""Mean deviation over the window, in standard deviations, from which a texel is not the face."""
_FACING = 0.35
"""Cosine between the skin and the way to the camera below which a texel is not judged."""
_BLOCK = 256
_MOST = 1500
"""Frames, evenly spread, that medians are taken of: memory stays bounded in long clips."""
_REACH = 0.30
"""Texels as near as this to an eye's or the mouth's landmarks, in face sizes, are its region."""


@dataclass(frozen=True)
class Grid:
    """Where each texel of the flat face lies between landmarks."""

    texels: np.ndarray
    """(N,) int64 numbers in a picture of ``SIZE`` x ``SIZE``, row by row."""
    corners: np.ndarray
    """(N, 3) landmarks of the triangle around each."""
    bary: np.ndarray
    """(N, 3) float32 weights of these."""
    normals: np.ndarray
    """(SIZE * SIZE, 3) rough directions of the skin, x to the image's right, y up, z to the viewer."""
    inner: np.ndarray
    """(SIZE, SIZE) bool: texels that may be judged."""
    regions: dict[str, np.ndarray]
    """eyes, mouth -> (SIZE, SIZE) bool."""


def make_grid(landmarks: np.ndarray, matrices: np.ndarray, good: np.ndarray) -> Grid | None:
    """Lay the median face of a clip flat.

    Args:
        landmarks: (T, 478, 3) crop px, finite.
        matrices: (T, 4, 4) of the landmarker.
        good: (T,) bool, frames that count; at least one.

    Returns:
        None where the landmarks span no face.
    """
    seen = landmarks[good, :_POINTS].astype(np.float64)
    rigid = RIGID[RIGID < _POINTS]
    centred = (seen - seen[:, rigid].mean(axis=1, keepdims=True)) * [1.0, -1.0, -1.0]
    placed = np.einsum("tij,tni->tnj", _turns(matrices[good]), centred)
    size = np.sqrt((placed[:, rigid] ** 2).sum(axis=2).mean(axis=1))
    points = np.median(placed / np.maximum(size, 1e-6)[:, None, None], axis=0)
    flat = points[:, :2] * [1.0, -1.0]
    low, high = flat.min(axis=0), flat.max(axis=0)
    scale = (SIZE - 1) / max(float((high - low).max()), 1e-9)
    steps = np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE)), axis=-1).reshape(-1, 2)
    places = (steps - (SIZE - 1) / 2) / scale + (low + high) / 2
    try:
        net = Delaunay(flat)
    except (QhullError, ValueError):
        return None
    found = net.find_simplex(places)
    texels = np.flatnonzero(found >= 0)
    if len(texels) < SIZE:
        return None
    affine = net.transform[found[texels]]
    bary = np.einsum("nij,nj->ni", affine[:, :2], places[texels] - affine[:, 2])
    bary = np.concatenate([bary, 1.0 - bary.sum(axis=1, keepdims=True)], axis=1)
    if not np.isfinite(bary).all():
        return None
    there = np.zeros(SIZE * SIZE, bool)
    there[texels] = True
    normals = points[cKDTree(flat).query(places)[1]] - [0.0, 0.0, -1.1]
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    regions = {}
    for name, members in (("eyes", (*RIGHT_EYE, *LEFT_EYE)), ("mouth", LIPS_OUTER)):
        far, _ = cKDTree(flat[list(members)]).query(places)
        regions[name] = ((far < _REACH) & there).reshape(SIZE, SIZE)
    inner = binary_erosion(there.reshape(SIZE, SIZE), iterations=_RIM)
    return Grid(texels, net.simplices[found[texels]], bary.astype(np.float32), normals, inner, regions)


def warp(luma: np.ndarray, landmarks: np.ndarray, grid: Grid, picture: tuple[float, float, float, float]) -> np.ndarray:
    """One frame's flat face.

    Args:
        luma: (H, W) uint8, the crop at half its size.
        landmarks: (478, 2 or 3) px of the crop at full size, finite.
        grid: where texels lie.
        picture: left, top, right and bottom edge of the source's picture, px of the crop.

    Returns:
        (SIZE * SIZE,) uint8; 0 where there is no face in the layout, or no picture.
    """
    x, y = np.ascontiguousarray(landmarks[:, :2].T, dtype=np.float32)
    x, y = ((values[grid.corners] * grid.bary).sum(axis=1) for values in (x, y))
    height, width = luma.shape
    left, top, right, bottom = picture
    inside = (x > max(left, 0)) & (x < min(right, 2 * width)) & (y > max(top, 0)) & (y < min(bottom, 2 * height))
    far = max(width, height) + 2
    at = [np.clip(values / 2 - 0.5, -2, far)[:, None] for values in (x, y)]
    values = cv2.remap(luma, at[0], at[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0]
    out = np.zeros(SIZE * SIZE, np.uint8)
    out[grid.texels] = np.where(inside, np.maximum(values, 1), 0)
    return out


@dataclass(frozen=True)
class Flat:
    """A face laid flat in every frame of a clip."""

    texture: np.ndarray
    """(T, SIZE * SIZE) uint8 of :func:`warp`."""
    grid: Grid


@dataclass(frozen=True)
class Unlike:
    """How much of a face is not as usual."""

    share: np.ndarray
    """(T,) of what is visible of the face, by area as seen from the front."""
    regions: dict[str, np.ndarray]
    """eyes, mouth -> (T,) share of the region."""


def unlike(flat: Flat, matrices: np.ndarray, good: np.ndarray) -> Unlike:
    """Compare the flat face of every frame with the median of the ``good`` ones.

    Args:
        flat: T frames.
        matrices: (T, 4, 4) of the landmarker.
        good: (T,) bool; at least one.
    """
    texture, grid, count = flat.texture, flat.grid, len(flat.texture)
    some = np.flatnonzero(good)
    some = some[np.linspace(0, len(some) - 1, min(len(some), _MOST)).astype(np.int64)]
    details, known = _details(texture[some])
    details[~known] = np.nan
    usual = _nan_median(details)
    spread = np.maximum(1.4826 * _nan_median(np.abs(details - usual)), _LEAST_SD)
    del details
    out = np.zeros(count)
    regions = {name: np.zeros(count) for name in grid.regions}
    least = 0.3 * grid.inner.sum()
    for first in range(0, count, _BLOCK):
        part = slice(first, min(first + _BLOCK, count))
        details, known = _details(texture[part])
        facing = (_turns(matrices[part])[:, 2] @ grid.normals.T).reshape(-1, SIZE, SIZE)
        visible = known & grid.inner & (facing > _FACING)
        apart = np.where(visible, np.minimum(np.abs(details - usual) / spread, 10.0), 0.0).astype(np.float32)
        hidden = _blurred(apart) > _UNLIKE * np.maximum(_blurred(visible.astype(np.float32)), 0.2)
        hidden &= visible
        out[part] = hidden.sum(axis=(1, 2)) / np.maximum(visible.sum(axis=(1, 2)), least)
        for name, region in grid.regions.items():
            seen = (visible & region).sum(axis=(1, 2))
            regions[name][part] = (hidden & region).sum(axis=(1, 2)) / np.maximum(seen, 0.3 * region.sum() + 1e-9)
    return Unlike(out, regions)


def nod(matrices: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Angle (T,) in degrees by which the face is turned from where it looks in the median of the ``good`` frames."""
    look = _turns(matrices)[:, 2]
    usual = np.median(look[good], axis=0)
    usual /= max(float(np.linalg.norm(usual)), 1e-9)
    return np.degrees(np.arccos(np.clip(look @ usual, -1.0, 1.0)))


def _turns(matrices: np.ndarray) -> np.ndarray:
    turn = matrices[:, :3, :3].astype(np.float64)
    return turn / np.maximum(np.linalg.norm(turn, axis=1, keepdims=True), 1e-9)


def _details(texture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log luma less its local mean, (T, SIZE, SIZE) float32, and where it is known."""
    pictures = texture.reshape(-1, SIZE, SIZE)
    known = pictures > 0
    log = np.where(known, np.log(pictures.astype(np.float32) + _BLACK), 0.0).astype(np.float32)
    out = np.empty_like(log)
    for picture, there, result in zip(log, known, out, strict=True):
        weight = cv2.GaussianBlur(there.astype(np.float32), (0, 0), _LIGHT, borderType=cv2.BORDER_CONSTANT)
        mean = cv2.GaussianBlur(picture, (0, 0), _LIGHT, borderType=cv2.BORDER_CONSTANT)
        result[:] = picture - mean / np.maximum(weight, 1e-3)
    return out, known


def _blurred(pictures: np.ndarray) -> np.ndarray:
    size = (_WINDOW, _WINDOW)
    return np.stack([cv2.blur(picture, size, borderType=cv2.BORDER_CONSTANT) for picture in pictures])


def _nan_median(values: np.ndarray) -> np.ndarray:
    """Median over time of (T, SIZE, SIZE), 0 where nothing is known."""
    ordered = np.sort(values, axis=0)  # NaN goes last
    known = np.isfinite(values).sum(axis=0)[None]
    low, high = np.maximum(known - 1, 0) // 2, np.minimum(known // 2, len(values) - 1)
    middle = 0.5 * (np.take_along_axis(ordered, low, axis=0) + np.take_along_axis(ordered, high, axis=0))[0]
    return np.where(known[0] > 0, np.nan_to_num(middle), 0.0).astype(np.float32)
