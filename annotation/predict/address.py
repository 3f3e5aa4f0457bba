"""Who calls whom what: words of address in a dialogue, told from words about third people, denials and quotations.

Rules on the words and marks around a term, no parser: they are quick, they can be read and corrected, and a language
is a file. What they cannot decide gives no cue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from annotation.predict.lexicon import Lexicon, Term
from annotation.predict.tokens import CLOSING, COMMAS, EITHER, ENDS, OPENING, tokenise

Form = Literal["address", "addressee_is", "speaker_is"]

#: How far each way of reading is trusted, as a factor on a term's scores.
PLAIN, NO_COMMA, ONE_WORD, POSSESSIVE = 1.0, 0.9, 0.85, 0.9


@dataclass(frozen=True)
class Cue:
    """Words that tell how the two stand to each other."""

    paragraph: int
    """Which paragraph of the transcript."""
    start: int
    """First character of the words in the paragraph's text (Python's, code points)."""
    end: int
    """Behind the last one."""
    text: str
    """The words."""
    term: Term
    """What they mean."""
    described: str
    """Who is so called: A or B."""
    form: Form
    """How: spoken to, or said to be."""
    trust: float
    """Factor on the term's scores, in (0, 1]."""

    @property
    def senior(self) -> str:
        """A or B where the term puts one above the other, else empty."""
        if not self.term.described:
            return ""
        return self.described if self.term.described == "senior" else other(self.described)


def other(person: str) -> str:
    """The other one of A and B."""
    return "B" if person == "A" else "A"


def find_cues(transcript: Sequence[Mapping[str, Any]], lexicon: Lexicon) -> list[Cue]:
    """All cues of a dialogue, in order.

    Args:
        transcript: paragraphs with ``speaker`` (A or B; others are passed by) and ``text``.
        lexicon: the words of its language.

    A denied term ("you are not my dad") takes every cue of its group out, whoever said it.
    """
    cues: list[Cue] = []
    denied: set[str] = set()
    for number, paragraph in enumerate(transcript):
        speaker = paragraph["speaker"]
        if speaker not in ("A", "B"):
            continue
        scan = _Scan(paragraph["text"], lexicon)
        denied |= scan.denied
        for found in scan.found:
            described = speaker if found.form == "speaker_is" else other(speaker)
            start, end = scan.tokens[found.first].start, scan.tokens[found.last].end
            text = paragraph["text"][start:end]
            cues.append(Cue(number, start, end, text, found.term, described, found.form, found.trust))
    return [cue for cue in cues if cue.term.group not in denied]


@dataclass(frozen=True)
class _Found:
    first: int
    last: int
    term: Term
    form: Form
    trust: float


