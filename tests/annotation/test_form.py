from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation.form import FORM_PATH, REQUIRED, differences, form_hash, load_form, missing_questions, parse_form
from rsat_data.errors import LabelError

FORM = load_form()


def test_shipped_form_asks_what_it_must() -> None:
    assert {name: FORM.questions[name] for name in REQUIRED} == dict(REQUIRED)
    assert FORM.questions["evidence"] == ("Kinship cue", "Authority cue", "PII")
    assert "third_person_visible" in FORM.questions["issues"] and FORM.questions["notes"] == ()
    senior = FORM.controls["senior"]
    assert senior.visible_when == (("status", "unequal"),) and senior.required and not senior.multiple
    assert FORM.controls["issues"].multiple and not FORM.controls["issues"].required
    assert FORM.objects["video"] == ("Video", "$video") and FORM.objects["transcript"] == ("Paragraphs", "$transcript")
    assert FORM.hash == form_hash(FORM_PATH.read_text()) and len(FORM.hash) == 64


def test_every_choice_has_a_key_of_its_own() -> None:
    keys = re.findall(r'hotkey="([^"]+)"', FORM.xml)
    assert len(keys) == len(set(keys)) == 9 + 6 + 3 + 2  # answers, issues, evidence, space and confidence


def test_hash_passes_by_what_means_nothing() -> None:
    spaced = FORM.xml.replace("\n  <", "\n\t\t<").replace("<View", "<!-- a comment --><View", 2).strip()
    turned = FORM.xml.replace('name="video" value="$video"', 'value="$video"   name="video"')
    assert spaced != FORM.xml and turned != FORM.xml
    assert form_hash(spaced) == form_hash(turned) == FORM.hash
    assert form_hash(FORM.xml.replace("Kinship cue", "Family cue")) != FORM.hash
    assert form_hash(FORM.xml.replace("334", "335")) != FORM.hash


def test_looks_are_no_difference() -> None:
    other = FORM.xml.replace('height="334"', 'height="200"').replace("Are A and B", "Would you say that A and B are")
    assert other != FORM.xml and differences(FORM, other) == []


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ('value="blood"', 'value="family"', "kinship: choice 'blood' is now 'family'"),
        ('<Choice value="equal" html="equal" hotkey="4"/>', "", "status: choice 'equal' is gone"),
        ('<Choice value="A"', '<Choice value="both"/><Choice value="A"', "senior: choice 'both' is new"),
        ('name="kinship"', 'name="relation"', "kinship: the question is gone"),
        ('name="kinship"', 'name="relation"', "relation: a question that is not ours"),
        ('maxRating="5"', 'maxRating="4"', "confidence: choice '5' is gone"),
        ('whenChoiceValue="unequal"', 'whenChoiceValue="equal"', "senior: it is shown when status is equal"),
        ('choice="multiple"', 'choice="single"', "issues: one value may be chosen now"),
        ('required="true" requiredMessage="3', 'requiredMessage="3', "confidence: an answer is not required any more"),
        ('value="$video"', 'value="$clip"', "video: Video of $video is now Video of $clip"),
    ],
)
def test_differences_in_words(before: str, after: str, told: str) -> None:
    other = FORM.xml.replace(before, after)
    assert other != FORM.xml
    assert any(line.startswith(told) for line in differences(FORM, other)), differences(FORM, other)


def test_project_without_a_form_is_told() -> None:
    assert len(differences(FORM, "<View></View>")) == len(FORM.questions) + len(FORM.objects)
    assert "no well-formed XML" in differences(FORM, "")[0]


@given(st.sampled_from([value for values in REQUIRED.values() for value in values if value.isalpha()]))
def test_any_renamed_choice_is_noticed(value: str) -> None:
    other = FORM.xml.replace(f'value="{value}"', 'value="renamed"')
    assert any("is now 'renamed'" in line for line in differences(FORM, other))
    assert missing_questions(parse_form(other))


@pytest.mark.parametrize(
    "xml",
    [
        "<View>",
        "no xml",
        '<!DOCTYPE a [<!ENTITY b "c">]><View>&b;</View>',
        "<View>" + " " * 300_000 + "</View>",
        '<View><Rating name="a" toName="b"/><Rating name="a" toName="b"/></View>',
    ],
)
def test_bad_forms(xml: str, tmp_path: Path) -> None:
    file = tmp_path / "form.xml"
    file.write_text(xml)
    with pytest.raises(LabelError) as caught:
        load_form(file)
    assert caught.value.hint and len(str(caught.value)) < 1000


def test_form_that_asks_too_little(tmp_path: Path) -> None:
    file = tmp_path / "form.xml"
    file.write_text(FORM.xml.replace('<Choice value="unsure" html="unsure" hotkey="9"/>', ""))
    with pytest.raises(LabelError, match="senior has no choice 'unsure'"):
        load_form(file)
    with pytest.raises(LabelError, match="cannot be read"):
        load_form(tmp_path / "absent.xml")


def test_sdk_takes_the_form_and_refuses_a_broken_one() -> None:
    pytest.importorskip("label_studio_sdk", reason="needs the extra 'annotate'")
    from annotation.project import validate_form

    validate_form(FORM)
    with pytest.raises(LabelError, match="not one the server takes"):
        validate_form(parse_form(FORM.xml.replace('name="kinship" toName="video"', 'name="kinship" toName="nothing"')))
