"""Whether predictions pull answers: votes that saw one against votes that saw none.

Which clips hide their prediction is decided by a hash of the clip, so it is a random experiment: where a prediction
changes nothing, any other choice of clips would have been as likely, and the permutation test is exact. Shares and
agreement are means over clips.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from annotation.agreement.bootstrap import Bootstrap, sum_by
from annotation.agreement.coefficients import item_sums
from annotation.agreement.ratings import Bools, Floats, Ints, Ratings, Votes
from annotation.agreement.report import ANSWERS, QUESTIONS, AgreementOptions, AnchoredQuestion, Anchoring, Estimate

_NO_PREDICTIONS = "what was predicted where it was hidden is not known here"


@dataclass(frozen=True)
class _Sides:
    """Clips of one question, what each adds to the sums, and which saw a prediction."""

    rows: Floats
    shown: Bools
    dyad: Ints


def anchoring(
    votes: Votes,
    predictions: Mapping[str, Mapping[str, str]] | None,
    bootstrap: Bootstrap,
    options: AgreementOptions,
) -> Anchoring:
    """Compare votes with and without a prediction in sight.

    Args:
        votes: the votes.
        predictions: clip -> question -> predicted answer, hidden ones included (senior as A or B); None where they are
            not known: what can be told without them is told.
        bootstrap, options: as for the whole report.
    """
    saw = votes.shown & (votes.accepted >= 0)
    per_dyad = sum_by(
        votes.dyad_of_clip[votes.clip[saw]],
        np.stack([votes.accepted[saw] == 1, np.ones(int(saw.sum()), bool)], axis=1).astype(np.float64),
        len(votes.dyad_ids),
    )
    kept = bootstrap.draw(per_dyad).estimate(lambda sums: _ratio(sums[..., 0], sums[..., 1]), int(saw.sum()))
    if kept.value is None:
        kept = Estimate(None, reason="no prediction was shown")
    shown_votes = np.bincount(votes.clip[votes.shown], minlength=len(votes.clip_ids))
    all_votes = np.bincount(votes.clip, minlength=len(votes.clip_ids))
    mixed = (shown_votes > 0) & (shown_votes < all_votes)
    hidden, shown = int((~votes.shown).sum()), int(votes.shown.sum())
    reason = ""
    if not shown:
        reason = "no vote saw a prediction"
    elif not hidden:
        reason = "every vote saw a prediction: nothing to compare with"
    elif not ((shown_votes > 0) & ~mixed).any() or not ((shown_votes == 0) & (all_votes > 0)).any():
        reason = "no clip is free of the other kind of votes"
    questions: tuple[AnchoredQuestion, ...] = ()
    if not reason:
        pure = ~mixed[votes.clip]
        predicted = _encode_predictions(votes, predictions)
        questions = tuple(
            _compare(question, votes, pure, shown_votes > 0, predicted[question], bootstrap, options)
            for question in QUESTIONS
        )
    return Anchoring(
        votes_shown=shown,
        votes_hidden=hidden,
        mixed_clips=int(mixed.sum()),
        accepted=kept,
        questions=questions,
        reason=reason,
    )


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.where(below > 0, above / np.where(below > 0, below, 1.0), np.nan)


def _compare(
    question: str,
    votes: Votes,
    pure: Bools,
    clip_shown: Bools,
    predicted: Ints,
    bootstrap: Bootstrap,
    options: AgreementOptions,
) -> AnchoredQuestion:
    ratings = votes.ratings(question, pure)
    shown = clip_shown[ratings.clips]
    sums = item_sums(ratings.counts())
    answers = len(ratings.answers)
    agreement = _Sides(sums[:, :2][:, ::-1], shown, ratings.dyad)  # alike, overlap
    shares = _Sides(sums[:, [*range(3, 3 + answers), 2]], shown, ratings.dyad)  # shares, voted
    follows = _follows(ratings, predicted, shown)
    ends = {name: _difference(side, bootstrap) for name, side in (("percent", agreement), ("follows", follows))}
    share = [_mean(shares.rows[shown == side]) for side in (True, False)]
    test = _Permutation(options)
    percent_shown, percent_hidden, percent_difference = ends["percent"]
    follows_shown, follows_hidden, follows_difference = ends["follows"]
    if not (predicted >= 0).any():
        follows_shown = follows_hidden = follows_difference = Estimate(None, reason=_NO_PREDICTIONS)
    return AnchoredQuestion(
        question=question,
        percent_shown=percent_shown,
        percent_hidden=percent_hidden,
        percent_difference=percent_difference,
        answers=ANSWERS[question],
        shares_shown=tuple(share[0].tolist()),
        shares_hidden=tuple(share[1].tolist()),
        p_percent=test(agreement, lambda one, other: np.abs(one[..., 0] - other[..., 0])),
        p_shares=test(shares, lambda one, other: np.abs(one - other).sum(axis=-1) / 2),
        follows_shown=follows_shown,
        follows_hidden=follows_hidden,
        follows_difference=follows_difference,
        p_follows=test(follows, lambda one, other: one[..., 0] - other[..., 0]),
    )


def _follows(ratings: Ratings, predicted: Ints, shown: Bools) -> _Sides:
    """Share of each clip's votes that equal its prediction, over clips that have one."""
    guess = predicted[ratings.clips]
    counts = ratings.counts()
    has = guess >= 0
    same = counts[np.arange(len(guess)), np.maximum(guess, 0)] / counts.sum(axis=1)
    return _Sides(np.stack([same, np.ones(len(same))], axis=1)[has], shown[has], ratings.dyad[has])


