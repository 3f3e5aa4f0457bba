"""Tasks: what the form shows of a clip."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotation.tasks import (
    EARLIEST_S,
    LONGEST,
    NO_WORDS,
    NOBODY,
    Addresses,
    clean_text,
    make_transcript,
    neutral_title,
    task_data,
)


def turn(text: str, start: float = 0.0, end: float = 1.0, person: str = "A") -> dict[str, object]:
    return {"person": person, "start": start, "end": end, "text": text}


def test_markup_stays_as_it_is_typed() -> None:
    assert clean_text('<b>bold</b> & "so" on') == '<b>bold</b> & "so" on'


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("two\nlines\r\n and\ttabs", "two lines and tabs"),
        ("  no\u00a0break\u2003wide ", "no break wide"),
        ("bell\x07 null\x00", "bell null"),
        ("half \ud800 pair", "half pair"),
        ("turned \u202eover\u202c", "turned over"),
        ("zero\u200bwidth \ufeffmark", "zerowidth mark"),
        ("family 👨\u200d👩\u200d👧", "family 👨\u200d👩\u200d👧"),
        ("", ""),
        (" \n ", ""),
    ],
)
def test_text_is_one_clean_line(typed: str, shown: str) -> None:
    assert clean_text(typed) == shown


def test_right_to_left_is_wrapped_and_left_to_right_is_not() -> None:
    assert clean_text("שלום, אמא!") == "\u2067שלום, אמא!\u2069"
    assert clean_text("123 مرحبا") == "\u2067123 مرحبا\u2069"
    assert clean_text("he said שלום") == "he said שלום"


def test_an_empty_transcript_says_so() -> None:
    expected = [{"speaker": NOBODY, "text": NO_WORDS, "start": EARLIEST_S, "end": 4.0}]
    assert make_transcript([], 4.0) == expected
    assert make_transcript([turn(" \n")], 4.0) == expected


def test_no_start_is_zero_because_the_editor_sorts_it_last() -> None:
    found = make_transcript([turn("second", 0.5), turn("first", 0.0)], 4.0)
    assert [(line["text"], line["start"]) for line in found] == [("first", EARLIEST_S), ("second", 0.5)]


def test_long_turns_are_cut_at_sentences_with_their_times() -> None:
    sentence = "One two three four five six seven eight nine ten. "
    found = make_transcript([turn(sentence * 20, 0.0, 20.0)], 20.0)
    assert all(len(line["text"]) <= LONGEST and line["text"].endswith("ten.") for line in found)
    assert " ".join(line["text"] for line in found) == (sentence * 20).strip()
    assert found[0]["end"] == found[1]["start"] and found[-1]["end"] == 20.0


def test_words_tell_when_a_piece_begins() -> None:
    text = " ".join(f"word{n:03d}." for n in range(100))
    # All words but the first ten come late.
    words = [
        {"word": f"word{n:03d}.", "start": n * 0.1 if n < 10 else 10 + n * 0.1, "end": 0.0, "speaker": "A"}
        for n in range(100)
    ]
    for word in words:
        word["end"] = word["start"] + 0.05
    exact = make_transcript([turn(text, 0.0, 20.0)], 20.0, words)
    count = len(exact[0]["text"].split())
    assert exact[1]["start"] == pytest.approx(words[count]["start"])
    guessed = make_transcript([turn(text, 0.0, 20.0)], 20.0, words[:-1])
    assert guessed[1]["start"] != exact[1]["start"]


TEXTS = st.text(alphabet=st.sampled_from("ab <>&.\n\t😀שא\u202e\x00Éé"), max_size=900)
TURNS = st.lists(
    st.builds(
        turn, TEXTS, st.floats(-1, 12, allow_nan=False), st.floats(-1, 12, allow_nan=False), st.sampled_from("AB")
    ),
    max_size=5,
)


@settings(max_examples=150, deadline=None)
@given(TURNS)
def test_a_transcript_can_always_be_shown(turns: list[dict[str, object]]) -> None:
    found = make_transcript(turns, 10.0)
    assert found
    assert found == sorted(found, key=lambda line: (line["start"], line["end"]))
    for line in found:
        assert EARLIEST_S <= line["start"] <= line["end"] <= 10.0
        assert 0 < len(line["text"]) <= LONGEST
        assert line["text"] == " ".join(line["text"].split())
        line["text"].encode("utf-16")
    said = "".join(c for line in found for c in line["text"] if c.isalpha())
    typed = "".join(sorted(c for t in turns for c in str(t["text"]) if c.isalpha()))
    assert "".join(sorted(said)) == typed or found[0]["speaker"] == NOBODY


@settings(max_examples=100, deadline=None)
@given(TEXTS)
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    assert clean_text(clean_text(text)) == clean_text(text)


def test_titles_give_nothing_away() -> None:
    title = neutral_title("clip_mother_and_daughter")
    assert (
        "mother" not in title
        and title != neutral_title("clip_2")
        and title == neutral_title("clip_mother_and_daughter")
    )


def test_data_has_what_the_form_shows() -> None:
    transcript = make_transcript([turn("hello")], 2.0)
    data = task_data("clip_1", transcript, Addresses("v.mp4", "a.wav", "fa.jpg", "fb.jpg"))
    assert data == {
        "clip_id": "clip_1",
        "video": "v.mp4",
        "audio": "a.wav",
        "face_a": "fa.jpg",
        "face_b": "fb.jpg",
        "transcript": transcript,
        "title": neutral_title("clip_1"),
        "schema": "rsat/1",
    }
