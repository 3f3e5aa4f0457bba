"""How far a clip's sound lies from its lips, to a few milliseconds.

The correlation of two pairs, added up for every lag: how far the mouth is open with how loud five bands of the sound
are, and how fast it opens with how fast they grow. The second pair rises and falls within a syllable, so that its
correlation has a narrow peak; the first tells that peak from those a syllable away.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

STEP_S = 0.01
"""Grid of time on which lips and sound are compared."""
_RATE = 16000
_BANDS_HZ = ((80, 300), (300, 900), (900, 2000), (2000, 4000), (4000, 7500))
_WINDOW = 400
_SLOW_S = 0.4
"""Levels are compared less their mean over about this (Gaussian)."""
_FAST_S = 0.03
"""Changes are those of levels smoothed over about this (Gaussian)."""
_AROUND_S = 0.8
"""Local agreement is taken over about this (Gaussian)."""
_STILL = 0.1
"""Share of the mean power that is added to the local one, so that stillness agrees with nothing."""
_APART_S = 0.12
"""Another peak is one at least this far from the best."""
CLEAR = 0.1
"""How far the best peak must stand above every other: below it the offset is by chance."""


class SyncOffset(NamedTuple):
    """Where the sound lies, and how sure that is."""

    lag_ms: float
    """Positive where the sound comes after the lips; NaN where less than a second can be judged."""
    score: float
    """Sum of both mean correlations at that lag, in [-2, 2]."""
    clearness: float
    """Score less that of the best lag elsewhere, as a share of the score; below :data:`CLEAR` the lag is by chance."""


def sync_offset(
    opening: np.ndarray, samples: np.ndarray, speaking: np.ndarray, *, fps: float = 25.0, max_lag_s: float = 0.6
) -> SyncOffset:
    """By how much the sound lags behind the lips.

    Frame i of the video is taken to show time i / fps.

    Args:
        opening: (T,) opening of the mouth in any unit, NaN where unseen.
        samples: (N,) float32 at 16 kHz, from the first frame on; what is missing is silence.
        speaking: (T,) bool: frames to judge.
        fps: frames a second.
        max_lag_s: greatest lag looked for.
    """
    nothing = SyncOffset(float("nan"), float("nan"), float("nan"))
    seen = np.isfinite(opening)
    if (seen & speaking).sum() < fps:
        return nothing
    steps = int(len(opening) / fps / STEP_S)
    places = np.arange(steps) * STEP_S * fps
    judged = np.interp(places, np.arange(len(opening)), (seen & speaking).astype(np.float64))
    judged = _smooth(judged, 0.2)
    pairs = _pairs(opening, samples, places)
    reach = round(max_lag_s / STEP_S)
    scores = np.array([sum(_correlation(*pair, judged, lag) for pair in pairs) for lag in range(-reach, reach + 1)])
    if not np.isfinite(scores).all():
        return nothing
    best = int(scores.argmax())
    far = np.abs(np.arange(len(scores)) - best) > _APART_S / STEP_S
    other = float(scores[far].max()) if far.any() else 0.0
    top = float(scores[best])
    clear = (top - max(other, 0.0)) / top if top > 1e-6 else 0.0
    return SyncOffset((best - reach + _vertex(scores, best)) * STEP_S * 1000.0, top, clear)


def local_fit(opening: np.ndarray, samples: np.ndarray, lag_ms: float, *, fps: float = 25.0) -> np.ndarray:
    """How far a mouth follows a sound around each frame, (T,) float64 in [-1, 1]; NaN where it is not seen.

    Mean of both pairs' correlations (see the module's text) in a Gaussian window of 0.8 s, the sound's five bands taken
    together; where either hardly changes, correlation counts for less.

    Args:
        opening: (T,) opening of the mouth in any unit, NaN where unseen.
        samples: (N,) float32 at 16 kHz, from the first frame on.
        lag_ms: by how much the sound lies after the lips.
        fps: frames a second.
    """
    seen = np.isfinite(opening)
    steps = int(len(opening) / fps / STEP_S)
    if seen.sum() < fps or not steps:
        return np.full(len(opening), np.nan)
    places = np.arange(steps) * STEP_S * fps
    move = round(lag_ms / 1000 / STEP_S)
    total = np.zeros(steps)
    pairs = _pairs(opening, samples, places)
    for lips, bands in pairs:
        spread = np.sqrt(np.square(bands).mean(axis=0))
        sound = _later(bands / np.maximum(spread, 1e-9), -move).mean(axis=1)
        moved, heard = _smooth(lips * lips, _AROUND_S), _smooth(sound * sound, _AROUND_S)
        norm = (moved + _STILL * moved.mean()) * (heard + _STILL * heard.mean())
        total += _smooth(lips * sound, _AROUND_S) / np.sqrt(np.maximum(norm, 1e-24))
    at_frames = np.minimum(np.round(np.arange(len(opening)) / fps / STEP_S).astype(int), steps - 1)
    return np.where(seen, total[at_frames] / len(pairs), np.nan)


def _pairs(
    opening: np.ndarray, samples: np.ndarray, places: np.ndarray
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Opening with levels, and their changes, on the grid whose ``places`` are frames: ((M,), (M, 5)) each."""
    seen = np.isfinite(opening)
    lips = np.interp(places, np.flatnonzero(seen), opening[seen])
    level = band_levels(samples, len(places))
    return (
        (lips - _smooth(lips, _SLOW_S), level - _smooth(level, _SLOW_S)),
        (np.gradient(_smooth(lips, _FAST_S)), np.gradient(_smooth(level, _FAST_S), axis=0)),
    )


