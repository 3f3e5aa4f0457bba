from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from model.metrics.motion import codes
from model.metrics.motion.figures import NoFigure


def motions(seed: int, frames: int, width: int, count: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(count, width, width))
    return [rng.normal(size=(frames, width)) @ one + rng.normal(size=width) for one in mixing]


def frechet_reference(x: np.ndarray, y: np.ndarray) -> float:
    """The definition, term by term."""
    first, second = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(first @ second)
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(first + second - 2 * root.real))


def test_fd_by_hand() -> None:
    # One code. x: -1 and 1, mean 0, variance 2 (ddof 1 of two values, repeated: 10 values of +-1, variance 10/9).
    x = np.array([-1.0, 1.0] * 5)[:, None]
    y = 3 + 2 * x
    # (0 - 3)^2 + (sqrt(10/9) - 2 sqrt(10/9))^2 = 9 + 10/9
    assert codes.frechet(x, y) == pytest.approx(9 + 10 / 9)
    assert codes.frechet(x, y, centred=True) == pytest.approx(10 / 9)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), frames=st.integers(60, 120), width=st.integers(2, 41))
def test_fd_equals_the_matrix_root(seed: int, frames: int, width: int) -> None:
    x, y, _ = motions(seed, frames, width)
    assert codes.frechet(x, y) == pytest.approx(frechet_reference(x, y), rel=1e-6)
    assert codes.frechet(x, y) == pytest.approx(codes.frechet(y, x), rel=1e-9)


def test_fd_is_exact_where_matrix_roots_are_not() -> None:
    # Fewer frames than codes, and codes that never move: singular covariances.
    x, y, _ = motions(1, 20, 41)
    x[:, 5] = y[:, 7] = 0.3
    assert codes.frechet(x, x) == pytest.approx(0, abs=1e-10)
    turned = np.linalg.qr(np.random.default_rng(0).normal(size=(41, 41)))[0]
    assert codes.frechet(x @ turned, y @ turned) == pytest.approx(codes.frechet(x, y), rel=1e-9)


def test_fd_of_a_constant_is_the_truths_trace_and_the_step_of_the_means() -> None:
    _, y, _ = motions(2, 50, 6)
    still = np.broadcast_to(y.mean(0) + 1, y.shape)
    assert codes.frechet(still, y) == pytest.approx(np.trace(np.cov(y, rowvar=False)) + 6)


def test_pfd_joins_the_partner() -> None:
    x, y, a = motions(3, 80, 5)
    assert codes.paired_frechet(x, y, a) == pytest.approx(
        frechet_reference(np.hstack([a, x]), np.hstack([a, y])), rel=1e-6
    )
    # Frames of the truth in another order: the same distribution, another relation to the partner.
    mixed = y[np.random.default_rng(0).permutation(len(y))]
    assert codes.frechet(mixed, y) == pytest.approx(0, abs=1e-9)
    assert codes.paired_frechet(mixed, y, y + 0.1 * a) > 0.1


def test_mse_by_hand() -> None:
    x = np.zeros((10, 2))
    y = np.stack([np.full(10, 3.0), np.array([1.0, -1.0] * 5)], 1)
    assert codes.squared_error(x, y) == pytest.approx((9 + 1) / 2)
    assert codes.squared_error(x, y, centred=True) == pytest.approx((0 + 1) / 2)


def test_rpcc_by_hand() -> None:
    a = np.arange(10.0)[:, None]
    assert codes.residual_correlation(-a, 2 * a + 1, a) == pytest.approx(2)  # |1 - (-1)|
    assert codes.residual_correlation(np.full((10, 1), 0.3), a, a) == pytest.approx(1)  # |1 - 0|
    x, y, other = motions(4, 40, 3)
    wanted = abs(np.corrcoef(y.ravel(), other.ravel())[0, 1] - np.corrcoef(x.ravel(), other.ravel())[0, 1])
    assert codes.residual_correlation(x, y, other) == pytest.approx(wanted)


def test_sts_by_hand() -> None:
    # Steps of x: 1, of y: 0; nine steps of one code: sqrt(9 / 0.1).
    assert codes.short_time_synchrony(np.arange(10.0)[:, None], np.zeros((10, 1))) == pytest.approx(np.sqrt(90))
    # A frame that does not count takes the two steps beside it away.
    mask = np.ones(10, bool)
    mask[4] = False
    assert codes.short_time_synchrony(np.arange(10.0)[:, None], np.zeros((10, 1)), mask) == pytest.approx(np.sqrt(70))


def test_spreads_by_hand() -> None:
    x = np.stack([np.array([-1.0, 1.0] * 5), np.zeros(10)], 1)
    assert codes.variance(x) == pytest.approx(0.5)
    assert codes.spread_gap(x, 3 * x) == pytest.approx(100 * (2 + 0) / 2)
    # Frames are 2 apart or alike; pairs are of different frames: of 9 others, 5 are 2 apart.
    assert codes.diversity(x, pairs=200_000) == pytest.approx(10 / 9, rel=0.01)
    assert codes.diversity(np.ones((10, 2))) == 0
    assert codes.diversity(x) == codes.diversity(x)


def test_correlation() -> None:
    y = np.sin(np.arange(50.0))
    assert codes.correlation(2 * y - 1, y) == pytest.approx(1)
    assert codes.correlation(np.full(50, 0.1), y) == 0
    with pytest.raises(NoFigure, match="truth does not move"):
        codes.correlation(y, np.full(50, 0.1))


def test_only_frames_of_the_mask_count() -> None:
    x, y, a = motions(5, 60, 4)
    mask = np.random.default_rng(0).random(60) < 0.6
    dirty = [one.copy() for one in (x, y, a)]
    for one in dirty:
        one[~mask] = np.nan
    assert codes.frechet(*dirty[:2], mask) == codes.frechet(x[mask], y[mask])
    assert codes.squared_error(*dirty[:2], mask) == codes.squared_error(x[mask], y[mask])
    assert codes.paired_frechet(*dirty, mask) == codes.paired_frechet(x[mask], y[mask], a[mask])
    assert codes.residual_correlation(*dirty, mask) == codes.residual_correlation(x[mask], y[mask], a[mask])
    assert codes.variance(dirty[0], mask) == codes.variance(x[mask])
    assert np.isfinite(codes.short_time_synchrony(*dirty[:2], mask))


@pytest.mark.parametrize("measure", [codes.frechet, codes.squared_error, codes.spread_gap])
def test_never_nan_in_silence(measure) -> None:
    x, y, _ = motions(6, 30, 3)
    with pytest.raises(NoFigure, match="4 frames"):
        measure(x, y, np.arange(30) < 4)
    with pytest.raises(ValueError, match="different numbers"):
        measure(x[:-1], y)
    x[3] = np.inf
    with pytest.raises(ValueError, match="not finite"):
        measure(x, y)
