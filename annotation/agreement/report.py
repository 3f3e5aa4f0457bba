"""What a report of agreement holds: options, results and how they become JSON.

Every statistic is an :class:`Estimate`. Where one is not defined (nobody overlaps, all votes are alike, ...) its value
is None and ``reason`` says why: a report never holds a number that was not measured.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rsat_data.errors import ConfigError

#: The questions in the order of the form. ``senior`` is asked of votes that say "unequal" only.
QUESTIONS = ("kinship", "status", "senior")

#: The answers of each question, in the order of counts and matrices, "unsure" last. Answers to ``senior`` are mapped
#: from A and B to the two subjects: "first" is the one whose id sorts first, whichever side of the picture it sits on.
ANSWERS: Mapping[str, tuple[str, ...]] = {
    "kinship": ("blood", "non_blood", "unsure"),
    "status": ("equal", "unequal", "unsure"),
    "senior": ("first", "second", "unsure"),
}

#: How an annotator answers, see :class:`Annotator`.
VERDICTS = ("ok", "weak", "random", "contrary", "straight", "unclear")

#: Verdicts on annotators whose votes say nothing of the clip.
DISTRUSTED = ("random", "contrary", "straight")


@dataclass(frozen=True)
class ClipInfo:
    """What agreement has to know of a clip."""

    dyad_id: str
    """The pair of people: what the bootstrap draws."""
    subject_a: str
    """The person on the left."""
    subject_b: str | None = None
    """The person on the right; None where one person is seen (votes on ``senior`` are then left out)."""


@dataclass(frozen=True)
class AgreementOptions:
    """How agreement is measured."""

    rounds: int = 1000
    """Rounds of the bootstrap over dyads, and of permutation tests."""
    seed: int = 0
    """Seed of the bootstrap and the permutations: the same votes and seed give the same report."""
    level: float = 0.95
    """Coverage of all intervals."""
    fast_s: float = 5.0
    """A vote that took less than this many seconds counts as fast."""
    min_votes: int = 20
    """Votes that others voted on too below which nothing is said about how an annotator answers."""
    false_alarms: float = 0.05
    """Share of false alarms among the annotators that are pointed out (Benjamini-Hochberg)."""
    posterior: float = 0.8
    """A clip whose most probable answer has a lower posterior is listed to be looked at."""
    majority: float = 2 / 3
    """A clip whose most frequent answer has a lower share of the votes is listed to be looked at."""
    clips_listed: int = 200
    """Longest list of clips to look at; the report says how many there are in all."""

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.seed < 0 or not 0 < self.level < 1 or self.min_votes < 2 or self.clips_listed < 0:
            raise ConfigError(
                "The options of the agreement report are out of range: rounds from 1, seed from 0, level between 0 and "
                "1, min_votes from 2, clips_listed from 0.",
                hint=f"Given: {self}.",
            )


@dataclass(frozen=True)
class Estimate:
    """A statistic with its interval."""

    value: float | None
    """The statistic; None where it is not defined."""
    low: float | None = None
    """Lower end of the interval; None where there is none."""
    high: float | None = None
    """Upper end of the interval."""
    n: int = 0
    """How many items (clips, votes) it was measured on."""
    reason: str = ""
    """Why the value or the interval is missing, or what limits it; empty if nothing does."""


@dataclass(frozen=True)
class PairKappa:
    """Cohen's kappa of two annotators."""

    first: str
    """Pseudonym of the one annotator."""
    second: str
    """Pseudonym of the other."""
    kappa: Estimate
    """Kappa over the clips both voted on, "unsure" as an answer of its own."""


@dataclass(frozen=True)
class Consensus:
    """What the model of Dawid and Skene makes of a question's votes."""

    classes: tuple[str, ...]
    """The true classes: the answers without "unsure", which is an answer but never the truth."""
    prior: tuple[float, ...]
    """Estimated share of each class."""
    num_items: int
    """Clips with at least one answer other than "unsure"."""
    confident: float | None
    """Share of these whose most probable class has a posterior of at least ``options.posterior``."""
    iterations: int
    """Steps of the EM algorithm."""
    converged: bool
    """Whether it settled."""
    reason: str = ""
    """Why there is no model; empty if there is one."""


