"""Relations as people type them."""

from __future__ import annotations

from itertools import permutations

import pytest

from model.motion.conversation import UNKNOWN, Relation
from rsat_data.errors import UsageError
from rsat_data.rendering.relation import mirrored, named, parse_relation


@pytest.mark.parametrize(
    ("words", "relation"),
    [
        (["unequal", "senior=A"], Relation("unknown", "unequal", "A")),
        (["blood", "equal"], Relation("blood", "equal", "none")),
        (["non_blood", "unequal", "senior=b"], Relation("non_blood", "unequal", "B")),
        (["unequal"], Relation("unknown", "unequal", "unknown")),
        (["equal", "senior=none"], Relation("unknown", "equal", "none")),
        (["non_blood"], Relation("non_blood", "unknown", "unknown")),
        (["unknown"], UNKNOWN),
    ],
)
def test_words_in_any_order(words: list[str], relation: Relation) -> None:
    for order in permutations(words):
        assert parse_relation(", ".join(order).upper()) == relation


@pytest.mark.parametrize("text", ["", "equals", "senior=A", "unequal,senior=none", "blood,non_blood", "blood,unknown",
                                  "equal,senior=A", "senior=C,unequal", "unequal senior=A"])  # fmt: skip
def test_wrong_words_are_told_the_right_ones(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_relation(text)
    for word in ("blood|non_blood", "equal|unequal", "senior=A|B|none|unknown"):
        assert word in raised.value.hint


def test_what_is_compared() -> None:
    assert mirrored(parse_relation("unequal,senior=A")) == parse_relation("unequal,senior=B")
    assert mirrored(parse_relation("blood,equal")) == UNKNOWN
    assert named(parse_relation("non_blood,unequal,senior=B")) == "non blood, unequal, B senior"
    assert named(UNKNOWN) == "relation unknown"
