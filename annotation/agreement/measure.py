"""From a table of votes to a report."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa

from annotation.agreement import coefficients
from annotation.agreement.anchoring import anchoring
from annotation.agreement.annotators import describe_annotators
from annotation.agreement.bootstrap import Bootstrap, sum_by
from annotation.agreement.consensus import Belief, believe
from annotation.agreement.interpret import anchoring_sentence, sentence, warnings
from annotation.agreement.pairs import pair_kappas
from annotation.agreement.ratings import Bools, Floats, Ratings, Votes, encode
from annotation.agreement.report import (
    DISTRUSTED,
    QUESTIONS,
    AgreementOptions,
    AgreementReport,
    ClipInfo,
    Consensus,
    Estimate,
    QuestionAgreement,
)
from annotation.agreement.unclear import clips_to_look_at

ALIKE = "all votes are alike: nothing to tell agreement from habit by"


def measure(
    votes: pa.Table,
    clips: Mapping[str, ClipInfo],
    options: AgreementOptions | None = None,
    *,
    predictions: Mapping[str, Mapping[str, str]] | None = None,
) -> AgreementReport:
    """Measure agreement, and judge the annotators.

    Pure: the same votes, in any order, and the same options give the same report.

    Args:
        votes: a table of votes (:data:`schemas.votes.SCHEMA`). Of several votes of a person on a clip the last counts,
            and rounds other than "labelling" are no opinions; rows of round "gold" are right answers.
        clips: what is known of the dataset's clips; votes on others are left out and named in the report.
        options: how to measure.
        predictions: clip -> question -> predicted answer, those that were hidden included; senior as A or B. With them
            the pull of predictions is measured directly.

    Raises:
        LabelError: a column is missing, or an answer is not in the form.
    """
    options = options or AgreementOptions()
    encoded = encode(votes, clips)
    bootstrap = Bootstrap(len(encoded.dyad_ids), options.rounds, options.seed, options.level)
    beliefs = {question: believe(encoded, question) for question in QUESTIONS}
    annotators = describe_annotators(encoded, beliefs, bootstrap, options)
    distrusted = np.array([one.verdict in DISTRUSTED for one in annotators], bool)
    questions = tuple(
        _question(encoded, encoded.ratings(question), beliefs[question], distrusted, bootstrap, options)
        for question in QUESTIONS
    )
    graded = encoded.ratings("confidence")
    confidence = _estimator(graded, bootstrap)(lambda sums: coefficients.alpha(sums, ordinal=True))
    anchored = anchoring(encoded, predictions, bootstrap, options)
    anchored = dataclasses.replace(anchored, sentence=anchoring_sentence(anchored, options.level))
    listed, total = clips_to_look_at(encoded, beliefs, options)
    num_dyads = len(np.unique(encoded.dyad_of_clip[encoded.clip]))
    return AgreementReport(
        num_votes=len(encoded.clip),
        num_clips=len(np.unique(encoded.clip)),
        num_dyads=num_dyads,
        superseded=encoded.superseded,
        unknown_clips=encoded.unknown_clips,
        other_rounds=encoded.other_rounds,
        questions=questions,
        confidence=confidence,
        anchoring=anchored,
        annotators=annotators,
        clips=listed,
        num_clips_to_look_at=total,
        warnings=warnings(
            questions,
            annotators,
            anchored,
            num_votes=len(encoded.clip),
            num_dyads=num_dyads,
            fast_s=options.fast_s,
            unknown_clips=encoded.unknown_clips,
        ),
        options=options,
    )


def _question(
    votes: Votes,
    ratings: Ratings,
    belief: Belief | None,
    distrusted: Bools,
    bootstrap: Bootstrap,
    options: AgreementOptions,
) -> QuestionAgreement:
    counts = ratings.counts()
    decided = ratings.where(ratings.answer < len(ratings.answers) - 1)
    decided = dataclasses.replace(decided, answers=ratings.answers[:-1])
    every, some = _estimator(ratings, bootstrap), _estimator(decided, bootstrap)
    result = QuestionAgreement(
        question=ratings.question,
        answers=ratings.answers,
        counts=tuple(counts.sum(axis=0).tolist()),
        num_votes=len(ratings.answer),
        num_clips=ratings.num_items,
        num_overlap=int((counts.sum(axis=1) >= 2).sum()),
        percent=every(coefficients.percent, alike=True),
        alpha=every(coefficients.alpha),
        alpha_decided=some(coefficients.alpha),
        alpha_trusted=_trusted(ratings, distrusted, bootstrap),
        ac1=every(coefficients.ac1),
        ac1_decided=some(coefficients.ac1),
        confirmed=tuple(
            every(lambda sums, answer=answer: coefficients.confirmed(sums)[..., answer], alike=True)
            for answer in range(len(ratings.answers))
        ),
        pairs=pair_kappas(ratings, votes.annotators, bootstrap),
        consensus=_consensus(belief, ratings, options),
        sentence="",
    )
    return dataclasses.replace(result, sentence=sentence(result))


def _trusted(ratings: Ratings, distrusted: Bools, bootstrap: Bootstrap) -> Estimate:
    if not distrusted.any():
        return Estimate(None, reason="nobody is left out")
    return _estimator(ratings.where(~distrusted[ratings.rater]), bootstrap)(coefficients.alpha)


def _estimator(ratings: Ratings, bootstrap: Bootstrap) -> Callable[..., Estimate]:
    """Statistics of one question's votes, with intervals and with reasons where there is none."""
    counts = ratings.counts()
    per_dyad = sum_by(ratings.dyad[np.arange(ratings.num_items)], coefficients.item_sums(counts), ratings.num_dyads)
    drawn = bootstrap.draw(per_dyad)
    overlap = counts[counts.sum(axis=1) >= 2]
    if len(overlap):
        reason = ALIKE if (overlap.sum(axis=0) > 0).sum() == 1 else ""
    elif not len(counts):
        reason = "nobody answered it"
    elif len(np.unique(ratings.rater)) == 1:
        reason = "one annotator only"
    else:
        reason = "no clip has two such votes"
    given = per_dyad.any(axis=1).sum()

    def estimate(statistic: Callable[[Floats], Floats], *, alike: bool = False) -> Estimate:
        """``alike``: the statistic means something even where all votes are alike."""
        if reason and not (alike and reason == ALIKE):
            return Estimate(None, n=len(overlap), reason=reason)
        found = drawn.estimate(statistic, len(overlap))
        if found.value is None:
            return Estimate(None, n=len(overlap), reason="nobody gave this answer where another voted")
        if given < 2:
            return Estimate(found.value, n=len(overlap), reason="votes on one dyad only: no interval")
        return found

    return estimate


def _consensus(belief: Belief | None, ratings: Ratings, options: AgreementOptions) -> Consensus:
    classes = ratings.answers[:-1]
    if belief is None:
        return Consensus(classes, (), 0, None, 0, False, reason="nobody decided")
    best = belief.posterior.max(axis=1)
    return Consensus(
        classes=classes,
        prior=tuple(belief.model.prior.tolist()),
        num_items=len(best),
        confident=float((best >= options.posterior).mean()),
        iterations=belief.model.iterations,
        converged=belief.model.converged,
    )
