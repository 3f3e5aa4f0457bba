"""Turns from speaking runs and words."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.speech.turns import drop_short_runs, make_turns, merge_runs, runs
from pipelines.speech.words import Word

tracks = st.lists(st.booleans(), min_size=1, max_size=120).map(np.array)
spoken = st.builds(
    lambda text, start, length, who: Word(text, start, start + length, 0.5, who),
    st.sampled_from(["x", "yes", "no"]), st.floats(0, 8), st.floats(0.05, 1), st.sampled_from(["A", "B", None]),
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(tracks)
def test_runs_rebuild_the_track(track: np.ndarray) -> None:
    again = np.zeros_like(track)
    for start, stop in runs(track):
        assert track[start:stop].all()
        again[start:stop] = True
    np.testing.assert_array_equal(again, track)


@settings(max_examples=40, deadline=None)
@given(tracks, st.integers(1, 30))
def test_merged_runs_lie_at_least_the_gap_apart(track: np.ndarray, gap: int) -> None:
    merged = merge_runs(runs(track), gap)
    assert all(after[0] - before[1] >= gap for before, after in zip(merged, merged[1:], strict=False))
    covered = np.zeros_like(track)
    for start, stop in merged:
        covered[start:stop] = True
    assert (covered | ~track).all()


@settings(max_examples=40, deadline=None)
@given(tracks, st.integers(1, 10))
def test_short_runs_are_dropped_and_only_they(track: np.ndarray, shortest: int) -> None:
    kept = drop_short_runs(track, shortest)
    assert [span for span in runs(track) if span[1] - span[0] >= shortest] == runs(kept)


@settings(max_examples=50, deadline=None)
@given(tracks, tracks, st.lists(spoken, max_size=12))
def test_every_spoken_word_is_in_one_turn_of_its_speaker(a: np.ndarray, b: np.ndarray, words: list[Word]) -> None:
    size = min(len(a), len(b))
    turns = make_turns({"A": a[:size], "B": b[:size]}, words)
    for person in ("A", "B"):
        said = sorted(word.word for word in words if word.speaker == person)
        held = sorted(" ".join(turn.text for turn in turns if turn.person == person).split())
        assert said == held
    assert [turn.start for turn in turns] == sorted(turn.start for turn in turns)
    assert all(turn.end > turn.start for turn in turns)


def test_a_short_pause_does_not_end_a_turn() -> None:
    track = np.zeros(100, dtype=bool)
    track[10:30] = track[36:50] = track[70:80] = True
    turns = make_turns({"A": track}, [Word("hi", 0.5, 0.8, 1, "A"), Word("late", 2.5, 2.7, 1, "A")], gap_s=0.4)
    assert [(turn.start, turn.end, turn.text) for turn in turns] == [(0.4, 2.0, "hi"), (2.8, 3.2, "late")]
