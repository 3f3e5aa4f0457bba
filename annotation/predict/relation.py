"""The guess about a clip: what the owner noted beside the video, and what the two call each other, weighed up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from annotation.predict.address import Cue, find_cues
from annotation.predict.lexicon import Lexicon

#: Trust in what the owner of the recording noted.
METADATA_SCORE = 0.9
#: What further cues of the same kind add, as a share of their score: they are not independent of the first.
REPEATED = 0.3
#: No score is higher, however many cues there are.
MOST = 0.95
#: Below this, nothing is guessed.
LEAST = 0.5


@dataclass(frozen=True)
class Guess:
    """A value of one question."""

    value: str
    """As in the form: blood, non_blood; equal, unequal; A, B."""
    score: float
    """Trust in it, in [0, 1]."""
    source: str
    """metadata or transcript."""


@dataclass(frozen=True)
class Prediction:
    """What is guessed of one clip. A question without a guess is left to the annotator."""

    kinship: Guess | None
    """Blood relatives?"""
    status: Guess | None
    """Equal standing?"""
    senior: Guess | None
    """Who is senior; only where status is unequal."""
    evidence: tuple[Cue, ...]
    """The words that speak for the guesses."""

    @property
    def guesses(self) -> dict[str, Guess]:
        """Question -> guess, for those that have one."""
        found = {"kinship": self.kinship, "status": self.status, "senior": self.senior}
        return {name: guess for name, guess in found.items() if guess is not None}

    @property
    def score(self) -> float:
        """That of the least certain guess."""
        return min(guess.score for guess in self.guesses.values())

    @property
    def label(self) -> str:
        """A short name of what is guessed, as stratum of a sample."""
        return "/".join(guess.value for guess in self.guesses.values())


#: What a guess may say, each value to one question only.
_QUESTION_OF = {
    "blood": "kinship",
    "non_blood": "kinship",
    "equal": "status",
    "unequal": "status",
    "A": "senior",
    "B": "senior",
}


def values_of(label: str) -> dict[str, str]:
    """Question -> value of a guess, from its short name (:attr:`Prediction.label`)."""
    return {_QUESTION_OF[value]: value for value in label.split("/") if value}


def predict(
    transcript: Sequence[Mapping[str, Any]], lexicon: Lexicon | None, relation: Mapping[str, str] | None = None
) -> Prediction | None:
    """The guess about one clip, or None where nothing speaks for one.

    Args:
        transcript: the task's paragraphs (speaker, text).
        lexicon: the words of its language; None where there is no lexicon for it.
        relation: kinship, status, senior (A, B, none, unknown) where the owner gave them beside the video.

    What the owner gave wins over the transcript; words that speak against it are then no evidence, and lower nothing:
    they are often said in jest.
    """
    cues = [] if lexicon is None else find_cues(transcript, lexicon)
    said = relation or {}
    kinship = _given(said.get("kinship"), ("blood", "non_blood"))
    status = _given(said.get("status"), ("equal", "unequal"))
    senior = _given(said.get("senior"), ("A", "B"))
    if kinship is None:
        kinship = _decide(_by_value((cue.term.kinship, cue.term.kinship_score * cue.trust) for cue in cues))
    if status is None:
        # Who is senior is decided with it: "sir" from both sides puts nobody above the other.
        votes = _by_value((cue.term.status + cue.senior, cue.term.status_score * cue.trust) for cue in cues)
        found = _decide(votes)
        if found is not None:
            name = "unequal" if found.value.startswith("unequal") else "equal"
            status = Guess(name, found.score, found.source)
            if name == "unequal":
                senior = Guess(found.value.removeprefix("unequal"), found.score, found.source)
    elif status.value == "unequal" and senior is None:
        senior = _decide(_by_value((cue.senior, cue.term.status_score * cue.trust) for cue in cues))
    if status is None or status.value != "unequal":
        senior = None
    if kinship is None and status is None:
        return None
    evidence = tuple(cue for cue in cues if _agrees(cue, kinship, status, senior))
    return Prediction(kinship, status, senior, evidence)


def _given(value: str | None, known: tuple[str, ...]) -> Guess | None:
    return Guess(value, METADATA_SCORE, "metadata") if value in known else None


def _by_value(votes: Iterable[tuple[str, float]]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for value, score in votes:
        if value and score > 0:
            found.setdefault(value, []).append(score)
    return found


def _decide(votes: Mapping[str, Sequence[float]]) -> Guess | None:
    """The best supported value, its score lowered by what speaks for others; None below :data:`LEAST`."""
    if not votes:
        return None
    support = {value: combine(scores) for value, scores in votes.items()}
    best = min(support, key=lambda value: (-support[value], value))
    score = support[best]
    for value, against in support.items():
        if value != best:
            score *= 1 - against
    return Guess(best, score, "transcript") if score >= LEAST else None


def combine(scores: Sequence[float]) -> float:
    """One score of several cues: 1 - (1 - s1) * prod (1 - REPEATED * sk), s1 the highest; at most :data:`MOST`."""
    first, *rest = sorted(scores, reverse=True)
    doubt = 1 - first
    for score in rest:
        doubt *= 1 - REPEATED * score
    return min(1 - doubt, MOST)


def _agrees(cue: Cue, kinship: Guess | None, status: Guess | None, senior: Guess | None) -> bool:
    """The cue speaks for a guess, and against none."""
    supports = False
    for said, guess in ((cue.term.kinship, kinship), (cue.term.status, status), (cue.senior, senior)):
        if said and guess is not None:
            if said != guess.value:
                return False
            supports = True
    return supports
