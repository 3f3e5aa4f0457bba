from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation.form import load_form
from annotation.results import Refusal, Setting, read_annotation, read_answers
from annotation.votes import annotator_id, vote_id, votes_table
from schemas.validators import row_problems
from schemas.votes import ISSUES, TABLE

FORM = load_form()
URL = "http://127.0.0.1:9"
TURNS = [
    {"speaker": "A", "text": "hello dad 👋 fine", "start": 1.0, "end": 3.0},
    {"speaker": "B", "text": "well <b>\nyes", "start": 3.0, "end": 4.0},
]


def choice(name: str, *values: Any) -> dict[str, Any]:
    return {"from_name": name, "to_name": "video", "type": "choices", "value": {"choices": list(values)}}


def rating(value: Any) -> dict[str, Any]:
    return {"from_name": "confidence", "to_name": "video", "type": "rating", "value": {"rating": value}}


def span(start: Any, end: Any, start_offset: Any, end_offset: Any, label: Any = "Kinship cue") -> dict[str, Any]:
    value = {"start": start, "end": end, "startOffset": start_offset, "endOffset": end_offset}
    return {
        "from_name": "evidence",
        "to_name": "transcript",
        "type": "paragraphlabels",
        "value": {**value, "paragraphlabels": [label]},
    }


def answers(
    *more: dict[str, Any], kinship: str = "blood", status: str = "equal", sure: int = 4
) -> list[dict[str, Any]]:
    return [choice("kinship", kinship), choice("status", status), rating(sure), *more]


def setting(**changes: Any) -> Setting:
    return Setting(**{"url": URL, "project_id": 3, "form": FORM, "clips": {"clip_1"}, **changes})


def task(**changes: Any) -> dict[str, Any]:
    data = {"clip_id": "clip_1", "schema": "rsat/1", "transcript": TURNS, **changes}
    return {"id": 7, "data": data, "predictions": []}


def annotation(result: Any, **changes: Any) -> dict[str, Any]:
    return {
        "id": 11,
        "result": result,
        "completed_by": 5,
        "updated_by": 5,
        "was_cancelled": False,
        "created_at": "2026-01-01T10:00:00.000001Z",
        "updated_at": "2026-01-01T12:00:02.500000+02:00",
        "lead_time": 12.25,
        **changes,
    }


def prediction(created: str = "2026-01-01T09:00:00Z", version: str = "v1", **values: str) -> dict[str, Any]:
    result = [choice(name, value) for name, value in values.items()]
    return {"result": result, "model_version": version, "created_at": created}


def test_an_annotation_becomes_a_vote() -> None:
    result = answers(
        choice("senior", "B"),
        choice("issues", "acted", "wrong_speaker"),
        {"from_name": "notes", "to_name": "video", "type": "textarea", "value": {"text": ["calls him dad", " "]}},
        {"type": "relation", "from_id": "a", "to_id": "b", "direction": "right"},
        status="unequal",
    )
    row = read_annotation(annotation(result), task(), setting())
    moment = datetime(2026, 1, 1, 10, 0, 2, 500000, UTC)
    assert row == {
        "vote_id": vote_id(URL, 3, 11, moment),
        "clip_id": "clip_1",
        "annotator": annotator_id(URL, 5),
        "kinship": "blood",
        "status": "unequal",
        "senior": "B",
        "confidence": 4,
        "issues": ["wrong_speaker", "acted"],
        "evidence": [],
        "notes": "calls him dad",
        "prediction_shown": False,
        "prediction_accepted": None,
        "seconds_spent": 12.25,
        "created_at": datetime(2026, 1, 1, 10, 0, 0, 1, UTC),
        "updated_at": moment,
        "config_hash": FORM.hash,
        "round": "labelling",
        "prediction_version": None,
        "withdrawn": False,
    }
    assert not row_problems(votes_table([row]), TABLE)


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (answers(choice("senior", "A")), "senior is answered though status is equal"),
        (answers(status="unequal"), "status is unequal, and senior is not answered"),
        (answers(kinship="cousins"), "kinship is 'cousins', which is no choice"),
        ([choice("kinship", "blood", "unsure"), choice("status", "equal"), rating(3)], "kinship has several answers"),
        (answers(choice("kinship", "non_blood")), "kinship has several answers (blood, non_blood)"),
        ([choice("status", "equal"), rating(3)], "kinship is not answered"),
        ([choice("kinship", "blood"), choice("status"), rating(3)], "status is answered with nothing"),
        ([choice("kinship", "blood"), choice("status", "equal")], "confidence is not answered"),
        (answers(rating(2)), "confidence has several answers (4, 2)"),
        ([*answers()[:2], rating(0)], "confidence is 0, not one from 1 to 5"),
        ([*answers()[:2], rating(2.5)], "confidence is 2.5, not a whole number"),
        ([*answers()[:2], rating(True)], "confidence is True, not a whole number"),
        (answers(choice("issues", "bored")), "issues holds 'bored'"),
        (answers(choice("mood", "good")), "it answers 'mood', which the form does not ask"),
        (answers(span("0", "0", 6, 9, "Nonsense")), "evidence has the label ['Nonsense']"),
        (answers(span("0", "2", 0, 1)), "evidence marks no span"),
        (answers(span("x", "0", 0, 1)), "evidence marks no span"),
        (answers(span("1", "0", 0, 1)), "evidence marks no span"),
        (answers(span("0", "0", 9, 6)), "evidence marks no span"),
        (answers(span("0", "0", None, 6)), "evidence marks no span"),
        (None, "its result is not a list"),
        ("[]", "its result is not a list"),
        ([3, *answers()], "something that is no region"),
        ([], "kinship is not answered"),
    ],
)
def test_what_breaks_a_rule_is_refused_with_clip_task_and_annotator(result: Any, reason: str) -> None:
    refusal = read_annotation(annotation(result), task(), setting())
    assert isinstance(refusal, Refusal)
    assert any(reason in text for text in refusal.reasons), refusal.reasons
    assert (refusal.clip_id, refusal.task_id, refusal.annotation_id) == ("clip_1", 7, 11)
    for word in ("clip_1", "task 7", annotator_id(URL, 5)):
        assert word in str(refusal)


