from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.motion.draw import LEAST_SPREAD, WANDER, DrawHead, frame_noise, seed_of
from tests.model.motion.test_network import MOTION, batch, network, piece


@given(seed=st.integers(0, 2**40), first=st.integers(0, 10_000), cut=st.integers(0, 20))
@settings(max_examples=40, deadline=None)
def test_the_noise_of_a_frame_is_its_own(seed: int, first: int, cut: int) -> None:
    whole = frame_noise(seed, first, 20, 7)
    assert whole.shape == (20, 7) and whole.dtype == np.float32
    parts = [frame_noise(seed, first, cut, 7), frame_noise(seed, first + cut, 20 - cut, 7)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert not np.array_equal(frame_noise(seed + 1, first, 20, 7), whole)


def test_noise_is_normal_and_frames_have_nothing_to_do_with_each_other() -> None:
    noise = frame_noise(3, 0, 4000, 8)
    assert abs(noise.mean()) < 0.02 and abs(noise.std() - 1) < 0.02
    assert abs((noise[1:] * noise[:-1]).mean()) < 0.02
    assert abs((noise**4).mean() - 3) < 0.15
    seeds = {seed_of(draw, person) for draw in range(50) for person in (0, 1)}
    assert len(seeds) == 100
    other = frame_noise(seed_of(0, 1), 0, 4000, 8)
    assert abs((frame_noise(seed_of(0, 0), 0, 4000, 8) * other).mean()) < 0.02


def noise_for(frames: int = 40, people: int = 2, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.stack([frame_noise(seed_of(seed, p), 0, frames, MOTION) for p in range(people)]))


@torch.inference_mode()
@pytest.mark.parametrize("cuts", [[1] * 40, [7, 1, 20, 12], [40]])
def test_a_drawn_stream_equals_the_whole(cuts: list[int]) -> None:
    net, whole, noise = network(social=True, causal=True), batch(), noise_for()
    memory: dict[object, object] = {}
    parts, start = [], 0
    for length in cuts:
        stop = start + length
        parts.append(net.drawn(piece(whole, start, stop), noise[:, start:stop], memory))
        start = stop
    torch.testing.assert_close(torch.cat(parts, dim=1), net.drawn(whole, noise), atol=5e-5, rtol=1e-4)


@torch.inference_mode()
def test_what_comes_later_changes_no_causal_draw() -> None:
    net, whole, noise = network(social=False, causal=True), batch(), noise_for()
    other = torch.cat([noise[:, :25], noise_for(seed=1)[:, 25:]], dim=1)
    before, after = net.drawn(whole, noise), net.drawn(whole, other)
    torch.testing.assert_close(before[:, :25], after[:, :25], atol=1e-5, rtol=1e-5)
    assert (before[:, 25:] - after[:, 25:]).abs().max() > 0.1
    with pytest.raises(ValueError, match="causal"):
        network(social=False).drawn(whole, noise, {})


@torch.inference_mode()
def test_noise_decides_and_temperature_scales() -> None:
    net, whole, noise = network(social=True), batch(), noise_for()
    mean, drawn = net(whole), net.drawn(whole, noise)
    torch.testing.assert_close(net.drawn(whole, noise, temperature=0.0), mean)
    torch.testing.assert_close(net.drawn(whole, noise, temperature=0.5), (mean + drawn) / 2)
    assert torch.equal(net.drawn(whole, noise), drawn)
    assert (net.drawn(whole, noise_for(seed=1)) - drawn).abs().max() > 0.1


def learning(*, social: bool) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    net, whole = network(social=social), batch()
    known = torch.ones(2, 40, dtype=torch.bool)
    _, surprise = net.learn(whole, torch.randn(2, 40, MOTION), known, noise_for())
    surprise.mean().backward()  # type: ignore[no-untyped-call]
    return {name: p.grad for name, p in net.named_parameters() if p.grad is not None and p.grad.any()}, surprise


def test_the_mean_is_not_disturbed_and_the_social_module_hears() -> None:
    plain, _ = learning(social=False)
    assert plain and all(name.startswith("draw.") for name in plain)
    social, _ = learning(social=True)
    assert {name.split(".")[0] for name in social} >= {"draw", "social"}
    assert not any(name.startswith(("decode.", "out.", "norm_out.", "trust")) for name in social)


def test_frames_that_are_not_known_may_hold_anything_and_change_nothing() -> None:
    net, whole = network(social=False), batch()
    known = torch.ones(2, 40, dtype=torch.bool)
    known[0, 10:20] = False
    target = torch.randn(2, 40, MOTION)
    spoiled = torch.where(known[..., None], target, torch.nan)
    noise = noise_for()
    one, other = (net.learn(whole, value, known, noise)[1] for value in (target, spoiled))
    assert torch.equal(one, other) and (one[0, 10:20] == 0).all() and (one[0, 20:] != 0).all()
    net.learn(whole, spoiled, known, noise)[1].mean().backward()  # type: ignore[no-untyped-call]
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)


def small(**changes: int) -> DrawHead:
    torch.manual_seed(2)
    sizes = {"features": 8, "motion": 6, "width": 12, "parts": 3, "choices": 4} | changes
    return DrawHead(**sizes, dropout=0.0)


