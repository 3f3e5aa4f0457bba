"""How much an annotator's answers have to do with the clip: found by those who answer at random, or always alike.

An annotator's agreement with the others on kinship and status is compared with what the same answers would give if they
were dealt out to other clips. The skill is (agreement - expected) / (1 - expected): 1 for one who always says what the
others say, 0 for one whose answers do not depend on the clip, negative for one who says the opposite. It is Cohen's
kappa with "another annotator, drawn at random" as the second rater.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.stats import false_discovery_control, norm

from annotation.agreement.bootstrap import Bootstrap
from annotation.agreement.ratings import Bools, Floats, Ints, Ratings, Votes, number_sorted
from annotation.agreement.report import AgreementOptions, Estimate

#: The questions that everybody answers.
ASKED = ("kinship", "status")
#: Skill below which an annotator is of no use even among others who are hardly better.
LEAST_SKILL = 0.1
#: Share of the others' skill that is next to nothing: one in twenty who answer at random is above chance by luck.
_NOTHING = 0.25


@dataclass(frozen=True)
class Skill:
    """What is found of one annotator."""

    num_shared: int
    """Votes on clips with another annotator's vote."""
    skill: Estimate
    """See the module; its interval is over dyads."""
    others: float | None
    """Median skill of the others."""
    p_chance: float | None
    """Adjusted probability of so much agreement if the answers did not depend on the clip."""
    p_below: float | None
    """Adjusted probability of so little skill if it were half that of the others."""
    p_contrary: float | None
    """Adjusted probability of so little skill if the answers did not depend on the clip."""
    straight: tuple[str, ...]
    """Questions that were always answered alike."""
    verdict: str
    """One of :data:`annotation.agreement.report.VERDICTS`."""


def support(ratings: Ratings) -> tuple[Floats, Floats]:
    """What others say: (V, K) share of each answer among the other votes on the item, and (V,) how many they are."""
    counts = ratings.counts()[ratings.item].astype(np.float64)
    counts[np.arange(len(counts)), ratings.answer] -= 1
    others = counts.sum(axis=1)
    return counts / np.maximum(others, 1)[:, None], others


def skills(votes: Votes, bootstrap: Bootstrap, options: AgreementOptions) -> tuple[Skill, ...]:
    """Judge every annotator, in the order of their numbers."""
    people = len(votes.annotators)
    if not people:
        return ()
    # Everybody answers both questions, so the ratings of the two are the same votes in the same order.
    per_question = [votes.ratings(question) for question in ASKED]
    said = [np.eye(len(ratings.answers))[ratings.answer] for ratings in per_question]
    heard = [support(ratings)[0] for ratings in per_question]
    present = support(per_question[0])[1] > 0
    rater, dyad = per_question[0].rater[present], per_question[0].dyad[per_question[0].item[present]]
    x, s = np.concatenate(said, axis=1)[present], np.concatenate(heard, axis=1)[present]
    shared = np.bincount(rater, minlength=people)
    sums = _sums(x, s, rater, dyad, people, votes)
    totals = np.asarray(sums.sum(axis=0)).reshape(people, -1)
    width = totals.shape[1]
    value = _skill(totals)
    # Single precision is plenty for the spread of the rounds, and half the memory to move.
    replicates = _skill(bootstrap.totals(sums.astype(np.float32)).astype(np.float64).reshape(-1, people, width))
    usable = (shared >= options.min_votes) & np.isfinite(value)
    estimates = []
    for number in range(people):
        estimate = bootstrap.interval(float(value[number]), replicates[:, number], int(shared[number]))
        if estimate.value is None:
            estimate = Estimate(None, n=int(shared[number]), reason=_why(int(shared[number])))
        estimates.append(estimate)
    error = np.array([np.nanstd(column) if np.isfinite(column).sum() > 1 else np.nan for column in replicates.T])
    usable &= np.isfinite(error)
    others = np.array([_median_without(value, usable, number) for number in range(people)])
    goal = np.maximum(np.where(np.isfinite(others), others, 0.0) / 2, LEAST_SKILL)
    safe = np.maximum(np.where(usable, error, 1.0), 1e-9)
    with np.errstate(invalid="ignore"):
        p_below = norm.cdf((value - goal) / safe)
        p_contrary = norm.cdf(value / safe)
        p_chance = np.array([_chance(x[rater == number], s[rater == number]) for number in range(people)])
    p_below, p_contrary, p_chance = (_adjust(p, usable) for p in (p_below, p_contrary, p_chance))
    lines = straight_lines(votes, options)
    found = []
    for number in range(people):
        verdict = _verdict(
            bool(usable[number]),
            float(value[number]),
            float(others[number]),
            (float(p_chance[number]), float(p_below[number]), float(p_contrary[number])),
            lines[number],
            options.false_alarms,
        )
        found.append(
            Skill(
                num_shared=int(shared[number]),
                skill=estimates[number],
                others=_finite(others[number]),
                p_chance=_finite(p_chance[number]),
                p_below=_finite(p_below[number]),
                p_contrary=_finite(p_contrary[number]),
                straight=lines[number],
                verdict=verdict,
            )
        )
    return tuple(found)


