"""Who calls whom what. The sentences are two sets: one the rules were written on, one kept aside until they stood."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotation.predict import Lexicon, find_cues, load_lexicons

ENGLISH = load_lexicons()["en"]


def said(*lines: str, lexicon: Lexicon = ENGLISH) -> list[tuple[str, str, str]]:
    """(words, who is so called, form) of lines that A and B say in turn."""
    transcript = [{"speaker": "AB"[number % 2], "text": line} for number, line in enumerate(lines)]
    return [(cue.text.lower(), cue.described, cue.form) for cue in find_cues(transcript, lexicon)]


@pytest.mark.parametrize(
    ("line", "words", "described", "form"),
    [
        ("Mom, can you help me?", "mom", "B", "address"),
        ("Thanks, Dad.", "dad", "B", "address"),
        ("thank you doctor", "doctor", "B", "address"),
        ("Yes, sir.", "sir", "B", "address"),
        ("Mom!", "mom", "B", "address"),
        ("mom can you pick me up", "mom", "B", "address"),
        ("Come here, my son.", "son", "B", "address"),
        ("You are my son.", "son", "B", "addressee_is"),
        ("Luke, I am your father.", "father", "A", "speaker_is"),
        ("as your mother I forbid it", "mother", "A", "speaker_is"),
        ("Uncle Bob, look!", "uncle", "B", "address"),
        ("No, dad, I won't.", "dad", "B", "address"),
        ("Your honor, I object.", "your honor", "B", "address"),
        ("My dear daughter, you are late.", "daughter", "B", "address"),
        ("You're my little brother, man.", "brother", "B", "addressee_is"),
        ("Thank you, father-in-law.", "father-in-law", "B", "address"),
        ("It is “fine”, mom.", "mom", "B", "address"),
        ("😀 Yes, my son.", "son", "B", "address"),
    ],
)
def test_address_is_heard(line: str, words: str, described: str, form: str) -> None:
    assert said(line) == [(words, described, form)]


@pytest.mark.parametrize(
    "line",
    [
        "You are not my dad.",
        "You ain't my real dad.",
        "I'm not your mother.",
        "Don't call me mom.",
        "My mom said no.",
        "Mom said no.",
        "I told my dad about it.",
        "I'll tell mom.",
        "The doctor is here.",
        "He called me sir.",
        "He said, dad, come here.",
        'He said, "Dad, come here."',
        "if you were my son I'd",
        "you're like a father to me",
        "I don't think you are my son.",
        "My dad, he was a sailor.",
        "This is Bob, my dad.",
        "I saw Anna, my sister, yesterday.",
        "Are you my mommy?",
        "Mom, dad and I went home.",
        "my mom, dad and brother",
        "I'm your father's friend.",
        "Who is it? My dad.",
        "In general, it's fine.",
        "son of a gun",
        "Dad did the dishes.",
    ],
)
def test_talk_about_others_is_no_address(line: str) -> None:
    assert said(line) == []


def test_a_denial_takes_the_group_out_of_the_whole_clip() -> None:
    assert said("Come on, dad.", "Yes?") == [("dad", "B", "address")]
    assert said("Come on, dad.", "I'm not your father.") == []
    assert said("Come on, dad.", "I'm not your boss.") == [("dad", "B", "address")]


def test_each_speaker_is_told_from_the_other() -> None:
    found = said("Dad, where are you?", "Here, my son.")
    assert found == [("dad", "B", "address"), ("son", "A", "address")]
    assert {cue.senior for cue in find_cues([{"speaker": "B", "text": "Yes, sir."}], ENGLISH)} == {"A"}


def test_nobody_says_nothing() -> None:
    assert find_cues([{"speaker": "-", "text": "Thanks, mom."}], ENGLISH) == []


#: Written after the rules, and not used to change them: (line, whether it calls the other one by a term).
HELD_OUT = [
    ("Mommy, I want to go home.", True),
    ("What do you think, Professor?", True),
    ("Sir, please step out of the car.", True),
    ("Dad, stop it.", True),
    ("I love you, grandma.", True),
    ("Coach, put me in.", True),
    ("Excuse me, officer.", True),
    ("I'm your mother and I say you stay.", True),
    ("Happy birthday, sis!", True),
    ("Look at me, son.", True),
    ("Doctor, is it serious?", True),
    ("You're my cousin, of course I'll help.", True),
    ("Okay boss", True),
    ("Aunt May, are you there?", True),
    ("No, ma'am, I did not.", True),
    ("Well, Captain, what now?", True),
    ("Hey dad, guess what.", True),
    ("I need you, dad.", True),
    ("But mom, everybody goes!", True),
    ("Congratulations, doctor.", True),
    ("My mother is a doctor.", False),
    ("I want to be a professor one day.", False),
    ("Dad's car broke down.", False),
    ("She told her boss to leave.", False),
    ("When mom comes home, we eat.", False),
    ("He was like a brother to me.", False),
    ("The officer, a tall man, nodded.", False),
    ("I miss my grandma.", False),
    ("Your father would be proud.", False),
    ("We call him uncle.", False),
    ("Is your sister coming?", False),
    ("A son, a daughter, and a dog.", False),
    ("You sound like my dad.", False),
    ("I had a coach, a good one.", False),
    ("Mom and dad are away.", False),
    ("It was a major mistake, in general.", False),
    ("My aunt, who lives in Rome, cooks.", False),
    ("You will never be my father.", False),
    ("They asked the doctor, twice.", False),
    ("I was his boss, you know.", False),
]


def test_held_out_sentences() -> None:
    """Precision and recall on sentences the rules were not written on. A floor, not a claim about real speech."""
    found = {line: bool(said(line)) for line, _ in HELD_OUT}
    hits = sum(found[line] for line, called in HELD_OUT if called)
    false = [line for line, called in HELD_OUT if found[line] and not called]
    assert hits / (hits + len(false)) >= 0.95, false
    assert hits / sum(called for _, called in HELD_OUT) >= 0.85, [x for x, c in HELD_OUT if c and not found[x]]


WORDS = ["mom", "my", "not", "you", "are", "Dad", "sir", ",", ".", "?", '"', "said", "I'm", "your", "son", "😀", "the"]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=14), st.lists(st.sampled_from(WORDS), max_size=14))
def test_evidence_points_at_its_words(first: list[str], second: list[str]) -> None:
    transcript = [{"speaker": "A", "text": " ".join(first)}, {"speaker": "B", "text": " ".join(second)}]
    for cue in find_cues(transcript, ENGLISH):
        assert transcript[cue.paragraph]["text"][cue.start : cue.end] == cue.text
        assert tuple(cue.text.lower().split()) in {tuple(word.split()) for word in cue.term.words}
        assert cue.described in ("A", "B") and 0 < cue.trust <= 1


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=120))
def test_any_text_can_be_looked_through(text: str) -> None:
    for cue in find_cues([{"speaker": "A", "text": text}], ENGLISH):
        assert text[cue.start : cue.end] == cue.text


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([line for line, _ in HELD_OUT]), min_size=1, max_size=4))
def test_who_speaks_decides_who_is_meant(lines: list[str]) -> None:
    swapped = {"A": "B", "B": "A"}
    transcript = [{"speaker": "AB"[number % 2], "text": line} for number, line in enumerate(lines)]
    mirrored = [{**line, "speaker": swapped[line["speaker"]]} for line in transcript]
    here, there = find_cues(transcript, ENGLISH), find_cues(mirrored, ENGLISH)
    assert [(c.text, c.start, c.described) for c in here] == [(c.text, c.start, swapped[c.described]) for c in there]
