"""The torch solver against the numba one. On the CPU in every run, on a GPU where there is one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from model.fitting import problem, solve, torch_backend
from model.fitting.backend import solver_for
from model.fitting.config import FitConfig
from model.fitting.fit import FitResult, fit_landmarks
from model.fitting.landmark_model import LandmarkModel, landmark_model
from model.fitting.problem import make_priors, observe
from rsat_data.errors import ConfigError
from tests.model.fitting.conftest import CAMERA, Truth
from tests.model.fitting.made_head import NAMES, made_head

E = len(NAMES)
CONFIG = FitConfig(expression_sd=0.5, tolerance=1e-5)
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.fixture
def device(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA GPU")
    return name


def scene(shape_known: bool, num: int = 16) -> tuple[LandmarkModel, np.ndarray, problem.Observations, problem.Priors]:
    """A head with correctives in random poses, some landmarks weightless, a frame unseen and one behind the camera."""
    rng = np.random.default_rng(4)
    head = made_head(8, correctives=True, dtype=torch.float64)
    model = landmark_model(head)  # type: ignore[arg-type]
    if shape_known:
        model = model.with_shape(rng.normal(size=8))
    codes = rng.normal(size=(num, model.num_codes)) * 0.25
    codes[:, -3:] = 0.01, 0.1, 0.9
    codes[7, -1] = -0.5
    codes[8, -15:-3] = 0.0
    trust = np.where(rng.random(478) < 0.1, 0.0, rng.uniform(0.3, 1, 478))
    seen = np.ones(num, dtype=bool)
    seen[3] = False
    seen_at = observe(rng.uniform(100, 400, (num, 478, 2)), seen, rng.uniform(0, 1, (num, 2)), trust, CONFIG)
    sway, modes = rng.normal(size=(num, 2, 3)), 0.3 * rng.normal(size=(5, 3, 478))
    seen_at = replace(seen_at, sway=sway.astype(np.float32), modes=modes.astype(np.float32))
    return model, codes, seen_at, make_priors(model, rng.uniform(0, 0.3, (num, E + 1)), CONFIG)


@pytest.mark.parametrize("device", DEVICES, indirect=True)
@pytest.mark.parametrize("shape_known", [True, False])
@pytest.mark.parametrize("at_once", [7, 512])
def test_derivatives_are_those_of_the_kernels(
    device: str, shape_known: bool, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(torch_backend.FRAMES_AT_ONCE, device, at_once)
    model, codes, seen, priors = scene(shape_known)
    fast = problem.linearise(model, codes, seen, CAMERA, priors, CONFIG)
    ours = torch_backend.linearise(model, codes, seen, CAMERA, priors, CONFIG, device=device)
    np.testing.assert_allclose(ours.points, fast.points, rtol=1e-5, atol=2e-3)
    np.testing.assert_allclose(ours.cost, fast.cost, rtol=1e-5)
    scale = np.abs(fast.gradient).max(axis=0)
    assert (np.abs(ours.gradient - fast.gradient) <= 1e-5 * scale).all()
    root = np.sqrt(np.diagonal(fast.hessian, axis1=1, axis2=2)) + 1e-3
    size = root[:, :, None] * root[:, None]
    assert (np.abs(ours.hessian - fast.hessian) <= 1e-4 * size).all()
    for name in ("points", "cost", "gradient", "hessian"):
        mine, theirs = getattr(ours, name), getattr(fast, name)
        assert mine.dtype == theirs.dtype and mine.shape == theirs.shape, name
    cheap = torch_backend.linearise(model, codes, seen, CAMERA, priors, CONFIG, derive=False, device=device)
    np.testing.assert_allclose(cheap.cost, ours.cost, rtol=1e-6)


@pytest.mark.parametrize("num", [1, 2, 3, 4, 5, 6, 9, 16, 17, 31])
def test_a_step_solves_the_coupled_system(num: int) -> None:
    """Smoothing a million times as stiff as the data, gaps in it, any number of frames."""
    rng = np.random.default_rng(num)
    p = 5
    root = rng.normal(size=(num, p, 2 * p))
    hessian, damping = (root @ root.transpose(0, 2, 1)).astype(np.float32), rng.uniform(0, 1, (num, p))
    precision, right = np.array([0.0, 1e6, 30.0, 1e4, 1e-3]), rng.normal(size=(num, p))
    triples = (rng.random(max(0, num - 2)) < 0.8).astype(float)
    whole = np.zeros((num, p, num, p))
    for frame in range(num):
        whole[frame, :, frame] = hessian[frame] + np.diag(damping[frame])
    for start, weight in enumerate(triples):
        row = np.zeros(num)
        row[start : start + 3] = 1, -2, 1
        for code in range(p):
            whole[:, code, :, code] += weight * precision[code] * np.outer(row, row)
    expected = np.linalg.solve(whole.reshape(num * p, -1), right.reshape(-1)).reshape(num, p)
    given = [torch.as_tensor(array) for array in (hessian, damping, triples, precision, right)]
    found, solved = torch_backend._solve_band(*given)
    assert bool(solved)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=1e-8 * np.abs(expected).max())


def test_an_indefinite_system_is_told_and_gives_no_step() -> None:
    hessian = torch.eye(4).repeat(5, 1, 1)
    hessian[1, 0, 1] = hessian[1, 1, 0] = 5.0
    right = torch.ones(5, 4, dtype=torch.float64)
    for triples in (torch.zeros(0), torch.ones(3)):
        precision = torch.full((4,), 1e-3, dtype=torch.float64)
        step, solved = torch_backend._solve_band(hessian, torch.zeros_like(right), triples.double(), precision, right)
        assert not bool(solved) and not step.any()


def motion(result: FitResult) -> np.ndarray:
    return np.concatenate([result.expression, result.jaw, result.eyes, result.rotation, result.translation], axis=1)


def both(model: LandmarkModel, landmarks: np.ndarray, valid: np.ndarray, device: str, **more: Any) -> list[FitResult]:
    name = "torch" if device == "cpu" else device
    config = more.pop("config", CONFIG)
    return [
        fit_landmarks(model, landmarks, valid, CAMERA, config=config, solve=solver_for(where), **more)
        for where in ("cpu", name)
    ]


@pytest.mark.parametrize("device", DEVICES, indirect=True)
def test_ends_at_the_same_codes(device: str, model: LandmarkModel, truth: Truth) -> None:
    """Noise, outliers and unseen frames; run to the end, the two agree far below what the noise does to the codes."""
    rng = np.random.default_rng(2)
    spoilt = truth.landmarks[:30] + rng.normal(size=(30, 478, 2))
    spoilt[rng.random(spoilt.shape[:2]) < 0.05] += 30
    valid = np.ones(len(spoilt), dtype=bool)
    valid[[0, 12, 13, 14]] = False
    config = FitConfig(expression_sd=0.5, tolerance=1e-7, iterations=14)
    fast, ours = both(model, spoilt, valid, device, config=config)
    assert (fast.valid == ours.valid).all()
    np.testing.assert_allclose(motion(ours), motion(fast), atol=2e-3)
    np.testing.assert_allclose(ours.reprojection_px, fast.reprojection_px, atol=5e-3)
    assert np.array_equal(ours.shape, fast.shape)


@pytest.mark.parametrize("device", DEVICES, indirect=True)
def test_windows_and_a_further_term_work_the_same_way(device: str, model: LandmarkModel, truth: Truth) -> None:
    pull = 1e6
    asked = []

    def extra(window: slice) -> Any:
        def term(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            asked.append(codes.shape)
            gradient = np.zeros_like(codes)
            gradient[:, E] = pull * (codes[:, E] - 0.2)
            hessian = np.zeros((*codes.shape, codes.shape[1]))
            hessian[:, E, E] = pull
            return 0.5 * pull * np.square(codes[:, E] - 0.2), gradient, hessian

        return term

    config = FitConfig(expression_sd=0.5, tolerance=1e-7, window=16, overlap=6)
    valid = np.ones(24, dtype=bool)
    more: Any = {"config": config, "extra": extra, "shape": truth.shape}
    fast, ours = both(model, truth.landmarks[:24], valid, device, **more)
    assert asked and all(shape[1] == E + 15 for shape in asked)
    assert np.abs(ours.jaw[:, 0] - 0.2).max() < 0.06, "the term pulls the jaw to 0.2"
    np.testing.assert_allclose(motion(ours), motion(fast), atol=3e-3)


@pytest.mark.parametrize("num", [1, 2, 3])
def test_very_short_clips(num: int, model: LandmarkModel, truth: Truth) -> None:
    fast, ours = both(model, truth.landmarks[:num], np.ones(num, dtype=bool), "cpu", shape=truth.shape)
    np.testing.assert_allclose(motion(ours), motion(fast), atol=3e-3)


def test_devices_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert solver_for("cpu") is solve.solve_codes
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert solver_for("auto") is solve.solve_codes
    with pytest.raises(ConfigError, match="torch sees no CUDA GPU") as caught:
        solver_for("cuda")
    assert "flame.device=cpu" in caught.value.hint
    with pytest.raises(ConfigError, match="flame.device should be"):
        solver_for("tpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for name in ("auto", "cuda:1"):
        chosen: Any = solver_for(name)
        assert chosen.func is torch_backend.solve_codes
        assert chosen.keywords == {"device": "cuda" if name == "auto" else name}
