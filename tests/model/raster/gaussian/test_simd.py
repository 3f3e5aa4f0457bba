from __future__ import annotations

import numpy as np

from model.raster.gaussian import simd
from model.raster.jit import kernel


@kernel
def _exp2(x, y):  # type: ignore[no-untyped-def]
    for i in range(0, x.shape[0], 16):
        simd.store(y, i, simd.exp2(simd.load(x, i)))


@kernel
def _sums(x, y):  # type: ignore[no-untyped-def]
    """Of sixteen vectors in x, y gets the sum of each."""
    m = simd.load
    ab = simd.merge_8(simd.merge_16(m(x, 0), m(x, 16)), simd.merge_16(m(x, 32), m(x, 48)))
    cd = simd.merge_8(simd.merge_16(m(x, 64), m(x, 80)), simd.merge_16(m(x, 96), m(x, 112)))
    ef = simd.merge_8(simd.merge_16(m(x, 128), m(x, 144)), simd.merge_16(m(x, 160), m(x, 176)))
    gh = simd.merge_8(simd.merge_16(m(x, 192), m(x, 208)), simd.merge_16(m(x, 224), m(x, 240)))
    simd.store(y, 0, simd.merge_2(simd.merge_4(ab, cd), simd.merge_4(ef, gh)))


@kernel
def _choices(a, b, out):  # type: ignore[no-untyped-def]
    x, y = simd.load(a, 0), simd.load(b, 0)
    simd.store(out, 0, simd.where_ge(x, y, simd.one(), simd.zero()))
    simd.store(out, 16, simd.where_gt(x, y, simd.one(), simd.zero()))
    simd.store(out, 32, simd.minimum(x, y))
    simd.store(out, 48, simd.negative_size(x))
    simd.store(out, 64, simd.fnma(x, y, simd.splat(np.float32(2.0))))
    simd.store(out, 80, simd.divide(x, y) - x * y)
    simd.store(out, 96, simd.lane_x() + simd.lane_y() * simd.splat(np.float32(10.0)))
    return simd.any_gt(x, y), simd.any_gt(x, x)


@kernel
def _bits(bits, out):  # type: ignore[no-untyped-def]
    count = 0
    while bits != 0:
        out[count] = simd.lowest_bit(bits)
        bits &= bits - 1
        count += 1
    return count


def test_exp2_keeps_its_bound() -> None:
    for reach in (0.51, 8.0, 100.0):
        x = np.linspace(-reach, reach, 1 << 16).astype(np.float32)
        y = np.empty_like(x)
        _exp2(x, y)
        assert np.abs(y / np.exp2(x.astype(np.float64)) - 1).max() < simd.EXP2_ERROR


def test_folding_sums_sixteen_vectors_in_order() -> None:
    x = np.random.default_rng(0).integers(-50, 50, (16, 16)).astype(np.float32)
    y = np.empty(16, np.float32)
    _sums(x.reshape(-1), y)
    assert np.array_equal(y, x.sum(axis=1))


def test_operations_lane_by_lane() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.integers(-3, 4, (2, 16)).astype(np.float32)
    b[b == 0] = 1
    out = np.empty(112, np.float32)
    assert _choices(a, b, out) == ((a > b).any(), False)
    expected = [a >= b, a > b, np.minimum(a, b), -np.abs(a), 2 - a * b, a / b - a * b]
    expected.append(10 * (np.arange(16) // 4) + np.arange(16) % 4)
    assert np.array_equal(out.reshape(7, 16), np.stack(expected).astype(np.float32))


def test_bits_from_the_lowest() -> None:
    out = np.empty(64, np.int64)
    count = _bits(0b1000_0000_0110_0001, out)
    assert out[:count].tolist() == [0, 5, 6, 15]
