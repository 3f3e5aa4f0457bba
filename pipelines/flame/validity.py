"""Which frames of a fit can be trusted, why others cannot, and how much each is worth: pure functions of arrays.

Reasons are looked for in this order, and the first that holds is given: lost, outside, turned, swap, jump, misfit,
occluded, blurred, drift. docs/validity.md describes every one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from model.fitting.regions import NUM_LANDMARKS
from pipelines.flame.appearance import (
    RIGID,
    Surface,
    eyes_behind_glasses,
    hidden_share,
    looks_apart,
    looks_of,
    mouth_gone,
    new_looks,
    surface,
)
from pipelines.flame.confidence import confidence_of, features_of
from pipelines.flame.continuity import find_drift, find_jumps, find_swaps, runs
from pipelines.flame.texture import Flat, nod, unlike
from pipelines.flame.validity_config import FlameValidity

_NEAR_MISS = 0.6
"""A lost frame is put down to what its neighbours in time nearly were: from this share of a limit on."""
_GAP_REACH = 4
"""How many frames on either side of a gap are asked."""
_STEADY_TURN_DEG = 45.0
"""Frames turned further do not count for what a face usually looks like."""
_BRIDGE = 2
"""Frames between hidden ones that count as hidden as well."""
_WIDE_OPEN = 0.4
_SAYING_SHARE = 0.2
"""What a hidden mouth, or eyes behind dark glasses, count as a share of the face: little of its area, but most of what
it says."""
_SHORTEST = 3
"""Frames: what changes the texture of a face for less is a flash or a blurred nod, not a hand."""
_NOD_DEG = 20.0
"""Turn away from the usual at which twice as much of the texture may change."""
_BARE_FRAMES = 8
"""Frames without glasses from which their wearer has another usual look."""


class Reason(IntEnum):
    """Why a frame is not valid; the numbers are those of ``schemas.vocabulary.INVALID_REASONS``."""

    OK = 0
    LOST = 1
    OUTSIDE = 2
    TURNED = 3
    OCCLUDED = 4
    BLURRED = 5
    MISFIT = 6
    JUMP = 7
    SWAP = 8
    DRIFT = 9


MEASURES = (
    "turn_deg",
    "outside",
    "hidden",
    "hidden_eyes",
    "hidden_mouth",
    "sharpness",
    "error",
    "score",
    "glasses",
)
"""Degrees; share of landmarks outside the picture; shares of face, eyes and mouth that are hidden; sharpness relative
to the clip; landmark error in distances between the eyes; score of the detector; whether dark glasses are worn."""


@dataclass(frozen=True)
class Judgement:
    """Trust in every frame of one person in one clip."""

    valid: np.ndarray
    """(T,) bool."""
    reason: np.ndarray
    """(T,) int8 of ``Reason``; 0 exactly where valid."""
    confidence: np.ndarray
    """(T,) float32 in [0, 1]; see ``pipelines.flame.confidence``."""
    measures: Mapping[str, np.ndarray]
    """What was measured, (T,) each: ``MEASURES``."""

    def shares(self) -> dict[str, float]:
        """Reason -> share of the frames, for the reasons that occur."""
        counts = np.bincount(self.reason, minlength=len(Reason)) / max(len(self.reason), 1)
        return {item.name.lower(): round(float(counts[item]), 6) for item in Reason if item and counts[item] > 0}


@dataclass(frozen=True)
class Seen:
    """What the detector says of one person, crop px, T frames."""

    landmarks: np.ndarray
    """(T, 478, 3); anything in frames that are not ``valid``."""
    valid: np.ndarray
    """(T,) bool: a face was found."""
    matrix: np.ndarray
    """(T, 4, 4) pose of the landmarker."""
    score: np.ndarray
    """(T,) of the detector, in [0, 1]."""
    sharpness: np.ndarray
    """(T,) variance of the Laplacian."""
    yaw_deg: np.ndarray
    """(T,) turn to a side, of ``matrix``."""
    mouth_open: np.ndarray
    """(T,) jawOpen of the landmarker, in [0, 1]."""
    picture: tuple[float, float, float, float]
    """Left, top, right, bottom edge of the source's picture in crop px."""


