"""Things that happen at a moment: lip closures, nods, smiles; and how those of two motions are matched.

The definitions are this project's own, in frames at 25 per second; docs/motion_metrics.md says them in words.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.signal import find_peaks
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching

from model.metrics.motion.figures import FPS, Bools, Floats, NoFigure, runs

Ints = npt.NDArray[np.int64]

CLOSED_SHARE = 0.15
"""A mouth is shut below this share of the way from the subject's tightest to the subject's widest gap."""
GAP_RANGE_MM = 2.0
"""A truth whose gap varies less than this does not open the mouth: it has no closures."""
LONGEST_CLOSURE = 10
"""Frames; a longer one (over 0.4 s) is a pause, not a consonant."""
CLOSURE_REACH = 2
"""Frames by which the middles of two closures may differ to be one (80 ms)."""

NOD_DEGREES = 2.0
"""Least prominence of a nod's downward peak in pitch."""
NOD_WINDOW = 25
"""Frames of the moving mean that is taken off pitch first: slow turns of the head are no nods."""
NOD_APART = 13
"""Frames without a downward peak that end a nod: peaks closer than that (0.5 s) are one nod."""
SMILE_ON, SMILE_OFF = 0.20, 0.12
"""A smile begins where the code rises this far above the person's rest, and ends where it falls below the second."""
SMILE_FRAMES = 8
"""Least duration of a smile."""
RESPONSE_REACH = 12
"""Frames by which the starts of two nods, or of two smiles, may differ to be one (0.48 s)."""
ANSWER_WITHIN = 50
"""Frames after an event of the partner within which a nod or a smile is an answer to it (2 s)."""


