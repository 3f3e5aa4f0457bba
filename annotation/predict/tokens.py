"""Text cut into words and punctuation, with the place of each in the text."""

from __future__ import annotations

import re
from dataclasses import dataclass

#: Scripts that are written without spaces: each character stands alone. Han, Hiragana, Katakana, Thai, Lao, Khmer.
_ALONE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\u0e00-\u0eff\u1780-\u17ff\U00020000-\U0002ffff"
_TOKEN = re.compile(rf"[{_ALONE}]|(?:(?![{_ALONE}])\w)+(?:['’\-](?:(?![{_ALONE}])\w)+)*|[^\w\s]")
#: Marks that end a sentence, in several scripts.
ENDS = frozenset(".!?…。！？؟۔।;")
#: Marks that open and close quoted speech; the plain one does both.
OPENING, CLOSING, EITHER = frozenset("“„«「『‹"), frozenset("”»」』›"), '"'
#: Marks that part clauses.
COMMAS = frozenset(",:—–-、，،")


@dataclass(frozen=True)
class Token:
    """A word or a mark."""

    text: str
    """Lower case, with a plain apostrophe."""
    start: int
    """First character in the text."""
    end: int
    """Behind the last one."""
    is_word: bool
    """A word, not a mark."""
    capital: bool
    """Whether it begins with a capital letter."""


def tokenise(text: str) -> list[Token]:
    """Words and marks of a text, in order. A word keeps its apostrophes and hyphens."""
    found = []
    for match in _TOKEN.finditer(text):
        word = match[0]
        is_word = word[0].isalnum() or word[0] == "_"
        found.append(Token(word.lower().replace("’", "'"), match.start(), match.end(), is_word, word[0].isupper()))
    return found


def tokens_of(phrase: str) -> tuple[str, ...]:
    """The texts of a phrase's tokens, as they are compared with those of a transcript."""
    return tuple(token.text for token in tokenise(phrase))
