"""Clocks, and sound put on the shared timeline."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.ingest.timeline import Clock, on_shared, read_offsets

offsets = st.floats(-4000, 4000)
drifts = st.floats(-1200, 1200)


@given(offsets, drifts, offsets, drifts, st.floats(0, 7200))
def test_clocks_go_there_and_back_and_chain(a: float, b: float, c: float, d: float, time: float) -> None:
    outer, inner = Clock(a, b), Clock(c, d)
    assert outer.shared(outer.own(time)) == pytest.approx(time, abs=1e-6)
    assert outer.inverse().own(outer.own(time)) == pytest.approx(time, abs=1e-6)
    assert outer.after(inner).own(time) == pytest.approx(inner.own(outer.own(time)), abs=1e-6)
    assert time - outer.offset_near(time) == pytest.approx(outer.own(time), abs=1e-6)


def test_a_fast_clock_counts_more_seconds() -> None:
    clock = Clock(2.0, 100.0)
    assert clock.own(2.0) == 0.0 and clock.own(10_002.0) == pytest.approx(10_001.0)


def test_whole_samples_are_moved_as_they_are() -> None:
    sound = np.arange(1, 101, dtype=np.int16)
    moved = on_shared(sound, Clock(0.001), 0, 40) * 32768
    np.testing.assert_array_equal(moved, [*[0] * 16, *range(1, 25)])
    tail = on_shared(sound, Clock(-0.005), 10, 40) * 32768
    np.testing.assert_array_equal(tail, [*range(91, 101), *[0] * 30])
    assert not on_shared(sound, Clock(9.0), 0, 100).any()


@pytest.mark.parametrize("drift", [-1000.0, -40.0, 150.0])
def test_drift_is_taken_out(drift: float) -> None:
    clock = Clock(0.5, drift)
    own = np.arange(80_000) / 16_000
    sound = 0.5 * np.sin(2 * np.pi * 1500 * own / clock.rate).astype(np.float32)  # 1500 Hz of shared time
    count = 70_000  # longer than a block
    got = on_shared(sound, clock, 8_000 + 500, count)
    shared = (np.arange(count) + 500) / 16_000
    np.testing.assert_allclose(got, 0.5 * np.sin(2 * np.pi * 1500 * shared), atol=1e-3)


def test_blocks_of_a_stretch_are_the_stretch() -> None:
    sound = np.random.default_rng(0).normal(0, 0.1, 5000).astype(np.float32)
    clock = Clock(-0.01, 300.0)
    whole = on_shared(sound, clock, 0, 6000)
    parts = [on_shared(sound, clock, start, 1000) for start in range(0, 6000, 1000)]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-6)


def test_offsets_of_a_clip() -> None:
    assert read_offsets({"start_s": 1.0}) == {}
    assert read_offsets({"offsets": {"A": 0, "B": -1.5}}) == {"A": 0.0, "B": -1.5}