@pytest.mark.parametrize(
    ("changes", "of_task", "of_setting", "reason"),
    [
        ({}, {"clip_id": "clip_2"}, {}, "clip clip_2 was never pushed"),
        ({}, {"clip_id": None}, {}, "its task names no clip"),
        ({}, {"clip_id": ["clip_1"]}, {}, "its task names no clip"),
        ({}, {"schema": "rsat/9"}, {}, "its task is of schema 'rsat/9'"),
        ({}, {}, {"form_hash": "ab" * 32}, "made with another form (abababababab"),
        ({"completed_by": None}, {}, {}, "the account that made it is gone"),
        ({"updated_at": "yesterday"}, {}, {}, "no readable time"),
    ],
)
def test_a_task_or_a_person_that_does_not_fit_is_refused(
    changes: dict[str, Any], of_task: dict[str, Any], of_setting: dict[str, Any], reason: str
) -> None:
    refusal = read_annotation(annotation(answers(), **changes), task(**of_task), setting(**of_setting))
    assert isinstance(refusal, Refusal) and any(reason in text for text in refusal.reasons)


def test_several_faults_are_all_told() -> None:
    refusal = read_annotation(annotation([choice("kinship", "cousins")]), task(clip_id="x"), setting())
    assert isinstance(refusal, Refusal) and len(refusal.reasons) == 4


def test_evidence_is_cut_as_a_browser_counts_and_timed_within_its_turn() -> None:
    marked = answers(span("0", "0", 6, 9), span(0, 0, 10, 12, "PII"), span("0", "1", 13, 4, "Authority cue"))
    found, reasons = read_answers(marked, TURNS, FORM)
    assert not reasons and found is not None
    spans = {span["label"]: span for span in found.evidence}
    assert spans["Kinship cue"]["text"] == "dad"
    assert spans["PII"]["text"] == "👋"  # two units of UTF-16
    assert spans["Authority cue"]["text"] == "fine well"
    # The first turn has 17 units in 2 s, the second 12 in 1 s.
    assert spans["Kinship cue"]["start"] == pytest.approx(1 + 2 * 6 / 17)
    assert spans["Kinship cue"]["end"] == pytest.approx(1 + 2 * 9 / 17)
    assert spans["Authority cue"]["end"] == pytest.approx(3 + 4 / 12)


def test_a_prediction_counts_as_shown_if_it_was_there_before_the_annotation() -> None:
    row = task() | {
        "predictions": [
            prediction(kinship="non_blood"),
            prediction("2026-01-01T09:30:00Z", kinship="blood", status="equal"),
            prediction("2026-01-01T11:00:00Z", "v2", kinship="unsure"),
        ]
    }
    vote = read_annotation(annotation(answers()), row, setting(prediction_version="v1"))
    assert isinstance(vote, dict)
    assert (vote["prediction_shown"], vote["prediction_accepted"], vote["prediction_version"]) == (True, True, "v1")
    other = read_annotation(annotation(answers(kinship="unsure")), row, setting(prediction_version="v1"))
    assert isinstance(other, dict) and other["prediction_accepted"] is False
    none = read_annotation(annotation(answers()), row, setting(prediction_version="v3"))
    assert isinstance(none, dict)
    assert (none["prediction_shown"], none["prediction_accepted"], none["prediction_version"]) == (False, None, None)


