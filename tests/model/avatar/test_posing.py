from __future__ import annotations

import numpy as np
import torch

from model.avatar.footage import Footage, Frame
from model.avatar.posing import SPREAD, Torso, pose_on_torso, rest_pose
from model.avatar.track import Corrections, make_track
from model.head import HeadModel


def tensors(codes: dict[str, np.ndarray], count: int = 4) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(value[:count]) for name, value in codes.items()}


def test_without_a_torso_it_is_the_heads_own_pose(head: HeadModel, codes: dict[str, np.ndarray]) -> None:
    given = tensors(codes)
    shape = torch.randn(head.num_shape, generator=torch.Generator().manual_seed(0))
    offsets = 1e-3 * torch.randn(head.num_vertices, 3, generator=torch.Generator().manual_seed(1))
    wanted, _ = head.pose(shape, **given)
    torch.testing.assert_close(pose_on_torso(head, head.shaped(shape), given, None), wanted)
    # A torso that follows the head wholly changes nothing either.
    rest = rest_pose(given["rotation"], given["translation"])
    whole = Torso(torch.zeros(6), torch.eye(6)).pose(given, rest)
    torch.testing.assert_close(pose_on_torso(head, head.shaped(shape), given, whole), wanted, atol=1e-6, rtol=1e-5)
    moved = pose_on_torso(head, head.shaped(shape), given, None, offsets)
    assert 5e-4 < float((moved - wanted).norm(dim=-1).mean()) < 5e-3


def test_shoulders_of_a_still_torso_stay_while_the_face_moves(
    head: HeadModel, codes: dict[str, np.ndarray]
) -> None:
    given = tensors(codes, 10)
    rest = rest_pose(given["rotation"], given["translation"])
    body = Torso.still().pose(given, rest)
    vertices = pose_on_torso(head, head.shaped(torch.zeros(head.num_shape)), given, body)
    rooted = head.weights[:, 0] > 0.9999
    assert int(rooted.sum()) > 20
    assert float((vertices[:, rooted] - vertices[:1, rooted]).abs().max()) < 2e-5
    face = head.weights[:, 0] == 0
    posed, _ = head.pose(torch.zeros(head.num_shape), **given)
    torch.testing.assert_close(vertices[:, face], posed[:, face])


def test_gradients_reach_the_torso_and_the_codes(head: HeadModel, codes: dict[str, np.ndarray]) -> None:
    given = {name: value.requires_grad_(True) for name, value in tensors(codes, 2).items()}
    torso = Torso(torch.zeros(6, requires_grad=True), torch.zeros(6, 6, requires_grad=True))
    body = torso.pose(given, torch.zeros(6))
    pose_on_torso(head, head.shaped(torch.zeros(head.num_shape)), given, body).square().sum().backward()
    for value in (torso.offset, torso.follow, *given.values()):
        assert value.grad is not None and bool(torch.isfinite(value.grad).all())
    assert torso.offset.grad is not None and float(torso.offset.grad.abs().min()) > 0
    assert len(SPREAD) == 6


def test_corrections_move_one_frame_towards_its_gradient_and_its_neighbours(footage: Footage) -> None:
    track = make_track([footage], [Frame(0, t) for t in range(6)] + [Frame(0, 20)])
    corrections = Corrections(track, smooth=1.0, weight=0.0)
    wanted = track.codes["jaw"][2] + 0.02
    for _ in range(200):
        leaf = corrections.leaf(2)
        codes = corrections.apply(track.at(2), leaf)
        ((codes["jaw"][0] - wanted).square().sum() * 1e4).backward()
        assert leaf.grad is not None
        corrections.step(2, leaf.grad, 0.02)
    assert int((corrections.values.abs().sum(1) > 0).sum()) == 1
    found = corrections.apply(track.at(2), corrections.leaf(2).detach())["jaw"][0]
    torch.testing.assert_close(found, wanted, atol=2e-3, rtol=0)
    # Pulled by its neighbour alone; the frame behind the gap is no neighbour.
    corrections.step(3, torch.zeros_like(corrections.values[:1]), 0.02)
    corrections.step(6, torch.zeros_like(corrections.values[:1]), 0.02)
    assert float(corrections.values[3].abs().sum()) > 0 == float(corrections.values[6].abs().sum())
