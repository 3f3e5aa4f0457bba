"""How a face looks at its landmarks: colours, what part of it is hidden, and whether it is still the same face.

The landmark detector goes on guessing behind a hand, so landmarks alone cannot tell that something is in the way.
Colours can: each landmark is a point of the skin, and skin keeps its colour. Every point is compared with its own
median over the clip, after the frame's light (a quadratic over the face, fitted robustly) has been taken out. Points in
eyes and mouth are left out, for blinking and talking change them; so are those on the outline, which slide over hair.
A hand has the colour of the face it hides, so there is a second question: is the pattern that lips make still there?
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from model.fitting.regions import (
    BROWS,
    LEFT_EYE,
    LEFT_IRIS,
    LIPS_INNER,
    LIPS_OUTER,
    NUM_LANDMARKS,
    OVAL,
    RIGHT_EYE,
    RIGHT_IRIS,
)

_CHANGING = (*RIGHT_EYE, *LEFT_EYE, *RIGHT_IRIS, *LEFT_IRIS, *LIPS_INNER, *OVAL)
SKIN = np.setdiff1d(np.arange(NUM_LANDMARKS), _CHANGING)
"""Landmarks whose colour does not change when the face moves."""
RIGID = np.setdiff1d(SKIN, (*LIPS_OUTER, *BROWS))
"""Those that expressions hardly move."""
_MOUTH = np.array(
    [
        *LIPS_OUTER, 164, 18, 200, 199, 175, 57, 287, 43, 273, 106, 335, 182, 406, 83, 313, 167, 393, 165, 391, 92, 322,
        186, 410, 212, 432, 202, 422, 204, 424, 194, 418, 201, 421,
    ]
)  # fmt: skip
"""The outer lips and the skin about them."""
_EYE_RINGS = (230, 229, 228, 231, 450, 449, 448, 451, 27, 28, 29, 257, 258, 259)
_CHEEKS = (50, 101, 118, 205, 280, 330, 347, 425)

_BLACK = 12.0
"""Added to luma (0 to 255) before logarithms: noise and compression rule below it."""
_LUMA_NOISE, _CHROMA_NOISE = 0.06, 2.5
"""Least standard deviations of a point's log luma and chroma."""
_UNLIKE = 3.2
"""Mean deviation over a point and its neighbours, in standard deviations, from which the point is not seen."""
_NEIGHBOURS = 10
_FACING = 0.25
"""Cosine between a point's normal and the way to the camera below which it is not judged."""
_FAINT = 0.03
"""Strength of the mouth's pattern (rms over its points) below which its absence says nothing."""
_NEW_LOOKS = 0.15
"""Change of log luma from one frame to the next (standard deviation over the face) that may be a new face."""
_LIDS = (27, 230, 257, 450)
"""Points of skin above and below the eyes, to tell their height."""
_EYES_BAND, _UPPER = 0.45, 0.85
"""Half the height of the band that glasses cover; how far below the eyes what a hand before the mouth leaves free ends;
in face sizes."""
_PART_CHANGE = 0.8
"""How much a part of the face changes at the least in another person, as a share of the limit for the whole."""
_LEAST_POINTS = 40
_DARK_GLASSES = 0.55
"""Luma about the eyes, relative to the cheeks, below which eyes are behind glasses."""


@dataclass(frozen=True)
class Surface:
    """The skin points of a face in a frame of its own, and how they are turned in every frame."""

    points: np.ndarray
    """(N, 3) median places of ``SKIN``, x to the image's right, y up, z to the viewer, in units of the face's size."""
    placed: np.ndarray
    """(T, N, 3) the same in every frame, turned back."""
    area: np.ndarray
    """(N,) share of the face that each stands for, summing to 1: landmarks crowd at eyes and lips."""
    facing: np.ndarray
    """(T, N) cosine between the skin and the way to the camera, roughly."""


