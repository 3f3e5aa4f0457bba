"""Everything about single annotators: pace, gold items, accepted predictions, confusion."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.stats import binomtest, false_discovery_control, fisher_exact

from annotation.agreement.bootstrap import Bootstrap
from annotation.agreement.consensus import Belief
from annotation.agreement.ratings import Bools, Ints, Votes
from annotation.agreement.report import ANSWERS, QUESTIONS, AgreementOptions, Annotator, Confusion, Estimate
from annotation.agreement.skill import skills

#: Share of kept predictions from which an annotator may be one who keeps them all.
_STAMP = 0.95


def wilson(successes: int, n: int, level: float, reason: str) -> Estimate:
    """A share with Wilson's interval; ``reason`` says why there is none if n is 0.

    E. B. Wilson, Probable inference, the law of succession, and statistical inference, J. Am. Stat. Assoc. 22 (1927).
    """
    if n == 0:
        return Estimate(None, reason=reason)
    ends = binomtest(successes, n).proportion_ci(confidence_level=level, method="wilson")
    return Estimate(successes / n, float(ends.low), float(ends.high), n)


def describe_annotators(
    votes: Votes, beliefs: Mapping[str, Belief | None], bootstrap: Bootstrap, options: AgreementOptions
) -> tuple[Annotator, ...]:
    """One entry for everybody who voted."""
    judged = skills(votes, bootstrap, options)
    right, answered = _gold(votes)
    # A hidden prediction can be met too: what is kept is one that was seen.
    kept = np.bincount(votes.annotator[(votes.accepted == 1) & votes.shown], minlength=len(votes.annotators))
    saw = np.bincount(votes.annotator[(votes.accepted >= 0) & votes.shown], minlength=len(votes.annotators))
    stamps = _stamps(kept, saw, options)
    found = []
    for number, name in enumerate(votes.annotators):
        mine = votes.annotator == number
        seconds = votes.seconds[mine & np.isfinite(votes.seconds)]
        skill = judged[number]
        found.append(
            Annotator(
                name=name,
                num_votes=int(mine.sum()),
                num_shared=skill.num_shared,
                counts=_counts(votes, mine),
                skill=skill.skill,
                others=skill.others,
                p_chance=skill.p_chance,
                p_below=skill.p_below,
                p_contrary=skill.p_contrary,
                verdict=skill.verdict,
                straight=skill.straight,
                seconds=float(np.median(seconds)) if len(seconds) else None,
                fast=wilson(int((seconds < options.fast_s).sum()), len(seconds), options.level, "no times are known"),
                gold=wilson(int(right[number]), int(answered[number]), options.level, "no gold item was voted on"),
                accepted=wilson(int(kept[number]), int(saw[number]), options.level, "no prediction was shown"),
                rubber_stamp=bool(stamps[number]),
                confusion=_confusion(beliefs, number),
            )
        )
    return tuple(found)


def _counts(votes: Votes, mine: Bools) -> dict[str, tuple[int, ...]]:
    counts = {}
    for question in QUESTIONS:
        answers = votes.clicked if question == "senior" else votes.answers[question]
        given = answers[mine & (answers >= 0)]
        counts[question] = tuple(np.bincount(given, minlength=len(ANSWERS[question])).tolist())
    return counts


def _gold(votes: Votes) -> tuple[Ints, Ints]:
    """Of each annotator: right answers to gold items, and answers to them, over all questions."""
    people = len(votes.annotators)
    right, answered = np.zeros(people, np.int64), np.zeros(people, np.int64)
    for question in QUESTIONS:
        truth, said = votes.gold[question][votes.clip], votes.answers[question]
        asked = (truth >= 0) & (truth < len(ANSWERS[question]) - 1) & (said >= 0)
        answered += np.bincount(votes.annotator[asked], minlength=people)
        right += np.bincount(votes.annotator[asked & (truth == said)], minlength=people)
    return right, answered


def _stamps(kept: Ints, saw: Ints, options: AgreementOptions) -> Bools:
    """Who keeps nearly all predictions, and clearly more of them than the others (Fisher's exact test, adjusted)."""
    candidates = np.flatnonzero((saw >= options.min_votes) & (kept >= _STAMP * saw))
    stamps = np.zeros(len(kept), bool)
    if not len(candidates):
        return stamps
    p = []
    for number in candidates:
        others_kept, others_saw = kept.sum() - kept[number], saw.sum() - saw[number]
        mine, theirs = (kept[number], saw[number] - kept[number]), (others_kept, others_saw - others_kept)
        p.append(float(fisher_exact([mine, theirs], alternative="greater").pvalue))
    # The test has as many chances of a false alarm as there are people, not as there are candidates.
    judged = int((saw >= options.min_votes).sum())
    adjusted = false_discovery_control(np.array(p + [1.0] * (judged - len(p))), method="bh")[: len(p)]
    stamps[candidates] = adjusted < options.false_alarms
    return stamps


def _confusion(beliefs: Mapping[str, Belief | None], number: int) -> dict[str, Confusion]:
    found = {}
    for question, belief in beliefs.items():
        if belief is None or not belief.model.weights[number].sum() > 0:
            continue
        found[question] = Confusion(
            classes=ANSWERS[question][:-1],
            answers=ANSWERS[question],
            matrix=tuple(tuple(row) for row in belief.model.confusion[number].tolist()),
            weights=tuple(belief.model.weights[number].tolist()),
        )
    return found
