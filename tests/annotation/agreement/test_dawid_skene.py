from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from annotation.agreement.dawid_skene import DawidSkene, fit
from tests.annotation.agreement.published import anaesthetists


def fit_all(item: np.ndarray, rater: np.ndarray, answer: np.ndarray, k: int, **more: Any) -> DawidSkene:
    sizes = {"num_items": item.max() + 1, "num_raters": rater.max() + 1, "num_answers": k}
    return fit(item, rater, answer, **sizes, **more)


def test_the_anaesthetists_of_1979() -> None:
    model = fit_all(*anaesthetists(), 4, tolerance=1e-9)
    assert model.converged
    # Estimates as published, two decimals.
    np.testing.assert_allclose(model.prior, [0.40, 0.42, 0.11, 0.07], atol=0.005)
    first = [[0.89, 0.11, 0, 0], [0.07, 0.88, 0.05, 0], [0, 0.34, 0.66, 0], [0, 0, 0.56, 0.44]]
    np.testing.assert_allclose(model.confusion[0], first, atol=0.005)
    best = model.posterior.argmax(axis=1) + 1
    assert [best[patient - 1] for patient in (1, 2, 3, 8, 11, 12, 36)] == [1, 4, 2, 3, 4, 3, 4]


def random_votes(seed: int, items: int = 120, raters: int = 6, k: int = 3) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, k, items)
    seen = rng.random((items, raters)) < 0.6
    seen[:, 0] |= ~seen.any(axis=1)
    item, rater = np.nonzero(seen)
    right = rng.random(len(item)) < np.linspace(0.5, 0.95, raters)[rater]
    return item, rater, np.where(right, truth[item], rng.integers(0, k, len(item))), truth


def test_the_same_as_crowd_kit_step_by_step() -> None:
    from crowdkit.aggregation import DawidSkene as CrowdKit

    item, rater, answer, _ = random_votes(0, items=50)
    ours = fit_all(item, rater, answer, 3, tolerance=0.0, max_iterations=12)
    # Its own rule stops when a bound grows by less than a tolerance, and the bound may shrink: it is told not to stop.
    theirs = CrowdKit(n_iter=12, tol=-np.inf)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls pandas in ways that pandas 3 warns of
        theirs.fit(pd.DataFrame({"task": item, "worker": rater, "label": answer}))
    np.testing.assert_allclose(ours.posterior, theirs.probas_.sort_index()[[0, 1, 2]], atol=1e-6)
    np.testing.assert_allclose(ours.prior, theirs.priors_[[0, 1, 2]], atol=1e-6)


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_order_and_names_do_not_matter(seed: int) -> None:
    item, rater, answer, _ = random_votes(seed, items=30, raters=4)
    model = fit_all(item, rater, answer, 3, shrinkage=2.0)
    np.testing.assert_allclose(model.posterior.sum(axis=1), 1)
    np.testing.assert_allclose(model.confusion.sum(axis=2), 1)
    rng = np.random.default_rng(seed)
    order, people, names = rng.permutation(len(item)), rng.permutation(4), rng.permutation(3)
    other = fit_all(item[order], people[rater[order]], names[answer[order]], 3, shrinkage=2.0)
    np.testing.assert_allclose(other.posterior[:, names], model.posterior, atol=1e-4)
    np.testing.assert_allclose(other.confusion[people][:, names][:, :, names], model.confusion, atol=1e-3)


def test_likelihood_never_falls() -> None:
    votes = random_votes(5)[:3]
    values = [fit_all(*votes, 3, max_iterations=steps, tolerance=0.0).log_likelihood for steps in range(1, 25)]
    assert (np.diff(values) > -1e-9).all()


def test_known_truth_is_kept_and_teaches() -> None:
    # Two people who contradict each other everywhere: which one is right can only be known from items that are.
    item, rater = np.repeat(np.arange(40), 2), np.tile([0, 1], 40)
    truth = np.arange(40) % 2
    answer = np.stack([truth, 1 - truth], axis=1).ravel()
    known = np.where(np.arange(40) < 6, truth, -1)
    model = fit_all(item, rater, answer, 2, known=known, shrinkage=1.0)
    assert (model.posterior.argmax(axis=1) == truth).all()
    assert model.confusion[0, 0, 0] > 0.9 > 0.1 > model.confusion[1, 0, 0]


def test_answers_that_are_never_true() -> None:
    # Class 0 is met with "unsure" (2) half of the time, class 1 never: a vote of each then points to class 0.
    item = np.repeat(np.arange(60), 3)
    rater = np.tile([0, 1, 2], 60)
    truth = np.arange(60) % 2
    answer = np.where((truth[item] == 0) & ((item // 2 + rater) % 2 == 0), 2, truth[item])
    model = fit_all(item, rater, answer, 3, num_classes=2)
    assert model.posterior.shape == (60, 2) and model.confusion.shape == (3, 2, 3)
    assert (model.posterior.argmax(axis=1) == truth).all()
    assert model.confusion[:, 0, 2].min() > 0.4 and model.confusion[:, 1, 2].max() < 0.01


def test_shrinkage_keeps_two_votes_from_being_certain() -> None:
    votes = np.array([0, 0]), np.array([0, 1]), np.array([1, 1])
    plain = fit_all(*votes, 2)
    careful = fit_all(*votes, 2, shrinkage=4.0)
    assert plain.posterior[0, 1] > 0.999
    assert 0.6 < careful.posterior[0, 1] < 0.97
