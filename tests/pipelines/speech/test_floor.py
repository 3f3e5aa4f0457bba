from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipelines.speech.floor import floor

FRAMES = 300


def talk(a: list[tuple[int, int]], b: list[tuple[int, int]], frames: int = FRAMES) -> dict[str, np.ndarray]:
    found = {}
    for name, spans in (("A", a), ("B", b)):
        found[name] = np.zeros(frames, bool)
        for start, stop in spans:
            found[name][start:stop] = True
    return found


def kinds(a: list[tuple[int, int]], b: list[tuple[int, int]]) -> list[tuple[str, str]]:
    return [(one.person, one.kind) for one in floor(talk(a, b)).stretches]


def test_question_and_answer() -> None:
    found = floor(talk([(10, 60), (150, 200)], [(66, 140)]))
    assert [(one.person, one.kind, one.offset) for one in found.stretches] == [
        ("A", "first", None), ("B", "change", 6), ("A", "change", 10),
    ]  # fmt: skip
    assert (found.holder[:10] == -1).all() and (found.holder[10:66] == 0).all()
    assert (found.holder[66:150] == 1).all() and (found.holder[150:] == 0).all()
    assert found.latencies("B") == [0.24] and found.latencies("A") == [0.4]


def test_pauses_of_a_holder_do_not_give_the_floor_away() -> None:
    assert kinds([(0, 50), (54, 80), (120, 150)], []) == [("A", "first"), ("A", "hold")]


def test_a_hum_while_the_other_talks_on_or_in_a_pause() -> None:
    assert kinds([(0, 100)], [(40, 50)]) == [("A", "first"), ("B", "backchannel")]
    assert kinds([(0, 100), (125, 200)], [(105, 115)]) == [("A", "first"), ("B", "backchannel"), ("A", "hold")]


def test_a_short_answer_after_which_nobody_goes_on_takes_the_floor() -> None:
    assert kinds([(0, 100), (180, 200)], [(105, 115)])[1] == ("B", "change")


def test_a_short_beginning_of_something_longer_takes_the_floor() -> None:
    assert kinds([(0, 100), (140, 160)], [(105, 115), (125, 200)])[1] == ("B", "change")


def test_interruption_good_timing_and_an_attempt_that_fails() -> None:
    found = floor(talk([(0, 100)], [(80, 200)]))
    assert [(one.kind, one.offset) for one in found.stretches] == [("first", None), ("interruption", -20)]
    assert kinds([(0, 100)], [(95, 200)])[1] == ("B", "change")
    assert kinds([(0, 200)], [(80, 120)])[1] == ("B", "attempt")


def test_silence_and_what_is_no_pair() -> None:
    found = floor(talk([], []))
    assert not found.stretches and (found.holder == -1).all() and found.latencies("A") == []
    with pytest.raises(ValueError, match="two people"):
        floor({"A": np.zeros(3, bool)})
    with pytest.raises(ValueError, match="two people"):
        floor({"A": np.zeros(3, bool), "B": np.zeros(4, bool)})


BOOLS = arrays(bool, st.just(120), elements=st.booleans())


@given(a=BOOLS, b=BOOLS)
def test_whatever_is_said(a: np.ndarray, b: np.ndarray) -> None:
    found = floor({"A": a, "B": b})
    spoken = np.zeros((2, 120), bool)
    for one in found.stretches:
        spoken["AB".index(one.person), one.start : one.stop] = True
        assert (one.offset is not None) == (one.kind in ("change", "interruption"))
    # All speech is in a stretch, and the floor is held from the first word on.
    assert (spoken[0] >= a).all() and (spoken[1] >= b).all()
    assert ((found.holder >= 0) == (np.cumsum(a | b) > 0)).all()
    # It does not matter who is called A: only who begins first when both do.
    if not (a & b).any():
        other = floor({"A": b, "B": a})
        assert [one.kind for one in other.stretches] == [one.kind for one in found.stretches]