@dataclass(frozen=True)
class QuestionAgreement:
    """Agreement on one question."""

    question: str
    """kinship, status or senior."""
    answers: tuple[str, ...]
    """The answers, in the order of ``counts``."""
    counts: tuple[int, ...]
    """How often each was given."""
    num_votes: int
    """Votes on this question."""
    num_clips: int
    """Clips with at least one vote on it."""
    num_overlap: int
    """Clips with at least two: agreement is measured on these."""
    percent: Estimate
    """Share of pairs of votes on the same clip that are alike, averaged over clips."""
    alpha: Estimate
    """Krippendorff's alpha, nominal, "unsure" as an answer of its own."""
    alpha_decided: Estimate
    """Krippendorff's alpha, nominal, "unsure" as no vote."""
    alpha_trusted: Estimate
    """Krippendorff's alpha without the annotators whose verdict is in ``DISTRUSTED``; None where there are none."""
    ac1: Estimate
    """Gwet's AC1, "unsure" as an answer of its own."""
    ac1_decided: Estimate
    """Gwet's AC1, "unsure" as no vote."""
    confirmed: tuple[Estimate, ...]
    """Of the votes for each answer, the share that another vote on the clip confirms (specific agreement)."""
    pairs: tuple[PairKappa, ...]
    """Cohen's kappa of each pair of annotators with a clip in common."""
    consensus: Consensus
    """The model of Dawid and Skene."""
    sentence: str
    """What it means, in one sentence."""


@dataclass(frozen=True)
class Confusion:
    """How an annotator answers, given what is probably true: rows are true classes, columns answers, rows sum to 1."""

    classes: tuple[str, ...]
    """The rows."""
    answers: tuple[str, ...]
    """The columns."""
    matrix: tuple[tuple[float, ...], ...]
    """Share of each answer in each class."""
    weights: tuple[float, ...]
    """Expected number of the annotator's clips in each class: a row with little weight says little."""


@dataclass(frozen=True)
class Annotator:
    """One annotator.

    ``verdict`` is

    * ``ok``: agrees with the others beyond chance, and not clearly less than they agree with each other;
    * ``weak``: agrees beyond chance, but clearly less than half as much as the others do;
    * ``random``: clearly less than half as much as the others, and no more than chance gives (or next to nothing);
    * ``contrary``: clearly less than chance gives, as if keys were swapped;
    * ``straight``: always the same answers where others see differences;
    * ``unclear``: too few votes on clips that others voted on to tell.
    """

    name: str
    """The pseudonym."""
    num_votes: int
    """Votes that count (the last on each clip)."""
    num_shared: int
    """Of these, on clips with another annotator's vote."""
    counts: Mapping[str, tuple[int, ...]]
    """Question -> how often each answer was given; senior as it was clicked: A, B, unsure."""
    skill: Estimate
    """Agreement with the others beyond chance over kinship and status: 0 for answers that do not depend on the clip."""
    others: float | None
    """The median skill of the other annotators."""
    p_chance: float | None
    """Adjusted probability of so much agreement with others if the answers did not depend on the clip."""
    p_below: float | None
    """Adjusted probability of so little skill in an annotator who has half the others' skill."""
    p_contrary: float | None
    """Adjusted probability of so little skill in an annotator whose answers do not depend on the clip."""
    verdict: str
    """One of VERDICTS."""
    straight: tuple[str, ...]
    """Questions that were always answered alike while others saw differences."""
    seconds: float | None
    """Median time of a vote; None where no times are known."""
    fast: Estimate
    """Share of votes below ``options.fast_s``."""
    gold: Estimate
    """Share of right answers on gold items, over questions; "unsure" is not right. Wilson's interval."""
    accepted: Estimate
    """Share of the shown predictions that were kept. Wilson's interval."""
    rubber_stamp: bool
    """Keeps nearly every prediction, clearly more than the others."""
    confusion: Mapping[str, Confusion]
    """Question -> confusion."""