def _mean(rows: Floats) -> Floats:
    """Mean of all columns but the last, which counts; nan where there is nothing."""
    total = rows.sum(axis=0)
    return np.asarray(total[:-1] / total[-1]) if total[-1] > 0 else np.full(len(total) - 1, np.nan)


def _difference(sides: _Sides, bootstrap: Bootstrap) -> tuple[Estimate, Estimate, Estimate]:
    """Mean of the first column where shown, where hidden, and the difference, with intervals over dyads."""
    width = sides.rows.shape[1]
    rows = np.concatenate([sides.rows * sides.shown[:, None], sides.rows * ~sides.shown[:, None]], axis=1)
    per_dyad = sum_by(sides.dyad, rows, bootstrap.num_dyads)
    n_shown, n_hidden = (int(round(float(per_dyad[:, column].sum()))) for column in (width - 1, 2 * width - 1))

    def one(sums: Floats) -> Floats:
        return _ratio(sums[..., 0], sums[..., width - 1])

    def other(sums: Floats) -> Floats:
        return _ratio(sums[..., width], sums[..., 2 * width - 1])

    drawn = bootstrap.draw(per_dyad)
    found = (
        drawn.estimate(one, n_shown),
        drawn.estimate(other, n_hidden),
        drawn.estimate(lambda sums: one(sums) - other(sums), n_shown + n_hidden),
    )
    empty = "no clip on this side has enough votes"
    shown, hidden, difference = (
        item if item.value is not None else Estimate(None, n=item.n, reason=empty) for item in found
    )
    return shown, hidden, difference


class _Permutation:
    """Permutation tests by drawing how many clips of each kind change sides, not which: like clips are exchangeable."""

    def __init__(self, options: AgreementOptions) -> None:
        self.rounds, self.seed = options.rounds, options.seed + 1

    def __call__(self, sides: _Sides, statistic: Callable[[Floats, Floats], Floats]) -> float | None:
        keep = sides.rows[:, -1] > 0
        rows, shown = sides.rows[keep], sides.shown[keep]
        if not shown.any() or shown.all():
            return None
        kinds, counts = np.unique(rows.round(12), axis=0, return_counts=True)
        total = counts @ kinds
        drawn = np.random.default_rng(self.seed).multivariate_hypergeometric(
            counts, int(shown.sum()), size=self.rounds, method="marginals"
        )
        one = np.concatenate([rows[shown].sum(axis=0)[None], drawn @ kinds])
        means = [part[:, :-1] / part[:, -1:] for part in (one, total - one)]
        values = statistic(*means)
        return float((1 + (values[1:] >= values[0] - 1e-12).sum()) / (1 + self.rounds))


def _encode_predictions(votes: Votes, predictions: Mapping[str, Mapping[str, str]] | None) -> dict[str, Ints]:
    """Question -> (C,) number of the predicted answer; -1 where nothing is known or predicted."""
    found: dict[str, Ints] = {question: np.full(len(votes.clip_ids), -1, np.int64) for question in QUESTIONS}
    if not predictions:
        return found
    for number, clip_id in enumerate(votes.clip_ids):
        for question, value in predictions.get(clip_id, {}).items():
            if question == "senior":
                person_a = int(votes.person_a[number])
                if value in ("A", "B") and person_a >= 0:
                    found[question][number] = person_a if value == "A" else 1 - person_a
            elif question in found and value in ANSWERS[question][:-1]:
                found[question][number] = ANSWERS[question].index(value)
    return found
