from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.motion.draw import error_weight, frame_noise, seed_of
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
    both = network(social=False)
    assert (both.drawn(whole, noise) - both.drawn(whole, other))[:, :25].abs().max() > 1e-3
    with pytest.raises(ValueError, match="causal"):
        both.drawn(whole, noise, {})


@torch.inference_mode()
def test_noise_decides_and_temperature_scales() -> None:
    net, whole, noise = network(social=True), batch(), noise_for()
    mean, drawn = net(whole), net.drawn(whole, noise)
    torch.testing.assert_close(net.drawn(whole, noise, temperature=0.0), mean)
    torch.testing.assert_close(net.drawn(whole, noise, temperature=0.5), (mean + drawn) / 2)
    assert torch.equal(net.drawn(whole, noise), drawn)
    assert (net.drawn(whole, noise_for(seed=1)) - drawn).abs().max() > 0.1
    torch.nn.init.zeros_(net.draw.out.weight)  # before it is trained a draw is the mean
    torch.testing.assert_close(net.drawn(whole, noise), mean)


@torch.inference_mode()
def test_nothing_beyond_its_receptive_field_matters_to_a_draw() -> None:
    net = network(social=False, reach=1, layers=1, draw_steps=2)
    frames = 2 * net.receptive_drawn
    whole, noise = batch(frames), noise_for(frames)
    changed = noise.clone()
    changed[:, -1] += 1
    difference = (net.drawn(whole, noise) - net.drawn(whole, changed)).abs().amax(dim=(0, 2))
    assert difference[: frames - net.receptive_drawn].max() < 1e-5 < difference[-1]


def learning(*, social: bool) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    net, whole = network(social=social), batch()
    known = torch.ones(2, 40, dtype=torch.bool)
    _, error = net.learn(whole, torch.randn(2, 40, MOTION), known, torch.tensor([0.2, 0.7]), noise_for())
    error.mean().backward()  # type: ignore[no-untyped-call]
    return {name: p.grad for name, p in net.named_parameters() if p.grad is not None and p.grad.any()}, error


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
    noise, time = noise_for(), torch.tensor([0.1, 0.8])
    one, other = (net.learn(whole, value, known, time, noise)[1] for value in (target, spoiled))
    assert torch.equal(one, other) and (one[0, 10:20] == 0).all() and (one[0, 20:] > 0).any()
    other_noise = torch.where(known[..., None], noise, noise + 1)
    torch.testing.assert_close(net.learn(whole, target, known, time, other_noise)[1], one)
    net.learn(whole, spoiled, known, time, noise)[1].mean().backward()  # type: ignore[no-untyped-call]
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)


def test_a_perfect_expectation_lands_on_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    net = network(social=False)
    wanted, noise = torch.randn(2, 40, MOTION), noise_for()
    monkeypatch.setattr(type(net.draw), "forward", lambda *given: wanted)
    with torch.inference_mode():
        found = net.drawn(batch(), noise)
        torch.testing.assert_close(found, net(batch()) + wanted * net.scale, atol=1e-5, rtol=1e-5)


def test_errors_count_one_on_average() -> None:
    times = (torch.arange(10_000) + 0.5) / 10_000
    weights = error_weight(times)
    assert float(weights.mean()) == pytest.approx(1, abs=1e-3)
    assert (weights.diff() >= 0).all() and float(weights.max()) < 3
    assert replace(network(social=False).config, draw_steps=3).draw_steps == 3
