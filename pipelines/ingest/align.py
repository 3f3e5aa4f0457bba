"""When two recordings of one conversation ran, from their sounds alone: offset, drift, and how sure that is.

Two kinds of evidence are added up. Broadband: cross-correlation of stretches with whitened phase (GCC-PHAT, Knapp and
Carter 1976), a sharp peak wherever both microphones hear the same sound, however faint. Envelopes: the rise and fall of
energy in bands, which survives what breaks phases (codecs, noise suppression, other rooms). Each stretch of the first
recording gives a score for every lag; a line through the stretches, lag against time, that gathers the most is the
answer: its height is the offset, its slope the drift. Windows around it then give both to a fraction of a sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.fft
import scipy.ndimage

from pipelines.ingest.timeline import Clock, on_shared

RATE = 16_000
"""Hz of all sounds here."""
GRID = 100
"""Lags a second in the search."""
MAX_DRIFT_PPM = 1200.0
"""Largest drift looked for: frame rates of 24 against 23.976 make 1000."""
_BLOCK_S, _MAX_BLOCKS = 10.0, 24
_CHUNK = 1 << 19
_ENVELOPE_S, _MAX_ENVELOPES = 60.0, 12
_BANDS_HZ = (120, 300, 600, 1000, 1800, 3000, 5000)
_MAX_Z = 20.0
_MIN_OVERLAP_S = 2.0
_APART_S = 0.25
"""Answers nearer than this are one answer."""
_PEAKS = 20
_WINDOW_S, _MAX_WINDOWS, _MARGIN_S = 5.0, 80, 0.12
_AGREE_S = 0.015
"""Windows this near to a line agree with it: sound takes so long for five metres."""
_LEAST_S = 1e-3
"""A drift that adds up to less over the whole time is none."""
_CLEAR = 1.6
"""A window counts where its peak is this much higher than anything over 20 ms away from it."""


@dataclass(frozen=True)
class Alignment:
    """How the second recording lies on the timeline of the first."""

    clock: Clock
    """Clock of the second."""
    correlation: float
    """Score of the answer over that of the next best one, at least 1: around 1 it means nothing."""
    drift_se_ppm: float
    """Standard error of the drift; infinite where it could not be measured and counts as 0."""
    windows: int
    """How many windows agree on the fine estimate; 0: the offset is good to 10 ms only, if it is good at all."""

    @property
    def sure(self) -> bool:
        """Whether the offset can be relied on. Of 204 pairs of unrelated sounds none could; docs/recordings.md."""
        return self.correlation >= 3.0 or any(
            self.correlation >= least and self.windows >= windows for least, windows in ((2.0, 1), (1.4, 3))
        )


@dataclass(frozen=True)
class _Score:
    """How well a stretch of the first recording fits the second at every lag."""

    time: float
    """Middle of the stretch, seconds."""
    values: np.ndarray
    """(L,) float32, standard scores, of lags first_lag + arange(L) on the grid."""


def align(first: np.ndarray, second: np.ndarray) -> Alignment | None:
    """Find when ``second`` ran on the timeline of ``first``.

    Args:
        first, second: (N,) and (M,) int16 at 16 kHz, may be memory maps.

    Returns:
        The best answer, however unsure it is; None where either is silent or too short to say anything.
    """
    if min(len(first), len(second)) < _MIN_OVERLAP_S * RATE or not (_audible(first) and _audible(second)):
        return None
    least = -round((len(second) / RATE - _MIN_OVERLAP_S) * GRID)  # lag: when the second starts, on the first's timeline
    most = round((len(first) / RATE - _MIN_OVERLAP_S) * GRID)
    scores = [*_broadband(first, second, least, most), *_envelopes(first, second, least, most)]
    found = _vote(scores, least)
    if found is None:
        return None
    clock, correlation = found
    return _refine(first, second, clock, correlation)


def _audible(samples: np.ndarray) -> bool:
    step = max(1, len(samples) // 2_000_000)
    return float(np.std(samples[::step].astype(np.float32))) > 1.0


# Search ----------------------------------------------------------------------------------------------------------


def _spread(length: int, size: int, most: int) -> list[int]:
    """Starts of up to ``most`` stretches of ``size`` in ``length``, evenly spread, overlapping by half or less."""
    if length <= size:
        return [0]
    count = max(2, min(most, 1 + (length - size) // max(1, size // 2)))
    return [round(i * (length - size) / (count - 1)) for i in range(count)]


def _phases(samples: np.ndarray, size: int, low_hz: float, high_hz: float) -> np.ndarray:
    """Spectrum of unit modulus between two frequencies, zero elsewhere: (bins up to ``high_hz``,) complex64."""
    spectrum = scipy.fft.rfft(samples.astype(np.float32), size)[: round(high_hz / RATE * size) + 1]
    strength = np.abs(spectrum)
    floor = 1e-3 * float(strength.mean()) + 1e-6
    white: np.ndarray = (spectrum / (strength + floor)).astype(np.complex64)
    white[: round(low_hz / RATE * size)] = 0
    return white


def _broadband(first: np.ndarray, second: np.ndarray, least: int, most: int) -> Iterator[_Score]:
    """Scores of stretches of the first sound from 100 Hz to 3.9 kHz, the second taken chunk by chunk."""
    size = min(round(_BLOCK_S * RATE), len(first))
    chunk = min(_CHUNK, 1 << int(np.ceil(np.log2(3 * size + len(second)))))
    hop = chunk - size
    # In a chunk, the place of a stretch is known without wrapping from its start up to ``hop``. The first begins one
    # stretch before the sound does.
    starts = list(range(-size, len(second), hop))
    spectra = []
    for start in starts:
        piece = np.zeros(chunk, np.float32)
        inside = second[max(start, 0) : start + chunk]
        piece[max(-start, 0) : max(-start, 0) + len(inside)] = inside
        spectra.append(_phases(piece, chunk, 100.0, 3900.0))
    for begin in _spread(len(first), size, _MAX_BLOCKS):
        block = np.conj(_phases(first[begin : begin + size], chunk, 100.0, 3900.0))
        best = np.full(most - least + 1, np.nan, np.float32)
        for start, spectrum in zip(starts, spectra, strict=True):
            # At 8 kHz, since nothing above 4 is in it; index k is the place start + 2 k.
            correlation = np.abs(scipy.fft.irfft(block * spectrum, chunk // 2)[: hop // 2])
            lag = np.rint((begin - start - 2 * np.arange(len(correlation))) * (GRID / RATE)).astype(np.int64) - least
            edges = np.flatnonzero(np.diff(lag, prepend=lag[0] + 1))
            highest, where = np.maximum.reduceat(correlation, edges), lag[edges]
            kept = (where >= 0) & (where < len(best))
            best[where[kept]] = np.fmax(best[where[kept]], highest[kept])
        yield _Score((begin + size / 2) / RATE, _standard(best))


def _envelopes(first: np.ndarray, second: np.ndarray, least: int, most: int) -> Iterator[_Score]:
    """Scores of stretches of the first sound's band energies against all of the second's."""
    ours, theirs = band_changes(first), band_changes(second)
    size = min(round(_ENVELOPE_S * GRID), ours.shape[1])
    length = scipy.fft.next_fast_len(theirs.shape[1] + size, real=True)
    spectrum = scipy.fft.rfft(theirs, length)
    ones = scipy.fft.rfft(np.ones(theirs.shape[1], np.float32), length)
    for begin in _spread(ours.shape[1], size, _MAX_ENVELOPES):
        stretch = ours[:, begin : begin + size]
        together = scipy.fft.irfft(np.conj(scipy.fft.rfft(stretch, length)) * spectrum, length).sum(axis=0)
        shared = scipy.fft.irfft(np.conj(scipy.fft.rfft(np.ones(size, np.float32), length)) * ones, length)
        values = together / np.sqrt(np.maximum(shared, _MIN_OVERLAP_S * GRID))
        place = begin - (np.arange(most - least + 1) + least)  # of the stretch in the second recording, frames
        known = (place > -size) & (place < theirs.shape[1])
        best = np.where(known, values[np.where(known, place, 0) % length], np.nan)
        yield _Score((begin + size / 2) / GRID, _standard(best.astype(np.float32)))


def band_changes(samples: np.ndarray) -> np.ndarray:
    """(bands, frames) float32, 100 frames a second: level of each band in dB above its surroundings of half a second.

    Whoever is loud stands far above the other in one microphone and far below in the other; the changes within a word
    are in both, so these are compared and no level is.
    """
    hop = RATE // GRID
    count = max(1, len(samples) // hop)
    levels = np.empty((len(_BANDS_HZ) - 1, count), np.float32)
    window = np.hanning(512).astype(np.float32)
    edges = [round(f / RATE * 512) for f in _BANDS_HZ]
    for begin in range(0, count, 6000):
        stop = min(begin + 6000, count)
        block = np.zeros((stop - begin - 1) * hop + 512, np.float32)
        part = samples[begin * hop : begin * hop + len(block)]
        block[: len(part)] = part
        frames = np.lib.stride_tricks.sliding_window_view(block, 512)[::hop]
        power = np.square(np.abs(scipy.fft.rfft(frames * window)))
        for band, (low, high) in enumerate(zip(edges, edges[1:], strict=False)):
            levels[band, begin:stop] = 10.0 * np.log10(power[:, low:high].sum(axis=1) + 1.0)
    for level in levels:  # what lies near the noise floor is noise
        np.maximum(level, np.percentile(level, 10) + 3.0, out=level)
    return np.clip(levels - scipy.ndimage.uniform_filter1d(levels, GRID // 2, axis=1, mode="nearest"), -15.0, 15.0)


def _standard(values: np.ndarray) -> np.ndarray:
    """Values in units of their spread around their median, at most `_MAX_Z`; 0 where there are none."""
    known = np.isfinite(values)
    if known.sum() < 10:
        return np.zeros(len(values), np.float32)
    middle = float(np.median(values[known]))
    spread = 1.4826 * float(np.median(np.abs(values[known] - middle)))
    scores = np.where(known, (values - middle) / max(spread, 1e-9), 0.0)
    # One frame to either side: a line falls between two of them.
    return scipy.ndimage.maximum_filter1d(np.clip(scores, -_MAX_Z, _MAX_Z).astype(np.float32), 3)


def _vote(scores: Sequence[_Score], least: int) -> tuple[Clock, float] | None:
    """The line lag = c - d t through the scores that gathers most, and its total over the best one elsewhere."""
    times = np.array([score.time for score in scores])
    values = np.stack([score.values for score in scores])
    middle, span = float(np.median(times)), float(np.ptp(times))
    steps = min(900, int(MAX_DRIFT_PPM * 1e-6 * span * GRID))
    drifts = np.arange(-steps, steps + 1) / (span * GRID) if steps else np.zeros(1)
    likely = 1 - 0.05 * np.abs(drifts) / (MAX_DRIFT_PPM * 1e-6)  # among equals, the clock that is less wrong
    bend = -drifts[:, None] * (times - middle)[None] * GRID  # (D, K) frames
    found: list[tuple[float, float, float]] = []  # total, lag at the middle, drift
    rows = np.arange(len(scores))
    for number in rows:
        for peak in np.argsort(values[number])[::-1][: 3 * _PEAKS : 3]:
            if values[number, peak] <= 0:
                break
            places = np.rint(peak + bend - bend[:, number, None]).astype(np.int64)
            inside = (places >= 0) & (places < values.shape[1])
            totals = (values[rows, np.clip(places, 0, values.shape[1] - 1)] * inside).sum(axis=1) * likely
            best = int(np.argmax(totals))
            found.append((float(totals[best]), (peak + least - bend[best, number]) / GRID, float(drifts[best])))
    if not found:
        return None
    total, lag, drift = max(found)
    others = [one for one, where, _ in found if abs(where - lag) > _APART_S]
    second = max([0.1 * total, *others])
    start = (lag + drift * middle) / (1 + drift)
    return Clock(float(start), float(drift) * 1e6), total / second


# Fine -------------------------------------------------------------------------------------------------------------


def _refine(first: np.ndarray, second: np.ndarray, clock: Clock, correlation: float) -> Alignment:
    """Offset and drift from windows around the answer of the search, and with a drift from windows around that."""
    start = Alignment(clock, correlation, np.inf, 0)
    found = _measure(first, second, start)
    if clock.drift_ppm:  # on a grid of 10 ms, a short time cannot tell a drift from none
        steady = Clock(clock.offset_near(0.5 * min(len(first) / RATE, clock.shared(len(second) / RATE))))
        found = max(_measure(first, second, replace(start, clock=steady)), found, key=lambda one: one.windows)
    if found.windows and found.clock.drift_ppm:  # it smears a peak: now it is taken out first
        found = max(found, _measure(first, second, found), key=lambda one: (one.windows, -one.drift_se_ppm))
    return found


def _measure(first: np.ndarray, second: np.ndarray, near: Alignment) -> Alignment:
    clock = near.clock
    low = max(0.0, clock.offset_s)
    high = min(len(first) / RATE, clock.shared(len(second) / RATE))
    length = min(_WINDOW_S, max(1.0, (high - low) / 3))
    count = int(np.clip((high - low - length) / (0.5 * length), 0, _MAX_WINDOWS - 1)) + 1
    ours, theirs = [], []
    for moment in np.linspace(low + length / 2, max(high - length / 2, low + length / 2), count):
        shift = _window(first, second, float(moment), clock, length)
        if shift is not None:
            ours.append(float(moment))
            theirs.append(clock.own(float(moment) + shift))
    times, places = np.array(ours), np.array(theirs)
    answer, error = Clock(clock.offset_s), np.inf
    if ours:
        answer = Clock(float(np.median(times - places)))
    if len(ours) >= 5:
        slope, height, error = _line(times, places)
        if abs(slope) > max(3 * error, _LEAST_S / max(high - low, 1e-9)):
            answer = Clock(-height / (1 + slope), slope * 1e6)
    agree = int(sum(abs(answer.own(t) - r) <= _AGREE_S for t, r in zip(ours, theirs, strict=True)))
    if agree < 0.5 * len(ours):  # the windows found chance peaks
        return Alignment(near.clock, near.correlation, np.inf, 0)
    return Alignment(answer, near.correlation, float(error) * 1e6, agree)


def _window(first: np.ndarray, second: np.ndarray, moment: float, clock: Clock, length: float) -> float | None:
    """How much later than ``clock`` says the second recording has what the first has around ``moment``, seconds.

    None where it is unclear.
    """
    half, margin = round(length / 2 * RATE), round(_MARGIN_S * RATE)
    begin = max(round(moment * RATE) - half, 0)
    block = first[begin : begin + 2 * half]
    if len(block) < RATE // 2:
        return None
    if clock.drift_ppm == 0.0:  # moved by whole samples
        clock = Clock(round(clock.offset_s * RATE) / RATE)
    piece = on_shared(second, clock, begin - margin, len(block) + 2 * margin)
    size = 1 << int(np.ceil(np.log2(len(piece))))
    if np.count_nonzero(piece) < len(block) // 2:
        return None
    spectrum = np.conj(_phases(block, size, 200.0, 7000.0)) * _phases(32768 * piece, size, 200.0, 7000.0)
    full = np.zeros(size // 2 + 1, np.complex64)
    full[: len(spectrum)] = spectrum
    correlation = np.abs(scipy.fft.irfft(full, size)[: 2 * margin + 1])
    peak = int(np.argmax(correlation))
    away = np.abs(np.arange(len(correlation)) - peak) > 0.02 * RATE
    if not 0 < peak < 2 * margin or correlation[peak] < _CLEAR * correlation[away].max():
        return None
    left, top, right = (float(v) for v in correlation[peak - 1 : peak + 2])
    bend = left - 2 * top + right
    return (peak - margin + (0.5 * (left - right) / bend if bend < 0 else 0.0)) / RATE


def _line(times: np.ndarray, places: np.ndarray) -> tuple[float, float, float]:
    """Slope minus 1, height and the slope's standard error of places over times, whatever a few windows say."""
    delay = places - times
    first, second = np.triu_indices(len(times), 1)
    slope = float(np.median((delay[second] - delay[first]) / (times[second] - times[first])))
    rest = delay - slope * times
    rest = rest - np.median(rest)
    good = np.abs(rest) <= max(3 * 1.4826 * float(np.median(np.abs(rest))), 0.5e-3)
    own, centre = delay[good], float(times[good].mean())
    lever = float(np.square(times[good] - centre).sum())
    slope = float(((times[good] - centre) * own).sum() / lever)
    height = float(own.mean() - slope * centre)
    left = own - slope * times[good] - height
    noise = max(float(np.sqrt(np.square(left).sum() / max(1, good.sum() - 2))), 0.5 / RATE)
    return slope, height, noise / np.sqrt(lever)
