"""Turn-taking as columns: counts, shares and times of talk whose truth is plain, and what holds for any talk."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.assemble.turn_columns import turn_columns
from pipelines.speech.floor import floor


def spans(count: int, *where: tuple[int, int]) -> np.ndarray:
    track = np.zeros(count, bool)
    for start, stop in where:
        track[start:stop] = True
    return track


def test_a_talk_with_everything_in_it() -> None:
    a = spans(500, (0, 100), (200, 300), (310, 400))
    b = spans(500, (50, 60), (110, 190), (290, 305), (385, 470))
    columns = turn_columns({"A": a, "B": b})
    kinds = [(one["person"], one["kind"]) for one in columns["turn_taking"]]
    assert kinds == [
        ("A", "first"), ("B", "backchannel"), ("B", "change"), ("A", "change"), ("B", "backchannel"), ("A", "hold"),
        ("B", "interruption"),
    ]  # fmt: skip
    assert (columns["num_turns_a"], columns["num_turns_b"]) == (2, 2)
    assert (columns["num_backchannels_a"], columns["num_backchannels_b"]) == (0, 2)
    assert (columns["num_interruptions_a"], columns["num_interruptions_b"]) == (0, 1)
    assert columns["latency_a"] == pytest.approx(10 / 25) and columns["latency_b"] == pytest.approx(-5 / 2 / 25)
    assert columns["floor_share_a"] == pytest.approx((110 + 185) / 500)
    assert columns["floor_share_b"] == pytest.approx((90 + 115) / 500)
    assert columns["gap_share"] == pytest.approx((10 + 10 + 5) / 470)
    assert columns["turn_taking"][2]["offset_s"] == pytest.approx(0.4) and columns["turn_taking"][5]["offset_s"] is None


def test_one_person_has_no_turns_and_silence_has_none_either() -> None:
    alone = turn_columns({"A": np.ones(50, bool)})
    assert set(alone.values()) == {None} and len(alone) == 14
    silent = turn_columns({"A": np.zeros(50, bool), "B": np.zeros(50, bool)})
    assert silent["turn_taking"] == [] and silent["floor_share_a"] == 0.0 and silent["gap_share"] == 0.0
    assert silent["num_turns_b"] == 0 and silent["latency_a"] is None


tracks = st.lists(st.tuples(st.booleans(), st.integers(1, 60)), min_size=1, max_size=12).map(
    lambda runs: np.concatenate([np.full(length, state) for state, length in runs])
)


@settings(max_examples=60, deadline=None)
@given(a=tracks, b=tracks)
def test_shares_and_counts_hold_together(a: np.ndarray, b: np.ndarray) -> None:
    count = min(len(a), len(b))
    speaking = {"A": a[:count], "B": b[:count]}
    columns = turn_columns(speaking)
    found = floor(speaking)
    assert 0 <= columns["floor_share_a"] + columns["floor_share_b"] <= 1 + 1e-9
    assert 0 <= columns["gap_share"] < 1
    counted = sum(
        columns[f"num_{name}_{person}"] for name in ("turns", "backchannels", "attempts") for person in "ab"
    )
    assert counted + len(found.of_kind("hold")) == len(columns["turn_taking"])
    assert columns["num_interruptions_a"] <= columns["num_turns_a"]
    assert list(columns) and set(columns) == set(turn_columns({"A": a}))
