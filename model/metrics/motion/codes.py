"""Measures on motion codes (T, d): distances of distributions, errors, correlations, spreads.

Definitions follow the evaluation that DualTalk (Peng et al., CVPR 2025) released and TIMAR took over: raw parameters of
one group of one clip, one figure a clip, then the mean over clips. Where DualTalk's program differs from what it is
said to compute, both are here under their own names. ``x`` is the prediction, ``y`` the truth, ``a`` the partner's
truth; ``mask`` (T,) picks the frames that count. All are float64 inside; none returns NaN.

Raises, in every function here:
    NoFigure: too few frames count.
    ValueError: shapes differ, or values in frames that count are not finite.
"""

from __future__ import annotations

import numpy as np

from model.metrics.motion.figures import Bools, Floats, NoFigure, chosen, neighbours

STS_STEP = 0.1
"""What the sum in STS is divided by, as published."""
PAIRS = 100
"""Pairs of frames that diversity looks at, as published."""


def frechet(x: Floats, y: Floats, mask: Bools | None = None, *, centred: bool = False) -> float:
    """FD: |mean x - mean y|^2 + tr(Sx + Sy - 2 (Sx Sy)^1/2), S with T - 1 in the denominator.

    Between the frames of one clip as two Gaussians on raw codes; no network features, no pooling over clips. The trace
    of the root is the sum of singular values of Rx Ry^T, where Sx = Rx^T Rx: exact also for covariances without full
    rank, where matrix roots by Schur decomposition lose digits.

    Args:
        x: (T, d) prediction.
        y: (T, d) truth.
        mask: (T,) bool.
        centred: leave the first term out: the distance once both have the same mean.

    Returns:
        Unit of the code, squared; 0 for equal distributions.
    """
    means, spreads = frechet_terms(x, y, mask)
    return spreads if centred else means + spreads


def frechet_terms(x: Floats, y: Floats, mask: Bools | None = None) -> tuple[float, float]:
    """The two terms of :func:`frechet`: of the means, and of the covariances."""
    a, b = chosen(x, y, mask=mask)
    scale = 1 / np.sqrt(len(a) - 1)
    move = a.mean(0) - b.mean(0)
    a, b = (a - a.mean(0)) * scale, (b - b.mean(0)) * scale
    # Below zero only by rounding.
    return float(move @ move), float(max((a * a).sum() + (b * b).sum() - 2 * _root(a, b), 0.0))


def _root(a: Floats, b: Floats) -> float:
    """Trace of (a^T a b^T b)^1/2 of centred frames (T, d)."""
    # Codes that do not move in one of them add nothing: constant predictions cost nothing.
    moving = a.any(0) & b.any(0)
    if not moving.any():
        return 0.0
    return float(np.linalg.svd(_factor(a[:, moving]) @ _factor(b[:, moving]).T, compute_uv=False).sum())


def _factor(a: Floats) -> Floats:
    """R (min(T, d), d) with R^T R = a^T a."""
    return a if len(a) <= a.shape[1] else np.asarray(np.linalg.qr(a, mode="r"))


def paired_frechet(x: Floats, y: Floats, a: Floats, mask: Bools | None = None) -> float:
    """P-FD: FD of [a; x] against [a; y], joined on the code axis: does the prediction go with the partner's motion?

    Args:
        x: (T, d) prediction.
        y: (T, d) truth.
        a: (T, c) partner.
        mask: (T,) bool.
    """
    _same(x, a)
    return frechet(np.concatenate([a, x], 1), np.concatenate([a, y], 1), mask)


def squared_error(x: Floats, y: Floats, mask: Bools | None = None, *, centred: bool = False) -> float:
    """MSE: mean over frames and codes of (x - y)^2; ``centred``: after each lost its own mean over the frames.

    On codes whose mean differs between people (FLAME's expressions do), plain MSE says mostly how well the person's
    mean is known; centred MSE says how well the motion is.
    """
    a, b = chosen(x, y, mask=mask)
    error = a - b
    if centred:
        error = error - error.mean(0)
    return float((error * error).mean())


def residual_correlation(x: Floats, y: Floats, a: Floats, mask: Bools | None = None) -> float:
    """RPCC: |corr(y, a) - corr(x, a)|, Pearson over the flattened (T d) values; in [0, 2].

    A motion without any spread has correlation 0 here (Pearson's is not defined there), so that constant predictions
    have a figure.
    """
    _same(x, a)
    one, two, other = chosen(x, y, a, mask=mask)
    return abs(pearson(two.ravel(), other.ravel()) - pearson(one.ravel(), other.ravel()))


def pearson(x: Floats, y: Floats) -> float:
    """Pearson's correlation of two series (N,); 0 where one has no spread."""
    if _still(x) or _still(y):
        return 0.0
    a, b = x - x.mean(), y - y.mean()
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def _still(x: Floats) -> bool:
    """Whether a series moves by no more than rounding."""
    return float(np.ptp(x)) <= 1e-9 * max(float(np.abs(x).max()), 1e-9)


def correlation(x: Floats, y: Floats, mask: Bools | None = None) -> float:
    """Pearson's correlation of one code (T,) with its truth; 0 for a prediction that does not move.

    Raises:
        NoFigure: the truth does not move: nothing could be got right.
    """
    one, two = chosen(x, y, mask=mask)
    if _still(two):
        raise NoFigure("the truth does not move")
    return pearson(one.ravel(), two.ravel())


def short_time_synchrony(x: Floats, y: Floats, mask: Bools | None = None) -> float:
    """STS: sqrt of the sum over frames and codes of (x[t+1] - x[t] - y[t+1] + y[t])^2 / 0.1.

    A sum as published: it grows with the length of the clip, so only clips of one length compare. Steps count where
    both frames do.
    """
    there = np.ones(len(x), bool) if mask is None else mask
    steps = neighbours(there)
    if steps.sum() < 2:
        raise NoFigure("no two steps between frames that count")
    one, two = chosen(np.diff(x, axis=0), np.diff(y, axis=0), mask=steps, least=2)
    return float(np.sqrt(((one - two) ** 2).sum() / STS_STEP))


def diversity(x: Floats, mask: Bools | None = None, *, pairs: int = PAIRS, seed: int = 0) -> float:
    """Mean Euclidean distance of ``pairs`` pairs of different frames, drawn at random (same seed, same pairs)."""
    (one,) = chosen(x, mask=mask)
    generator = np.random.default_rng(seed)
    first = generator.integers(len(one), size=pairs)
    second = (first + generator.integers(1, len(one), size=pairs)) % len(one)
    return float(np.linalg.norm(one[first] - one[second], axis=1).mean())


def variance(x: Floats, mask: Bools | None = None) -> float:
    """Mean over codes of the variance over frames (T in the denominator)."""
    (one,) = chosen(x, mask=mask)
    return float(one.var(0).mean())


def spread_gap(x: Floats, y: Floats, mask: Bools | None = None) -> float:
    """100 times the mean over codes of |std_t x - std_t y| (T in the denominator): PDD on pose, JDD on jaw codes."""
    one, two = chosen(x, y, mask=mask)
    return float(100 * np.abs(one.std(0) - two.std(0)).mean())


def _same(x: Floats, a: Floats) -> None:
    if len(x) != len(a):
        raise ValueError(f"The partner has {len(a)} frames, the prediction {len(x)}")
