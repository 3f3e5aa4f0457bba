"""The quick way of looking at faces against the slow, obvious one."""

from __future__ import annotations

import pytest
import torch

from model.speech.light_asd import SIDE, LightAsd
from model.speech.light_asd_fast import REACH, FastFaces, features


@pytest.fixture(scope="module")
def network() -> LightAsd:
    torch.manual_seed(3)
    network = LightAsd()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm3d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2.0)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.2)
    return network.eval()


@torch.inference_mode()
@pytest.mark.parametrize("frames", [1, 2, 9, 40])
def test_the_numbers_are_those_of_the_slow_network(network: LightAsd, frames: int) -> None:
    faces = torch.rand(frames, SIDE, SIDE) * 255
    slow = network.look(faces[None])[0]
    torch.testing.assert_close(FastFaces(network)(faces), slow, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("piece", [1, 7, 16, 64])
def test_pieces_see_what_lies_beyond_their_edges(network: LightAsd, piece: int) -> None:
    faces = (torch.rand(33, SIDE, SIDE) * 255).to(torch.uint8)
    fast = FastFaces(network)
    torch.testing.assert_close(features(fast, faces, piece=piece), fast(faces), atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_a_frame_depends_on_no_more_than_its_reach(network: LightAsd) -> None:
    faces = torch.rand(20, SIDE, SIDE) * 255
    other = faces.clone()
    other[10] = 0
    changed = (FastFaces(network)(faces) - FastFaces(network)(other)).abs().amax(1) > 1e-5
    assert changed[10] and not changed[: 10 - REACH].any() and not changed[11 + REACH :].any()


def test_no_face_no_features(network: LightAsd) -> None:
    assert features(FastFaces(network), torch.zeros(0, SIDE, SIDE)).shape == (0, 128)
