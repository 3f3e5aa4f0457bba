"""What is minimised: every group in its own units, changes between frames, lip vertices; masked frames never count."""

from __future__ import annotations

import torch
from torch import Tensor

from model.head import HeadModel
from model.motion.layout import MotionLayout
from model.train.config import LossConfig
from model.train.windows import Example

LIP_VERTICES = 48
"""Vertices of the lips that stand for all of them."""


class Losses:
    """The terms of a prediction.

    Args:
        config: weights.
        layout: columns of motion.
        scale: (D,) spread of every column.
        speed: (D,) spread of its differences between frames.
        head: the codes' head model, for lip vertices; None leaves them out.
    """

    def __init__(
        self, config: LossConfig, layout: MotionLayout, scale: Tensor, speed: Tensor, head: HeadModel | None
    ) -> None:
        self.config, self.layout, self.scale, self.speed = config, layout, scale, speed
        self.head = None
        if head is not None and config.lips > 0 and len(head.groups.get("lips", ())) > 0:
            ids = head.groups["lips"].cpu()
            chosen = ids[torch.linspace(0, len(ids) - 1, min(LIP_VERTICES, len(ids))).round().long()]
            self.head = head.subset(chosen).to(scale.device)
        self._lip_unit: Tensor | None = None

    def fit_lips(self, target: Tensor, shape: Tensor) -> None:
        """Take the lips' mean squared distance from their own mean as unit: ``target`` (N, D), ``shape`` (N, S)."""
        if self.head is not None:
            lips = self.lips(target, shape)
            rest = self.lips(torch.zeros_like(target), shape)
            moved = lips - rest
            self._lip_unit = (moved - moved.mean(0)).square().sum(-1).mean().clamp(min=1e-10)

    def lips(self, motion: Tensor, shape: Tensor) -> Tensor:
        """(N, K, 3) metres: lip vertices of motions (N, D) on shapes (N, S), the head held still."""
        assert self.head is not None
        where = dict(self.layout.slices())
        return self.head.pose(shape, expression=motion[:, where["expression"]], jaw=motion[:, where["jaw"]])[0]

    def __call__(self, predicted: Tensor, example: Example) -> dict[str, Tensor]:
        """Weighted terms by name; their sum is the loss. ``predicted`` (B, T, D) in the dataset's units."""
        mask = example.mask
        # Taken out before it is squared: 0 times the gradient of something not finite would not be 0.
        error = torch.where(mask[..., None], predicted - example.target, 0.0).float()
        result = {}
        units = (error / self.scale).square()
        for name, where in self.layout.slices():
            result[name] = getattr(self.config, name) * masked_mean(units[..., where].mean(-1), mask)
        if self.config.velocity > 0:
            both = mask[:, 1:] & mask[:, :-1]
            change = ((error[:, 1:] - error[:, :-1]) / self.speed).square()
            parts = [masked_mean(change[..., where].mean(-1), both) for _, where in self.layout.slices()]
            result["velocity"] = self.config.velocity * torch.stack(parts).mean()
        if self.head is not None:
            shape = example.shape[:, None].expand(-1, mask.shape[1], -1)[mask]
            # Frames that do not count never reach the head model.
            apart = self.lips(predicted.float()[mask], shape) - self.lips(example.target[mask], shape)
            unit = 1e-6 if self._lip_unit is None else self._lip_unit
            distance = apart.square().sum(-1).mean() if len(apart) else predicted.sum() * 0.0
            result["lips"] = self.config.lips * distance / unit
        return result

    def drawn(self, surprise: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """The weighted term of the head that draws, from its surprise (B, T)."""
        return {"draw": self.config.draw * masked_mean(surprise, mask)}


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``values`` (B, T) where ``mask`` is set; 0 where it nowhere is. What is masked may hold anything."""
    kept = torch.where(mask, values, torch.zeros_like(values))
    return kept.sum() / mask.sum().clamp(min=1)
