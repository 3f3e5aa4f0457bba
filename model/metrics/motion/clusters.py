"""SID: how many of the truth's kinds of frames a prediction visits, and how evenly. And the k-means that it needs.

The published figures come from scikit-learn's ``KMeans(k, random_state=0)``. Its algorithm (greedy k-means++, Arthur
Vassilvitskii 2007, then Lloyd's) is written out here for the same draws, so that figures do not depend on a package
that the project does without; a test compares the labels with scikit-learn's.
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict

import numpy as np
import numpy.typing as npt

from model.metrics.motion.figures import Bools, Floats, NoFigure, chosen

CLUSTERS = {"expression": 40, "jaw": 10, "pose": 10}
"""k of each group, as published."""
_ROUNDS, _TOLERANCE = 300, 1e-4
_KEPT = 64
_fits: OrderedDict[tuple[bytes, int, int], Floats] = OrderedDict()


def shannon_index(
    x: Floats, y: Floats, k: int, mask: Bools | None = None, *, reverse: bool = False, seed: int = 0
) -> float:
    """SID: entropy in bits of the clusters that frames fall into, -sum p log2(p + 1e-6), at most log2 k.

    Args:
        x: (T, d) prediction.
        y: (T, d) truth.
        k: number of clusters; :data:`CLUSTERS` has the published ones.
        mask: (T,) bool.
        reverse: False: clusters of the truth, frames of the prediction (Learning2Listen, Ng et al., CVPR 2022). True:
            clusters of the prediction, frames of the truth, which is what DualTalk's program computes under the name
            SID, its arguments being swapped.
        seed: of the clustering.

    Raises:
        NoFigure: fewer frames than clusters.
    """
    one, two = chosen(x, y, mask=mask, least=k)
    fitted, frames = (one, two) if reverse else (two, one)
    share = np.bincount(nearest(frames, _centres(fitted, k, seed)), minlength=k) / len(frames)
    # The 1e-6, as published, takes one cluster a millionth below zero.
    return max(float(-(share * np.log2(share + 1e-6)).sum()), 0.0)


def _centres(points: Floats, k: int, seed: int) -> Floats:
    """:func:`kmeans`, remembering the last few: every predictor is judged against the same truth."""
    key = (hashlib.blake2b(points.tobytes() + str(points.shape).encode(), digest_size=16).digest(), k, seed)
    if key not in _fits:
        _fits[key] = kmeans(points, k, seed)
        while len(_fits) > _KEPT:
            _fits.popitem(last=False)
    _fits.move_to_end(key)
    return _fits[key]


def nearest(points: Floats, centres: Floats) -> npt.NDArray[np.int64]:
    """(N,) index of the centre (k, d) nearest to each point (N, d)."""
    found: npt.NDArray[np.int64] = _squared(points, centres).argmin(1)
    return found


def kmeans(points: Floats, k: int, seed: int = 0) -> Floats:
    """Centres (k, d) of clusters of points (N, d): greedy k-means++, then Lloyd's rounds until nothing changes.

    Raises:
        NoFigure: fewer points than clusters.
    """
    if len(points) < k:
        raise NoFigure(f"{len(points)} frames, {k} clusters")
    mean = points.mean(0)
    data = points - mean
    generator = np.random.RandomState(seed)
    centres = data[_seeds(data, k, generator)].copy()
    tolerance = _TOLERANCE * data.var(0).mean()
    labels = np.full(len(data), -1)
    for _ in range(_ROUNDS):
        distance = _squared(data, centres)
        found = distance.argmin(1)
        moved = _means(data, found, distance, k, centres)
        shift = float(((moved - centres) ** 2).sum())
        centres = moved
        if (found == labels).all() or shift <= tolerance:
            break
        labels = found
    return centres + mean


def _seeds(data: Floats, k: int, generator: np.random.RandomState) -> list[int]:
    """Rows to start from: each next one is the best of a few, drawn by squared distance to those so far."""
    size, trials = len(data), 2 + int(math.log(k))
    picked = [int(generator.choice(size, p=np.full(size, 1 / size)))]
    closest = _squared(data, data[picked])[:, 0]
    for _ in range(k - 1):
        draws = generator.uniform(size=trials) * closest.sum()
        candidates = np.minimum(np.searchsorted(np.cumsum(closest), draws), size - 1)
        reach = np.minimum(closest[:, None], _squared(data, data[candidates]))
        best = int(reach.sum(0).argmin())
        closest = reach[:, best]
        picked.append(int(candidates[best]))
    return picked


def _means(data: Floats, labels: npt.NDArray[np.int64], distance: Floats, k: int, before: Floats) -> Floats:
    """Means of the clusters; a cluster left empty takes the point that is farthest from its centre."""
    counts = np.bincount(labels, minlength=k).astype(np.float64)
    sums = np.zeros((k, data.shape[1]))
    np.add.at(sums, labels, data)
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        own = distance[np.arange(len(data)), labels]
        if own.max() > 0:
            for cluster, point in zip(empty, np.argsort(own, kind="stable")[::-1][: len(empty)], strict=True):
                sums[labels[point]] -= data[point]
                counts[labels[point]] -= 1
                sums[cluster], counts[cluster] = data[point], 1
    centres: Floats = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], before)
    return centres


def _squared(points: Floats, centres: Floats) -> Floats:
    """(N, k) squared distances."""
    cross = points @ centres.T
    found: Floats = (points * points).sum(1)[:, None] - 2 * cross + (centres * centres).sum(1)
    return np.maximum(found, 0.0, out=found)
