"""Levenberg-Marquardt for all frames of a clip together, and for the shape that they share.

The frames of a clip are coupled only by the smoothing of second differences. Each step therefore solves one large
banded system exactly: all frames advance together, none waits for the one before it, and the last is treated like every
other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import solveh_banded

from model.camera import Camera
from model.fitting.config import FitConfig
from model.fitting.landmark_model import LandmarkModel
from model.fitting.problem import Linearisation, Observations, Priors, linearise, smoothing_weights

ExtraTerm = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]
"""A term of the cost that is no landmark: codes (T, P) to cost (T,), gradient (T, P) and Gauss-Newton matrix
(T, P, P), floats of any kind, finite. It is asked again for every trial step."""

MAX_STEP = 0.35
"""Largest change of an angle (radians) in one step; also the largest relative change of the distance."""
MIN_ITERATIONS = 2
"""Iterations done in any case: the first steps of badly started frames may all be refused."""
MAX_LINEAR_STEP = 2.0
"""Largest change of an expression or shape code in one step."""


def _bend(codes: np.ndarray, root: np.ndarray) -> np.ndarray:
    """Second differences (T - 2, P) over time, times the root of their weights (T - 2,)."""
    return (codes[:-2] - 2 * codes[1:-1] + codes[2:]) * root[:, None]


def _unbend(bends: np.ndarray, num: int) -> np.ndarray:
    """Transpose of ``_bend`` with weights of 1."""
    out = np.zeros((num, bends.shape[1]))
    out[:-2] += bends
    out[1:-1] -= 2 * bends
    out[2:] += bends
    return out


def _share(bends: np.ndarray, precision: np.ndarray, num: int) -> np.ndarray:
    """Smoothing cost of every frame (T,): a third of each second difference it takes part in."""
    each = np.square(bends) @ precision / 6.0
    out = np.zeros(num)
    for start in range(3):
        out[start : start + len(each)] += each
    return out


def solve_band(
    hessian: np.ndarray, damping: np.ndarray, triples: np.ndarray, precision: np.ndarray, right: np.ndarray
) -> np.ndarray:
    """Solve (hessian + diag(damping) + smoothing) x = right for all frames, exactly, in time linear in T.

    Frame by frame the matrix is a block (P, P); the smoothing couples each code with itself one and two frames on. So
    it is a band of 2 P entries beside the diagonal, and its Cholesky factor stays in the band.

    Args:
        hessian: (T, P, P) blocks, float.
        damping: (T, P) added to their diagonals.
        triples: (T - 2,) weights of the second differences; empty for no smoothing.
        precision: (P,) weight of second differences.
        right: (T, P).

    Raises:
        LinAlgError: the matrix is not positive definite.
    """
    num, p = right.shape
    linked = len(triples) > 0 and bool(triples.any())
    band = np.zeros(((2 * p if linked else p - 1) + 1, num, p))
    for below in range(p):
        band[below, :, : p - below] = np.diagonal(hessian, -below, axis1=1, axis2=2)
    band[0] += damping
    if linked:
        ends = np.zeros(num)
        ends[:-2] += triples
        ends[1:-1] += 4 * triples
        ends[2:] += triples
        band[0] += ends[:, None] * precision
        following = np.zeros(num)
        following[:-2] -= 2 * triples
        following[1:-1] -= 2 * triples
        band[p] += following[:, None] * precision
        band[2 * p, :-2] += triples[:, None] * precision
    flat = band.reshape(len(band), num * p)
    solved = solveh_banded(flat, right.reshape(-1), lower=True, overwrite_ab=True, check_finite=False)
    return solved.reshape(num, p)


def _step_scale(step: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Factors (T, 1) in (0, 1] that keep frames from turning or moving too far in one step."""
    angle = np.abs(step[:, -15:-3]).max(axis=1) / MAX_STEP
    depth = np.abs(step[:, -1]) / (MAX_STEP * np.maximum(np.abs(codes[:, -1]), 1e-3))
    linear = np.abs(step[:, :-15]).max(axis=1, initial=0.0) / MAX_LINEAR_STEP
    return (1.0 / np.maximum.reduce([np.ones(len(step)), angle, depth, linear]))[:, None]


