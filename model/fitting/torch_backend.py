"""The solver of :mod:`model.fitting.solve` as batched torch, for a GPU or any other device.

Same cost, same steps: landmarks and their derivatives of all frames at once in float32, and a Levenberg-Marquardt step
that solves the banded system of all frames exactly, in float64. Where the CPU walks along the band, here every second
block is eliminated at once, then every second of those left, and so on, so that a clip takes log T rounds (block cyclic
reduction: Heller, "Some aspects of the cyclic reduction algorithm for block tridiagonal linear systems", 1976). The
host waits for the device once an iteration, to see whether it was the last. Sums run in another order than in the numba
kernels: results agree to the tolerance of the iterations, not to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from model.camera import Camera
from model.fitting.config import FitConfig
from model.fitting.kernels import NOISE_STEPS
from model.fitting.landmark_model import MOTION, LandmarkModel
from model.fitting.problem import PAIRS, Linearisation, Observations, Priors, smoothing_weights
from model.fitting.solve import MAX_LINEAR_STEP, MAX_STEP, MIN_ITERATIONS, ExtraTerm
from model.fitting.torch_points import Points, upload_points

FRAMES_AT_ONCE = {"cpu": 32, "cuda": 512}
"""Frames whose Jacobians exist together, about 2 MB each."""
_MIN_DEPTH = 0.02
"""Metres, as in the kernels: landmarks nearer to the camera carry no weight in a step."""
_WIDE = torch.float64
"""Codes, costs, gradients and the solution of the band."""


@runtime_checkable
class DeviceTerm(Protocol):
    """A further term of the cost that takes and gives tensors on the solver's device."""

    def on_device(self, codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Cost (T,), gradient (T, P) and Gauss-Newton matrix (T, P, P), any float, at codes (T, P) float64."""


@dataclass(frozen=True)
class _Frames:
    """What is constant while the codes of T frames are found, on a device."""

    points: Points
    """The landmarks as functions of the codes."""
    observed: Tensor
    """(T, L, 2) pixels."""
    weights: Tensor
    """(T, L)."""
    pairs: Tensor
    """(Q, 2) int64."""
    pair_weights: Tensor
    """(T, Q)."""
    scale: Tensor
    """(T,) 1 / standard deviation."""
    cauchy: float
    camera: Camera
    sway: Tensor
    """(T, 2, 3), see ``Observations``."""
    modes: Tensor
    """(K, 3, L)."""
    mean: Tensor
    """(T or 1, P) of the priors, and the other fields of Priors, wide."""
    precision: Tensor
    lower: Tensor
    upper: Tensor
    limit_precision: Tensor
    ties: tuple[tuple[int, int, float], ...]


@dataclass
class _State:
    """Cost and derivatives at one set of codes, on a device; see ``Linearisation``."""

    points: Tensor
    cost: Tensor
    gradient: Tensor
    hessian: Tensor

    def take(self, better: Tensor, other: _State) -> _State:
        """``other`` in the frames where ``better`` (T,) holds."""
        chosen = []
        for name in ("points", "cost", "gradient", "hessian"):
            mine, theirs = getattr(self, name), getattr(other, name)
            chosen.append(torch.where(better.reshape(-1, *[1] * (mine.dim() - 1)), theirs, mine))
        return _State(*chosen)


def linearise(
    model: LandmarkModel,
    codes: np.ndarray,
    seen: Observations,
    camera: Camera,
    priors: Priors,
    config: FitConfig,
    derive: bool = True,
    *,
    device: torch.device | str = "cpu",
) -> Linearisation:
    """:func:`model.fitting.problem.linearise` on a device: the same arguments and result."""
    place = torch.device(device)
    with torch.no_grad():
        frames = _upload(model, seen, camera, priors, config, place)
        state = _evaluate(frames, torch.as_tensor(codes, dtype=_WIDE, device=place), derive)
    return _download(state)


def solve_codes(
    model: LandmarkModel,
    start: np.ndarray,
    seen: Observations,
    camera: Camera,
    priors: Priors,
    config: FitConfig,
    iterations: int | None = None,
    extra: ExtraTerm | None = None,
    *,
    device: torch.device | str = "cuda",
) -> tuple[np.ndarray, Linearisation]:
    """:func:`model.fitting.solve.solve_codes` on a device: the same arguments and results.

    ``extra`` is asked on the device if it can be (``DeviceTerm``), else on the host, with the codes of every step.
    """
    place = torch.device(device)
    with torch.no_grad():
        frames = _upload(model, seen, camera, priors, config, place)
        codes = torch.as_tensor(start, dtype=_WIDE, device=place).clone()
        smooth = torch.as_tensor(priors.smooth, dtype=_WIDE, device=place)
        weights = smoothing_weights(seen, config) if priors.smooth.any() else np.zeros(0)
        triples = torch.as_tensor(weights, dtype=_WIDE, device=place)

        def evaluate(at: Tensor) -> _State:
            found = _evaluate(frames, at)
            if isinstance(extra, DeviceTerm):
                cost, gradient, hessian = extra.on_device(at)
                found.cost += cost
                found.gradient += gradient
                found.hessian += hessian
            elif extra is not None:
                cost, gradient, hessian = extra(at.cpu().numpy())
                found.cost += torch.as_tensor(cost, dtype=_WIDE, device=place)
                found.gradient += torch.as_tensor(gradient, dtype=_WIDE, device=place)
                found.hessian += torch.as_tensor(np.asarray(hessian, np.float32), device=place)
            return found

        here = evaluate(codes)
        share, slope = _smoothing(codes, triples, smooth)
        damping = torch.full_like(here.cost, 1e-3)
        for number in range(iterations if iterations is not None else config.iterations):
            damped = damping[:, None] * torch.diagonal(here.hessian, dim1=1, dim2=2) + 1e-9
            step, solved = _solve_band(here.hessian, damped, triples, smooth, -(here.gradient + slope))
            trial = codes + _step_scale(step, codes) * step
            there = evaluate(trial)
            before, after = here.cost + share, there.cost + _smoothing(trial, triples, smooth)[0]
            better = solved & torch.isfinite(after) & (after <= before * (1 + 1e-7))
            # All frames advance, or only those that gain by it: whichever leaves the lower total.
            mixed = torch.where(better[:, None], trial, codes)
            total, mixed_share = after.sum(), _smoothing(mixed, triples, smooth)[0]
            mixed_total = torch.where(better, there.cost, here.cost).sum() + mixed_share.sum()
            everyone = solved & torch.isfinite(total) & (total <= mixed_total)
            gain = before.sum() - torch.where(everyone, total, mixed_total)
            take = (better | everyone) & (gain > 0)
            codes = torch.where(take[:, None], trial, codes)
            here = here.take(take, there)
            share, slope = _smoothing(codes, triples, smooth)
            raised = torch.where(solved, damping * 10, (damping * 100).clamp_min(1e-4))
            damping = torch.where(better, damping / 8, raised).clamp(1e-6, 1e6)
            done = solved & (gain <= config.tolerance * before.sum())
            if number >= MIN_ITERATIONS and bool(done):
                break
        return codes.cpu().numpy(), _download(here)


def _upload(
    model: LandmarkModel, seen: Observations, camera: Camera, priors: Priors, config: FitConfig, place: torch.device
) -> _Frames:
    def single(array: np.ndarray) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(array, np.float32), device=place)

    def wide(array: np.ndarray) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(array, np.float64), device=place)

    return _Frames(
        upload_points(model, place),
        single(seen.landmarks), single(seen.weights), torch.as_tensor(PAIRS, device=place), single(seen.pair_weights),
        single(1.0 / seen.deviation), config.cauchy, camera,
        single(seen.sway), single(seen.modes),
        wide(priors.mean), wide(priors.precision), wide(priors.lower), wide(priors.upper),
        wide(priors.limit_precision), priors.ties,
    )  # fmt: skip


def _download(state: _State) -> Linearisation:
    points, cost, gradient, hessian = (
        getattr(state, name).cpu().numpy() for name in ("points", "cost", "gradient", "hessian")
    )
    return Linearisation(points, cost.astype(np.float64), gradient.astype(np.float64), hessian)


def _evaluate(frames: _Frames, codes: Tensor, derive: bool = True) -> _State:
    """Data terms piece by piece, and priors."""
    num, p = codes.shape
    at_once = FRAMES_AT_ONCE[codes.device.type]
    parts = [_data(frames, codes, slice(first, first + at_once), derive) for first in range(0, num, at_once)]
    points, cost, gradient, hessian = (torch.cat([part[i] for part in parts]) for i in range(4))
    away = codes - frames.mean
    beyond = (codes - frames.lower).clamp_max(0) + (codes - frames.upper).clamp_min(0)
    cost = cost + 0.5 * (away.square() @ frames.precision + beyond.square() @ frames.limit_precision)
    for i, j, precision in frames.ties:
        cost = cost + 0.5 * precision * (codes[:, i] - codes[:, j]).square()
    if not derive:
        return _State(points, cost, gradient, hessian)
    gradient = gradient + away * frames.precision + beyond * frames.limit_precision
    stiff = frames.precision + torch.where(beyond != 0, frames.limit_precision, 0.0)
    torch.diagonal(hessian, dim1=1, dim2=2).add_(stiff.to(hessian.dtype))
    for i, j, precision in frames.ties:
        pull = precision * (codes[:, i] - codes[:, j])
        gradient[:, i] += pull
        gradient[:, j] -= pull
        for row, column, sign in ((i, i, 1), (j, j, 1), (i, j, -1), (j, i, -1)):
            hessian[:, row, column] += sign * precision
    return _State(points, cost, gradient, hessian)


def _data(frames: _Frames, codes: Tensor, window: slice, derive: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Points, cost, gradient and Gauss-Newton matrix of landmarks and pairs; see the kernels for the formulas."""
    part = codes[window]
    num = len(part)
    placed = frames.points.placed(part)
    place = placed.at
    inverse = 1.0 / place[..., 2].clamp_min(_MIN_DEPTH)
    across, down = place[..., 0] * inverse, place[..., 1] * inverse
    camera = frames.camera
    points = torch.stack([camera.fx * across + camera.cx, camera.fy * down + camera.cy], dim=-1)

    scale = frames.scale[window][:, None]
    usable = (place[..., 2] >= _MIN_DEPTH) & (frames.weights[window] > 0)
    weight = torch.where(usable, frames.weights[window], 0.0)
    residual = torch.where(usable[..., None], (points - frames.observed[window]) * scale[..., None], 0.0)
    first, second = frames.pairs.unbind(1)
    between = residual[:, first] - residual[:, second]
    pair_weight = torch.where(usable[:, first] & usable[:, second], frames.pair_weights[window], 0.0)
    residuals = torch.cat([residual, between], dim=1)
    weights = torch.cat([weight, pair_weight], dim=1)
    cc = frames.cauchy**2
    ratio = residuals.square().sum(-1) / cc
    noise = _Noise.of(frames, window, residuals, weights, cc) if len(frames.modes) else None
    if noise is not None:
        residuals = noise.residuals
        ratio = residuals.square().sum(-1) / cc
    cost = 0.5 * cc * (weights * torch.log1p(ratio)).sum(1, dtype=_WIDE)
    if noise is not None:
        cost = cost + 0.5 * noise.amount.square().sum(1, dtype=_WIDE)
    if not derive:
        return points, cost, points.new_zeros(num, 0), points.new_zeros(num, 0, 0)

    # Derivatives of a residual by a displacement of its landmark.
    k, zero = scale * inverse, torch.zeros_like(across)
    pulls = torch.stack(
        [k * camera.fx, zero, -k * camera.fx * across, zero, k * camera.fy, -k * camera.fy * down], dim=-1
    ).unflatten(-1, (2, 3))  # (T, L, 2, 3)
    jacobian = placed.jacobian(pulls)

    factor = (weights / (1 + ratio)).sqrt()[..., None]
    rows = torch.cat([jacobian, jacobian[:, first] - jacobian[:, second]], dim=1).mul_(factor[..., None]).flatten(1, 2)
    weighted = (factor * residuals).flatten(1)[..., None]
    gradient, hessian = (rows.mT @ weighted)[..., 0], rows.mT @ rows
    if noise is not None:
        noise.eliminate(rows, weighted, factor, gradient, hessian)
    return points, cost, gradient.to(_WIDE), hessian


@dataclass(frozen=True)
class _Noise:
    """Errors that the landmarks of a frame share, found and eliminated frame by frame; see the kernels."""

    seen: Tensor
    """(T, K, L + Q, 2) what an amount of 1 adds to the residuals."""
    amount: Tensor
    """(T, K) the most probable amounts."""
    residuals: Tensor
    """(T, L + Q, 2) with them."""

    @staticmethod
    def of(frames: _Frames, window: slice, raw: Tensor, weights: Tensor, cc: float) -> _Noise:
        """Find the amounts at raw residuals (T, L + Q, 2) with weights (T, L + Q)."""
        seen = torch.einsum("tix,kxl->tkli", frames.sway[window], frames.modes)
        first, second = frames.pairs.unbind(1)
        seen = torch.cat([seen, seen[:, :, first] - seen[:, :, second]], dim=2)
        residuals, amount = raw, raw.new_zeros(seen.shape[:2])
        for _ in range(NOISE_STEPS):
            now = weights / (1 + residuals.square().sum(-1) / cc)
            rows = (now[:, None, :, None] * seen).flatten(2)
            right = -(rows @ raw.flatten(1)[..., None])
            amount = torch.cholesky_solve(right, _noise_root(rows, seen.flatten(2)))[..., 0]
            residuals = raw + torch.einsum("tk,tkli->tli", amount, seen)
        return _Noise(seen, amount, residuals)

    def eliminate(self, rows: Tensor, weighted: Tensor, factor: Tensor, gradient: Tensor, hessian: Tensor) -> None:
        """Schur complement, in place: gradient (T, P) and hessian (T, P, P) of the Jacobian ``rows`` (T, N, P)."""
        own = (factor[:, None] * self.seen).flatten(2)
        slope = self.amount[..., None] + own @ weighted
        cross = torch.linalg.solve_triangular(
            _noise_root(own, own), torch.cat([own @ rows, slope], dim=2), upper=False
        )
        both = cross[..., :-1].mT @ cross
        hessian -= both[..., :-1]
        gradient -= both[..., -1]


def _noise_root(rows: Tensor, other: Tensor) -> Tensor:
    """Cholesky factors (T, K, K) of 1 + rows other^T, which is symmetric."""
    matrix = rows @ other.mT
    torch.diagonal(matrix, dim1=1, dim2=2).add_(1.0)
    return torch.linalg.cholesky_ex(matrix)[0]


def _bend(codes: Tensor, root: Tensor) -> Tensor:
    """Second differences (T - 2, P) over time, times the root of their weights (T - 2,)."""
    return (codes[:-2] - 2 * codes[1:-1] + codes[2:]) * root[:, None]


def _unbend(bends: Tensor, num: int) -> Tensor:
    """Transpose of ``_bend`` with weights of 1."""
    out = bends.new_zeros(num, bends.shape[1])
    out[:-2] += bends
    out[1:-1] -= 2 * bends
    out[2:] += bends
    return out


def _smoothing(codes: Tensor, triples: Tensor, precision: Tensor) -> tuple[Tensor, Tensor]:
    """Cost (T,) and gradient (T, P) of the second differences; a frame's cost is a third of those it takes part in."""
    num = len(codes)
    if not len(triples):
        return codes.new_zeros(num), torch.zeros_like(codes)
    root = triples.sqrt()
    bends = _bend(codes, root)
    each = bends.square() @ precision / 6.0
    share = codes.new_zeros(num)
    for start in range(3):
        share[start : start + len(each)] += each
    return share, _unbend(precision * bends * root[:, None], num)


def _solve_band(
    hessian: Tensor, damping: Tensor, triples: Tensor, precision: Tensor, right: Tensor
) -> tuple[Tensor, Tensor]:
    """Solve (hessian + diag(damping) + smoothing) x = right for all frames together.

    Args:
        hessian: (T, P, P) blocks.
        damping: (T, P) added to their diagonals.
        triples: (T - 2,) weights of the second differences; empty for no smoothing.
        precision: (P,) weight of second differences.
        right: (T, P) float64.

    Returns:
        x (T, P), and whether the matrix was positive definite (a bool on the device); if not, x is 0.
    """
    num, p = right.shape
    blocks = hessian.to(_WIDE)
    torch.diagonal(blocks, dim1=1, dim2=2).add_(damping)
    if not len(triples):
        factors, failed = torch.linalg.cholesky_ex(blocks)
        solved = torch.cholesky_solve(right[..., None], factors)[..., 0]
    else:
        second = right.new_zeros(num)  # coupling of frame t and t - 2, then of t and t - 1
        second[2:] = triples
        first = right.new_zeros(num)
        first[1:-1] -= 2 * triples
        first[2:] -= 2 * triples
        own = right.new_zeros(num)
        own[:-2] += triples
        own[1:-1] += 4 * triples
        own[2:] += triples
        torch.diagonal(blocks, dim1=1, dim2=2).add_(own[:, None] * precision)
        # Two frames a block make the band block tridiagonal. An odd last frame gets a companion that is alone.
        pairs = (num + 1) // 2
        if num % 2:
            blocks = torch.cat([blocks, torch.eye(p, dtype=_WIDE, device=right.device)[None]])
            right = torch.cat([right, right.new_zeros(1, p)])
            first, second = (torch.cat([values, values.new_zeros(1)]) for values in (first, second))
        first, second = (values[:, None] * precision for values in (first, second))
        diagonal = right.new_zeros(pairs, 2 * p, 2 * p)
        diagonal[:, :p, :p], diagonal[:, p:, p:] = blocks[0::2], blocks[1::2]
        torch.diagonal(diagonal[:, p:, :p], dim1=1, dim2=2).copy_(first[1::2])
        torch.diagonal(diagonal[:, :p, p:], dim1=1, dim2=2).copy_(first[1::2])
        lower = right.new_zeros(pairs, 2 * p, 2 * p)
        torch.diagonal(lower[:, :p, :p], dim1=1, dim2=2).copy_(second[0::2])
        torch.diagonal(lower[:, p:, p:], dim1=1, dim2=2).copy_(second[1::2])
        torch.diagonal(lower[:, :p, p:], dim1=1, dim2=2).copy_(first[0::2])
        solved, failed = _cyclic_reduction(diagonal, lower, right.reshape(pairs, 2 * p))
        solved = solved.reshape(-1, p)[:num]
    good = (failed == 0).all() & torch.isfinite(solved).all()
    return torch.where(good, solved, 0.0), good


def _cyclic_reduction(diagonal: Tensor, lower: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Solve a symmetric positive definite block tridiagonal system.

    Args:
        diagonal: (N, M, M).
        lower: (N, M, M): the block left of the diagonal; the first is not looked at.
        right: (N, M).

    Returns:
        The solution (N, M), and the failures of all factorisations (integers, 0 for none).
    """
    count, size, _ = diagonal.shape
    if count == 1:
        factors, failed = torch.linalg.cholesky_ex(diagonal)
        return torch.cholesky_solve(right[..., None], factors)[..., 0], failed
    # Block j = 2 k + 1 stands between the even blocks k and k + 1; behind the last one there may be none.
    to_left = lower[1::2]
    from_right = lower[2::2]
    odd, between = len(to_left), len(from_right)
    to_right = right.new_zeros(odd, size, size)
    to_right[:between] = from_right.mT
    factors, failed = torch.linalg.cholesky_ex(diagonal[1::2])
    known = torch.cat([to_left, to_right, right[1::2, :, None]], dim=2)
    by_left, by_right, own = torch.cholesky_solve(known, factors).split([size, size, 1], dim=2)
    rest, values = diagonal[0::2].clone(), right[0::2].clone()
    rest[:odd] -= to_left.mT @ by_left
    values[:odd] -= (to_left.mT @ own)[..., 0]
    rest[1 : between + 1] -= from_right @ by_right[:between]
    values[1 : between + 1] -= (from_right @ own[:between])[..., 0]
    coupled = torch.zeros_like(rest)
    coupled[1 : between + 1] = -(from_right @ by_left[:between])
    even, others = _cyclic_reduction(rest, coupled, values)
    solution = torch.empty_like(right)
    solution[0::2] = even
    solution[1::2] = (own - by_left @ even[:odd, :, None])[..., 0]
    solution[1 : 2 * between : 2] -= (by_right[:between] @ even[1 : between + 1, :, None])[..., 0]
    return solution, torch.cat([failed, others])


def _step_scale(step: Tensor, codes: Tensor) -> Tensor:
    """Factors (T, 1) in (0, 1] that keep frames from turning or moving too far in one step."""
    angle = step[:, -15:-3].abs().amax(1) / MAX_STEP
    depth = step[:, -1].abs() / (MAX_STEP * codes[:, -1].abs().clamp_min(1e-3))
    largest = torch.maximum(angle, depth)
    if step.shape[1] > MOTION:
        largest = torch.maximum(largest, step[:, :-15].abs().amax(1) / MAX_LINEAR_STEP)
    return (1.0 / largest.clamp_min(1.0))[:, None]
