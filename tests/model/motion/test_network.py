from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from model.motion.config import NetworkConfig
from model.motion.network import Batch, MotionNetwork
from rsat_data.errors import ConfigError

CHANNELS, PER_FRAME, MOTION = 6, 4, 10


def small(**changes: object) -> NetworkConfig:
    return replace(NetworkConfig(width=16, layers=2, heads=2, reach=5, queries=3), **changes)  # type: ignore[arg-type]


def network(*, social: bool, **changes: object) -> MotionNetwork:
    torch.manual_seed(0)
    net = MotionNetwork(small(**changes), CHANNELS, PER_FRAME, MOTION, social=social).eval()
    net.fit_scale(torch.randn(MOTION), torch.rand(MOTION) + 0.5)
    if net.social is not None:  # as if it were trained
        torch.nn.init.normal_(net.social.gate.weight, std=0.3)
    torch.nn.init.normal_(net.out.weight)
    torch.nn.init.normal_(net.draw.centre.weight, std=0.3)
    torch.nn.init.zeros_(net.draw.width.bias)
    return net


def batch(frames: int = 40, people: int = 2, seed: int = 0) -> Batch:
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw)

    return Batch(
        own=normal(people, frames * PER_FRAME, CHANNELS),
        partner=normal(people, frames * PER_FRAME, CHANNELS),
        state=torch.randint(0, 4, (people, frames), generator=draw),
        motion=normal(people, frames, MOTION),
        motion_known=torch.rand(people, frames, generator=draw) < 0.8,
        reference=normal(people, 2, MOTION).abs(),
        reference_known=torch.tensor([True, False])[:people],
        relation=torch.tensor([[1, 2, 1], [2, 1, 3]])[:people],
    )


def piece(whole: Batch, start: int, stop: int) -> Batch:
    return replace(
        whole,
        own=whole.own[:, start * PER_FRAME : stop * PER_FRAME],
        partner=whole.partner[:, start * PER_FRAME : stop * PER_FRAME],
        state=whole.state[:, start:stop],
        motion=whole.motion[:, start:stop],
        motion_known=whole.motion_known[:, start:stop],
    )


@torch.inference_mode()
@pytest.mark.parametrize("cuts", [[1] * 40, [7, 1, 20, 12], [40]])
def test_a_stream_equals_the_whole(cuts: list[int]) -> None:
    net, whole = network(social=True, causal=True), batch()
    memory: dict[int, tuple[torch.Tensor, ...]] = {}
    parts, start = [], 0
    for length in cuts:
        parts.append(net(piece(whole, start, start + length), memory))
        start += length
    torch.testing.assert_close(torch.cat(parts, dim=1), net(whole), atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_a_causal_network_sees_nothing_later() -> None:
    net, whole, other = network(social=True, causal=True), batch(), batch(seed=1)
    kept = piece(whole, 0, 25)
    mixed = replace(
        whole,
        **{
            name: torch.cat([getattr(kept, name), getattr(piece(other, 25, 40), name)], dim=1)
            for name in ("own", "partner", "state", "motion", "motion_known")
        },
    )
    before, after = net(whole), net(mixed)
    torch.testing.assert_close(before[:, :25], after[:, :25], atol=1e-5, rtol=1e-5)
    assert (before[:, 25:] - after[:, 25:]).abs().max() > 0.1
    both_sides = network(social=True)
    assert (both_sides(whole)[:, :25] - both_sides(mixed)[:, :25]).abs().max() > 1e-3
    with pytest.raises(ValueError, match="causal"):
        both_sides(whole, {})


@torch.inference_mode()
def test_nothing_beyond_the_receptive_field_matters() -> None:
    net = network(social=True, reach=2)
    frames = 3 * net.receptive
    whole, other = batch(frames), batch(frames, seed=1)
    changed = replace(whole, own=whole.own.clone(), partner=whole.partner.clone())
    changed.own[:, -PER_FRAME:] = other.own[:, -PER_FRAME:]
    changed.partner[:, -PER_FRAME:] = other.partner[:, -PER_FRAME:]
    difference = (net(whole) - net(changed)).abs().amax(dim=(0, 2))
    assert difference[: frames - net.receptive].max() < 1e-5 < difference[-1]


@torch.inference_mode()
def test_hidden_motion_of_the_partner_and_an_unknown_reference_do_not_matter() -> None:
    net, whole = network(social=False), batch()
    other = replace(
        whole,
        motion=torch.where(whole.motion_known[..., None], whole.motion, torch.full_like(whole.motion, 9.0)),
        reference=torch.stack([whole.reference[0], whole.reference[1] + 5]),
    )
    torch.testing.assert_close(net(whole), net(other))
    seen = replace(other, motion_known=torch.ones_like(whole.motion_known))
    assert (net(seen) - net(other)).abs().max() > 1e-3


@torch.inference_mode()
def test_the_social_module_starts_as_nothing_and_then_tells_relations_apart() -> None:
    torch.manual_seed(0)
    net = MotionNetwork(small(), CHANNELS, PER_FRAME, MOTION, social=True).eval()
    plain = MotionNetwork(small(), CHANNELS, PER_FRAME, MOTION, social=False).eval()
    plain.load_state_dict(net.state_dict(), strict=False)
    whole = batch()
    torch.testing.assert_close(net(whole), plain(whole))
    trained = network(social=True)
    for field in range(3):
        relation = whole.relation.clone()
        relation[:, field] = 0
        assert (trained(whole) - trained(replace(whole, relation=relation))).abs().max() > 1e-3


def test_the_default_network_is_small_enough_for_two_cores() -> None:
    net = MotionNetwork(NetworkConfig(), 64, 4, 53, social=True)
    count = sum(p.numel() for p in net.parameters())
    assert 0.8e6 < count < 2e6


def test_sizes_that_make_no_network() -> None:
    with pytest.raises(ConfigError, match="multiple of network.heads"):
        NetworkConfig(width=100, heads=3)
    with pytest.raises(ConfigError, match="network.reach"):
        NetworkConfig(reach=0)