def _verdict(
    usable: bool,
    value: float,
    others: float,
    p_values: tuple[float, float, float],
    lines: tuple[str, ...],
    limit: float,
) -> str:
    if set(ASKED) <= set(lines):
        return "straight"
    if not usable:
        return "unclear"
    p_chance, p_below, p_contrary = p_values
    if p_contrary < limit:
        return "contrary"
    if p_below < limit:
        next_to_nothing = np.isfinite(others) and value < _NOTHING * others
        return "random" if p_chance > limit or next_to_nothing else "weak"
    return "ok" if p_chance < limit else "unclear"


def _sums(x: Floats, s: Floats, rater: Ints, dyad: Ints, people: int, votes: Votes) -> sp.csc_array:
    """(D, J * (2 + 2 * 6)) per dyad and annotator: votes, agreement a question, answers, others' answers."""
    half = x.shape[1] // 2
    agree = np.stack([(x * s)[:, :half].sum(axis=1), (x * s)[:, half:].sum(axis=1)], axis=1)
    rows = np.concatenate([np.ones((len(x), 1)), agree, x, s], axis=1)
    width = rows.shape[1]
    columns = rater[:, None] * width + np.arange(width)
    shape = (len(votes.dyad_ids), people * width)
    entries = (rows.ravel(), (np.repeat(dyad, width), columns.ravel()))
    return sp.coo_array(entries, shape=shape).tocsc()


def _skill(sums: Floats) -> Floats:
    """Skill from (..., 3 + 12) sums; nan where nothing could be got wrong."""
    n = np.maximum(sums[..., 0], 1e-12)
    agree = sums[..., 1] + sums[..., 2]
    answers = (sums.shape[-1] - 3) // 2
    expected = (sums[..., 3 : 3 + answers] * sums[..., 3 + answers :]).sum(axis=-1) / n
    room = len(ASKED) * sums[..., 0] - expected
    return np.where(room > 1e-9, (agree - expected) / np.where(room > 1e-9, room, 1.0), np.nan)


def _chance(x: Floats, s: Floats) -> float:
    """Probability of so much agreement when the answers are dealt out to the clips anew.

    Mean and variance of the permutation distribution are known (W. Hoeffding, A combinatorial central limit theorem,
    Ann. Math. Stat. 22, 1951), and its shape is normal for more than a few votes. Both answers of a vote stay together.
    """
    n = len(x)
    if n < 2:
        return np.nan
    said, heard = x - x.mean(axis=0), s - s.mean(axis=0)
    variance = float(((said.T @ said) * (heard.T @ heard)).sum()) / (n - 1)
    if variance <= 1e-12:
        return np.nan
    return float(norm.sf(float((said * heard).sum()) / variance**0.5))


def _median_without(value: Floats, usable: Bools, number: int) -> float:
    """Median over the other annotators; nan where there are none."""
    others = usable & (np.arange(len(value)) != number)
    return float(np.median(value[others])) if others.any() else np.nan


def _adjust(p: Floats, usable: Bools) -> Floats:
    """Benjamini and Hochberg's adjustment over those who can be judged; nan for the others."""
    use = usable & np.isfinite(p)
    adjusted = np.full(len(p), np.nan)
    if use.any():
        adjusted[use] = false_discovery_control(p[use], method="bh")
    return adjusted


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _why(shared: int) -> str:
    return "nobody else voted on these clips" if shared == 0 else "all votes on these clips are alike"


def straight_lines(votes: Votes, options: AgreementOptions) -> list[tuple[str, ...]]:
    """Questions each annotator always answered alike though others saw differences; senior as it was clicked.

    The others give that answer in a share p of the annotator's clips. Always the same answer on d dyads has the
    probability p to the power of d (one chance a dyad: its clips are alike), which is held against
    ``options.false_alarms`` after adjustment over annotators.
    """
    people = len(votes.annotators)
    lines: list[list[str]] = [[] for _ in range(people)]
    for question in (*ASKED, "senior"):
        ratings = votes.ratings(question)
        if question == "senior":
            ratings = _clicked(votes)
        shares, others = support(ratings)
        shared = others > 0
        p = np.full(people, np.nan)
        for number in range(people):
            mine = shared & (ratings.rater == number)
            given = np.unique(ratings.answer[ratings.rater == number])
            if mine.sum() < options.min_votes or len(given) != 1:
                continue
            dyads = len(np.unique(ratings.dyad[ratings.item[mine]]))
            p[number] = float(shares[mine, given[0]].mean()) ** dyads
        adjusted = _adjust(p, np.ones(people, bool))
        for number in np.flatnonzero(adjusted < options.false_alarms):
            lines[number].append(question)
    return [tuple(names) for names in lines]


def _clicked(votes: Votes) -> Ratings:
    given = votes.clicked >= 0
    clips, item = number_sorted(votes.clip[given])
    return Ratings(
        "senior",
        ("A", "B", "unsure"),
        item,
        votes.annotator[given],
        votes.clicked[given],
        clips,
        votes.dyad_of_clip[clips],
        len(votes.annotators),
        len(votes.dyad_ids),
    )
