"""Cleaning words, dropping what nobody said, and giving words to people."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.speech.words import MAX_WORD_S, Word, clean_words, joined_text, speak_words

times = st.floats(-1.0, 12.0, allow_nan=False)
raw_words = st.lists(
    st.builds(Word, st.sampled_from(["a", " word ", "", "  ", "über"]), times, times, st.floats(-0.5, 1.5)), max_size=30
)


@settings(max_examples=60, deadline=None)
@given(raw_words, st.floats(0.5, 11.0))
def test_cleaned_words_are_in_order_inside_the_clip_and_of_some_length(words: list[Word], duration: float) -> None:
    cleaned = clean_words(words, duration)
    assert len(cleaned) == sum(bool(word.word.strip()) for word in words)
    starts = [word.start for word in cleaned]
    assert starts == sorted(starts)
    for word in cleaned:
        assert word.word == word.word.strip() != ""
        assert 0.0 <= word.start < word.end <= duration + 1e-9
        assert word.end - word.start <= MAX_WORD_S + 1e-9
        assert 0.0 <= word.score <= 1.0


def test_good_words_stay_as_they_are() -> None:
    words = [Word("one", 0.1, 0.4, 0.9), Word("two", 0.4, 0.7, 0.8), Word("three", 1.5, 2.0, 0.7)]
    assert clean_words(words, 3.0) == words


def test_stretched_and_collapsed_words() -> None:
    words = [
        Word("late", 0.0, 3.0, 0.9),
        Word("next", 3.0, 3.2, 0.9),
        Word("long", 3.2, 6.0, 0.9),
        Word("flat", 6.0, 6.0, 0.9),
    ]
    late, _, long, flat = clean_words(words, 8.0)
    assert (late.start, late.end) == (3.0 - MAX_WORD_S, 3.0)  # a pause before it was swallowed
    assert (long.start, long.end) == (3.2, 3.2 + MAX_WORD_S)  # it follows at once: the pause is after it
    assert flat.end - flat.start > 0.03


def test_words_go_to_who_talks() -> None:
    first, second = np.zeros(100), np.zeros(100)
    first[:40] = 1.0
    second[35:70] = 0.8
    words = [Word("a", 0.2, 0.5, 1), Word("b", 1.7, 2.2, 1), Word("edge", 2.85, 2.95, 1), Word("nobody", 3.5, 3.7, 1)]
    assert [word.speaker for word in speak_words(words, {"A": first, "B": second})] == ["A", "B", "B", None]
    assert speak_words(words, {}) == words


def test_text_is_joined_as_its_script_is_written() -> None:
    def text(*parts: str) -> str:
        return joined_text([Word(part, 0, 1, 1) for part in parts])

    assert text("Hello,", "you.") == "Hello, you."
    assert text("你", "好。", "OK", "是") == "你好。 OK 是"
    assert text() == ""
