"""How much a mouth moves, from face landmarks, as evidence that its owner talks; and how well it fits the sound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Inner lips (upper, lower), mouth corners, outer eye corners, in MediaPipe's 478-point mesh.
INNER_LIPS = (13, 14)
MOUTH_CORNERS = (61, 291)
EYE_CORNERS = (33, 263)
#: Movement per frame, in distances of the outer eye corners, at which a mouth is as likely to talk as not, as log10.
#: Seen on real footage at 25 frames a second: closed mouths of listeners -3.9 to -2.6, talking ones -2.0 to -1.2.
TALKING_LOG10 = -2.2
#: Slope of the log-odds per decade of movement.
TALKING_SLOPE = 4.0
#: Lips alone never say more than this (log-odds): people chew, smile, lick their lips, and mumble.
MAX_LOG_ODDS = 2.0


@dataclass(frozen=True)
class Mouth:
    """One person's mouth through a clip."""

    opening: np.ndarray
    """(T,) float64: distance of the inner lips, in distances of the outer eye corners. NaN where unseen."""
    movement: np.ndarray
    """(T,) float64: RMS change of opening and width per frame over a third of a second, same unit; NaN where unseen."""
    log_odds: np.ndarray
    """(T,) float64: log-odds that the mouth talks, from its movement alone; 0 where the face is not seen."""


def smooth(values: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian mean over time of (T,) values that leaves NaN out; sigma in frames. NaN where nothing is near."""
    radius = max(1, int(np.ceil(3 * sigma)))
    kernel = np.exp(-0.5 * np.square(np.arange(-radius, radius + 1) / sigma))
    known = np.isfinite(values)
    total = np.convolve(np.where(known, values, 0.0), kernel, "full")[radius : radius + len(values)]
    norm = np.convolve(known.astype(np.float64), kernel, "full")[radius : radius + len(values)]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(norm > 0.25 * kernel.sum(), total / norm, np.nan)


def measure_mouth(landmarks: np.ndarray, valid: np.ndarray) -> Mouth:
    """Opening, movement and log-odds of talking for each frame.

    Distances are taken in three dimensions (z is scaled like x), so that turning the head changes little.

    Args:
        landmarks: (T, 478, 3) pixels, at 25 frames a second.
        valid: (T,) bool.
    """
    points = landmarks.astype(np.float64)

    def distance(pair: tuple[int, int]) -> np.ndarray:
        return np.linalg.norm(points[:, pair[0]] - points[:, pair[1]], axis=1)

    eyes = distance(EYE_CORNERS)
    seen = valid & np.isfinite(eyes) & (eyes > 1e-6)
    scale = np.where(seen, eyes, np.nan)
    opening, width = distance(INNER_LIPS) / scale, distance(MOUTH_CORNERS) / scale
    if len(opening) < 2:
        return Mouth(opening=opening, movement=np.full(len(opening), np.nan), log_odds=np.zeros(len(opening)))
    # A change between two frames belongs to both of them.
    change = np.square(np.diff(opening)) + 0.5 * np.square(np.diff(width))
    both = np.stack([np.append(change, np.nan), np.insert(change, 0, np.nan)])
    known = np.isfinite(both)
    mean = np.where(known, both, 0.0).sum(0) / np.maximum(known.sum(0), 1)
    movement = np.sqrt(smooth(np.where(known.any(0), mean, np.nan), sigma=3.5))
    odds = TALKING_SLOPE * (np.log10(np.maximum(movement, 1e-6)) - TALKING_LOG10)
    log_odds = np.where(np.isfinite(odds) & seen, np.clip(odds, -MAX_LOG_ODDS, MAX_LOG_ODDS), 0.0)
    return Mouth(opening=opening, movement=np.where(seen, movement, np.nan), log_odds=log_odds)


def envelope(samples: np.ndarray, num_frames: int, *, samples_per_frame: int = 640) -> np.ndarray:
    """Loudness of each video frame: (T,) RMS of its samples, missing samples taken as silence."""
    padded = np.zeros(num_frames * samples_per_frame, dtype=np.float64)
    part = samples[: len(padded)]
    padded[: len(part)] = part
    return np.sqrt(np.square(padded.reshape(num_frames, samples_per_frame)).mean(axis=1))


def lip_sync(
    opening: np.ndarray, loudness: np.ndarray, speaking: np.ndarray, *, fps: float = 25.0, max_lag_s: float = 0.4
) -> tuple[float, float]:
    """How well the mouth follows the sound, and by how much the sound lags behind it.

    Pearson correlation of opening and the logarithm of loudness, both less their mean over about a second, for every
    lag up to +-0.4 s, over the frames in which the person speaks; a parabola through the best lag and its neighbours.

    Args:
        opening: (T,) mouth opening, NaN where unseen.
        loudness: (T,) RMS of the sound.
        speaking: (T,) bool: frames to judge.

    Returns:
        (best correlation in [-1, 1], lag in ms, positive where the sound comes after the lips); NaN, NaN where less
        than a second can be judged.
    """
    reach = int(round(max_lag_s * fps))
    lips = opening - smooth(opening, sigma=fps * 0.4)
    level = np.log10(np.maximum(loudness, 1e-4))
    sound = level - smooth(level, sigma=fps * 0.4)
    scores = np.full(2 * reach + 1, np.nan)
    frames = np.flatnonzero(speaking & np.isfinite(lips))
    for index, lag in enumerate(range(-reach, reach + 1)):
        inside = frames[(frames + lag >= 0) & (frames + lag < len(sound))]
        if len(inside) >= fps:
            first, second = lips[inside], sound[inside + lag]
            first, second = first - first.mean(), second - second.mean()
            norm = np.sqrt(np.square(first).sum() * np.square(second).sum())
            scores[index] = float((first * second).sum() / norm) if norm > 1e-12 else np.nan
    if not np.isfinite(scores).any():
        return float("nan"), float("nan")
    best = int(np.nanargmax(scores))
    shift = 0.0
    if 0 < best < 2 * reach and np.isfinite(scores[best - 1 : best + 2]).all():
        left, middle, right = scores[best - 1 : best + 2]
        bend = left - 2 * middle + right
        shift = 0.5 * (left - right) / bend if bend < -1e-12 else 0.0
    return float(scores[best]), float((best - reach + shift) * 1000.0 / fps)