@torch.inference_mode()
def test_surprise_is_the_density_written_out() -> None:
    head = small()
    axes = torch.linalg.qr(torch.randn(6, 6))[0]
    head.fit_parts(axes, torch.tensor([2.0, 1.0, 0.5, 0.1, 0.1, 0.1]), torch.tensor([0, 2, 0, 1, 1, 1]))
    head.width.bias.zero_()
    told, residual = torch.randn(1, 6, 6), torch.randn(1, 6, 6)
    known = torch.ones(1, 6, dtype=torch.bool)
    found = head.surprise(told, residual, known)
    parts = residual[0] @ axes[:3].T / torch.tensor([2.0, 1.0, 0.5])
    state, before, speed = torch.zeros(1, 1, 12), torch.zeros(1, 3), torch.zeros(1, 3)
    for frame in range(6):
        flag = torch.full((1, 1), float(frame > 0))
        seen = torch.cat([before, 4 * speed, flag, told[:, frame]], dim=-1)
        out, state = head.past(seen[:, None], state)
        share, centre, width = head._mixture(out[:, 0], told[:, frame], before, speed)
        surprise = 0.0
        # A mixture of its own for each family that has parts.
        for family, own in ((0, [0, 2]), (2, [1])):
            density = sum(
                share[0, k, family].exp()
                * torch.exp(
                    torch.distributions.Normal(centre[0, k, own], width[0, k, own]).log_prob(parts[frame, own]).sum()
                )
                for k in range(4)
            )
            surprise -= math.log(float(density))
        assert float(found[0, frame]) == pytest.approx(surprise / 3, rel=1e-3, abs=1e-4)
        speed = parts[frame : frame + 1] - before if frame else speed
        before = parts[frame : frame + 1]


@torch.inference_mode()
def test_a_draw_has_the_shares_and_spreads_it_was_told() -> None:
    head = small(choices=2)
    head.fit_parts(torch.eye(6), torch.ones(6), torch.tensor([0, 0, 1, 0, 0, 0]))
    for layer in (head.choice, head.centre, head.width):
        torch.nn.init.zeros_(layer.weight)
    head.stay.zero_()
    head.go_on.zero_()
    # (choices, families): the first family goes to the second component in a fifth of all frames, the next in a half.
    head.choice.bias.copy_(torch.tensor([[0.8, 0.5, 0.5], [0.2, 0.5, 0.5]]).log().flatten())
    head.centre.bias.copy_(torch.tensor([-1.0] * 3 + [2.0] * 3))
    head.width.bias.fill_(-1.0)
    noise = torch.from_numpy(frame_noise(1, 0, 4000, 6))[None]
    drawn = head.residual(torch.zeros(1, 4000, 6), noise)[0, :, :3]
    second, other = drawn[:, 0] > 0.5, drawn[:, 2] > 0.5
    # One choice for all parts of a family: they change together; another family does not care.
    assert (drawn[second, :2] > 0.3).all() and abs(float(second.float().mean()) - 0.2) < 0.03
    assert abs(float(other.float().mean()) - 0.5) < 0.03
    assert abs(float((second & other).float().mean()) - 0.1) < 0.02
    width = math.log1p(math.exp(-1.0)) + LEAST_SPREAD
    assert float(drawn[~second, :2].mean()) == pytest.approx(-1, abs=0.02)
    assert float(drawn[~second, :2].std()) == pytest.approx(width, rel=0.03)


def test_the_error_of_the_past_is_slow_and_of_one_size() -> None:
    error = small()._wander(torch.from_numpy(np.stack([frame_noise(seed, 0, 60, 6) for seed in range(600)])))
    spreads = error.std(dim=(0, 2))
    assert (spreads / WANDER - 1).abs().max() < 0.1
    assert float((error[:, 1:] - error[:, :-1]).std()) < 0.4 * WANDER


def test_events_are_learnt_from_examples() -> None:
    """Jumps between two places, one in ten frames: a mean would stand between them."""
    rng = np.random.default_rng(0)
    jumps = rng.random((16, 60)) < 0.1
    place = np.where(np.cumsum(jumps, axis=1) % 2 == 0, 1.0, -1.0).astype(np.float32)
    truth = torch.from_numpy(place)[..., None] * torch.tensor([1.0, 1.0, 0, 0, 0, 0])
    head = small(parts=2, width=24, choices=6)
    told, known = torch.zeros(16, 60, 12), torch.ones(16, 60, dtype=torch.bool)
    optimiser = torch.optim.Adam(head.parameters(), lr=2e-2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(300):
        optimiser.zero_grad()
        head.surprise(told, truth, known, torch.randn(truth.shape, generator=generator)).mean().backward()
        optimiser.step()
    with torch.inference_mode():
        drawn = head.residual(torch.zeros(8, 200, 12), torch.randn(8, 200, 6, generator=generator))
    assert (drawn[:, 5:, 0].abs() - 1).abs().median() < 0.2
    assert (drawn[..., 0] - drawn[..., 1]).abs().median() < 0.2
    share = float((drawn[:, 6:, 0].sign() != drawn[:, 5:-1, 0].sign()).float().mean())
    assert 0.03 < share < 0.25
