from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.head import HeadModel, load_head
from model.motion.layout import MotionLayout
from model.train.config import LossConfig
from model.train.losses import Losses, masked_mean
from model.train.stages import Prepared
from model.train.windows import Example, Windows


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head()


@pytest.fixture
def example(prepared: Prepared) -> Example:
    return Windows(prepared.training, 40, 20, 1.0, training=True).example(range(3), np.random.default_rng(0))


def losses(head: HeadModel | None, size: int) -> Losses:
    return Losses(LossConfig(), MotionLayout(41), torch.ones(size), torch.ones(size), head)


def test_the_truth_costs_nothing_and_every_group_counts(example: Example, head: HeadModel) -> None:
    size = example.target.shape[-1]
    terms = losses(head, size)
    assert all(float(value) == 0 for value in terms(example.target, example).values())
    for name, where in MotionLayout(41).slices():
        wrong = example.target.clone()
        wrong[..., where] += 0.5
        found = terms(wrong, example)
        assert float(found[name]) == pytest.approx(0.25 * getattr(LossConfig(), name), rel=1e-4)
        others = {"expression", "jaw", "pose", "eyes"} - {name}
        assert all(float(found[other]) == 0 for other in others)
        # A constant error does not move; the head's pose and the eyes move no lips.
        assert float(found["velocity"]) < 1e-10
        assert (float(found["lips"]) > 0) == (name in ("expression", "jaw"))


def test_masked_frames_never_count_whatever_they_hold(example: Example, head: HeadModel) -> None:
    mask = example.mask.clone()
    mask[:, 10:20] = False
    masked = replace(example, mask=mask)
    predicted = (example.target + 0.1 * torch.randn_like(example.target)).requires_grad_()
    terms = losses(head, example.target.shape[-1])
    plain = terms(predicted, masked)
    spoiled = example.target.clone()
    spoiled[:, 10:20] = torch.nan
    again = terms(predicted, replace(masked, target=spoiled))
    for name, value in plain.items():
        torch.testing.assert_close(value, again[name])
    (gradient,) = torch.autograd.grad(sum(again.values()), predicted)
    assert torch.isfinite(gradient).all()
    assert (gradient[:, 10:20] == 0).all() and (gradient[:, 20:][mask[:, 20:]] != 0).any()


def test_lips_are_those_of_the_whole_head(example: Example, head: HeadModel) -> None:
    terms = losses(head, example.target.shape[-1])
    motion, shape = example.target[0, :5], example.shape[:1].expand(5, -1)
    whole, _ = head.pose(shape, expression=motion[:, :41], jaw=motion[:, 41:44])
    found = terms.lips(motion, shape)
    assert found.shape == (5, 48, 3)
    distance = torch.linalg.norm(found[0, :, None] - whole[0, head.groups["lips"]][None], dim=-1).min(dim=1).values
    assert distance.max() < 1e-6


def test_nothing_counts_gives_zero_not_nan(example: Example) -> None:
    nothing = replace(example, mask=torch.zeros_like(example.mask))
    terms = losses(load_head(), example.target.shape[-1])(example.target + 1, nothing)
    assert all(float(value) == 0 for value in terms.values())
    assert float(masked_mean(torch.full((2, 3), torch.nan), torch.zeros(2, 3, dtype=torch.bool))) == 0
