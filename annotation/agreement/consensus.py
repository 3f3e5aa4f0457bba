"""What the votes on each question say together: the model of Dawid and Skene on encoded votes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from annotation.agreement.dawid_skene import DawidSkene, fit
from annotation.agreement.ratings import Floats, Ints, Ratings, Votes, encode
from annotation.agreement.report import ANSWERS, QUESTIONS, AgreementOptions, ClipInfo

#: Votes per class that everybody's confusion matrix weighs in each annotator's own.
SHRINKAGE = 4.0


@dataclass(frozen=True)
class Belief:
    """The model of one question over the clips on which somebody decided."""

    ratings: Ratings
    """The votes it was made of; its items are the rows of the posterior."""
    model: DawidSkene
    """The model."""

    @property
    def clips(self) -> Ints:
        """(I,) the clips' numbers."""
        return self.ratings.clips

    @property
    def posterior(self) -> Floats:
        """(I, K) probability of each class; the classes are the answers without "unsure"."""
        return self.model.posterior


def believe(votes: Votes, question: str) -> Belief | None:
    """Fit the model to a question; None where nobody decided.

    "unsure" is an answer but not a class: a clip is not unsure, people are. Clips where all are unsure have no
    posterior (it would be the prior and nothing else). Gold answers are taken for true.
    """
    ratings = votes.ratings(question)
    decided = ratings.counts()[:, :-1].sum(axis=1) > 0
    if not decided.any():
        return None
    ratings = ratings.where(decided[ratings.item])
    gold = votes.gold[question][ratings.clips]
    model = fit(
        ratings.item,
        ratings.rater,
        ratings.answer,
        num_items=ratings.num_items,
        num_raters=ratings.num_raters,
        num_answers=len(ratings.answers),
        num_classes=len(ratings.answers) - 1,
        known=np.where(gold < len(ratings.answers) - 1, gold, -1),
        shrinkage=SHRINKAGE,
    )
    return Belief(ratings, model)


def posteriors(
    votes: pa.Table, clips: Mapping[str, ClipInfo], options: AgreementOptions | None = None
) -> dict[str, dict[str, dict[str, float]]]:
    """Probability of each answer to each question, clip by clip, by the model of Dawid and Skene.

    Args:
        votes: as for :func:`annotation.agreement.measure`.
        clips: what is known of the dataset's clips.
        options: kept for symmetry with ``measure``; nothing in it changes posteriors.

    Returns:
        clip -> question -> answer -> probability; probabilities of a question sum to 1. ``kinship`` has the answers
        blood and non_blood, ``status`` equal and unequal, ``senior`` the ids of the two subjects. A question on which
        nobody decided (no vote, or only "unsure") is absent, and so is a clip with no question left. ``senior`` is
        conditional on the two being unequal.

    Raises:
        LabelError: a column is missing, or an answer is not in the form.
    """
    del options
    encoded = encode(votes, clips)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for question in QUESTIONS:
        belief = believe(encoded, question)
        if belief is None:
            continue
        names = ANSWERS[question][:-1]
        for clip, row in zip(belief.clips.tolist(), belief.posterior.tolist(), strict=True):
            keys = encoded.subjects[clip] if question == "senior" else names
            found.setdefault(encoded.clip_ids[clip], {})[question] = {
                str(key): value for key, value in zip(keys, row, strict=True)
            }
    return found
