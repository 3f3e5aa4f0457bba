"""The look of a face as numbers: the face warped to one layout and averaged over a clip, then texture and colours.

There is no face-recognition network here. The descriptor is a hand-made one in the field's usual parts: alignment by
the landmarks' mesh, illumination normalisation (gamma, difference of Gaussians, contrast equalisation: Tan and Triggs
2010), histograms of oriented gradients (Dalal and Triggs 2005) and of uniform local binary patterns (Ojala et al. 2002)
over a grid, and colours relative to the skin.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

WIDTH, HEIGHT = 112, 128
"""Size of the aligned face, pixels."""
_MARGIN = 6.0
_POINTS = 468
"""Landmarks of the skin; the ten of the irises are left out, for they move."""
_CELLS = (8, 7)
"""Rows and columns of the grid of texture cells."""
_SPLIT = (_CELLS[0], HEIGHT // _CELLS[0], _CELLS[1], WIDTH // _CELLS[1])
_BINS = 8
COLOURS = ("skin", "lips", "brows", "hair")
"""Regions whose colours are kept, in this order."""
_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
_LEFT_BROW = (276, 283, 282, 295, 285, 336, 296, 334, 293, 300)
_RIGHT_BROW = (46, 53, 52, 65, 55, 107, 66, 105, 63, 70)
_CHEEKS = ((50, 101, 205, 187, 123), (280, 330, 425, 411, 352))
_FOREHEAD, _CHIN = 10, 152


@dataclass(frozen=True)
class Layout:
    """Where every pixel of the aligned face lies on the mesh of landmarks."""

    points: np.ndarray
    """(468, 2) float64: landmarks in the aligned face, pixels, corner origin."""
    corners: np.ndarray
    """(H, W, 3) int64: landmarks of the triangle; 0 outside the face."""
    bary: np.ndarray
    """(H, W, 3) float32; 0 outside the face."""
    inside: np.ndarray
    """(H, W) bool."""


@lru_cache(maxsize=1)
def layout() -> Layout:
    """The layout: the open head's average face, seen from the front without perspective."""
    from scipy.spatial import Delaunay

    from model.head.load import load_head

    head = load_head("open")
    points = head.landmark_points(head.v_template[None])[0, :_POINTS, :2].numpy().astype(np.float64)
    # The whole mesh is symmetric but for the calibration's noise; only the scale is fixed here, not the shape.
    low, high = points.min(axis=0), points.max(axis=0)
    room = np.array([WIDTH, HEIGHT]) - 2 * _MARGIN
    scale = float((room / (high - low)).min())
    points = (points - (low + high) / 2) * scale + np.array([WIDTH, HEIGHT]) / 2
    mesh = Delaunay(points)
    grid = np.stack(np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5), axis=-1)
    found = mesh.find_simplex(grid)
    inside = found >= 0
    transform = mesh.transform[found]
    two = np.einsum("hwij,hwj->hwi", transform[..., :2, :], grid - transform[..., 2, :])
    bary = np.concatenate([two, 1 - two.sum(axis=-1, keepdims=True)], axis=-1)
    corners = np.where(inside[..., None], mesh.simplices[found], 0)
    return Layout(points, corners.astype(np.int64), np.where(inside[..., None], bary, 0).astype(np.float32), inside)


