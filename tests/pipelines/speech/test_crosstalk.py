"""A word heard by both microphones is one word."""

from __future__ import annotations

import numpy as np

from pipelines.speech.crosstalk import drop_echoes
from pipelines.speech.words import Word


def said(text: str, start: float, gap: float = 0.3) -> list[Word]:
    return [Word(word, start + gap * i, start + gap * (i + 1), 0.9) for i, word in enumerate(text.split())]


def voices(*spans: tuple[float, float, float, float], seconds: float = 6.0) -> np.ndarray:
    """(T, 2): from, to, and how much each channel holds its own voice in that time."""
    out = np.zeros((round(seconds * 25), 2))
    for start, end, first, second in spans:
        out[round(start * 25) : round(end * 25)] = first, second
    return out


def test_the_fainter_of_two_equal_words_goes() -> None:
    first, second = said("we went there.", 0.0), said("We, went THERE", 0.12)
    kept, echoes = drop_echoes([first, second], voices((0, 2, 1.0, 0.5)))
    assert kept == [first, []] and echoes == second
    kept, echoes = drop_echoes([first, second], voices((0, 2, 0.4, 1.0)))
    assert kept == [[], second] and echoes == first


def test_words_said_together_or_at_another_time_or_alone_stay() -> None:
    yes = [said("yeah", 1.0), said("yeah", 1.1)]
    kept, echoes = drop_echoes(yes, voices((0, 3, 1.0, 0.95)))
    assert kept == yes and not echoes
    apart = [said("yeah", 1.0), said("yeah", 2.0)]
    assert drop_echoes(apart, voices((0, 3, 1.0, 0.3)))[0] == apart
    different = [said("so what happened", 1.0), said("mhm", 1.2)]
    assert drop_echoes(different, voices((0, 3, 1.0, 0.3)))[0] == different
    assert drop_echoes([said("alone", 0.0)], np.ones((25, 1))) == ([said("alone", 0.0)], [])