def lip_closures(gap: Floats, low: float, high: float, frames: Bools) -> Ints:
    """Bilabial closures: the middles (n,) of the runs in which the lips are shut for at most 0.4 s, while speaking.

    Args:
        gap: (T,) distance between the inner lips, mm.
        low: the subject's tightest gap, mm (:func:`gap_range`).
        high: the subject's widest gap, mm.
        frames: (T,) frames that count: the person speaks, and the frame is valid.

    A run that touches a frame which does not count is left out: where it began or ended is not known.
    """
    shut = gap < low + CLOSED_SHARE * (high - low)
    middles = []
    for start, stop in runs(shut):
        whole = start > 0 and stop < len(gap) and bool(frames[start - 1 : stop + 1].all())
        if whole and stop - start <= LONGEST_CLOSURE:
            middles.append((start + stop - 1) // 2)
    return np.asarray(middles, np.int64)


def gap_range(gap: Floats, frames: Bools) -> tuple[float, float]:
    """The subject's own range of the gap between the lips, mm: the 2nd and the 95th percentile over valid frames.

    Of the truth, over silence too: closed lips are seen best there. The same range serves the prediction.

    Raises:
        NoFigure: no frame counts, or the mouth hardly opens in the truth.
    """
    values = gap[frames]
    if len(values) < 2:
        raise NoFigure("no valid frames")
    low, high = (float(end) for end in np.quantile(values, (0.02, 0.95)))
    if high - low < GAP_RANGE_MM:
        raise NoFigure(f"the gap between the lips varies by {high - low:.1f} mm only")
    return low, high


def nods(pitch: Floats, frames: Bools) -> Ints:
    """Starts (n,) of nods: downward peaks of pitch, those in close succession being one nod.

    Args:
        pitch: (T,) turn about x, radians; positive is down.
        frames: (T,) valid frames; pitch is drawn straight across the others, and peaks in them do not count.
    """
    degrees = np.rad2deg(_bridged(pitch, frames))
    # A little smoothing: noise of a tracker is no nod.
    degrees = np.convolve(np.pad(degrees, 1, mode="edge"), (0.25, 0.5, 0.25), mode="valid")
    window = np.ones(NOD_WINDOW) / NOD_WINDOW
    half = NOD_WINDOW // 2
    quick = degrees - np.convolve(np.pad(degrees, half, mode="edge"), window, mode="valid")
    peaks, _ = find_peaks(quick, prominence=NOD_DEGREES)
    peaks = peaks[frames[peaks]]
    first = np.concatenate([[True], np.diff(peaks) > NOD_APART]) if len(peaks) else np.zeros(0, bool)
    return np.asarray(peaks[first], np.int64)


def smiles(strength: Floats, frames: Bools, rest: float) -> Ints:
    """Starts (n,) of smiles.

    Args:
        strength: (T,) mean of the two smile codes, 1 is full strength.
        frames: (T,) valid frames; the curve is drawn straight across the others, and starts in them do not count.
        rest: the person's strength at rest: the 20th percentile of the truth.
    """
    curve = _bridged(strength, frames) - rest
    starts = []
    for start, stop in runs(curve > SMILE_OFF):
        above = np.flatnonzero(curve[start:stop] > SMILE_ON)
        if len(above) and stop - start >= SMILE_FRAMES and frames[start + above[0]]:
            starts.append(start + int(above[0]))
    return np.asarray(starts, np.int64)


def _bridged(curve: Floats, frames: Bools) -> Floats:
    """The curve with straight lines over frames that do not count; 0 where none does."""
    if not frames.any():
        return np.zeros(len(curve))
    where = np.flatnonzero(frames)
    return np.interp(np.arange(len(curve)), where, np.asarray(curve, np.float64)[where])


def f1(found: Ints, truth: Ints, reach: int) -> tuple[float, int]:
    """F1 of events, and its weight.

    Events at most ``reach`` frames apart can be one; as many as possible are matched, each once (a maximum matching).

    Returns:
        2 matched / (found + truth), and found + truth: a mean with these weights is the F1 of all clips together.

    Raises:
        NoFigure: there is no event in either.
    """
    total = len(found) + len(truth)
    if not total:
        raise NoFigure("no such event in truth or prediction")
    return 2 * len(matched(found, truth, reach)) / total, total


def matched(found: Ints, truth: Ints, reach: int) -> list[tuple[int, int]]:
    """Pairs (index in found, index in truth) of a maximum matching of events at most ``reach`` frames apart."""
    if not len(found) or not len(truth):
        return []
    near = csr_matrix(np.abs(found[:, None] - truth[None, :]) <= reach)
    partner = maximum_bipartite_matching(near, perm_type="column")
    return [(int(i), int(j)) for i, j in enumerate(partner) if j >= 0]


def timing(found: Ints, truth: Ints, reach: int) -> tuple[float, int]:
    """Mean distance in seconds of matched events, and their number.

    Raises:
        NoFigure: no two events match.
    """
    pairs = matched(found, truth, reach)
    if not pairs:
        raise NoFigure("no event is matched")
    return float(np.mean([abs(int(found[i]) - int(truth[j])) for i, j in pairs]) / FPS), len(pairs)


def speech_events(speaking: Bools) -> Ints:
    """Starts and ends (n,) of a person's stretches of speech: pauses of up to 0.2 s are bridged."""
    bridged = speaking.copy()
    for start, stop in runs(~speaking):
        if 0 < start and stop < len(speaking) and stop - start <= 5:
            bridged[start:stop] = True
    edges = [edge for start, stop in runs(bridged) for edge in (start, stop) if 0 < edge < len(speaking)]
    return np.asarray(sorted(set(edges)), np.int64)


def answers(events: Ints, responses: Ints, frames: Bools, within: int = ANSWER_WITHIN) -> tuple[int, int]:
    """How many events of the partner are answered.

    Args:
        events: (n,) the partner's.
        responses: (m,) this person's.
        frames: (T,) frames that count.
        within: frames after the event (itself excluded) in which a response answers it.

    Returns:
        Answered events, and events that could be: those after which at least half of the window counts.
    """
    answered = possible = 0
    for event in events:
        window = slice(int(event) + 1, int(event) + 1 + within)
        if frames[window].sum() * 2 < within:
            continue
        possible += 1
        answered += bool(((responses > event) & (responses <= event + within) & frames[responses]).any())
    return answered, possible
