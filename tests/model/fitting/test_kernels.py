from __future__ import annotations

from dataclasses import replace

import numba
import numpy as np
import pytest
import torch

from model.fitting import reference
from model.fitting.config import FitConfig
from model.fitting.landmark_model import LandmarkModel, landmark_model
from model.fitting.problem import PAIRS, Linearisation, Observations, Priors, linearise, observe
from tests.model.fitting.conftest import CAMERA
from tests.model.fitting.made_head import NAMES, MadeHead, made_head

E, S = len(NAMES), 8
CONFIG = FitConfig()


@pytest.fixture(scope="module")
def bent() -> MadeHead:
    """A head with pose correctives, whose every code moves something."""
    return made_head(S, correctives=True, dtype=torch.float64)


def scene(head: MadeHead, num: int = 5) -> tuple[LandmarkModel, np.ndarray, Observations]:
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(num, E + S + 15)) * 0.2
    codes[:, E : E + S] = rng.normal(size=S)
    codes[:, -3:] = 0.01, 0.1, 0.9
    seen = np.ones(num, dtype=bool)
    seen[1] = False
    noisy = project(head, torch.as_tensor(codes)).numpy() + rng.normal(size=(num, 478, 2)) * 3
    closed = rng.uniform(0, 1, (num, 2))
    return landmark_model(head), codes, observe(noisy, seen, closed, rng.uniform(0.2, 1, 478), CONFIG)  # type: ignore[arg-type]


def project(head: MadeHead, codes: torch.Tensor) -> torch.Tensor:
    motion = torch.cat([codes[:, :E], codes[:, E + S :]], 1)
    return reference.landmarks(head, codes[:, E : E + S], motion, CAMERA)  # type: ignore[arg-type]


def no_priors(p: int) -> Priors:
    zero, none = np.zeros(p), np.full(p, np.inf)
    return Priors(np.zeros((1, p)), zero, -none, none, zero, (), zero)


def evaluate(model: LandmarkModel, codes: np.ndarray, seen: Observations, derive: bool = True) -> Linearisation:
    return linearise(model, codes, seen, CAMERA, no_priors(codes.shape[1]), CONFIG, derive)


def reference_cost(head: MadeHead, codes: torch.Tensor, seen: Observations) -> torch.Tensor:
    arrays = (seen.landmarks, seen.weights, seen.pair_weights, seen.deviation)
    observed, weights, pair_weights, deviation = (torch.as_tensor(a, dtype=torch.float64) for a in arrays)
    return reference.data_cost(project(head, codes), observed, weights, pair_weights, deviation, CONFIG.cauchy)


def test_values_and_gradients_agree_with_the_reference(bent: MadeHead) -> None:
    model, codes, seen = scene(bent)
    found = evaluate(model, codes, seen)
    at = torch.tensor(codes, requires_grad=True)
    expected = reference_cost(bent, at, seen)
    (gradient,) = torch.autograd.grad(expected.sum(), at)
    np.testing.assert_allclose(found.points, project(bent, at).detach().numpy(), atol=2e-3)
    np.testing.assert_allclose(found.cost, expected.detach().numpy(), rtol=1e-5)
    scale = np.abs(gradient.numpy()).max(axis=0)
    assert (scale > 0).all(), "every code must move some landmark, or the comparison says nothing about it"
    assert (np.abs(found.gradient - gradient.numpy()) <= 2e-4 * scale).all()
    assert found.cost[1] == 0 and not found.gradient[1].any(), "a frame without a face must pull at nothing"


def test_gradient_is_the_finite_difference_of_the_cost(bent: MadeHead) -> None:
    model, codes, seen = scene(bent, 3)
    gradient = evaluate(model, codes, seen).gradient
    for column in range(codes.shape[1]):
        step = 2e-4
        up, down = codes.copy(), codes.copy()
        up[:, column] += step
        down[:, column] -= step
        slope = (evaluate(model, up, seen, False).cost - evaluate(model, down, seen, False).cost) / (2 * step)
        np.testing.assert_allclose(gradient[:, column], slope, rtol=0.03, atol=0.03 * np.abs(gradient).max())


def test_gauss_newton_matrix_is_that_of_the_weighted_residuals(bent: MadeHead) -> None:
    model, codes, seen = scene(bent, 2)
    codes, seen = codes[:1], seen.select(slice(0, 1))
    found = evaluate(model, codes, seen).hessian[0].astype(np.float64)
    steps = torch.eye(codes.shape[1], dtype=torch.float64) * 1e-5
    ends = [project(bent, torch.as_tensor(codes) + sign * steps).numpy() for sign in (1, -1)]
    jacobian = ((ends[0] - ends[1]) / 2e-5).transpose(1, 2, 0)
    residual = (project(bent, torch.as_tensor(codes))[0].numpy() - seen.landmarks[0]) / seen.deviation[0]
    jacobian = jacobian / seen.deviation[0]
    rows = np.concatenate([jacobian, jacobian[PAIRS[:, 0]] - jacobian[PAIRS[:, 1]]])
    residuals = np.concatenate([residual, residual[PAIRS[:, 0]] - residual[PAIRS[:, 1]]])
    weights = np.concatenate([seen.weights[0], seen.pair_weights[0]])
    weights = weights / (1 + np.square(residuals).sum(1) / CONFIG.cauchy**2)
    expected = np.einsum("l,lxi,lxj->ij", weights, rows, rows)
    root = np.sqrt(np.diag(expected))
    np.testing.assert_allclose(found / np.outer(root, root), expected / np.outer(root, root), atol=1e-4)
    assert (found == found.T).all()