@dataclass(frozen=True)
class Fitted:
    """What the fit says."""

    valid: np.ndarray
    """(T,) bool: the error is below the gate."""
    rotation: np.ndarray
    """(T, 3) axis-angle."""
    translation: np.ndarray
    """(T, 3) metres."""
    reprojection_px: np.ndarray
    """(T,) mean landmark error."""
    eye_distance_px: np.ndarray
    """(T,) as a head facing the camera would show it (of ``FitResult``): all lengths here are in units of it."""
    photometric: np.ndarray | None = None
    """(T,) mean colour difference, NaN where not measured; None without photometry."""


# Judging ----------------------------------------------------------------------------------------------------------


def usable(seen: Seen) -> np.ndarray:
    """Frames (T,) bool in which the detector found a face, in numbers."""
    return seen.valid & np.isfinite(seen.landmarks).all(axis=(1, 2)) & np.isfinite(seen.matrix).all(axis=(1, 2))


def judge(
    seen: Seen,
    fitted: Fitted,
    colours: np.ndarray | None,
    config: FlameValidity | None = None,
    *,
    flat: Flat | None = None,
) -> Judgement:
    """Decide for every frame whether its codes can be trusted, why not, and how much they are worth.

    Args:
        seen: what the detector says.
        fitted: what the fit says. NaN in it makes a frame a misfit, NaN in landmarks a lost one.
        colours: (T, 478, 3) of `sampling.sample`; None: nothing can be said of what is hidden.
        config: limits.
        flat: the face laid flat, of the same; None: what is hidden is told by colours alone.

    Raises:
        ValueError: shapes do not fit each other.
    """
    config = config or FlameValidity()
    count = len(seen.landmarks)
    _check(seen, fitted, colours)
    found = usable(seen)
    landmarks = np.where(found[:, None, None], seen.landmarks, 0.0).astype(np.float64)
    matrices = np.where(found[:, None, None], seen.matrix, np.eye(4))
    finite = np.isfinite(fitted.rotation).all(axis=1) & np.isfinite(fitted.translation).all(axis=1)
    finite &= np.isfinite(fitted.reprojection_px)
    codes_fit = fitted.valid & finite
    reason: np.ndarray = np.zeros(count, np.int8)
    if not found.any():
        reason[:] = Reason.LOST
        nothing = {name: np.zeros(count) for name in MEASURES}
        return Judgement(reason == 0, reason, np.zeros(count, np.float32), nothing)

    # Measures of single frames
    turn = _turn(fitted, codes_fit, np.where(np.isfinite(seen.yaw_deg), seen.yaw_deg, 0.0))
    outside = _outside(landmarks, seen.picture)
    # The fit's own unit: the distance seen shrinks with a turn, and would call the same error larger there.
    distance = np.where(np.isfinite(fitted.eye_distance_px), fitted.eye_distance_px, 0.0).astype(np.float64)
    distance = np.maximum(distance, max(0.5 * float(np.median(distance[found])), 1e-6))
    error = np.where(found & finite, fitted.reprojection_px, 0.0) / distance
    easy = found & (turn < min(_STEADY_TURN_DEG, config.max_turn_deg)) & (outside < 0.5 * config.max_outside)
    if not easy.any():
        easy = found
    usual = float(np.median(seen.sharpness[easy]))
    sharpness = np.where(np.isfinite(seen.sharpness), seen.sharpness, 0.0) / max(usual, 1e-9)

    # Over time: who is it, and does it move like a face
    skin = surface(landmarks, matrices, easy)
    jumped, cuts = find_jumps(landmarks[:, RIGID[::4], :2], found, distance, config.max_jump, config.jump_frames)
    if colours is not None:
        cuts = np.union1d(cuts, np.flatnonzero(found & new_looks(colours)))
    swapped = find_swaps(cuts, found & easy & ~jumped, _apart(skin, colours, config))
    own = easy & ~swapped
    if not own.any():
        own = easy
    hidden: np.ndarray = np.zeros(count)
    covered: dict[str, np.ndarray] = {"eyes": np.zeros(count), "mouth": np.zeros(count)}
    glasses: np.ndarray = np.zeros(count, bool)
    if colours is not None:
        skin = surface(landmarks, matrices, own) if swapped.any() else skin
        glasses = eyes_behind_glasses(colours) & found
        for these, usual_look in _looks(own, glasses, config.min_share):
            part = hidden_share(colours, skin, usual_look)
            # A mouth wide open moves lips and chin apart: then it is not the pattern of a mouth at rest.
            mouth = mouth_gone(colours, skin, usual_look) & (seen.mouth_open < _WIDE_OPEN)
            part = np.where(mouth, np.maximum(part, _SAYING_SHARE), part)
            if glasses.any() and not (usual_look & glasses).any():
                part = np.where(glasses, np.maximum(part, _SAYING_SHARE), part)
            if flat is not None:
                other = unlike(flat, matrices, usual_look)
                slack = 1.0 + np.square(nod(matrices, usual_look) / _NOD_DEG)
                texture = _lasting(other.share / (config.max_unlike * slack), found & these)
                part = np.maximum(part, texture * config.max_hidden)
                for name, values in other.regions.items():
                    covered[name] = np.where(these, values, covered[name])
            hidden = np.where(these & found, part, hidden)

    flags = (
        (Reason.OUTSIDE, found & (outside > config.max_outside)),
        (Reason.TURNED, found & (turn > config.max_turn_deg)),
        (Reason.SWAP, found & swapped),
        (Reason.JUMP, found & jumped),
        (Reason.MISFIT, found & ~codes_fit),
        (Reason.OCCLUDED, found & _bridged(hidden > config.max_hidden, _BRIDGE)),
        (Reason.BLURRED, found & (sharpness < config.min_sharpness)),
    )
    reason[~found] = Reason.LOST
    for item, flag in flags:
        reason[(reason == 0) & flag] = item
    _turned_not_hidden(reason, turn / max(config.max_turn_deg, 1e-9))
    drifted = find_drift(error, reason == 0, config.drift_ratio, config.drift_rise)
    if fitted.photometric is not None:
        measured = np.isfinite(fitted.photometric)
        seen_well = (reason == 0) & measured
        drifted |= find_drift(np.nan_to_num(fitted.photometric), seen_well, config.drift_ratio, config.drift_rise)
    reason[(reason == 0) & drifted] = Reason.DRIFT
    _explain_gaps(reason, found, turn / max(config.max_turn_deg, 1e-9), outside / max(config.max_outside, 1e-9), hidden)

    measures = {
        "turn_deg": turn,
        "outside": outside,
        "hidden": hidden,
        "hidden_eyes": np.where(hidden > config.max_hidden, covered["eyes"], 0.0),
        "hidden_mouth": np.where(hidden > config.max_hidden, covered["mouth"], 0.0),
        "sharpness": sharpness,
        "error": error,
        "score": np.where(np.isfinite(seen.score), seen.score, 0.0),
        "glasses": glasses,
    }
    worthless = ~found | ~codes_fit | np.isin(reason, (Reason.LOST, Reason.MISFIT, Reason.JUMP, Reason.SWAP))
    confidence = np.where(worthless, 0.0, confidence_of(features_of(measures))).astype(np.float32)
    return Judgement(reason == 0, reason, confidence, measures)