def align(picture: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Warp a face to the layout, triangle by triangle.

    Args:
        picture: (H, W, 3) uint8 RGB.
        landmarks: (478, 2+) its pixels, corner origin.

    Returns:
        (128, 112, 3) float32 in [0, 255]; 0 outside the face.
    """
    import cv2

    where = layout()
    at = np.einsum("hwk,hwkc->hwc", where.bary, landmarks[:, :2].astype(np.float32)[where.corners]) - 0.5
    # A face of many pixels would be sampled with gaps: blur to about one sample a pixel first.
    spread = np.linalg.norm(landmarks[_FOREHEAD, :2] - landmarks[_CHIN, :2]) / (HEIGHT - 2 * _MARGIN)
    smooth = cv2.GaussianBlur(picture, (0, 0), 0.5 * float(spread)) if spread > 1.0 else picture
    face = cv2.remap(smooth, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.where(where.inside[..., None], face, 0).astype(np.float32)


def regions(picture: np.ndarray, matte: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Median colours of skin, lips, brows and hair, (4, 3) float64 linear light; NaN where nothing is seen.

    Hair is what the matte holds in a band above the forehead: skin again where a head is bald.

    Args:
        picture: (H, W, 3) uint8 RGB.
        matte: (H, W) uint8, 255 in the foreground.
        landmarks: (478, 2+) its pixels.
    """
    import cv2

    points = landmarks[:, :2].astype(np.float64)
    up = points[_FOREHEAD] - points[_CHIN]
    side = points[356] - points[127]
    above = ((-0.22, 0.10), (0.22, 0.10), (0.18, 0.24), (-0.18, 0.24))
    band = [points[_FOREHEAD] + across * side + height * up for across, height in above]
    shapes = (
        [points[list(cheek)] for cheek in _CHEEKS],
        [points[list(_LIPS)]],
        [points[list(_LEFT_BROW)], points[list(_RIGHT_BROW)]],
        [np.array(band)],
    )
    colours = np.full((len(COLOURS), 3), np.nan)
    for row, polygons in enumerate(shapes):
        mask = np.zeros(picture.shape[:2], np.uint8)
        for polygon in polygons:
            hull = cv2.convexHull(np.round(polygon * 16 - 8).astype(np.int32))
            cv2.fillConvexPoly(mask, hull, 255, shift=4)
        chosen = picture[(mask > 0) & (matte > 127)]
        if len(chosen) >= 12:
            # The darker half of a brow is hair, the rest is the skin between.
            if COLOURS[row] == "brows":
                light = chosen.astype(np.int64).sum(axis=1)
                chosen = chosen[light <= np.median(light)]
            colours[row] = np.median(linear(chosen), axis=0)
    return colours


def linear(values: np.ndarray) -> np.ndarray:
    """Bytes of sRGB to linear light in [0, 1] (IEC 61966-2-1)."""
    v = np.asarray(values, dtype=np.float64) / 255.0
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def normalised(face: np.ndarray) -> np.ndarray:
    """Aligned grey face (128, 112) with lighting taken out: gamma, difference of Gaussians, contrast equalisation."""
    import cv2

    inside = layout().inside
    level = float(face[inside].mean())
    filled = np.where(inside, face, level).astype(np.float32)
    bright = np.power(np.maximum(filled, 1.0) / 255.0, 0.2)
    band = cv2.GaussianBlur(bright, (0, 0), 1.0) - cv2.GaussianBlur(bright, (0, 0), 6.0)
    for _ in range(2):
        band = band / max(float(np.mean(np.minimum(np.abs(band[inside]), 10.0) ** 0.1)) ** 10, 1e-8)
    return np.where(inside, 3.0 * np.tanh(band / 3.0), 0.0)


def texture(face: np.ndarray) -> np.ndarray:
    """Descriptor of an aligned RGB face: gradient and pattern histograms of every cell, float32 of length sqrt(2)."""
    grey = face @ np.array([0.299, 0.587, 0.114], np.float32)
    clean = normalised(grey)
    inside = layout().inside
    parts = []
    for histogram in (_gradients(clean), _patterns(clean)):
        shaped = (histogram * inside[..., None]).reshape(*_SPLIT, histogram.shape[-1])
        flat = np.sqrt(shaped.sum(axis=(1, 3)))
        cells = flat / np.maximum(np.linalg.norm(flat, axis=-1, keepdims=True), 1e-9)
        share = inside.reshape(_SPLIT).mean(axis=(1, 3))
        vector = (cells * np.sqrt(share)[..., None]).ravel()
        parts.append(vector / max(float(np.linalg.norm(vector)), 1e-9))
    return np.concatenate(parts).astype(np.float32)


def _gradients(clean: np.ndarray) -> np.ndarray:
    """(H, W, 8) magnitude of the gradient, shared between the two nearest of 8 directions (sign does not count)."""
    dy, dx = np.gradient(clean)
    place = np.mod(np.arctan2(dy, dx), np.pi) / np.pi * _BINS
    low = np.floor(place).astype(np.int64)
    high_share = place - low
    size = np.hypot(dx, dy)
    out = np.zeros((*clean.shape, _BINS))
    np.put_along_axis(out, (low % _BINS)[..., None], (size * (1 - high_share))[..., None], axis=-1)
    more = np.zeros_like(out)
    np.put_along_axis(more, ((low + 1) % _BINS)[..., None], (size * high_share)[..., None], axis=-1)
    return out + more


@lru_cache(maxsize=1)
def _uniform() -> np.ndarray:
    """(256,) number of every 8-bit pattern with at most two changes around the circle; 58 for all others."""
    table = np.full(256, 58, np.int64)
    number = 0
    for pattern in range(256):
        turned = (pattern >> 1) | ((pattern & 1) << 7)
        if bin(pattern ^ turned).count("1") <= 2:
            table[pattern] = number
            number += 1
    return table


def _patterns(clean: np.ndarray) -> np.ndarray:
    """(H, W, 59) one-hot uniform local binary pattern of eight neighbours two pixels away."""
    code = np.zeros(clean.shape, np.int64)
    for bit, (dy, dx) in enumerate(((-2, -1), (-2, 1), (-1, 2), (1, 2), (2, 1), (2, -1), (1, -2), (-1, -2))):
        code |= (np.roll(clean, (-dy, -dx), axis=(0, 1)) > clean).astype(np.int64) << bit
    out = np.zeros((*clean.shape, 59))
    np.put_along_axis(out, _uniform()[code][..., None], 1.0, axis=-1)
    return out


def colour_vector(colours: np.ndarray) -> np.ndarray:
    """Colours (4, 3) as what light changes least, (11,) float64, NaN where unknown.

    Of the skin: log R/G and log B/G. Of lips, brows and hair: the log of their colour over the skin's.
    """
    logs = np.log(np.maximum(colours, 1e-3))
    skin = logs[0]
    return np.concatenate([[skin[0] - skin[1], skin[2] - skin[1]], (logs[1:] - skin).ravel()])
