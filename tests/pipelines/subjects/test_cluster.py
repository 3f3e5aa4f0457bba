"""Agglomeration under constraints."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.subjects.cluster import cluster


def groups_of(num: int, pairs: list[tuple[int, int, float]], threshold: float = 1.0, **rules: object) -> list[int]:
    settings_: dict[str, object] = {"missing": -3.0, "apart": [()] * num, "labels": [None] * num} | rules
    return cluster(num, pairs, threshold, **settings_)  # type: ignore[arg-type]


def test_joins_by_the_mean_over_all_pairs_not_by_a_chain() -> None:
    chain = [(0, 1, 5.0), (1, 2, 5.0)]
    assert groups_of(3, chain) == [0, 0, 0]  # (5 - 3) / 2 is at the threshold
    assert groups_of(3, [(0, 1, 5.0), (1, 2, 4.0)]) == [0, 0, 2]
    assert groups_of(3, [*chain, (0, 2, -9.0)]) == [0, 0, 2]
    assert groups_of(3, [(0, 1, 0.9)]) == [0, 1, 2]


def test_two_of_one_clip_and_two_names_are_never_one() -> None:
    everything = [(i, j, 9.0) for i in range(4) for j in range(i + 1, 4)]
    clips = [("x",), ("x",), ("y",), ("y",)]
    found = groups_of(4, everything, apart=clips)
    assert found[0] != found[1] and found[2] != found[3] and len(set(found)) == 2
    found = groups_of(4, everything, labels=["ann", "bob", None, None])
    assert found[0] != found[1] and len(set(found)) == 2


def test_one_name_is_one_from_the_start_and_takes_the_unnamed_along() -> None:
    assert groups_of(4, [(1, 2, 4.0), (0, 2, 4.0)], labels=["ann", "ann", None, None]) == [0, 0, 0, 3]


def test_answers_overrule_scores_but_not_clips_and_names() -> None:
    assert groups_of(3, [(0, 1, 9.0)], together=[(1, 2)], forbidden=[(0, 1)]) == [0, 1, 1]
    with pytest.raises(ValueError, match="0 and 1"):
        groups_of(2, [], together=[(0, 1)], apart=[("x",), ("x",)])
    with pytest.raises(ValueError, match="0 and 1"):
        groups_of(2, [], together=[(0, 1)], labels=["ann", "bob"])


@st.composite
def problems(draw: st.DrawFn) -> tuple[int, list[tuple[int, int, float]], list[tuple[int, ...]], list[str | None]]:
    num = draw(st.integers(2, 9))
    indices = st.integers(0, num - 1)
    logits = st.floats(-3, 9).map(lambda x: round(x, 2))
    listed = draw(st.dictionaries(st.tuples(indices, indices), logits, max_size=30))
    pairs = [(i, j, logit) for (i, j), logit in listed.items() if i < j]
    clips: list[tuple[int, ...]] = [(draw(st.integers(0, 5)),) for _ in range(num)]
    labels = [draw(st.sampled_from([None, None, "ann", "bob"])) for _ in range(num)]
    return num, pairs, clips, labels


@settings(max_examples=150, deadline=None)
@given(problems(), st.randoms(use_true_random=False))
def test_rules_hold_and_the_order_of_pairs_does_not_matter(
    problem: tuple[int, list[tuple[int, int, float]], list[tuple[int, ...]], list[str | None]], rng: random.Random
) -> None:
    num, pairs, clips, labels = problem
    found = groups_of(num, pairs, apart=clips, labels=labels)
    shuffled = list(pairs)
    rng.shuffle(shuffled)
    assert groups_of(num, shuffled, apart=clips, labels=labels) == found
    for i in range(num):
        assert found[found[i]] == found[i] <= i
        for j in range(i):
            if labels[i] is not None and labels[i] == labels[j]:
                assert found[i] == found[j]
            if found[i] == found[j]:
                assert None in (labels[i], labels[j]) or labels[i] == labels[j]
    for group in set(found):
        own = [i for i in range(num) if found[i] == group]
        unnamed = [clips[i] for i in own if labels[i] is None]
        assert len(set(unnamed)) == len(unnamed)  # a name twice in one clip is the owner's own word
