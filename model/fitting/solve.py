"""Levenberg-Marquardt for all frames of a clip together, and for the shape that they share.

The frames of a clip are coupled only by the smoothing of second differences. Each step therefore solves one large
block-diagonal system plus a band by conjugate gradients, preconditioned by the frames' own Cholesky factors: all frames
advance together, none waits for the one before it, and the last is treated like every other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from model.camera import Camera
from model.fitting import kernels
from model.fitting.config import FitConfig
from model.fitting.landmark_model import LandmarkModel
from model.fitting.problem import Linearisation, Observations, Priors, linearise

ExtraTerm = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]
"""A term of the cost that is no landmark: codes (T, P) to cost (T,), gradient (T, P) and Gauss-Newton matrix
(T, P, P), floats of any kind, finite. It is asked again for every trial step."""

_MAX_STEP = 0.35
"""Largest change of an angle (radians) in one step; also the largest relative change of the distance."""
_MIN_ITERATIONS = 2
"""Iterations done in any case: the first steps of badly started frames may all be refused."""
_MAX_LINEAR_STEP = 2.0
"""Largest change of an expression or shape code in one step."""


def _bend(codes: np.ndarray, triples: np.ndarray) -> np.ndarray:
    """Second differences (T - 2, P) over time, 0 where one of the three frames was not seen."""
    return (codes[:-2] - 2 * codes[1:-1] + codes[2:]) * triples[:, None]


def _unbend(bends: np.ndarray, num: int) -> np.ndarray:
    """Transpose of ``_bend``."""
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


def _conjugate_gradients(
    hessian: np.ndarray, extra: np.ndarray, triples: np.ndarray, precision: np.ndarray, right: np.ndarray, steps: int
) -> np.ndarray:
    """Solve (hessian + diag(extra) + smoothing) x = right for all frames.

    Args:
        hessian: (T, P, P) float32 blocks.
        extra: (T, P) damping added to their diagonals.
        triples: (T - 2,) 1 where a second difference counts.
        precision: (P,) weight of second differences.
        right: (T, P).
        steps: at most so many iterations.
    """
    num, p = right.shape
    smooth = np.zeros((num, p))
    if len(triples):
        counts = _unbend(np.zeros((len(triples), 1)), num)[:, 0]
        counts[:-2] += triples
        counts[1:-1] += 4 * triples
        counts[2:] += triples
        smooth = counts[:, None] * precision
    blocks = hessian.copy()
    diagonal = np.arange(p)
    blocks[:, diagonal, diagonal] += (extra + smooth).astype(np.float32)
    factors = np.zeros_like(blocks)
    kernels.cholesky(blocks, factors)
    solved, product = np.empty_like(right), np.empty_like(right)
    x = np.zeros_like(right)
    residual = right.copy()
    kernels.cholesky_solve(factors, residual, solved)
    if not len(triples) or not precision.any():
        return solved
    direction = solved.copy()
    energy = float(np.sum(residual * solved))
    first = energy
    for _ in range(steps):
        if not energy > 1e-6 * first or first <= 0:
            break
        kernels.multiply(hessian, direction, product)
        product += extra * direction + _unbend(precision * _bend(direction, triples), num)
        length = energy / float(np.sum(direction * product))
        x += length * direction
        residual -= length * product
        kernels.cholesky_solve(factors, residual, solved)
        fresh = float(np.sum(residual * solved))
        direction = solved + (fresh / energy) * direction
        energy = fresh
    return x


def _step_scale(step: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Factors (T, 1) in (0, 1] that keep frames from turning or moving too far in one step."""
    angle = np.abs(step[:, -15:-3]).max(axis=1) / _MAX_STEP
    depth = np.abs(step[:, -1]) / (_MAX_STEP * np.maximum(np.abs(codes[:, -1]), 1e-3))
    linear = np.abs(step[:, :-15]).max(axis=1, initial=0.0) / _MAX_LINEAR_STEP
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
        config: the loss and the number of conjugate-gradient iterations.
        iterations: instead of ``config.iterations``.
        extra: added to the cost of every frame, e.g. a photometric term.

    Returns:
        Codes (T, P) of the lowest cost found for each frame, and the linearisation there.
    """
    codes = start.copy()
    num, _ = codes.shape
    window = seen.seen
    triples = (window[:-2] & window[1:-1] & window[2:]).astype(np.float64) if num > 2 else np.zeros(0)
    if not priors.smooth.any():
        triples = np.zeros(0)

    def smoothing(at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not len(triples):
            return np.zeros(num), np.zeros_like(at)
        bends = _bend(at, triples)
        return _share(bends, priors.smooth, num), _unbend(priors.smooth * bends, num)

    def evaluate(at: np.ndarray) -> Linearisation:
        found = linearise(model, at, seen, camera, priors, config)
        if extra is not None:
            cost, gradient, hessian = extra(at)
            found.cost += cost
            found.gradient += gradient
            found.hessian += np.asarray(hessian, dtype=np.float32)
        return found

    here = evaluate(codes)
    share, slope = smoothing(codes)
    damping = np.full(num, 1e-3)
    for number in range(iterations if iterations is not None else config.iterations):
        diagonal = np.diagonal(here.hessian, axis1=1, axis2=2)
        damped = damping[:, None] * diagonal + 1e-9
        step = _conjugate_gradients(
            here.hessian, damped, triples, priors.smooth, -(here.gradient + slope), config.cg_iterations
        )
        trial = codes + _step_scale(step, codes) * step
        there = evaluate(trial)
        there_share, _ = smoothing(trial)
        before, after = here.cost + share, there.cost + there_share
        better = after <= before * (1 + 1e-7)
        better &= np.isfinite(after)
        codes[better] = trial[better]
        for name in ("points", "cost", "gradient", "hessian"):
            getattr(here, name)[better] = getattr(there, name)[better]
        share, slope = smoothing(codes)
        damping = np.clip(np.where(better, damping / 8, damping * 10), 1e-6, 1e6)
        gain = float(np.sum((before - after)[better]))
        # Near the optimum float32 noise refuses steps of some frames: they are done, and keep no other waiting.
        if number >= _MIN_ITERATIONS and gain <= config.tolerance * float(np.sum(before)):
            break
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
    reduced -= np.einsum("kcs,kct->st", cross, solved[:, :, :-1])
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
) -> ShapeSolution:
    """Fit one shape and the codes of K frames together, the codes eliminated by Schur complements.

    Args:
        model: expressions and shape codes as linear codes (``landmark_model``).
        start: (K, P) first guess; shape codes are taken from its first row.
        seen: observations of the K frames.
        camera: camera of the landmarks' image.
        priors: priors of all codes (shape included), no smoothing.
        config: loss and iterations.
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

    def total(at: Linearisation, codes: np.ndarray) -> float:
        return share * float(at.cost.sum()) + 0.5 * float(np.square(codes[0, shape_at]) @ shape_precision)

    def system(at: Linearisation, damping: float) -> tuple[np.ndarray, np.ndarray]:
        hessian = at.hessian.astype(np.float64) * share
        diagonal = np.arange(p)
        hessian[:, diagonal, diagonal] *= 1 + damping
        hessian[:, diagonal, diagonal] += 1e-9
        return hessian, at.gradient * share

    here = linearise(model, codes, seen, camera, alone, config)
    cost = total(here, codes)
    damping = 1e-3
    for _ in range(config.shape_iterations):
        reduced, pull, solved = _reduce(*system(here, damping), code_at, shape_at)
        pull += shape_precision * codes[0, shape_at]
        shape_step = -np.linalg.solve(reduced + np.diag(shape_precision), pull)
        step = np.zeros_like(codes)
        step[:, shape_at] = shape_step
        step[:, code_at] = -solved[:, :, -1] - solved[:, :, :-1] @ shape_step
        trial = codes + _step_scale(step, codes).min() * step  # one factor for all: they share the shape
        there = linearise(model, trial, seen, camera, alone, config)
        after = total(there, trial)
        if np.isfinite(after) and after <= cost:
            gain = cost - after
            codes, here, cost = trial, there, after
            damping = max(damping / 8, 1e-6)
            if gain <= config.tolerance * cost:
                break
        else:
            damping *= 10
    shape = codes[0, shape_at].copy()
    information, pull, _ = _reduce(*system(here, 0.0), code_at, shape_at)
    information = 0.5 * (information + information.T)
    return ShapeSolution(shape, codes, cost, information, information @ shape - pull)
