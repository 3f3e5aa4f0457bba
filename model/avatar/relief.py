"""How deep a subject's head is where a frontal face does not tell: a smooth shift of vertices along the line of sight.

Tracking fixes the pose by the face. Ears, hair and neck then stand as deep as the identity code has them, and where
that is wrong they move too much or too little when the head nods or turns. A shift along the ray from the camera, at
the row's mean pose, leaves the mean picture alone and changes just that, so it is learnt from motion without undoing
what the Gaussians learn in the picture plane::

    v -> v + (1 - r_v) ray_v sum_k b_vk d_k

with weights b that sum to one over K points spread over the head, falling with distance, one number a point. r is the
skinning weight of the root joint: the torso keeps the depth that it was tracked with.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from model.head import HeadModel
from model.head.pose import axis_angle_to_matrix


@dataclass(frozen=True, eq=False)
class Relief:
    """Depths of K points of a head at rest, and what they do to its V vertices."""

    weights: Tensor
    """(V, K) rows sum to 1."""
    rays: Tensor
    """(V, 3) away from the camera, in the frame of the head at rest; their length is the share of the head, 0 to 1."""
    depth: Tensor
    """(K,) metres; what is learnt."""

    def offsets(self) -> Tensor:
        """(V, 3) metres, to add to the vertices at rest; differentiable in ``depth``."""
        return (self.weights @ self.depth)[:, None] * self.rays

    @staticmethod
    def flat(head: HeadModel, rest: tuple[Tensor, Tensor], pose: Tensor, count: int) -> Relief:
        """No relief yet.

        Args:
            head: the head model.
            rest: vertices (1, V, 3) and joints (1, J, 3) of the identity.
            pose: (6,) rotation and translation of the head that the rays are taken at.
            count: K; at most V.
        """
        vertices, root = rest[0][0], rest[1][0, 0]
        turn = axis_angle_to_matrix(pose[None, :3])[0]
        seen = (vertices - root) @ turn.T + root + pose[3:]
        rays = torch.nn.functional.normalize(seen, dim=1) @ turn * (1 - head.weights[:, :1])
        points = spread(vertices, min(count, len(vertices)))
        apart = torch.cdist(points, points).fill_diagonal_(torch.inf).amin(1).mean() if len(points) > 1 else 1.0
        # Exponents against the nearest point: none underflows for vertices far from all.
        nearness = -torch.cdist(vertices, points).square() / (2 * (0.7 * apart) ** 2)
        return Relief(torch.softmax(nearness, dim=1), rays, torch.zeros(len(points), device=vertices.device))


def spread(points: Tensor, count: int) -> Tensor:
    """(count, 3) of the points (V, 3), far from each other: each is the one farthest from those before it."""
    chosen = [int((points - points.mean(0)).norm(dim=1).argmax())]
    away = (points - points[chosen[0]]).norm(dim=1)
    while len(chosen) < count:
        chosen.append(int(away.argmax()))
        away = torch.minimum(away, (points - points[chosen[-1]]).norm(dim=1))
    return points[chosen]
