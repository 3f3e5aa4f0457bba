"""Loops and early ends of a decoder, and what is done about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from pipelines.speech.decoding import (
    MIN_CUT_S,
    PENALTIES,
    Piece,
    Span,
    compression,
    decode_soundly,
    is_sound,
    most_tokens,
    quietest_cut,
)
from pipelines.speech.words import Word

LOOP = "No, I didn't. " * 20
NOISE = np.random.default_rng(0).normal(0, 0.1, 30 * 16000).astype(np.float32)


def test_loops_are_recognised() -> None:
    assert compression(LOOP) > 2.4
    assert compression("Are you going to let me speak my piece? If you're talking to me now, go ahead.") < 1.5
    assert compression("") == 0.0
    assert most_tokens(3.0) < most_tokens(10.0) < most_tokens(60.0) == 220


def test_a_part_left_out_is_recognised_where_times_are_known() -> None:
    word = Word("so", 1.0, 1.4, 0.9)
    assert is_sound(Piece((0.0, 4.0), "so", (word,)))
    assert not is_sound(Piece((0.0, 9.0), "so", (word,)))
    assert not is_sound(Piece((0.0, 9.0), "", ()))
    late = Word("so", 8.5, 9.0, 0.9)
    assert not is_sound(Piece((0.0, 9.5), "so so", (word, late)))
    assert is_sound(Piece((0.0, 9.0), "so"))


@pytest.mark.parametrize("pause", [9.0, 10.3, 11.5])
def test_stretches_are_cut_in_a_pause(pause: float) -> None:
    audio = NOISE.copy()
    audio[round((pause - 0.15) * 16000) : round((pause + 0.15) * 16000)] *= 0.01
    assert quietest_cut(audio, (2.0, 18.0)) == pytest.approx(pause, abs=0.08)
    assert 2.0 < quietest_cut(audio, (2.0, 2.4)) < 2.4


def test_a_loop_is_cut_until_it_ends() -> None:
    """A decoder that loops on all that is longer than what may be cut."""
    asked: list[Span] = []

    def decode(spans: Sequence[Span], options: Mapping[str, Any]) -> list[Piece]:
        assert not options
        asked.extend(spans)
        return [Piece(span, LOOP if span[1] - span[0] > MIN_CUT_S else "fine words") for span in spans]

    pieces = decode_soundly(decode, NOISE, [(0.0, 3.0), (4.0, 20.0)])
    assert all(is_sound(piece) for piece in pieces)
    edges = [piece.span for piece in pieces]
    assert edges[0] == (0.0, 3.0) and edges[1][0] == 4.0 and edges[-1][1] == 20.0
    assert all(one[1] == two[0] for one, two in zip(edges[1:], edges[2:], strict=False))
    assert len(asked) < 12


def test_a_short_loop_is_penalised_and_the_best_is_kept() -> None:
    asked = []

    def decode(spans: Sequence[Span], options: Mapping[str, Any]) -> list[Piece]:
        asked.append(dict(options))
        said = "quite enough of it" if options == PENALTIES[1] else LOOP * (3 - len(options))
        return [Piece(span, said) for span in spans]

    assert [piece.text for piece in decode_soundly(decode, NOISE, [(0.0, MIN_CUT_S - 1)])] == ["quite enough of it"]
    assert asked == [{}, *PENALTIES[:2]]

    def hopeless(spans: Sequence[Span], options: Mapping[str, Any]) -> list[Piece]:
        return [Piece(span, LOOP * (3 - len(options))) for span in spans]

    (piece,) = decode_soundly(hopeless, NOISE, [(0.0, 2.0)])
    assert piece.text == LOOP  # the least looping of all
