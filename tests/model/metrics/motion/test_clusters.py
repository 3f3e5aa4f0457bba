from __future__ import annotations

import warnings

import numpy as np
import pytest

from model.metrics.motion.clusters import kmeans, nearest, shannon_index
from model.metrics.motion.figures import NoFigure


def blobs(per: int = 10, seed: int = 0) -> np.ndarray:
    """Four clouds far apart, in turn."""
    rng = np.random.default_rng(seed)
    places = np.array([[0, 0], [100, 0], [0, 100], [100, 100.0]])
    return np.concatenate([place + rng.normal(size=(per, 2)) for place in places])


def test_sid_by_hand() -> None:
    y = blobs()
    assert shannon_index(y, y, 4) == pytest.approx(2, abs=1e-4)  # four clouds, evenly: 2 bits
    half = np.concatenate([y[:20], y[:20]])
    assert shannon_index(half, y, 4) == pytest.approx(1, abs=1e-4)  # two of them: 1 bit
    assert shannon_index(np.broadcast_to(y[0], y.shape), y, 4) == 0


def test_the_two_directions_differ() -> None:
    y = blobs()
    x = y[:20].repeat(2, 0)  # two clouds only
    assert shannon_index(x, y, 4) == pytest.approx(1, abs=1e-4)
    # Clusters of the prediction split its two clouds; the truth's other clouds fall to the nearest of them.
    reverse = shannon_index(x, y, 4, reverse=True)
    assert reverse == pytest.approx(shannon_index(y, x, 4)) and reverse != pytest.approx(1, abs=1e-3)


def test_centres_are_those_of_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.cluster")
    for seed in range(6):
        rng = np.random.default_rng(seed)
        points = np.cumsum(rng.normal(size=(200, 12)), 0) * 0.1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = sklearn.KMeans(40, random_state=0, n_init=1).fit(points)
        ours = kmeans(points, 40)
        np.testing.assert_allclose(ours, theirs.cluster_centers_, atol=1e-9)
        np.testing.assert_array_equal(nearest(points, ours), theirs.labels_)


def test_a_prediction_that_does_not_move_is_one_cluster() -> None:
    y = blobs()
    assert shannon_index(np.zeros_like(y), y, 4, reverse=True) == 0


def test_fewer_frames_than_clusters_have_no_figure() -> None:
    with pytest.raises(NoFigure, match="40 needed"):
        shannon_index(blobs(5), blobs(5), 40)
