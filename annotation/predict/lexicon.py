"""The words of a language that tell how two people stand to each other, read from a TOML file and checked."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from annotation.predict.tokens import tokens_of
from rsat_data.errors import ConfigError

FORMAT = "rsat-lexicon/1"
SHIPPED = Path(__file__).resolve().parents[1] / "lexicon"
_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Term:
    """Words that mean the same, and what calling somebody so tells."""

    group: str
    """Terms of one group stand and fall together: a negated one takes the others out of the clip."""
    words: tuple[str, ...]
    """Lower case; parts separated by spaces."""
    kinship: str = ""
    """blood, non_blood, or empty where the words say nothing of it."""
    kinship_score: float = 0.0
    """How often one clear use of the words is right about it, in [0, 1]."""
    status: str = ""
    """equal, unequal, or empty."""
    status_score: float = 0.0
    """Likewise, in [0, 1]."""
    described: str = ""
    """Where unequal: the one so called is ``senior`` or ``junior``."""
    bare: bool = False
    """The words alone are an address ("thanks, dad"); else only with "my", or as in "you are my ..."."""
    name_follows: bool = False
    """A name may follow and belongs to the address ("uncle Bob", "doctor Lee")."""
    label: str = ""
    """What the words are evidence of: ``kinship`` or ``authority``. By default kinship for blood and for equals."""


@dataclass(frozen=True)
class Grammar:
    """The small words around a term that decide whether it is an address. All lower case, parts by spaces."""

    possessives: tuple[str, ...] = ()
    """What makes a person the speaker's own: my."""
    adjectives: tuple[str, ...] = ()
    """What may stand between a possessive and the term."""
    addressee_is: tuple[str, ...] = ()
    """As in "you are my": the one addressed is what the term says."""
    speaker_is: tuple[str, ...] = ()
    """As in "I am your": the speaker is."""
    denials: tuple[str, ...] = ()
    """As in "you are not my": the term's group is denied, for the whole clip."""
    negations: tuple[str, ...] = ()
    """Before the term in its clause: nothing is claimed."""
    conditions: tuple[str, ...] = ()
    """Likewise: it is imagined or asked, not claimed."""
    reports: tuple[str, ...] = ()
    """Before the term in its clause, or ending the clause before: somebody else's words."""
    openers: tuple[str, ...] = ()
    """A term after one of these, at the end of a clause, is an address even without a comma."""
    followers: tuple[str, ...] = ()
    """A term that opens a sentence is an address when one of these follows, even without a comma."""
    conjunctions: tuple[str, ...] = ()
    """After a term and a comma: a list of people."""
    third_person: tuple[str, ...] = ()
    """After a term and a comma: the talk is about the person."""


@dataclass(frozen=True)
class Lexicon:
    """The words of one language."""

    language: str
    """ISO 639-1 code, as in the column ``language`` of a clip."""
    terms: tuple[Term, ...]
    """What people call each other."""
    grammar: Grammar = field(default_factory=Grammar)
    """The words around."""

    @cached_property
    def longest_first(self) -> tuple[tuple[tuple[str, ...], Term], ...]:
        """(tokens, term) for every word, most tokens first; so "father in law" before "father"."""
        pairs = [(tokens_of(word), term) for term in self.terms for word in term.words]
        return tuple(sorted(pairs, key=lambda pair: -len(pair[0])))

    @cached_property
    def phrases(self) -> Mapping[str, tuple[tuple[str, ...], ...]]:
        """Name of a list of the grammar -> the tokens of each of its entries."""
        lists = {entry.name: getattr(self.grammar, entry.name) for entry in fields(Grammar)}
        return {name: tuple(map(tokens_of, words)) for name, words in lists.items()}