def test_result_does_not_depend_on_threads_or_on_the_batch(bent: MadeHead) -> None:
    model, codes, seen = scene(bent, 21)
    before = numba.get_num_threads()
    whole = evaluate(model, codes, seen)
    try:
        numba.set_num_threads(1)
        part = evaluate(model, codes[13:], seen.select(slice(13, None)))
    finally:
        numba.set_num_threads(before)
    for name in ("points", "cost", "gradient", "hessian"):
        assert (getattr(whole, name)[13:] == getattr(part, name)).all(), name


def with_noise(seen: Observations, count: int) -> Observations:
    rng = np.random.default_rng(6)
    sway, waves = rng.normal(size=(len(seen.seen), 2, 3)), np.cumsum(rng.normal(size=(count, 3, 478)), axis=2)
    modes = waves / waves.std(axis=2, keepdims=True)
    return replace(seen, sway=sway.astype(np.float32), modes=modes.astype(np.float32))


@pytest.mark.parametrize("count", [1, 4, 7])
def test_shared_noise_is_eliminated_as_if_it_had_codes_of_its_own(bent: MadeHead, count: int) -> None:
    model, codes, seen = scene(bent, num=2)
    seen = with_noise(seen, count)
    config = replace(CONFIG, cauchy=1e4)  # least squares: the amounts of noise are found in one step
    found = linearise(model, codes, seen, CAMERA, no_priors(codes.shape[1]), config)
    pairs = torch.as_tensor(PAIRS)
    seen_modes = torch.as_tensor(np.einsum("tix,kxl->tlik", seen.sway, seen.modes), dtype=torch.float64)
    frame = 0

    def weighted(r: torch.Tensor) -> torch.Tensor:
        """Residuals (478, 2, ...) and those of pairs times the roots of their weights, (rows, ...)."""
        w = torch.as_tensor(seen.weights[frame], dtype=torch.float64)
        v = torch.as_tensor(seen.pair_weights[frame], dtype=torch.float64)
        v = torch.where((w[pairs] > 0).all(1), v, 0.0)
        both = torch.cat([r, r[pairs[:, 0]] - r[pairs[:, 1]]])
        return (torch.cat([w, v]).sqrt().reshape(-1, *[1] * (r.dim() - 1)) * both).flatten(0, 1)

    def residual(at: torch.Tensor) -> torch.Tensor:
        points = project(bent, at[None])[0] - torch.as_tensor(seen.landmarks[frame], dtype=torch.float64)
        return weighted(points / float(seen.deviation[frame]))

    noise = weighted(seen_modes[frame])
    precision = torch.eye(count) + noise.mT @ noise
    at = torch.tensor(codes[frame])
    steps = 1e-5 * torch.eye(len(at), dtype=torch.float64)
    r, jacobian = residual(at), torch.stack([(residual(at + h) - residual(at - h)) / 2e-5 for h in steps], dim=1)
    left = torch.eye(len(r)) - noise @ torch.linalg.solve(precision, noise.mT)
    hessian = jacobian.mT @ left @ jacobian
    np.testing.assert_allclose(found.cost[frame], 0.5 * float(r @ left @ r), rtol=1e-4)
    plain = (jacobian.mT @ jacobian).numpy()
    scale = np.sqrt(np.diagonal(plain)) + 1e-9
    assert np.abs((plain - hessian.numpy()) / np.outer(scale, scale)).max() > 0.05, "the noise must matter"
    assert np.abs((found.hessian[frame] - hessian.numpy()) / np.outer(scale, scale)).max() < 2e-4
    expected = (jacobian.mT @ left @ r).numpy()
    assert np.abs((found.gradient[frame] - expected) / (scale * float(r.norm()))).max() < 2e-4


def test_shared_noise_explains_and_a_face_unseen_has_none(bent: MadeHead) -> None:
    model, codes, seen = scene(bent)
    noisy = with_noise(seen, 4)
    plain, found = evaluate(model, codes, seen), evaluate(model, codes, noisy)
    there = seen.seen
    assert (found.cost[there] < plain.cost[there]).all()
    assert (found.cost[~there] == 0).all() and not found.gradient[~there].any()
    np.testing.assert_array_equal(found.points, plain.points)
    np.testing.assert_array_equal(evaluate(model, codes, noisy, derive=False).cost, found.cost)
    assert np.linalg.eigvalsh(found.hessian[there].astype(np.float64)).min() > -1e-4 * found.hessian[there].max()
