"""Points of a head as functions of its codes, batched over frames in torch: places, and derivatives of what they do.

The form is that of :mod:`model.fitting.landmark_model`. Landmarks and the sample points of the photometric term are
both such points. float32 on whatever device the tensors lie; codes come in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.fitting.landmark_model import MOTION, LandmarkModel, Part
from model.head.pose import axis_angle_to_matrix


@dataclass(frozen=True)
class _Share:
    """One part of the points on a device."""

    rows: Tensor
    """(N,) int64 points that have a share; no point twice."""
    rest: Tensor
    """(N, 3)."""
    linear: Tensor
    """(N, 3, C)."""
    entries: Tensor
    """(N, 27 or 0, 3)."""

    def place(self, codes: Tensor, turn: Tensor) -> Tensor:
        """Shares (T, N, 3) before any turn, of linear codes (T, C) and entries of R - I (T, 27)."""
        placed = self.rest + torch.einsum("tc,nxc->tnx", codes, self.linear)
        return placed + torch.einsum("te,nex->tnx", turn, self.entries) if self.entries.shape[1] else placed

    def pull(self, pulls: Tensor, changes: Tensor) -> tuple[Tensor, Tensor | None]:
        """Derivatives by the linear codes (T, N, 2, C) and, through the correctives, by jaw and eyes (T, N, 2, 9).

        Args:
            pulls: (T, N, 2, 3) derivatives of the residuals by a displacement in the share's frame.
            changes: (T, 3, 9, 3) derivatives of the entries by the joints' angles.
        """
        linear = torch.einsum("tnix,nxc->tnic", pulls, self.linear)
        if not self.entries.shape[1]:
            return linear, None
        along = torch.einsum("tnix,nex->tnie", pulls, self.entries).unflatten(-1, (3, 9))
        return linear, torch.einsum("tnije,tjea->tnija", along, changes).flatten(-2)


@dataclass(frozen=True)
class Points:
    """L points of one model on a device."""

    root: _Share
    """Every point, in order."""
    jaw: _Share
    eye: _Share
    side: Tensor
    """(N,) int64 of the eye's rows: 0 left, 1 right."""

    def placed(self, codes: Tensor) -> Placed:
        """The points at codes (T, P) float64."""
        c = codes.shape[1] - MOTION
        angles = codes[:, c : c + 12].unflatten(1, (4, 3))
        turns, jacobians = axis_angle_to_matrix(angles).float(), left_jacobian(angles).float()
        linear, origin = codes[:, :c].float(), codes[:, c + 12 :].float()
        turn = (turns[:, :3] - torch.eye(3, device=codes.device)).flatten(1)
        side_turns = turns[:, 1:3][:, self.side]  # (T, N, 3, 3)
        arm = self.jaw.place(linear, turn) @ turns[:, 0].mT
        eye_arm = (side_turns @ self.eye.place(linear, turn)[..., None])[..., 0]
        whole = self.root.place(linear, turn)
        whole = whole.index_add(1, self.jaw.rows, arm).index_add(1, self.eye.rows, eye_arm)
        whole = whole @ turns[:, 3].mT
        return Placed(self, whole + origin[:, None], whole, arm, eye_arm, turns, jacobians, side_turns)