def load_lexicon(path: Path) -> Lexicon:
    """Read a lexicon.

    Raises:
        ConfigError: the file cannot be read, or an entry breaks the format; the message names the entry.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"The lexicon {path} is larger than 1 MiB.", path=path)
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"The lexicon {path} cannot be read: {error.strerror}.", path=path) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"The lexicon {path} is not valid TOML: {error}.", path=path) from error
    return _lexicon(raw, path)


def load_lexicons(files: Iterable[Path] = ()) -> dict[str, Lexicon]:
    """Language -> lexicon: those shipped, and the given files, which replace a shipped one of their language.

    Raises:
        ConfigError: as of :func:`load_lexicon`, or two of the given files are of one language.
    """
    shipped = {lexicon.language: lexicon for lexicon in map(load_lexicon, sorted(SHIPPED.glob("*.toml")))}
    given: dict[str, Lexicon] = {}
    for path in files:
        lexicon = load_lexicon(path)
        if lexicon.language in given:
            raise ConfigError(f"{path} is a second lexicon of the language {lexicon.language}.", path=path)
        given[lexicon.language] = lexicon
    return {**shipped, **given}


def _lexicon(raw: Mapping[str, Any], path: Path) -> Lexicon:
    def fail(what: str) -> ConfigError:
        return ConfigError(
            f"The lexicon {path}: {what}.", hint="docs/labelling_push.md describes the format.", path=path
        )

    if raw.get("format") != FORMAT:
        raise fail(f"format should be {FORMAT!r}, not {raw.get('format')!r}")
    unknown = sorted(raw.keys() - {"format", "language", "grammar", "term"})
    if unknown:
        raise fail(f"there is no section {unknown[0]!r}")
    language = raw.get("language")
    if not isinstance(language, str) or not (2 <= len(language) <= 3 and language.isalpha() and language.islower()):
        raise fail(f"language should be an ISO 639 code such as 'en', not {language!r}")
    grammar = raw.get("grammar", {})
    if not isinstance(grammar, dict):
        raise fail("grammar should be a table")
    terms = raw.get("term", [])
    if not isinstance(terms, list) or not terms or not all(isinstance(term, dict) for term in terms):
        raise fail("there is no [[term]]")
    names = [entry.name for entry in fields(Grammar)]
    for name in grammar:
        if name not in names:
            raise fail(f"grammar has no list {name!r} (it has: {', '.join(names)})")
    words = {name: _words(value, f"grammar.{name}", fail) for name, value in grammar.items()}
    return Lexicon(language, tuple(_term(term, n, fail) for n, term in enumerate(terms, 1)), Grammar(**words))


def _words(value: Any, where: str, fail: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise fail(f"{where} should be a list of texts")
    for word in value:
        if not word.strip() or word != " ".join(word.split()) or word != word.lower():
            raise fail(f"{where}: {word!r} should be lower case, with single spaces between its parts")
    return tuple(value)


def _term(raw: Mapping[str, Any], number: int, fail: Any) -> Term:
    where = f"term {number} ({raw.get('group', '?')})"
    names = [entry.name for entry in fields(Term)]
    for name in raw:
        if name not in names:
            raise fail(f"{where} has no field {name!r} (fields: {', '.join(names)})")
    group = raw.get("group")
    if not isinstance(group, str) or not group:
        raise fail(f"{where}: group should be a text")
    words = _words(raw.get("words", []), f"{where}, words", fail)
    if not words:
        raise fail(f"{where}: words is empty")
    choices = {"kinship": ("blood", "non_blood", ""), "status": ("equal", "unequal", "")}
    choices["described"] = ("senior", "junior", "")
    values: dict[str, Any] = {"group": group, "words": words}
    for name, allowed in choices.items():
        values[name] = raw.get(name, "")
        if values[name] not in allowed:
            raise fail(f"{where}: {name} should be one of {', '.join(allowed[:-1])}, or empty, not {values[name]!r}")
    for name in ("kinship_score", "status_score"):
        score = raw.get(name, 0.0)
        if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
            raise fail(f"{where}: {name} should be a number from 0 to 1, not {score!r}")
        values[name] = float(score)
        if bool(values[name]) != bool(values[name.removesuffix("_score")]):
            raise fail(f"{where}: {name.removesuffix('_score')} and {name} are given together or not at all")
    if bool(values["described"]) != (values["status"] == "unequal"):
        raise fail(f"{where}: described says who is senior where status is unequal, and only there")
    if not values["kinship"] and not values["status"]:
        raise fail(f"{where} tells neither kinship nor status")
    values["label"] = raw.get(
        "label", "kinship" if values["kinship"] == "blood" or not values["described"] else "authority"
    )
    if values["label"] not in ("kinship", "authority"):
        raise fail(f"{where}: label should be kinship or authority, not {values['label']!r}")
    for name in ("bare", "name_follows"):
        values[name] = raw.get(name, False)
        if not isinstance(values[name], bool):
            raise fail(f"{where}: {name} should be true or false")
    return Term(**values)
