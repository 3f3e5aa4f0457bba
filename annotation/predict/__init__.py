"""Machine's guesses that annotators start from: from metadata, and from how the two address each other.

:func:`predict` looks at one task and gives a :class:`Prediction`, or None where nothing speaks for one.
:func:`load_lexicon` reads the words of a language; :func:`as_result` writes the guess as Label Studio wants it.
"""

from __future__ import annotations

from annotation.predict.address import Cue, find_cues
from annotation.predict.lexicon import Lexicon, load_lexicon, load_lexicons
from annotation.predict.regions import as_result, check_predictions
from annotation.predict.relation import Guess, Prediction, predict

__all__ = [
    "Cue",
    "Guess",
    "Lexicon",
    "Prediction",
    "as_result",
    "check_predictions",
    "find_cues",
    "load_lexicon",
    "load_lexicons",
    "predict",
]