@dataclass(frozen=True)
class Placed:
    """Points of T frames, and what their derivatives are made of."""

    points: Points
    at: Tensor
    """(T, L, 3) camera frame, metres."""
    whole: Tensor
    """(T, L, 3) turned, about the root joint."""
    arm: Tensor
    """(T, N, 3) the jaw's shares, turned with the jaw."""
    eye_arm: Tensor
    """(T, N, 3) the eyes' shares, turned with their eye."""
    turns: Tensor
    """(T, 4, 3, 3): R_jaw, R_left_eye, R_right_eye, R."""
    jacobians: Tensor
    """(T, 4, 3, 3): their left Jacobians."""
    side_turns: Tensor
    """(T, N, 3, 3): turns of the eye that each of the eyes' shares hangs on."""

    def jacobian(self, pulls: Tensor) -> Tensor:
        """Derivatives (T, L, 2, P) by the codes of two numbers a point.

        Args:
            pulls: (T, L, 2, 3) their derivatives by a displacement of the point in the camera frame.
        """
        points, turns = self.points, self.turns
        num, count = pulls.shape[:2]
        c = points.root.linear.shape[2]
        in_head = pulls @ turns[:, None, 3]
        of_jaw, of_eye = in_head[:, points.jaw.rows], in_head[:, points.eye.rows]
        changes = _changes(turns[:, :3], self.jacobians[:, :3])
        out = pulls.new_empty(num, count, 2, c + MOTION)
        by_codes, by_angles = points.root.pull(in_head, changes)
        out[..., :c] = by_codes
        out[..., c : c + 9] = 0.0 if by_angles is None else by_angles
        del by_codes, by_angles
        for share, pull in ((points.jaw, of_jaw @ turns[:, None, 0]), (points.eye, of_eye @ self.side_turns)):
            by_codes, by_angles = share.pull(pull, changes)
            out[..., :c].index_add_(1, share.rows, by_codes)
            if by_angles is not None:
                out[..., c : c + 9].index_add_(1, share.rows, by_angles)
        swing = _swing(self.arm, of_jaw, self.jacobians[:, None, 0])
        out[..., c : c + 3].index_add_(1, points.jaw.rows, swing)
        swing = _swing(self.eye_arm, of_eye, self.jacobians[:, 1:3][:, points.side])
        for side in range(2):
            mine = (points.side == side)[None, :, None, None]
            at = slice(c + 3 + 3 * side, c + 6 + 3 * side)
            out[..., at].index_add_(1, points.eye.rows, torch.where(mine, swing, 0.0))
        out[..., c + 9 : c + 12] = _swing(self.whole, pulls, self.jacobians[:, None, 3])
        out[..., c + 12 :] = pulls
        return out


def upload_points(model: LandmarkModel, place: torch.device) -> Points:
    """The points of a model on a device."""

    def single(array: np.ndarray) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(array, np.float32), device=place)

    def part(share: Part) -> _Share:
        rows = np.flatnonzero(share.index >= 0)
        order = share.index[rows]
        rest = share.rest.reshape(-1, 3)[order]
        return _Share(
            torch.as_tensor(rows, device=place), single(rest), single(share.linear[order]), single(share.entries[order])
        )

    side = torch.as_tensor(model.eye_side[model.eye.index >= 0], device=place)
    return Points(part(model.root), part(model.jaw), part(model.eye), side)


def _swing(arm: Tensor, pulls: Tensor, jacobian: Tensor) -> Tensor:
    """Derivatives (T, N, 2, 3) of pulls (T, N, 2, 3) along turned arms (T, N, 3) by an axis-angle: (arm x pull) J."""
    return torch.linalg.cross(arm[:, :, None].expand_as(pulls), pulls) @ jacobian


def _changes(turns: Tensor, jacobians: Tensor) -> Tensor:
    """Derivatives (T, 3, 9, 3) of the entries of R (T, 3, 3, 3), row by row, by the axis-angles: hat(J d) R."""
    axes, columns = torch.broadcast_tensors(jacobians[..., None, :], turns[..., :, None])  # (T, 3, line, column, angle)
    return torch.linalg.cross(axes, columns, dim=2).flatten(2, 3)


def left_jacobian(vectors: Tensor) -> Tensor:
    """:func:`model.fitting.rotations.left_jacobian` in torch."""
    square = vectors.square().sum(-1)[..., None, None]
    small = square < 1e-8
    safe = torch.where(small, 1.0, square).sqrt()
    first = torch.where(small, 0.5 - square / 24, (1 - torch.cos(safe)) / safe.square())
    second = torch.where(small, 1 / 6 - square / 120, (safe - torch.sin(safe)) / safe**3)
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    hat = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    return torch.eye(3, dtype=vectors.dtype, device=vectors.device) + first * hat + second * (hat @ hat)
