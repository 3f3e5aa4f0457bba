"""Lexicons: the shipped one, and files of users."""

from __future__ import annotations

from pathlib import Path

import pytest

from annotation.predict import find_cues, load_lexicon, load_lexicons
from annotation.predict.lexicon import SHIPPED
from rsat_data.errors import ConfigError

GERMAN = """
format = "rsat-lexicon/1"
language = "de"

[grammar]
possessives = ["mein", "meine"]
addressee_is = ["du bist mein", "du bist meine"]
speaker_is = ["ich bin dein", "ich bin deine"]
denials = ["du bist nicht mein", "ich bin nicht dein"]
openers = ["danke", "ja"]
third_person = ["er", "sie"]

[[term]]
group = "parent"
words = ["mama", "papa", "vater"]
kinship = "blood"
kinship_score = 0.9
status = "unequal"
status_score = 0.8
described = "senior"
bare = true
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "lexicon.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_shipped_lexicon_is_sound() -> None:
    english = load_lexicons()["en"]
    assert english.language == "en" and len(english.terms) > 15
    words = [(term.group, word, term.bare) for term in english.terms for word in term.words]
    assert len(set(words)) == len(words)
    # Every list of the grammar is used by the rules, so none may be empty.
    assert all(english.phrases.values())


def test_another_language_is_a_file(tmp_path: Path) -> None:
    lexicons = load_lexicons([write(tmp_path, GERMAN)])
    assert sorted(lexicons) == ["de", "en"]

    def said(line: str) -> list[tuple[str, str]]:
        return [(c.text, c.described) for c in find_cues([{"speaker": "A", "text": line}], lexicons["de"])]

    assert said("Danke, Mama.") == [("Mama", "B")]
    assert said("Ich bin dein Vater.") == [("Vater", "A")]
    assert said("Du bist nicht mein Vater.") == []
    assert said("Mein Vater, er war Seemann.") == []


def test_scripts_without_spaces(tmp_path: Path) -> None:
    text = GERMAN.replace('"de"', '"zh"').replace('["mama", "papa", "vater"]', '["妈妈", "爸爸"]')
    lexicon = load_lexicon(write(tmp_path, text))
    cues = find_cues([{"speaker": "B", "text": "妈妈，你好吗？"}], lexicon)
    assert [(cue.text, cue.start, cue.end, cue.described) for cue in cues] == [("妈妈", 0, 2, "A")]


def test_a_given_file_replaces_the_shipped_one(tmp_path: Path) -> None:
    path = write(tmp_path, GERMAN.replace('"de"', '"en"'))
    assert load_lexicons([path])["en"] == load_lexicon(path)
    with pytest.raises(ConfigError, match="second lexicon of the language en"):
        load_lexicons([path, SHIPPED / "en.toml"])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"rsat-lexicon/1"', '"rsat-lexicon/9"', "format should be"),
        ('language = "de"', 'language = "German"', "ISO 639"),
        ("possessives", "posessives", "no list 'posessives'"),
        ('["mama", "papa", "vater"]', '["Mama"]', "'Mama' should be lower case"),
        ('["mama", "papa", "vater"]', '["ma  ma"]', "single spaces"),
        ('["mama", "papa", "vater"]', "[]", "words is empty"),
        ('["mama", "papa", "vater"]', '"mama"', "should be a list of texts"),
        ('"blood"', '"family"', "kinship should be one of blood, non_blood"),
        ("kinship_score = 0.9", "kinship_score = 9", "from 0 to 1"),
        ("kinship_score = 0.9", "", "together"),
        ('described = "senior"', "", "described"),
        ("bare = true", 'bare = "yes"', "true or false"),
        ("bare = true", "bear = true", "no field 'bear'"),
        ("bare = true", 'label = "other"', "kinship or authority"),
        ("[[term]]", "[term]", r"no \[\[term\]\]"),
        ("[grammar]", "[gramar]", "no section 'gramar'"),
        ("possessives = [", "possessives = [[", "not valid TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GERMAN
    path = write(tmp_path, GERMAN.replace(old, new, 1))
    with pytest.raises(ConfigError, match=message) as error:
        load_lexicon(path)
    assert str(path) in error.value.message


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_lexicon(tmp_path / "absent.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_lexicon(tmp_path / "bytes.toml")


def test_the_example_of_the_docs_can_be_used(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[3] / "docs/labelling_push.md").read_text(encoding="utf-8")
    lexicon = load_lexicon(write(tmp_path, page.split("```toml\n")[1].split("```")[0]))
    cues = find_cues([{"speaker": "A", "text": "Mama, kannst du mir helfen?"}], lexicon)
    assert [(cue.text, cue.described) for cue in cues] == [("Mama", "B")]
    assert find_cues([{"speaker": "A", "text": "Mein Papa, er war Seemann."}], lexicon) == []