def surface(landmarks: np.ndarray, matrices: np.ndarray, good: np.ndarray) -> Surface:
    """Turn a clip's landmarks back to one pose.

    Args:
        landmarks: (T, 478, 3) crop px, finite.
        matrices: (T, 4, 4) of the landmarker.
        good: (T,) bool, frames that count for the medians.
    """
    turn = matrices[:, :3, :3].astype(np.float64)
    turn = turn / np.maximum(np.linalg.norm(turn, axis=1, keepdims=True), 1e-9)
    seen = landmarks[:, SKIN].astype(np.float64)
    rigid = np.searchsorted(SKIN, RIGID)
    centred = (seen - seen[:, rigid].mean(axis=1, keepdims=True)) * [1.0, -1.0, -1.0]
    placed = np.einsum("tij,tni->tnj", turn, centred)
    size = np.sqrt((placed[:, rigid] ** 2).sum(axis=2).mean(axis=1))
    placed /= np.maximum(size, 1e-6)[:, None, None]
    points = np.median(placed[good], axis=0)
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    area = np.sort(apart, axis=1)[:, 4] ** 2
    area = np.minimum(area, np.percentile(area, 95))
    normals = points - [0.0, 0.0, -1.1]
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return Surface(points, placed, area / area.sum(), np.einsum("tj,nj->tn", turn[:, 2], normals))


