from __future__ import annotations

import pytest
import torch

from model.avatar.optimiser import EPS, Adam


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])  # the latter goes the way of other devices
def test_steps_equal_those_of_torch(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    start = {name: torch.randn(*size, generator=generator, dtype=dtype) for name, size in (("a", (70, 3)), ("b", (9,)))}
    ours = {name: value.clone().requires_grad_(True) for name, value in start.items()}
    theirs = {name: value.clone().requires_grad_(True) for name, value in start.items()}
    adam = Adam(ours, {"a": 0.02, "b": 0.3})
    other = torch.optim.Adam([{"params": [theirs["a"]], "lr": 0.02}, {"params": [theirs["b"]], "lr": 0.3}], eps=EPS)
    for _ in range(12):
        for name, value in theirs.items():
            value.grad = torch.randn(value.shape, generator=generator, dtype=dtype) * (value.detach() > -0.5)
            ours[name].grad = value.grad.clone()
        other.step()
        adam.step()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=1e-5)
        assert ours[name].grad is None


def test_gradients_that_are_not_finite_count_as_zero() -> None:
    value = torch.ones(4, requires_grad=True)
    adam = Adam({"a": value}, {"a": 0.1})
    value.grad = torch.tensor([1.0, torch.nan, torch.inf, -1.0])
    adam.step()
    assert value.tolist()[1:3] == [1.0, 1.0]
    assert value[0] < 1 < value[3]


def test_history_follows_the_rows() -> None:
    value = torch.zeros(3, 2, requires_grad=True)
    adam = Adam({"a": value}, {"a": 0.1})
    value.grad = torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    adam.step()
    first = adam.first["a"].clone()
    parent, fresh = torch.tensor([2, 0, 2]), torch.tensor([False, False, True])
    adam.replace({"a": torch.zeros(3, 2, requires_grad=True)}, parent, fresh)
    assert torch.equal(adam.first["a"], first[parent] * torch.tensor([[1.0], [1.0], [0.0]]))
