"""Samples: fair, nested, the same on every run."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotation.sampling import Candidate, is_hidden, mix_in, sampling_order


def clip(
    number: int, *, dyad: str = "", guess: str = "", language: str = "en", seconds: float = 7.0, source: str = ""
) -> Candidate:
    return Candidate(f"clip_{number}", dyad or f"dyad_{number}", source or f"src_{number}", language, seconds, guess)


def test_the_order_of_the_files_does_not_matter() -> None:
    clips = [clip(n, guess="blood" if n % 7 == 0 else "") for n in range(60)]
    shuffled = clips.copy()
    random.Random(1).shuffle(shuffled)
    assert sampling_order(clips) == sampling_order(shuffled)
    assert sampling_order(clips) != sampling_order(clips, seed=1)


def test_shares_follow_the_balance() -> None:
    clips = [clip(n, guess="blood" if n < 40 else "") for n in range(1000)]
    rare = {f"clip_{n}" for n in range(40)}

    def share(balance: float) -> float:
        return len(rare & set(sampling_order(clips, balance=balance)[:100])) / 100

    assert share(1.0) == pytest.approx(0.04, abs=0.015)
    assert share(0.5) == pytest.approx(40**0.5 / (40**0.5 + 960**0.5), abs=0.02)
    assert share(0.0) == pytest.approx(0.40, abs=0.02)


def test_pairs_are_spread() -> None:
    clips = [clip(n, dyad=f"dyad_{n % 50}", source=f"src_{n % 25}") for n in range(500)]
    dyad = {c.clip_id: c.dyad_id for c in clips}
    source = {c.clip_id: c.source_id for c in clips}
    order = sampling_order(clips)
    assert len({dyad[name] for name in order[:50]}) == 50
    assert len({source[name] for name in order[:25]}) >= 20


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["", "blood", "x"]), st.floats(3, 40)), max_size=60),
    st.integers(0, 3),
    st.floats(0, 1),
)
def test_every_clip_comes_once_and_strata_are_dealt_evenly(
    parts: list[tuple[int, str, float]], seed: int, balance: float
) -> None:
    clips = [clip(n, dyad=f"d{d}", guess=g, seconds=s) for n, (d, g, s) in enumerate(parts)]
    order = sampling_order(clips, seed=seed, balance=balance)
    assert sorted(order) == sorted(c.clip_id for c in clips)
    # Of any two strata of one size, no beginning holds two more of the one than of the other.
    stratum = {c.clip_id: c.stratum for c in clips}
    sizes = Counter(stratum.values())
    seen: Counter[tuple[str, str, int]] = Counter()
    for name in order:
        seen[stratum[name]] += 1
        for one in sizes:
            for two in sizes:
                if sizes[one] == sizes[two]:
                    assert abs(seen[one] - seen[two]) <= 1


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 200), st.integers(0, 30), st.integers(0, 5))
def test_known_answers_are_spread(tasks: int, gold: int, seed: int) -> None:
    mixed = mix_in([f"t{n}" for n in range(tasks)], [f"g{n}" for n in range(gold)], seed=seed)
    assert [name for name in mixed if name[0] == "t"] == [f"t{n}" for n in range(tasks)]
    assert [name for name in mixed if name[0] == "g"] == [f"g{n}" for n in range(gold)]
    places = [place for place, name in enumerate(mixed) if name[0] == "g"]
    for number, place in enumerate(places):
        assert number * len(mixed) // gold <= place < (number + 1) * len(mixed) // gold


def test_places_of_known_answers_cannot_be_counted_off() -> None:
    mixed = mix_in(list(range(380)), [-1] * 20)
    places = [place for place, task in enumerate(mixed) if task == -1]
    assert len({b - a for a, b in zip(places, places[1:], strict=False)}) > 5


def test_hidden_share() -> None:
    names = [f"clip_{n}" for n in range(4000)]
    hidden = {name for name in names if is_hidden(name, "http://a#1", 0.3)}
    assert len(hidden) / 4000 == pytest.approx(0.3, abs=0.03)
    assert hidden == {name for name in names if is_hidden(name, "http://a#1", 0.3)}
    assert hidden != {name for name in names if is_hidden(name, "http://a#2", 0.3)}
    assert hidden <= {name for name in names if is_hidden(name, "http://a#1", 0.5)}
    assert not any(is_hidden(name, "p", 0.0) for name in names) and all(is_hidden(name, "p", 1.0) for name in names)