def _bridged(flags: np.ndarray, frames: int) -> np.ndarray:
    """(T,) bool with gaps of at most ``frames`` between True filled: a hand does not go away for a frame."""
    out = flags.copy()
    for first, end in runs(~flags):
        if first > 0 and end < len(flags) and end - first <= frames:
            out[first:end] = True
    return out


def _looks(own: np.ndarray, glasses: np.ndarray, share: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Which frames (T,) bool are compared with the median of which, where dark glasses come and go.

    The bare face is the usual one, however long glasses are worn, if it is seen in ``share`` of the frames; else
    glasses belong to the face. Frames without them are then compared with each other, if there are a few.
    """
    every = np.ones(len(own), bool)
    bare, dark = own & ~glasses, own & glasses
    if not dark.any():
        return [(every, own)]
    if bare.sum() >= max(_BARE_FRAMES, share * own.sum()):
        return [(every, bare)]
    return [(glasses, dark)] + ([(~glasses, bare)] if bare.sum() >= _BARE_FRAMES else [])


def _lasting(excess: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """(T,) share of a limit, brought below 1 where it exceeds it for less than ``_SHORTEST`` frames."""
    out = np.where(asked, excess, 0.0)
    for first, end in runs(out > 1.0):
        if end - first < _SHORTEST:
            out[first:end] = 0.99
    return out


def _check(seen: Seen, fitted: Fitted, colours: np.ndarray | None) -> None:
    count = len(seen.landmarks)
    if seen.landmarks.shape != (count, NUM_LANDMARKS, 3):
        raise ValueError(f"landmarks should have shape (T, {NUM_LANDMARKS}, 3), they have {seen.landmarks.shape}")
    for name in ("valid", "score", "sharpness", "yaw_deg", "mouth_open"):
        if getattr(seen, name).shape != (count,):
            raise ValueError(f"{name} should have shape ({count},), it has {getattr(seen, name).shape}")
    for name in ("valid", "reprojection_px", "eye_distance_px"):
        if getattr(fitted, name).shape != (count,):
            raise ValueError(f"{name} of the fit should have shape ({count},), it has {getattr(fitted, name).shape}")
    if colours is not None and colours.shape != (count, NUM_LANDMARKS, 3):
        raise ValueError(f"colours should have shape ({count}, {NUM_LANDMARKS}, 3), they have {colours.shape}")


def _turn(fitted: Fitted, codes_fit: np.ndarray, yaw_deg: np.ndarray) -> np.ndarray:
    """Angle (T,) in degrees between where the face looks and the way to the camera.

    The detector's turn to a side, where that is larger or the fit has none.
    """
    vector = np.where(codes_fit[:, None], fitted.rotation, 0.0).astype(np.float64)
    angle = np.linalg.norm(vector, axis=1)
    axis = vector / np.maximum(angle, 1e-12)[:, None]
    # Rodrigues' formula for (0, 0, -1), where the face looks at rest.
    look = np.array([0.0, 0.0, -1.0])
    along = (axis @ look)[:, None] * axis
    forward = along + np.cos(angle)[:, None] * (look - along) + np.sin(angle)[:, None] * np.cross(axis, look)
    to_camera = -np.where(codes_fit[:, None], fitted.translation, 1.0).astype(np.float64)
    to_camera /= np.maximum(np.linalg.norm(to_camera, axis=1, keepdims=True), 1e-9)
    turned = np.degrees(np.arccos(np.clip((forward * to_camera).sum(axis=1), -1.0, 1.0)))
    return np.where(codes_fit, np.maximum(turned, np.abs(yaw_deg)), np.abs(yaw_deg))


def _outside(landmarks: np.ndarray, picture: tuple[float, float, float, float]) -> np.ndarray:
    """Share (T,) of landmarks outside the source's picture."""
    left, top, right, bottom = picture
    x, y = landmarks[:, :468, 0], landmarks[:, :468, 1]
    return ((x < left) | (x > right) | (y < top) | (y > bottom)).mean(axis=1)


def _apart(
    skin: Surface, colours: np.ndarray | None, config: FlameValidity
) -> Callable[[np.ndarray, np.ndarray], bool]:
    """Whether two sets of frames show two people: proportions and light and dark, for one alone may err."""

    def apart(one: np.ndarray, two: np.ndarray) -> bool:
        shape, luma = looks_apart(looks_of(colours, skin, one), looks_of(colours, skin, two))
        if colours is None:
            return shape > 1.25 * config.max_shape_change
        return shape > config.max_shape_change and luma > config.max_looks_change

    return apart


def _turned_not_hidden(reason: np.ndarray, turn: np.ndarray) -> None:
    """Give hidden frames, in place, on the way into and out of a profile its reason: there the head hides itself.

    Args:
        reason: (T,).
        turn: (T,) as a share of the limit.
    """
    for first, end in runs(np.isin(reason, (Reason.OCCLUDED, Reason.TURNED))):
        part = slice(first, end)
        if (reason[part] == Reason.TURNED).any():
            reason[part] = np.where(turn[part] > _NEAR_MISS, Reason.TURNED, reason[part])


def _explain_gaps(
    reason: np.ndarray, found: np.ndarray, turn: np.ndarray, outside: np.ndarray, hidden: np.ndarray
) -> None:
    """Give lost frames, in place, the reason that the frames beside the gap had or nearly had."""
    count = len(reason)
    for first, end in runs(~found):
        beside = [
            t for t in (*range(first - _GAP_REACH, first), *range(end, end + _GAP_REACH)) if 0 <= t < count and found[t]
        ]
        if not beside:
            continue
        given = [int(reason[t]) for t in beside]
        for item, size in ((Reason.OUTSIDE, outside), (Reason.TURNED, turn)):
            if item in given or max(size[t] for t in beside) > _NEAR_MISS:
                reason[first:end] = item
                break
        else:
            if Reason.OCCLUDED in given or max(hidden[t] for t in beside) > 0.1:
                reason[first:end] = Reason.OCCLUDED
