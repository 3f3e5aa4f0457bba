"""Draws: what a face might do that no input shows (blinks, smiles, brows, nods, glances), by a small generative head.

Frame by frame the head says how likely every continuation of the residual of the mean is, given the residual so far
and the fused features: a mixture of normal densities for each family of columns (Bishop 1994; over time: Graves 2013).
The columns of a family share one choice, so what belongs to one event (both lids of a blink) begins together, and what
does not (a glance and a nod) need not. Motion keeps going as it went unless the head says otherwise. A draw chooses
frame by frame; the likelihood of true motion is exact.

The residual, in units of training, is written in the leading principal parts of how people move within a clip, parts of
each family for itself.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from model.motion.layers import Memory
from model.motion.layout import FAMILIES

LEAST_SPREAD = 0.02
"""Least spread of a component, in spreads of its part: motion is known no better, and likelihoods stay bounded."""
FARTHEST = 10.0
"""How far a drawn part may be from the mean, in its spreads."""
WANDER = 0.08
"""Spread of the error of the past shown in training, in spreads of each part: a draw's own past is not true either."""
WANDER_KEPT = 0.95
"""Share of that error which stays from frame to frame: a slow one, or velocities would drown in it."""


def frame_noise(seed: int, first: int, count: int, size: int) -> np.ndarray:
    """Noise (count, size) float32, normal, of frames ``first`` to ``first + count``.

    A frame's numbers depend on seed and frame alone, so pieces of a clip and streams agree with the whole.

    Args:
        seed: any integer >= 0 (below 2^64).
        first: number of the first frame, >= 0.
        count: frames.
        size: D.
    """
    result = np.empty((count, size), np.float32)
    for i in range(count):
        # A counter of its own for every frame: nothing has to be drawn before it.
        bits = np.random.Philox(key=np.uint64(seed), counter=[0, 0, first + i, 0])
        result[i] = np.random.Generator(bits).standard_normal(size, dtype=np.float32)
    return result


def seed_of(draw: int, person: int) -> int:
    """Seed of the noise of A (0) or B (1) in the draw ``draw``."""
    return 2 * draw + person


