"""What frames that are not valid hold reaches nothing: no unit, reference, input, loss, gradient, or measure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.evaluate import EvaluateConfig, Predictor, evaluate
from model.head import HeadModel, load_head
from model.motion.layout import MotionLayout
from model.motion.network import MotionNetwork
from model.train.config import LossConfig
from model.train.losses import Losses
from model.train.stages import Prepared
from model.train.store import Store, statistics
from model.train.windows import Windows
from tests.model.evaluate.talks import talk
from tests.model.train.conftest import tiny

MEASURES = ("fd", "pfd", "mse", "mse_centred", "rpcc", "sts", "variance", "jaw_correlation", "nod_f1", "nod_response")
GARBAGE = st.sampled_from([0.0, 1e3, -1e6, 1e12])
"""Anything finite: a conversation replaces the rest by zeros as it is read."""


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head()


def spans(rng: np.random.Generator, count: int) -> np.ndarray:
    """(N,) validity with holes of all lengths, whole people among them."""
    valid = np.ones(count, bool)
    for start in rng.integers(0, count, max(count // 120, 1)):
        valid[start : start + int(rng.integers(1, 130))] = False
    return valid


def with_holes(store: Store, valid: np.ndarray, garbage: float) -> Store:
    return replace(store, valid=valid, motion=np.where(valid[:, None], store.motion, np.float32(garbage)))


@given(seed=st.integers(0, 1000), garbage=GARBAGE)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_training_never_sees_them(seed: int, garbage: float, prepared: Prepared, head: HeadModel) -> None:
    valid = spans(np.random.default_rng(seed), len(prepared.training.valid))
    clean, dirty = (with_holes(prepared.training, valid, value) for value in (0.0, garbage))
    layout, config = MotionLayout(41), tiny().network
    units = [statistics(store, layout, config.reference_s) for store in (clean, dirty)]
    for name, value in units[0].items():
        np.testing.assert_array_equal(value, units[1][name])
    both = [Windows(store, 40, 20, 1.0, training=True) for store in (clean, dirty)]
    assert both[0].windows == both[1].windows
    numbers = np.random.default_rng(seed).integers(0, len(both[0]), 4)
    first, second = (windows.example(numbers, np.random.default_rng(seed)) for windows in both)
    assert torch.equal(first.mask, second.mask)
    assert not (first.mask & ~first.mask.new_tensor(known(both[0], numbers))).any()
    torch.manual_seed(seed)
    network = MotionNetwork(config, 64, 4, layout.size, social=False)
    network.fit_scale(*(torch.from_numpy(units[0][name]) for name in ("mean", "scale")))
    scale, speed = (torch.from_numpy(units[0][name]) for name in ("scale", "speed"))
    losses = Losses(LossConfig(), layout, scale, speed, head)
    found = []
    for example in (first, second):
        network.zero_grad()
        network.eval()
        predicted = network(example.inputs)
        terms = losses(predicted, example)
        torch.stack(list(terms.values())).sum().backward()
        gradients = [p.grad.clone() for p in network.parameters() if p.grad is not None]
        found.append((predicted.detach(), list(terms.values()), gradients))
    for one, other in zip(*((p, *t, *g) for p, t, g in found), strict=True):
        assert torch.isfinite(one).all() and torch.equal(one, other)


def known(windows: Windows, numbers: np.ndarray) -> np.ndarray:
    """(B, T) validity of the frames of windows, straight from the store."""
    rows = [windows._rows(windows.windows[int(n)]) for n in numbers]
    return np.stack([windows.store.valid[one] for one in rows])


@given(seed=st.integers(0, 1000), garbage=GARBAGE)
@settings(max_examples=3, deadline=None)
def test_measures_never_see_them(seed: int, garbage: float) -> None:
    rng = np.random.default_rng(seed)
    masks = [{p: spans(rng, 150) for p in "AB"} for _ in range(2)]

    def figures(value: float) -> dict[tuple[str, ...], float | None]:
        talks = []
        for number, valid in enumerate(masks):
            one = talk(number)
            codes = {
                p: {name: np.where(valid[p][:, None], v, np.float32(value)) for name, v in one.codes[p].items()}
                for p in "AB"
            }
            talks.append(replace(one, codes=codes, valid=valid))
        # A model whose own values in such frames are wild, too.
        model = Predictor("model", "model", "model", lambda c, p: {"jaw": c.codes[p]["jaw"] * 0.5})
        config = EvaluateConfig(reference_s=1.0, rounds=100, vertices=False, metrics=MEASURES)
        report = evaluate({"test": talks}, [model], None, config)
        return {(f.predictor, f.role, f.metric, f.group): f.estimate.value for f in report.figures}

    assert figures(0.0) == figures(garbage)
