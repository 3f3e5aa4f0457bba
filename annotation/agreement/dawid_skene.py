"""The model of Dawid and Skene (1979): true classes, and for every annotator a confusion matrix, from votes alone.

A. P. Dawid, A. M. Skene: Maximum likelihood estimation of observer error-rates using the EM algorithm. Applied
Statistics 28 (1979) 20-28. Two things are added, both off by default: answers that are never true ("unsure": the
confusion matrix then has more columns than rows), and shrinkage of each annotator's matrix towards the one of all
annotators, so that a person with five votes is taken for an average one and not for an oracle.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np
import scipy.sparse as sp

from annotation.agreement.ratings import Floats, Ints

#: Smallest probability: keeps logarithms finite.
_FLOOR = 1e-10
#: What is believed of annotators before any vote, where shrinkage is asked for: this share of right answers, with the
#: weight of so many votes per class. Without it, two people who agree on one clip would be sure of it.
PRIOR_RIGHT, PRIOR_VOTES = 0.75, 10.0


@dataclass(frozen=True)
class DawidSkene:
    """The fitted model: I items, K classes, J annotators, A answers."""

    posterior: Floats
    """(I, K) probability of each class."""
    prior: Floats
    """(K,) share of each class."""
    confusion: Floats
    """(J, K, A) probability of each answer given the class; rows of annotators without votes are those of all."""
    weights: Floats
    """(J, K) expected number of votes on items of each class."""
    iterations: int
    """Steps taken."""
    converged: bool
    """Whether the posteriors settled."""
    log_likelihood: float
    """Of the votes, natural logarithm."""


def fit(
    item: Ints,
    rater: Ints,
    answer: Ints,
    *,
    num_items: int,
    num_raters: int,
    num_answers: int,
    num_classes: int | None = None,
    known: Ints | None = None,
    shrinkage: float = 0.0,
    max_iterations: int = 200,
    tolerance: float = 1e-6,
) -> DawidSkene:
    """Fit by expectation maximisation, started from the shares of the votes.

    Deterministic, and blind to the order of the votes. An annotator may vote on an item more than once.

    Args:
        item: (V,) number of the item; each of the ``num_items`` needs a vote for one of the classes.
        rater: (V,) number of the annotator.
        answer: (V,) number of the answer; answers from ``num_classes`` on are never true.
        num_items: I.
        num_raters: J.
        num_answers: A.
        num_classes: K; all answers where it is not given.
        known: (I,) the class where it is known, else -1.
        shrinkage: weight, in votes per class, of the confusion matrix of all annotators in each annotator's own.
        max_iterations: steps at most.
        tolerance: largest change of a posterior at which the fit has settled.
    """
    classes = num_answers if num_classes is None else num_classes
    # votes[i, j * A + a]: how often annotator j gave answer a to item i. Both steps are products with it.
    cells = rater * num_answers + answer
    shape = (num_items, num_raters * num_answers)
    votes = sp.coo_array((np.ones(len(item)), (item, cells)), shape=shape).tocsr()
    across = votes.T.tocsr()
    real = answer < classes
    shares = np.bincount(item[real] * classes + answer[real], minlength=num_items * classes).reshape(num_items, classes)
    posterior = shares / np.maximum(shares.sum(axis=1, keepdims=True), 1)
    rows = np.zeros(0, np.int64) if known is None else np.flatnonzero(known >= 0)
    truth = np.zeros((0, classes)) if known is None else np.eye(classes)[known[rows]]
    posterior[rows] = truth
    converged, log_likelihood, iterations = False, -np.inf, 0
    while not converged and iterations < max_iterations:
        iterations += 1
        prior, confusion, weights = _maximise(posterior, across, num_answers, shrinkage)
        previous = posterior
        posterior, log_likelihood = _expect(prior, confusion, votes)
        posterior[rows] = truth
        converged = bool(np.abs(posterior - previous).max(initial=0.0) < tolerance)
    prior, confusion, weights = _maximise(posterior, across, num_answers, shrinkage)
    return DawidSkene(posterior, prior, confusion, weights, iterations, converged, log_likelihood)


def _maximise(
    posterior: Floats, across: sp.csr_array, num_answers: int, shrinkage: float
) -> tuple[Floats, Floats, Floats]:
    """Shares of the classes and confusion matrices from the posteriors."""
    classes = posterior.shape[1]
    counts = np.asarray(across @ posterior).reshape(-1, num_answers, classes).transpose(0, 2, 1)  # (J, K, A)
    weights = counts.sum(axis=2)
    right = np.eye(classes, num_answers)
    pooled = counts.sum(axis=0)
    if shrinkage:
        pooled += PRIOR_VOTES * (PRIOR_RIGHT * right + (1 - PRIOR_RIGHT) * (1 - right) / (num_answers - 1))
        prior = (posterior.sum(axis=0) + 1) / (len(posterior) + classes)
    else:
        pooled += right * (pooled.sum(axis=1, keepdims=True) == 0)
        prior = posterior.mean(axis=0)
    pooled /= pooled.sum(axis=1, keepdims=True)
    mixed = counts + shrinkage * pooled
    total = mixed.sum(axis=2, keepdims=True)
    confusion = np.where(total > 0, mixed / np.where(total > 0, total, 1), pooled)
    return prior, np.maximum(confusion, _FLOOR), weights


def _expect(prior: Floats, confusion: Floats, votes: sp.csr_array) -> tuple[Floats, float]:
    """Posteriors (I, K) and the log-likelihood from the parameters."""
    by_cell = np.log(confusion).transpose(0, 2, 1).reshape(-1, len(prior))  # (J*A, K)
    joint = np.asarray(votes @ by_cell) + np.log(np.maximum(prior, _FLOOR))
    # Class by class: numpy reduces over a last axis of two or three numbers slowly.
    top = reduce(np.maximum, joint.T)
    likelihood = np.exp(joint - top[:, None])
    total = sum(likelihood.T)
    return likelihood / total[:, None], float((np.log(total) + top).sum())