def light(residual: np.ndarray, weight: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The part of log luma residuals (T, N) that is light: a quadratic over the face, fitted robustly to each frame.

    Args:
        residual: (T, N).
        weight: (T, N), 0 where a point is not seen.
        points: (N, 3).
    """
    x, y = points[:, 0], points[:, 1]
    basis = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)
    stiff = np.diag([1e-6, 1e-4, 1e-4, 3e-3, 3e-3, 3e-3])
    fitted = np.zeros_like(residual)
    for _ in range(5):
        w = weight / (1 + ((residual - fitted) / 0.12) ** 2)
        normal = np.einsum("tn,ni,nj->tij", w, basis, basis, optimize=True) + stiff
        right = np.einsum("tn,tn,ni->ti", w, residual, basis, optimize=True)
        fitted = np.linalg.solve(normal, right[..., None])[..., 0] @ basis.T
    return fitted


def hidden_share(colours: np.ndarray, skin: Surface, good: np.ndarray) -> np.ndarray:
    """Share (T,) float64 of the visible face that does not look as it does in the rest of the clip.

    A point counts as hidden where it and its neighbours deviate from their own medians by more than ``_UNLIKE``
    standard deviations of the clip, in light and colour together. What covers a point for more than half of the clip is
    not found.

    Args:
        colours: (T, 478, 3) of :func:`sample_colours`.
        skin: of :func:`surface`.
        good: (T,) bool, frames that count for the medians; at least one.
    """
    values = colours[:, SKIN].astype(np.float64)
    log = np.log(values[..., 0] + _BLACK)
    visible = skin.facing > _FACING
    counted = visible & good[:, None]
    weight = visible * skin.area
    base = _median(log, counted)
    residual = log - base
    residual = residual - light(residual, weight, skin.points)
    residual -= _median(residual, counted)
    chroma = []
    for channel in (1, 2):
        change = values[..., channel] - _median(values[..., channel], counted)
        chroma.append(change - np.median(change, axis=1, keepdims=True))
    colour = np.hypot(*chroma)
    # The chroma of dark skin is small and quantised: a floor keeps compression from counting.
    luma_sd = np.maximum(1.4826 * _median(np.abs(residual), counted), _LUMA_NOISE)
    colour_sd = np.maximum(1.4826 * _median(colour, counted), _CHROMA_NOISE)
    unlike = np.minimum(np.hypot(residual / luma_sd, colour / colour_sd), 10.0)
    apart = np.linalg.norm(skin.points[:, None] - skin.points[None], axis=2)
    near = np.argsort(apart, axis=1, kind="stable")[:, :_NEIGHBOURS]
    hidden = (unlike[:, near].mean(axis=2) > _UNLIKE) & visible
    return (hidden * skin.area).sum(axis=1) / np.maximum((visible * skin.area).sum(axis=1), 0.2)


def mouth_gone(colours: np.ndarray, skin: Surface, good: np.ndarray) -> np.ndarray:
    """Frames (T,) bool in which the pattern that the lips make, in light and colour, is not there.

    The mouth's colours are projected on their own median over the clip, once as they are and once without what varies
    slowly over the mouth. Share and correlation must be low in both: lips are darker or redder than the skin about them
    on every face, whatever they say, and a hand has no lips.

    Args:
        colours: (T, 478, 3) of :func:`sample_colours`.
        skin: of :func:`surface`.
        good: (T,) bool, frames that count for the median; at least one.
    """
    values = colours[:, _MOUTH].astype(np.float64)
    pattern = np.concatenate([np.log(values[..., :1] + _BLACK), (values[..., 1:] - 128.0) / 40.0], axis=2)
    x, y = skin.points[np.searchsorted(SKIN, _MOUTH), :2].T
    ones = np.ones_like(x)
    gone = np.ones(len(colours), bool)
    for basis, share, alike in (([ones], 0.6, 0.65), ([ones, x, y, x * x, y * y, x * y], 0.3, 0.3)):
        slow, _ = np.linalg.qr(np.stack(basis, axis=1))
        rest = pattern - np.einsum("nk,mk,tmc->tnc", slow, slow, pattern, optimize=True)
        usual = np.median(rest[good], axis=0)
        size = float((usual**2).sum())
        if size < len(_MOUTH) * _FAINT**2:  # no pattern, no answer: far, dark or veiled
            return np.zeros(len(colours), bool)
        along = (rest * usual).sum(axis=(1, 2))
        length = np.sqrt(size * np.maximum((rest**2).sum(axis=(1, 2)), 1e-12))
        gone &= (along < share * size) & (along < alike * length)
    return gone


def eyes_behind_glasses(colours: np.ndarray) -> np.ndarray:
    """Frames (T,) bool in which the skin about both eyes is much darker than the cheeks: dark glasses."""
    luma = colours[..., 0].astype(np.float64)
    ring = np.median(luma[:, list(_EYE_RINGS)], axis=1)
    return ring + _BLACK < _DARK_GLASSES * (np.median(luma[:, list(_CHEEKS)], axis=1) + _BLACK)


def new_looks(colours: np.ndarray) -> np.ndarray:
    """Frames (T,) bool whose pattern of light and dark on the skin is another than in the frame before."""
    log = np.log(colours[:, SKIN, 0].astype(np.float32) + _BLACK)
    out = np.zeros(len(log), bool)
    out[1:] = (log[1:] - log[:-1]).std(axis=1) > _NEW_LOOKS
    return out


@dataclass(frozen=True)
class Looks:
    """What one person looks like over some frames."""

    shape: np.ndarray
    """(N, 3) places of the skin points."""
    luma: np.ndarray
    """(N,) log luma, less its median."""


def looks_of(colours: np.ndarray | None, skin: Surface, frames: np.ndarray) -> Looks:
    """Medians over ``frames`` (indices or bool)."""
    shape = np.median(skin.placed[frames], axis=0)
    if colours is None:
        return Looks(shape, np.zeros(len(SKIN)))
    log = np.log(colours[frames][:, SKIN, 0].astype(np.float64) + _BLACK)
    return Looks(shape, np.median(log - np.median(log, axis=1, keepdims=True), axis=0))


def looks_apart(one: Looks, two: Looks) -> tuple[float, float]:
    """How two people differ in proportions, and in what is light and dark on their faces.

    Another person differs all over the face, a hand or glasses in a part of it: so the change of light and dark is the
    least of the whole face's, and those of the face without the eyes' band and without its lower half.

    Returns:
        Rms distance of rigid points, in face sizes; rms of log luma after the light was taken out.
    """
    rigid = np.searchsorted(SKIN, RIGID)
    shape = float(np.sqrt(((one.shape[rigid] - two.shape[rigid]) ** 2).sum(axis=1).mean()))
    height = two.shape[:, 1]
    eyes = height[np.searchsorted(SKIN, _LIDS)].mean()
    changes = []
    for part, share in (
        (np.ones(len(height), bool), 1.0),
        (np.abs(height - eyes) > _EYES_BAND, _PART_CHANGE),
        (height > eyes - _UPPER, _PART_CHANGE),
    ):
        if part.sum() < _LEAST_POINTS:  # a strange shape: no part to speak of
            continue
        change = (one.luma - two.luma)[part][None]
        rest = change - light(change, np.full(change.shape, 1.0 / change.shape[1]), two.shape[part])
        changes.append(float(np.sqrt((rest**2).mean())) / share)
    return shape, min(changes)


def _median(values: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Median over time (N,) of (T, N) where ``counted``; over all frames for a point that never is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        middle = np.nanmedian(np.where(counted, values, np.nan), axis=0)
    return np.where(np.isfinite(middle), middle, np.median(values, axis=0))