def solve_codes(
    model: LandmarkModel,
    start: np.ndarray,
    seen: Observations,
    camera: Camera,
    priors: Priors,
    config: FitConfig,
    iterations: int | None = None,
    extra: ExtraTerm | None = None,
) -> tuple[np.ndarray, Linearisation]:
    """Fit the codes of all frames of a window.

    Args:
        model: landmarks of one subject (``with_shape``), or of any shape with shape codes per frame.
        start: (T, P) first guess.
        seen: observations of the T frames.
        camera: camera of the landmarks' image.
        priors: priors, limits and smoothing.
        config: the loss, iterations and tolerance.
        iterations: instead of ``config.iterations``.
        extra: added to the cost of every frame, e.g. a photometric term.

    Returns:
        Codes (T, P) of the lowest cost found for each frame, and points and cost there; the derivatives may be those
        of a step before.
    """
    codes = start.copy()
    num, _ = codes.shape
    triples = smoothing_weights(seen, config) if priors.smooth.any() else np.zeros(0)
    root = np.sqrt(triples)

    def smoothing(at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not len(triples):
            return np.zeros(num), np.zeros_like(at)
        bends = _bend(at, root)
        return _share(bends, priors.smooth, num), _unbend(priors.smooth * bends * root[:, None], num)

    def evaluate(at: np.ndarray, derive: bool = True) -> Linearisation:
        found = linearise(model, at, seen, camera, priors, config, derive)
        if extra is not None:
            cost, gradient, hessian = extra(at)
            found.cost += cost
            found.gradient += gradient
            found.hessian += np.asarray(hessian, dtype=np.float32)
        return found

    here = evaluate(codes)
    share, slope = smoothing(codes)
    damping = np.full(num, 1e-3)
    most = iterations if iterations is not None else config.iterations
    for number in range(most):
        diagonal = np.diagonal(here.hessian, axis1=1, axis2=2)
        damped = damping[:, None] * diagonal + 1e-9
        try:
            step = solve_band(here.hessian, damped, triples, priors.smooth, -(here.gradient + slope))
        except np.linalg.LinAlgError:  # float32 blocks may lose definiteness where nothing is seen
            damping = np.clip(damping * 100, 1e-4, 1e6)
            continue
        trial = codes + _step_scale(step, codes) * step
        # The last step needs no derivatives. If one that promises to be the last is not, they are made up for.
        promised = -0.5 * float(np.sum((here.gradient + slope) * step))
        last = number >= MIN_ITERATIONS and promised <= config.tolerance * float(here.cost.sum() + share.sum())
        closing = extra is None and (last or number + 1 == most)
        there = evaluate(trial, derive=not closing)
        there_share, there_slope = smoothing(trial)
        before, after = here.cost + share, there.cost + there_share
        better = (after <= before * (1 + 1e-7)) & np.isfinite(after)
        # All frames advance, or only those that gain by it: whichever leaves the lower total.
        mixed = np.where(better[:, None], trial, codes)
        mixed_share, mixed_slope = smoothing(mixed)
        mixed_total = float(np.where(better, there.cost, here.cost).sum() + mixed_share.sum())
        whole = float(after.sum())
        total = float(before.sum())
        take = better
        if np.isfinite(whole) and whole <= mixed_total:
            take, mixed, mixed_share, mixed_slope, mixed_total = (
                np.ones(num, bool),
                trial,
                there_share,
                there_slope,
                whole,
            )
        damping = np.clip(np.where(better, damping / 8, damping * 10), 1e-6, 1e6)
        gain = total - mixed_total
        if gain > 0:
            codes, share, slope = mixed, mixed_share, mixed_slope
            for name in ("points", "cost") if closing else ("points", "cost", "gradient", "hessian"):
                getattr(here, name)[take] = getattr(there, name)[take]
        # Near the optimum float32 noise refuses steps of some frames: they are done, and keep no other waiting.
        if number >= MIN_ITERATIONS and gain <= config.tolerance * total:
            break
        if closing and gain > 0 and number + 1 < most:
            here = evaluate(codes)
    return codes, here


@dataclass(frozen=True)
class ShapeSolution:
    """What K frames say about a shape."""

    shape: np.ndarray
    """(S,) the most probable shape, its prior included."""
    codes: np.ndarray
    """(K, P) codes that go with it."""
    cost: float
    """Cost there: data, priors of the codes, prior of the shape; lower is more probable."""
    information: np.ndarray
    """(S, S) float64: Schur-reduced Gauss-Newton matrix of the shape, its prior left out."""
    vector: np.ndarray
    """(S,) float64: with it, shape = (prior + information)^-1 vector."""


def _reduce(
    hessian: np.ndarray, gradient: np.ndarray, code_at: np.ndarray, shape_at: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eliminate the frames' own codes: reduced matrix (S, S), reduced gradient (S,), and (K, C, S + 1) solutions."""
    own = hessian[:, code_at[:, None], code_at]
    cross = hessian[:, code_at[:, None], shape_at]
    solved = np.linalg.solve(own, np.concatenate([cross, gradient[:, code_at, None]], axis=2))
    reduced = hessian[:, shape_at[:, None], shape_at].sum(axis=0)
    # One small product a frame, then their sum: the order of additions does not depend on the number of threads.
    reduced -= (cross.transpose(0, 2, 1) @ solved[:, :, :-1]).sum(axis=0)
    pull = gradient[:, shape_at].sum(axis=0)
    pull -= np.einsum("kcs,kc->s", cross, solved[:, :, -1])
    return reduced, pull, solved


def solve_shape(
    model: LandmarkModel,
    start: np.ndarray,
    seen: Observations,
    camera: Camera,
    priors: Priors,
    config: FitConfig,
    steps: int | None = None,
) -> ShapeSolution:
    """Fit one shape and the codes of K frames together, the codes eliminated by Schur complements.

    Size cannot be told from distance, so of two explanations of the same pictures priors alone would always choose the
    smaller, nearer head: all its deviations from the average are smaller too, in proportion. The most probable point
    is then no typical one (with true landmarks it was 8 to 16 % too small). What balances it is the volume of codes
    around it, which shrinks with the cube and more of the distance; to first order that is the number of lengths that
    the data determine, times the log of the distance. Shape codes count as they are determined; expressions, of which
    most rest at 0 and whose spread is no measured one, count so that their prior says nothing about the size; offsets
    of the detector do not count. ``config.size_balance`` scales the sum.

    Args:
        model: expressions and shape codes as linear codes (``landmark_model``); offsets, if any, count as shape codes.
        start: (K, P) first guess; shape codes are taken from its first row.
        seen: observations of the K frames.
        camera: camera of the landmarks' image.
        priors: priors of all codes (shape included), no smoothing.
        config: loss and iterations.
        steps: instead of ``config.shape_iterations``.
    """
    e, c = model.num_expressions, model.num_linear
    num, p = start.shape
    shape_at = np.arange(e, c)
    code_at = np.r_[0:e, c:p]
    shape_precision = priors.precision[shape_at]
    precision = priors.precision.copy()
    precision[shape_at] = 0.0
    alone = replace(priors, precision=precision)
    # Landmark errors of one face repeat from frame to frame: K pictures say no more than a few independent ones do.
    share = min(1.0, config.shape_evidence / num)
    codes = start.copy()
    codes[:, shape_at] = start[0, shape_at]

    def total(at: Linearisation, codes: np.ndarray, told: np.ndarray) -> float:
        volume = float(told @ np.log(np.maximum(codes[:, -1], 1e-6)))
        return share * float(at.cost.sum()) + 0.5 * float(np.square(codes[0, shape_at]) @ shape_precision) - volume

    def system(at: Linearisation, codes: np.ndarray, told: np.ndarray, damping: float) -> tuple[np.ndarray, np.ndarray]:
        hessian = at.hessian.astype(np.float64) * share
        gradient = at.gradient * share
        gradient[:, -1] -= told / codes[:, -1]
        hessian[:, -1, -1] += told / np.square(codes[:, -1])
        diagonal = np.arange(p)
        hessian[:, diagonal, diagonal] *= 1 + damping
        hessian[:, diagonal, diagonal] += 1e-9
        return hessian, gradient

    def told_by_data(at: Linearisation, codes: np.ndarray) -> np.ndarray:
        """Pull of each frame towards larger distance, (K,), in lengths determined: balances the priors' pull."""
        own = codes[:, :e]
        beyond = np.minimum(own - priors.lower[:e], 0.0) + np.maximum(own - priors.upper[:e], 0.0)
        pull = (own - priors.mean[:, :e]) * priors.precision[:e] + beyond * priors.limit_precision[:e]
        reduced, _, _ = _reduce(*system(at, codes, np.zeros(num), 0.0), code_at, shape_at)
        kept = np.diagonal(np.linalg.inv(reduced + np.diag(shape_precision))) * shape_precision
        lengths = np.sum(1.0 - np.clip(kept[: len(kept) - model.num_offsets], 0.0, 1.0))
        return config.size_balance * (share * np.sum(own * pull, axis=1) + lengths / num)

    here = linearise(model, codes, seen, camera, alone, config)
    damping = 1e-3
    for _ in range(config.shape_iterations if steps is None else steps):
        told = told_by_data(here, codes)
        cost = total(here, codes, told)
        reduced, pull, solved = _reduce(*system(here, codes, told, damping), code_at, shape_at)
        pull += shape_precision * codes[0, shape_at]
        shape_step = -np.linalg.solve(reduced + np.diag(shape_precision), pull)
        step = np.zeros_like(codes)
        step[:, shape_at] = shape_step
        step[:, code_at] = -solved[:, :, -1] - solved[:, :, :-1] @ shape_step
        trial = codes + _step_scale(step, codes).min() * step  # one factor for all: they share the shape
        there = linearise(model, trial, seen, camera, alone, config)
        after = total(there, trial, told)
        if np.isfinite(after) and after <= cost:
            codes, here = trial, there
            damping = max(damping / 8, 1e-6)
            if cost - after <= config.shape_tolerance:
                break
        else:
            damping *= 10
    told = told_by_data(here, codes)
    cost = total(here, codes, np.zeros(num))
    shape = codes[0, shape_at].copy()
    information, pull, _ = _reduce(*system(here, codes, told, 0.0), code_at, shape_at)
    information = 0.5 * (information + information.T)
    return ShapeSolution(shape, codes, cost, information, information @ shape - pull)