def test_the_annotations_own_record_of_its_prediction_goes_first() -> None:
    row = task() | {"predictions": [prediction(kinship="non_blood")]}
    kept = annotation(answers(), prediction=prediction(version="v0", kinship="blood"))
    vote = read_annotation(kept, row, setting(prediction_version="v1"))
    assert isinstance(vote, dict)
    assert (vote["prediction_shown"], vote["prediction_accepted"], vote["prediction_version"]) == (True, True, "v0")
    empty = read_annotation(annotation(answers(), prediction={}), row, setting())
    assert isinstance(empty, dict) and empty["prediction_shown"] is False


def test_a_hidden_prediction_is_compared_and_not_counted_as_shown() -> None:
    hidden = {"clip_1": prediction(kinship="blood")}
    vote = read_annotation(annotation(answers()), task(), setting(hidden=hidden))
    assert isinstance(vote, dict)
    assert (vote["prediction_shown"], vote["prediction_accepted"], vote["prediction_version"]) == (False, True, "v1")


@pytest.mark.parametrize("value", [None, -1, float("nan"), float("inf"), "12", True])
def test_a_time_that_is_none_is_null(value: Any) -> None:
    vote = read_annotation(annotation(answers(), lead_time=value), task(), setting())
    assert isinstance(vote, dict) and vote["seconds_spent"] is None


_JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
_NAMES = st.sampled_from([*FORM.questions, "mood", None])
_VALUES = st.one_of(
    st.fixed_dictionaries({"choices": st.lists(st.sampled_from(["blood", "equal", "unequal", "A", "acted", "x"]))}),
    st.fixed_dictionaries({"rating": st.integers(-1, 7) | st.floats()}),
    st.fixed_dictionaries({"text": st.lists(st.text(max_size=5)) | st.text(max_size=5) | st.none()}),
    st.fixed_dictionaries(
        {
            "start": st.sampled_from(["0", "1", "2", "", 0, None]),
            "end": st.sampled_from(["0", "1", "-1", 1]),
            "startOffset": st.integers(-2, 30),
            "endOffset": st.integers(-2, 30),
            "paragraphlabels": st.lists(st.sampled_from(["Kinship cue", "PII", "x"]), max_size=2),
        }
    ),
    _JUNK,
)
_ITEMS = st.fixed_dictionaries({"from_name": _NAMES, "value": _VALUES}) | _JUNK
_GOOD = st.tuples(
    st.sampled_from(["blood", "non_blood", "unsure"]),
    st.one_of(
        st.tuples(st.sampled_from(["equal", "unsure"]), st.none()),
        st.tuples(st.just("unequal"), st.sampled_from(["A", "B", "unsure"])),
    ),
    st.integers(1, 5),
    st.lists(st.sampled_from(ISSUES), unique=True),
)


@given(st.lists(_ITEMS, max_size=6), st.booleans(), _JUNK)
def test_any_list_of_results_is_a_valid_vote_or_a_refusal_with_reasons(
    items: list[Any], with_answers: bool, transcript: Any
) -> None:
    result = [*(answers() if with_answers else []), *items]
    for turns in (TURNS, transcript):
        vote = read_annotation(annotation(result), task(transcript=turns), setting())
        if isinstance(vote, Refusal):
            assert vote.reasons and all(vote.reasons)
        else:
            assert not row_problems(votes_table([vote]), TABLE)


@given(_GOOD, st.randoms())
def test_what_the_form_allows_is_read_as_it_was_meant_in_any_order(
    good: tuple[str, tuple[str, str | None], int, list[str]], random: Any
) -> None:
    kinship, (status, senior), sure, issues = good
    result = answers(kinship=kinship, status=status, sure=sure)
    result += [choice("senior", senior)] if senior else []
    result += [choice("issues", *issues)] if issues else []
    random.shuffle(result)
    found, reasons = read_answers(result, TURNS, FORM)
    assert not reasons and found is not None
    assert (found.kinship, found.status, found.senior, found.confidence) == (kinship, status, senior, sure)
    assert set(found.issues) == set(issues)
