"""Guesses: what speaks for them, how sure they are, and how they reach the server."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotation.form import load_form
from annotation.predict import Prediction, as_result, check_predictions, load_lexicons, predict
from annotation.predict.regions import utf16_length
from annotation.predict.relation import LEAST, METADATA_SCORE, MOST, combine
from annotation.tasks import make_transcript
from rsat_data.errors import LabelError
from tests.annotation.predict.test_address import HELD_OUT

ENGLISH = load_lexicons()["en"]


def guess(*lines: str, relation: dict[str, str] | None = None) -> Prediction | None:
    transcript = [{"speaker": "AB"[number % 2], "text": line} for number, line in enumerate(lines)]
    return predict(transcript, ENGLISH, relation)


def values(prediction: Prediction | None) -> dict[str, str]:
    return {} if prediction is None else {name: found.value for name, found in prediction.guesses.items()}


def test_nothing_speaks_for_a_guess() -> None:
    assert guess("How are you?", "Fine, thanks.") is None
    assert predict([{"speaker": "A", "text": "Thanks, mom."}], None) is None
    assert guess("Hello.", relation={"kinship": "unknown", "status": "unknown", "senior": "unknown"}) is None


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["Thanks, mom."], {"kinship": "blood", "status": "unequal", "senior": "B"}),
        (["Hello.", "Thanks, mom."], {"kinship": "blood", "status": "unequal", "senior": "A"}),
        (["Come here, my son.", "Yes, dad."], {"kinship": "blood", "status": "unequal", "senior": "A"}),
        (["Yes, sir."], {"kinship": "non_blood", "status": "unequal", "senior": "B"}),
        (["You are my best friend."], {"kinship": "non_blood", "status": "equal"}),
        (["I am your boss."], {"kinship": "non_blood", "status": "unequal", "senior": "A"}),
        # Both call each other sir: nobody is above the other.
        (["Yes, sir.", "No, sir."], {"kinship": "non_blood"}),
        # The words contradict each other, and nothing is sure enough.
        (["Thanks, dad. Yes, sir."], {"status": "unequal", "senior": "B"}),
    ],
)
def test_words_speak(lines: list[str], expected: dict[str, str]) -> None:
    assert values(guess(*lines)) == expected


def test_metadata_win_and_contrary_words_are_no_evidence() -> None:
    relation = {"kinship": "non_blood", "status": "equal", "senior": "none"}
    found = guess("Thanks, mom.", relation=relation)
    assert values(found) == {"kinship": "non_blood", "status": "equal"}
    assert found is not None and found.evidence == () and found.score == METADATA_SCORE
    assert {one.source for one in found.guesses.values()} == {"metadata"}


def test_words_fill_what_metadata_leave_open() -> None:
    found = guess("Thanks, mom.", relation={"kinship": "blood", "status": "unknown", "senior": "unknown"})
    assert values(found) == {"kinship": "blood", "status": "unequal", "senior": "B"}
    assert found is not None and found.kinship is not None and found.kinship.source == "metadata"
    assert found.status is not None and found.status.source == "transcript"
    assert [cue.text for cue in found.evidence] == ["mom"]
    found = guess("Thanks, mom.", relation={"kinship": "blood", "status": "unequal", "senior": "unknown"})
    assert values(found) == {"kinship": "blood", "status": "unequal", "senior": "B"}


@given(st.lists(st.floats(0.01, 0.99), min_size=1, max_size=12))
def test_more_of_the_same_makes_surer_but_never_sure(scores: list[float]) -> None:
    total = combine(scores)
    assert min(max(scores), MOST) - 1e-12 <= total <= MOST
    assert combine([*scores, 0.5]) >= total
    assert combine(scores[::-1]) == pytest.approx(total)


LINES = st.lists(st.sampled_from([line for line, _ in HELD_OUT] + ["😀😀 <b>Yes</b>, sir.\nNo."]), max_size=5)
RELATION = st.fixed_dictionaries(
    {
        "kinship": st.sampled_from(["blood", "non_blood", "unknown"]),
        "status": st.sampled_from(["equal", "unequal", "unknown"]),
        "senior": st.sampled_from(["A", "B", "none", "unknown"]),
    }
)


@settings(max_examples=100, deadline=None)
@given(LINES, st.none() | RELATION)
def test_every_guess_fits_the_form(lines: list[str], relation: dict[str, str] | None) -> None:
    turns = [{"person": "AB"[n % 2], "text": line, "start": n, "end": n + 1} for n, line in enumerate(lines)]
    transcript = make_transcript(turns, 6.0)
    found = predict(transcript, ENGLISH, relation)
    if found is None:
        return
    assert (found.senior is not None) <= (found.status is not None and found.status.value == "unequal")
    assert all(LEAST <= one.score <= MOST for one in found.guesses.values())
    result = as_result(found, transcript, "v1")
    check_predictions(load_form().xml, [("clip", result)])
    assert result["score"] == pytest.approx(found.score, abs=1e-4)
    names = [region["id"] for region in result["result"]]
    assert len(set(names)) == len(names)
    for region in result["result"]:
        if region["type"] == "paragraphlabels":
            value = region["value"]
            units = transcript[int(value["start"])]["text"].encode("utf-16-le")
            part = units[2 * value["startOffset"] : 2 * value["endOffset"]]
            assert part.decode("utf-16-le") == value["text"]


@given(st.text(max_size=50))
def test_utf16(text: str) -> None:
    assert utf16_length(text) == len(text.encode("utf-16-le", "surrogatepass")) // 2


def test_a_guess_that_does_not_fit_is_not_sent() -> None:
    found = guess("Thanks, mom.")
    assert found is not None
    result = as_result(found, [{"speaker": "A", "text": "Thanks, mom."}], "v1")
    result["result"][0]["value"]["choices"] = ["cousins"]
    with pytest.raises(LabelError, match="clip_7.*cousins"):
        check_predictions(load_form().xml, [("clip_7", result)])
