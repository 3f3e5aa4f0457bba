"""From local speakers, window by window, to the same speakers over the whole clip.

The outputs of two overlapping windows are the same people in another order. So each window is put in the order that
agrees best with what the windows before it said about the stretch they share. With two speakers this also carries
identity across long monologues: who is not the one talking is the other. Overlapped speech stays overlapped.
"""

from __future__ import annotations

from itertools import permutations

import numpy as np

from pipelines.speech.segmentation import Windows


def fold_speakers(window: np.ndarray, speakers: int) -> np.ndarray:
    """At most ``speakers`` columns: the least heard local speakers are dropped.

    Args:
        window: (G, L) posteriors of one window, NaN past the end of the clip.
        speakers: K.

    Returns:
        (G, K), columns of zeros added where L < K. The order of the columns kept does not change.
    """
    heard = np.nansum(np.square(window), axis=0)
    keep = np.sort(np.argsort(-heard, kind="stable")[:speakers])
    kept = window[:, keep]
    return np.pad(kept, ((0, 0), (0, speakers - kept.shape[1])))


def agreement(reference: np.ndarray, candidate: np.ndarray) -> np.ndarray:
    """How well columns of ``candidate`` explain columns of ``reference``: (K, K) mean squared difference, negative.

    Args:
        reference: (G, K), candidate: (G, K); rows with a NaN in either are left out.
    """
    good = np.isfinite(reference).all(1) & np.isfinite(candidate).all(1)
    if not good.any():
        return np.zeros((reference.shape[1], candidate.shape[1]))
    difference = reference[good][:, :, None] - candidate[good][:, None, :]
    return -np.square(difference).mean(axis=0)


def best_order(scores: np.ndarray) -> tuple[int, ...]:
    """Permutation p that maximises sum_k scores[k, p[k]]; the first in lexical order where several do."""
    size = scores.shape[0]
    return max(permutations(range(size)), key=lambda p: (sum(scores[k, p[k]] for k in range(size)), [-c for c in p]))


def stitch(windows: Windows, *, speakers: int = 2) -> np.ndarray:
    """Posteriors of the clip's speakers.

    Windows are taken from left to right; each is permuted to agree with the running average on their overlap, then
    joins it. Averages weigh a window's middle more than its rims, where the network has heard less context.

    Args:
        windows: (W, G, L) local posteriors.
        speakers: K, the most people that are told apart.

    Returns:
        (num_steps, K) float64 in [0, 1]. Which column is which person is not known here.
    """
    width = windows.posteriors.shape[1]
    weight = 0.1 + np.hanning(width + 2)[1:-1]
    total = np.zeros((windows.num_steps, speakers))
    norm = np.zeros(windows.num_steps)
    for start, window in zip(windows.starts, windows.posteriors, strict=True):
        folded = fold_speakers(window, speakers)
        stop = min(windows.num_steps, int(start) + width)
        folded = folded[: stop - start]
        here = slice(int(start), stop)
        with np.errstate(invalid="ignore", divide="ignore"):
            before = total[here] / norm[here, None]
        order = best_order(agreement(before, folded))
        good = np.isfinite(folded).all(1)
        total[here][good] += (folded[:, order] * weight[: stop - start, None])[good]
        norm[here][good] += weight[: stop - start][good]
    return np.clip(total / np.maximum(norm, 1e-12)[:, None], 0.0, 1.0)


def speech_probability(windows: Windows) -> np.ndarray:
    """Probability that anybody talks, (num_steps,) float64: the surest local speaker, averaged over the windows."""
    loudest = windows.posteriors.max(axis=2, keepdims=True)
    single = Windows(posteriors=loudest, starts=windows.starts, num_steps=windows.num_steps)
    return stitch(single, speakers=1)[:, 0]


def diarisation_error(reference: np.ndarray, hypothesis: np.ndarray) -> float:
    """Diarisation error rate on a grid: (missed + false + confused speaker time) / reference speaker time.

    No collar, overlap scored; the best one-to-one mapping of speakers is taken.

    Args:
        reference: (G, R) bool, hypothesis: (G, K) bool.
    """
    size = max(reference.shape[1], hypothesis.shape[1])
    truth = np.pad(reference, ((0, 0), (0, size - reference.shape[1])))
    guess = np.pad(hypothesis, ((0, 0), (0, size - hypothesis.shape[1])))
    together = (truth[:, :, None] & guess[:, None, :]).sum(axis=0).astype(np.float64)
    correct = sum(together[k, column] for k, column in enumerate(best_order(together)))
    worst = np.maximum(truth.sum(axis=1), guess.sum(axis=1)).sum()
    return float((worst - correct) / max(1, truth.sum()))
