"""How well lips follow a voice: the score of a dataset's column ``q_sync``, of landmarks, of truth and of predictions.

One function for all of them, so that a prediction's score and its clip's own are comparable. A score is a correlation,
the best over lags of up to 0.4 s, so even lips that have nothing to do with the voice score above zero: judge it beside
that of somebody else's voice.
"""

from __future__ import annotations

import numpy as np

#: Inner lips (upper, lower), outer eye corners, in MediaPipe's 478-point mesh.
INNER_LIPS = (13, 14)
EYE_CORNERS = (33, 263)


def opening_of(points: np.ndarray) -> np.ndarray:
    """(T,) float64: distance of the inner lips, in distances of the outer eye corners; NaN where these coincide.

    Args:
        points: (T, 478, 3) landmarks of any scale, in three dimensions, so that turning the head changes little.
    """
    places = points.astype(np.float64)
    lips, eyes = (
        np.linalg.norm(places[:, pair[0]] - places[:, pair[1]], axis=1) for pair in (INNER_LIPS, EYE_CORNERS)
    )
    return lips / np.where(np.isfinite(eyes) & (eyes > 1e-6), eyes, np.nan)


def smooth(values: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian mean over time of (T,) values that leaves NaN out; sigma in frames. NaN where nothing is near."""
    radius = max(1, int(np.ceil(3 * sigma)))
    kernel = np.exp(-0.5 * np.square(np.arange(-radius, radius + 1) / sigma))
    known = np.isfinite(values)
    total = np.convolve(np.where(known, values, 0.0), kernel, "full")[radius : radius + len(values)]
    norm = np.convolve(known.astype(np.float64), kernel, "full")[radius : radius + len(values)]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(norm > 0.25 * kernel.sum(), total / norm, np.nan)


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