def _later(track: np.ndarray, steps: int) -> np.ndarray:
    """A track ``steps`` later (earlier, if negative), its ends held."""
    return np.asarray(track[np.clip(np.arange(len(track)) - steps, 0, len(track) - 1)])


def band_levels(samples: np.ndarray, steps: int) -> np.ndarray:
    """(steps, 5) log10 power of five bands in a window of 25 ms around every 10 ms."""
    hop = round(STEP_S * _RATE)
    padded = np.zeros(_WINDOW // 2 + steps * hop + _WINDOW, dtype=np.float32)
    part = np.asarray(samples, np.float32)[: len(padded) - _WINDOW // 2]
    padded[_WINDOW // 2 : _WINDOW // 2 + len(part)] = part
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::hop][:steps]
    power = np.square(np.abs(np.fft.rfft(frames * np.hanning(_WINDOW).astype(np.float32), axis=1)))
    hz = np.fft.rfftfreq(_WINDOW, 1 / _RATE)
    bands = [power[:, (hz >= low) & (hz < high)].sum(axis=1) for low, high in _BANDS_HZ]
    return np.log10(np.stack(bands, axis=1) / _WINDOW + 1e-7)


def _smooth(values: np.ndarray, seconds: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter1d

    found: np.ndarray = gaussian_filter1d(values, seconds / STEP_S, axis=0)
    return found


def _correlation(lips: np.ndarray, sound: np.ndarray, weight: np.ndarray, lag: int) -> float:
    """Mean over the bands of the weighted correlation of lips and of the sound ``lag`` steps later."""
    count = len(lips)
    start, stop = max(0, -lag), min(count, count - lag)
    first, second, share = lips[start:stop, None], sound[start + lag : stop + lag], weight[start:stop, None]
    total = share.sum()
    if total < 1.0 / STEP_S * 0.5:
        return float("nan")
    first = first - (first * share).sum(axis=0) / total
    second = second - (second * share).sum(axis=0) / total
    spread = np.sqrt((first**2 * share).sum(axis=0) * (second**2 * share).sum(axis=0))
    return float(((first * second * share).sum(axis=0) / np.maximum(spread, 1e-12)).mean())


def _vertex(scores: np.ndarray, best: int) -> float:
    """Where between its neighbours a peak lies, in steps."""
    if not 0 < best < len(scores) - 1:
        return 0.0
    left, middle, right = scores[best - 1 : best + 2]
    bend = left - 2 * middle + right
    return float(0.5 * (left - right) / bend) if bend < -1e-12 else 0.0
