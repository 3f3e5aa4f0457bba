from __future__ import annotations

from dataclasses import replace

import torch

from model.avatar.relief import Relief, spread
from model.camera import Camera, project
from model.head import HeadModel
from model.head.pose import axis_angle_to_matrix

POSE = torch.tensor([0.05, -0.2, 0.1, 0.02, -0.01, 0.6])
CAMERA = Camera(300.0, 300.0, 64.0, 64.0, 128, 128)


def posed(rest: tuple[torch.Tensor, torch.Tensor], offsets: torch.Tensor, pose: torch.Tensor) -> torch.Tensor:
    """(V, 2) pixels of a head that moves as one."""
    root = rest[1][0, 0]
    turn = axis_angle_to_matrix(pose[None, :3])[0]
    return project((rest[0][0] + offsets - root) @ turn.T + root + pose[3:], CAMERA)


def test_a_relief_is_unseen_at_its_pose_and_seen_when_the_head_turns(head: HeadModel) -> None:
    rest = head.shaped(torch.zeros(head.num_shape))
    relief = Relief.flat(head, rest, POSE, 12)
    assert torch.allclose(relief.weights.sum(1), torch.ones(head.num_vertices), atol=1e-5)
    assert torch.allclose(relief.rays.norm(dim=1), 1 - head.weights[:, 0], atol=1e-5)
    assert not relief.offsets().any()
    deep = replace(relief, depth=torch.linspace(-0.03, 0.03, 12)).offsets()
    flat = torch.zeros_like(deep)
    assert (posed(rest, deep, POSE) - posed(rest, flat, POSE)).abs().max() < 1e-2
    turned = POSE + torch.tensor([0.2, 0.0, 0.0, 0.0, 0.0, 0.0])
    assert (posed(rest, deep, turned) - posed(rest, flat, turned)).abs().max() > 1.0
    # The same depth everywhere moves all of the head alike, and the torso not at all.
    alike = replace(relief, depth=torch.full((12,), 0.02)).offsets()
    assert torch.allclose(alike.norm(dim=1), 0.02 * (1 - head.weights[:, 0]), atol=1e-6)


def test_depths_are_found_from_motion(head: HeadModel) -> None:
    """Gradients lead from projected points under known poses back to the depths that made them."""
    rest = head.shaped(torch.zeros(head.num_shape))
    relief = Relief.flat(head, rest, POSE, 8)
    truth = replace(relief, depth=torch.tensor([0.01, -0.02, 0.015, 0.0, 0.02, -0.01, 0.005, -0.015])).offsets()
    turns = 0.15 * torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    poses = POSE + turns * torch.tensor([1.0] * 3 + [0.0] * 3)
    depth = torch.zeros(8, requires_grad=True)
    adam = torch.optim.Adam([depth], lr=2e-3)
    for _ in range(120):
        adam.zero_grad()
        offsets = replace(relief, depth=depth).offsets()
        loss = sum((posed(rest, offsets, pose) - posed(rest, truth, pose)).square().mean() for pose in poses)
        loss.backward()  # type: ignore[union-attr]
        adam.step()
    left = replace(relief, depth=depth.detach()).offsets() - truth
    assert left.norm(dim=1).mean() < 0.2 * truth.norm(dim=1).mean()


def test_points_are_spread() -> None:
    axis = torch.arange(6.0)
    grid = torch.cartesian_prod(axis, axis, torch.zeros(1))
    corners = spread(grid, 4)
    assert torch.cdist(corners, corners).fill_diagonal_(99).min() >= 5
    assert len(spread(grid, 36).unique(dim=0)) == 36