class _Scan:
    """One paragraph, looked through once."""

    def __init__(self, text: str, lexicon: Lexicon) -> None:
        self.tokens = tokenise(text)
        self.words = [token.text for token in self.tokens]
        self.phrases = lexicon.phrases
        self.found: list[_Found] = []
        self.denied: set[str] = set()
        self._terms: dict[str, list[tuple[tuple[str, ...], Term]]] = {}
        for parts, term in lexicon.longest_first:
            self._terms.setdefault(parts[0], []).append((parts, term))
        at = 0
        while at < len(self.tokens):
            at = self._look(at)

    def _look(self, at: int) -> int:
        """Judge the longest term that begins at a token; return where to go on."""
        length = 0
        for parts, term in self._terms.get(self.words[at], ()):
            if length and len(parts) < length:
                break
            if tuple(self.words[at : at + len(parts)]) == parts:
                length = len(parts)
                # One word may be several terms, such as "my son" and "son": the first that reads counts.
                if self._judge(at, at + length, term):
                    break
        return at + max(length, 1)

    # Surroundings --------------------------------------------------------------------------------------------------

    def _starts(self, at: int, *, marks: frozenset[str]) -> int:
        """First word after the last of ``marks`` before ``at``."""
        stop = at
        while at > 0 and self.words[at - 1] not in marks:
            at -= 1
        while at < stop and not self.tokens[at].is_word:
            at += 1
        return at

    def _ends_with(self, name: str, stop: int, start: int = 0) -> int | None:
        """Where a phrase of the list begins that ends right before ``stop``, not before ``start``; else None."""
        for phrase in self.phrases[name]:
            begin = stop - len(phrase)
            if begin >= start and tuple(self.words[begin:stop]) == phrase:
                return begin
        return None

    def _begins_with(self, name: str, at: int) -> bool:
        return any(tuple(self.words[at : at + len(phrase)]) == phrase for phrase in self.phrases[name])

    def _any(self, name: str, start: int, stop: int) -> bool:
        return any(self._ends_with(name, end, start) is not None for end in range(start + 1, stop + 1))

    def _left_of(self, at: int) -> int:
        """Where a term begins with the adjectives before it."""
        while at > 0 and (begin := self._ends_with("adjectives", at)) is not None:
            at = begin
        return at

    def _is_mark(self, at: int) -> bool:
        """A mark, or the end of the paragraph."""
        return at >= len(self.tokens) or self.words[at] in ENDS or self.words[at] in COMMAS

    # Judgement -----------------------------------------------------------------------------------------------------

    def _judge(self, first: int, stop: int, term: Term) -> bool:
        """Note what the term at ``first`` to ``stop`` says; False where it says nothing."""
        left = self._left_of(first)
        if self._ends_with("denials", left) is not None:
            self.denied.add(term.group)
            return True
        form, trust = self._reading(first, left, stop, term)
        if form is None:
            return False
        self.found.append(_Found(first, stop - 1, term, form, trust))
        return True

    def _reading(self, first: int, left: int, stop: int, term: Term) -> tuple[Form | None, float]:
        sentence = self._starts(first, marks=ENDS)
        clause = self._starts(first, marks=ENDS | COMMAS)
        if self._quoted(sentence, clause, first):
            return None, 0.0
        claim: tuple[Form, int | None]
        for claim in (
            ("addressee_is", self._ends_with("addressee_is", left)),
            ("speaker_is", self._ends_with("speaker_is", left)),
        ):
            form, begin = claim
            if begin is not None:
                doubtful = self._any("negations", clause, begin) or self._any("conditions", clause, begin)
                asked = self._sentence_mark(stop) in ("?", "？", "؟")
                # "i'm your mother's friend" is another token and no term; "your father figure" is not a claim.
                complete = self._is_mark(stop) or not self.tokens[stop].is_word or self._clause_goes_on(stop)
                return (None, 0.0) if doubtful or asked or not complete else (form, PLAIN)
        owner = self._ends_with("possessives", left)
        if owner is not None:
            return self._called("my", owner, clause, sentence, stop, term)
        if term.bare and left == first:
            return self._called("bare", first, clause, sentence, stop, term)
        return None, 0.0

    def _clause_goes_on(self, at: int) -> bool:
        """A word follows that cannot belong to the term: "you are my son and ...", "I'm your father I ..."."""
        return self._begins_with("conjunctions", at) or self._begins_with("followers", at)

    def _quoted(self, sentence: int, clause: int, first: int) -> bool:
        before = self.words[sentence:first]
        if before.count(EITHER) % 2 or sum((w in OPENING) - (w in CLOSING) for w in before) > 0:
            return True
        if self._any("reports", clause, first):
            return True
        # 'he said, mom ...': the report ends the clause before.
        return clause > sentence and clause == first and self._ends_with("reports", clause - 1, sentence) is not None

    def _sentence_mark(self, at: int) -> str:
        while at < len(self.words) and self.words[at] not in ENDS:
            at += 1
        return self.words[at] if at < len(self.words) else ""

    def _called(
        self, way: str, begin: int, clause: int, sentence: int, stop: int, term: Term
    ) -> tuple[Form | None, float]:
        """Whether the words from ``begin`` to ``stop`` call the other one: set off by marks, or after an opener."""
        if term.name_follows and stop < len(self.tokens) and self.tokens[stop].capital and self.words[stop] != "i":
            stop += 1
        trust = POSSESSIVE if way == "my" else PLAIN
        alone = begin == clause
        opened = not alone and self._ends_with("openers", begin, clause) == clause
        if not alone and not opened:
            return None, 0.0
        if not self._is_mark(stop):
            # Recognisers leave commas out: "mom can you help me".
            spoken_to = (begin == sentence or opened) and self._begins_with("followers", stop)
            return ("address", trust * NO_COMMA * ONE_WORD) if spoken_to and way == "bare" else (None, 0.0)
        if opened:
            return "address", trust * NO_COMMA
        behind = self.words[stop] if stop < len(self.words) else "."
        if behind in COMMAS and (
            self._begins_with("third_person", stop + 1)
            or self._begins_with("conjunctions", stop + 1)
            or (way == "my" and self._capital(stop + 1))
            or self._is_term(stop + 1)
        ):
            return None, 0.0
        if begin == sentence:
            if behind not in ENDS:
                return "address", trust
            # A sentence of its own: "Mom!" and "Mom?" call; "My dad." answers a question.
            if way == "my":
                return None, 0.0
            return "address", trust if behind in "!?！？؟" else trust * ONE_WORD
        # After a comma: "this is Bob, my dad" names him; "I spoke to him, dad" calls.
        if way == "my" and begin >= 2 and self.tokens[begin - 2].capital and begin - 2 > sentence:
            return None, 0.0
        if self._is_term(begin - 2, ends=True):
            return None, 0.0
        return "address", trust

    def _capital(self, at: int) -> bool:
        return at < len(self.tokens) and self.tokens[at].capital and self.words[at].split("'")[0] != "i"

    def _is_term(self, at: int, *, ends: bool = False) -> bool:
        """Whether a term stands at a token: then the commas are those of a list."""
        if not 0 <= at < len(self.tokens):
            return False
        if ends:
            return any(parts[-1] == self.words[at] for group in self._terms.values() for parts, _ in group)
        return self.words[at] in self._terms