@dataclass(frozen=True)
class AnchoredQuestion:
    """One question with and without a prediction in sight."""

    question: str
    """kinship, status or senior."""
    percent_shown: Estimate
    """Agreement of votes that saw a prediction."""
    percent_hidden: Estimate
    """Agreement of votes that saw none."""
    percent_difference: Estimate
    """The first less the second."""
    answers: tuple[str, ...]
    """Order of the shares."""
    shares_shown: tuple[float, ...]
    """Share of each answer with a prediction in sight; a clip counts once."""
    shares_hidden: tuple[float, ...]
    """And without."""
    p_percent: float | None
    """Permutation test of the difference in agreement: clips change sides at random."""
    p_shares: float | None
    """Permutation test of the difference in shares (total variation)."""
    follows_shown: Estimate
    """Share of votes equal to the prediction where it was shown."""
    follows_hidden: Estimate
    """The same where it was made and hidden: what annotators and machine agree on by themselves."""
    follows_difference: Estimate
    """The first less the second: the pull of the prediction."""
    p_follows: float | None
    """Permutation test of the pull."""


@dataclass(frozen=True)
class Anchoring:
    """Whether predictions pull answers."""

    votes_shown: int
    """Votes that saw a prediction."""
    votes_hidden: int
    """Votes that saw none."""
    mixed_clips: int
    """Clips that were shown with and without one; they are left out of the comparison."""
    accepted: Estimate
    """Share of the shown predictions that were kept unchanged."""
    questions: tuple[AnchoredQuestion, ...]
    """The comparison; empty where one side is missing."""
    reason: str = ""
    """Why there is none; empty if there is one."""
    sentence: str = ""
    """What it means, in one sentence."""


@dataclass(frozen=True)
class ClipToLookAt:
    """A clip whose answer is not clear."""

    clip_id: str
    """The clip."""
    dyad_id: str
    """Its pair of people."""
    question: str
    """The question; empty where only problems were reported."""
    votes: Mapping[str, int]
    """Answer -> number of votes; senior as subject ids."""
    posterior: float | None
    """Of the most probable answer."""
    issues: tuple[str, ...]
    """Problems annotators reported."""
    reason: str
    """Why it is listed."""


@dataclass(frozen=True)
class AgreementReport:
    """Everything that was measured."""

    num_votes: int
    """Votes that count: the last of each annotator on each clip, labelling round, clips that are known."""
    num_clips: int
    """Clips with such a vote."""
    num_dyads: int
    """Dyads with such a vote."""
    superseded: int
    """Earlier votes of the same annotator on the same clip, and votes taken back."""
    unknown_clips: tuple[str, ...]
    """Clips voted on that the dataset does not have; their votes are left out."""
    other_rounds: int
    """Votes of other rounds (adjudication, gold), which are no independent opinions."""
    questions: tuple[QuestionAgreement, ...]
    """Agreement, a question each."""
    confidence: Estimate
    """Krippendorff's alpha, ordinal, of the confidence from 1 to 5."""
    anchoring: Anchoring
    """Whether predictions pull answers."""
    annotators: tuple[Annotator, ...]
    """Everybody who voted, by pseudonym."""
    clips: tuple[ClipToLookAt, ...]
    """The least clear clips first."""
    num_clips_to_look_at: int
    """How many there are, listed or not."""
    warnings: tuple[str, ...]
    """What a reader must know before trusting the figures."""
    options: AgreementOptions = field(default_factory=AgreementOptions)
    """How it was measured."""

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, numbers and None: what JSON can hold."""
        plain = _plain(self)
        assert isinstance(plain, dict)
        return plain

    def question(self, name: str) -> QuestionAgreement:
        """The agreement on one question."""
        return next(question for question in self.questions if question.question == name)

    def annotator(self, name: str) -> Annotator:
        """One annotator."""
        return next(annotator for annotator in self.annotators if annotator.name == name)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