class DrawHead(nn.Module):
    """A recurrent mixture density network over the residual's parts.

    Args:
        features: channels of the fused features.
        motion: D.
        width: channels of the recurrent layer.
        parts: principal parts of the residual that are drawn; at most D less the number of families.
        choices: components of each family's mixture.
        dropout: share of what the head is told that is dropped in training.
    """

    axes: Tensor
    spread: Tensor
    owner: Tensor

    def __init__(self, features: int, motion: int, width: int, parts: int, choices: int, dropout: float) -> None:
        super().__init__()
        self.parts, self.choices = min(parts, motion - len(FAMILIES)), choices
        told = width // 2
        self.norm = nn.LayerNorm(features)
        self.told = nn.Linear(features + motion, told)
        self.drop = nn.Dropout(dropout)
        self.past = nn.GRU(2 * self.parts + 1 + told, width, batch_first=True)
        self.hidden = nn.Linear(width + told, width)
        self.choice = nn.Linear(width, choices * len(FAMILIES))
        self.centre = nn.Linear(width, choices * self.parts)
        self.width = nn.Linear(width, choices * self.parts)
        # Small, and unlike each other, so that components may become different.
        nn.init.normal_(self.centre.weight, std=0.05)
        nn.init.constant_(self.width.bias, -3.0)
        self.stay = nn.Parameter(torch.full((self.parts,), 0.97))
        self.go_on = nn.Parameter(torch.full((choices, self.parts), 0.7))
        self.register_buffer("axes", torch.eye(motion)[: self.parts].clone())
        self.register_buffer("spread", torch.ones(self.parts))
        # Which family a part is of, as a table of zeros and ones: sums over families are products with it.
        first = torch.zeros(self.parts, dtype=torch.long)
        self.register_buffer("owner", functional.one_hot(first, len(FAMILIES)).float())

    def fit_parts(self, axes: Tensor, spread: Tensor, family: Tensor) -> None:
        """Set the parts: the first of the principal axes of training motion.

        Args:
            axes: (D, D), a row each, the widest first.
            spread: (D,) along them.
            family: (D,) number of the family (``FAMILIES``) an axis is of.
        """
        self.axes.copy_(axes[: self.parts])
        self.spread.copy_(spread[: self.parts].clamp(min=1e-3))
        self.owner.copy_(functional.one_hot(family[: self.parts].long(), len(FAMILIES)))

    def inform(self, features: Tensor, mean: Tensor) -> Tensor:
        """What the head is told (B, T, W / 2), by features (B, T, C) and the mean (B, T, D) in units of training."""
        both = torch.cat([self.norm(features.float()), mean.float()], dim=-1)
        return self.drop(functional.gelu(self.told(both)))

    def surprise(self, told: Tensor, residual: Tensor, known: Tensor, noise: Tensor | None = None) -> Tensor:
        """Negative logarithm of the density of a residual, frame by frame.

        Args:
            told: (B, T, W / 2) of :meth:`inform`.
            residual: (B, T, D) in units of training.
            known: (B, T) bool; what the residual holds in other frames does not matter.
            noise: (B, T, D), normal, for the error of the past in training; None for the true past.

        Returns:
            (B, T) nats a part, parts in units of their spread; 0 where nothing is known.
        """
        parts = torch.where(known[..., None], residual @ self.axes.T / self.spread, 0.0)
        shown = parts if noise is None else parts + self._wander(noise) * known[..., None]
        before = functional.pad(shown, (0, 0, 1, 0))[:, :-1]
        is_before = functional.pad(known, (1, 0))[:, :-1]
        both = is_before & functional.pad(is_before, (1, 0))[:, :-1]
        speed = torch.where(both[..., None], before - functional.pad(before, (0, 0, 1, 0))[:, :-1], 0.0)
        state = self.past(self._seen(before, speed, is_before, told))[0]
        share, centre, width = self._mixture(state, told, before, speed)
        apart = (parts[..., None, :] - centre) / width
        each = -(0.5 * apart.square() + width.log() + 0.5 * math.log(2 * math.pi))
        density = (share + each @ self.owner).logsumexp(-2).sum(-1)
        return torch.where(known, -density / self.parts, 0.0)

    def residual(self, told: Tensor, noise: Tensor, memory: Memory | None = None) -> Tensor:
        """A drawn residual (B, T, D) in units of training.

        Args:
            told: (B, T, W / 2) of :meth:`inform`.
            noise: (B, T, D), normal: of each frame, one number for every family chooses a component, one for every
                part a value of it.
            memory: of a stream: the residual so far.
        """
        batch = len(told)
        if memory is not None and id(self) in memory:
            state, before, speed, begun = memory[id(self)]
        else:
            state = told.new_zeros(1, batch, self.past.hidden_size)
            before = speed = told.new_zeros(batch, self.parts)
            begun = torch.zeros(batch, dtype=torch.bool, device=told.device)
        families = len(FAMILIES)
        # The same numbers as places between 0 and 1.
        places = torch.special.ndtr(noise[..., :families])
        own = self.owner.argmax(-1).expand(batch, 1, -1)
        drawn = []
        for frame in range(told.shape[1]):
            now = told[:, frame]
            found, state = self.past(self._seen(before, speed, begun, now)[:, None], state)
            share, centre, width = self._mixture(found[:, 0], now, before, speed)
            above = share.exp().cumsum(-2) < places[:, frame, None]
            chosen = above.sum(-2, keepdim=True).clamp(max=self.choices - 1).gather(-1, own)
            middle, around = centre.gather(-2, chosen)[:, 0], width.gather(-2, chosen)[:, 0]
            value = middle + around * noise[:, frame, families : families + self.parts]
            value = value.clamp(-FARTHEST, FARTHEST)
            speed = torch.where(begun[:, None], value - before, 0.0)
            before, begun = value, torch.ones_like(begun)
            drawn.append(value)
        if memory is not None:
            memory[id(self)] = (state, before, speed, begun)
        if not drawn:
            return noise.new_zeros(noise.shape)
        return (torch.stack(drawn, dim=1) * self.spread) @ self.axes

    def _seen(self, before: Tensor, speed: Tensor, known: Tensor, told: Tensor) -> Tensor:
        # Speeds are small beside places.
        return torch.cat([before, 4 * speed, known[..., None].to(before.dtype), told], dim=-1)

    def _mixture(self, state: Tensor, told: Tensor, before: Tensor, speed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logarithms of shares (..., K, families), centres and spreads (..., K, parts) of what comes next."""
        hidden = functional.gelu(self.hidden(torch.cat([state, told], dim=-1)))
        share = self.choice(hidden).unflatten(-1, (self.choices, len(FAMILIES))).log_softmax(-2)
        onward = (before * self.stay)[..., None, :] + speed[..., None, :] * self.go_on
        centre = onward + self.centre(hidden).unflatten(-1, (self.choices, self.parts))
        width = functional.softplus(self.width(hidden).unflatten(-1, (self.choices, self.parts))) + LEAST_SPREAD
        return share, centre, width

    def _wander(self, noise: Tensor) -> Tensor:
        """A slow error (B, T, parts) from noise (B, T, D): a first-order autoregression of spread ``WANDER``."""
        count = noise.shape[1]
        times = torch.arange(count, device=noise.device)
        kept = WANDER_KEPT ** (times[:, None] - times).clamp(min=0).to(noise.dtype)
        kept = torch.where(times[:, None] >= times, kept, 0.0)
        # The first frame starts with the full spread, every later one adds what has been lost.
        kept[:, 1:] *= math.sqrt(1 - WANDER_KEPT**2)
        return WANDER * torch.einsum("ts,bsd->btd", kept, noise[..., : self.parts])
