"""Draws: what a face might do that no input shows (blinks, smiles, brows, nods, glances), by a small generative head.

Rectified flow (Liu et al. 2022; Lipman et al. 2022) on the residual of the mean, in units of training: between noise
x0 and residual x1 lies x_t = (1 - t) x0 + t x1, and the head says which x1 it expects from x_t, t and the fused
features. Its velocity is (x1 - x_t) / (1 - t); a few steps lead from noise to a residual. Expecting x1 and not
the velocity itself leaves little noise in the result: the last step lands about on what is expected.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from model.motion.layers import Convolution, Memory

DILATIONS = (1, 2, 4, 8, 16, 1)
"""Frames between the taps of each block's convolution."""
LEAST = 0.35
"""Least 1 - t in the weight of an error: near t = 1 the velocity's error would count without end."""
SHIFT = 3.0
"""How far times gather near the noise: motion is smooth, so a head that looks at many frames sees through the noise
early, and what will be drawn is decided there (as for large pictures: Esser et al. 2024)."""
_FREQUENCIES = 16


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


def error_weight(time: Tensor) -> Tensor:
    """What squared errors of the expected residual count at times (...): the error of the velocity, bounded.

    1 on average over evenly spread times.
    """
    return 1 / (1 - time).clamp(min=LEAST).square() / (2 / LEAST - 1)


def shifted(place: Tensor) -> Tensor:
    """Times in [0, 1] of evenly spread places in [0, 1]: learnt from, and stepped through, alike."""
    return place / (SHIFT - (SHIFT - 1) * place)


class DrawHead(nn.Module):
    """Gated dilated convolutions over frames, told the fused features, the mean and the time.

    Args:
        features: channels of the fused features.
        motion: D.
        width: channels inside.
        causal: look at no later frame.
    """

    def __init__(self, features: int, motion: int, width: int, *, causal: bool) -> None:
        super().__init__()
        self.enter = nn.Linear(motion + 1, width)
        self.norm = nn.LayerNorm(features)
        self.told = nn.Linear(features + motion, width)
        self.clock = nn.Sequential(nn.Linear(2 * _FREQUENCIES, width), nn.GELU())
        blocks = range(len(DILATIONS))
        self.taps = nn.ModuleList(Convolution(width, 2 * width, 3, dilation=d, causal=causal) for d in DILATIONS)
        self.hear = nn.ModuleList(nn.Linear(width, 2 * width) for _ in blocks)
        self.when = nn.ModuleList(nn.Linear(width, 2 * width) for _ in blocks)
        self.leave = nn.ModuleList(nn.Linear(width, width) for _ in blocks)
        self.norm_out = nn.LayerNorm(width)
        self.out = nn.Linear(width, motion)
        # Before it is trained it expects no residual, so a draw is the mean.
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    @property
    def receptive(self) -> int:
        """Frames to either side that one look depends on."""
        return sum(DILATIONS)

    def conditions(self, fused: Tensor, mean: Tensor) -> list[Tensor]:
        """What each block is told (B, T, 2 width), by features (B, T, C) and the mean (B, T, D) in units of training.

        The same at all times, so it is computed once a draw.
        """
        told = functional.gelu(self.told(torch.cat([self.norm(fused), mean], dim=-1)))
        return [layer(told) for layer in self.hear]

    def forward(
        self, x: Tensor, time: Tensor, conditions: list[Tensor], known: Tensor, memory: Memory | None = None
    ) -> Tensor:
        """Expected residual (B, T, D) at ``x`` (B, T, D) and times (B,); ``known`` (B, T): frames of x that count."""
        given = torch.where(known[..., None], x, 0.0)
        h = self.enter(torch.cat([given, known[..., None].to(x.dtype)], dim=-1))
        angle = time[:, None] * (math.pi / 2 * torch.arange(1, _FREQUENCIES + 1, device=x.device, dtype=x.dtype))
        clock = self.clock(torch.cat([angle.sin(), angle.cos()], dim=-1))
        for tap, told, when, leave in zip(self.taps, conditions, self.when, self.leave, strict=True):
            signal, gate = (tap(h, memory) + told + when(clock)[:, None]).chunk(2, dim=-1)
            h = h + leave(torch.tanh(signal) * torch.sigmoid(gate))
        return self.out(self.norm_out(h))

    def residual(self, fused: Tensor, mean: Tensor, noise: Tensor, steps: int, memory: Memory | None = None) -> Tensor:
        """A residual (B, T, D) in units of training, from ``noise`` (B, T, D) by ``steps`` steps.

        Steps of Adams and Bashforth: Euler's, corrected by the step before; Euler's alone would shrink the motion.
        With ``memory``, of the next piece of a stream: every step remembers its own past.
        """
        conditions = self.conditions(fused, mean)
        known = torch.ones(noise.shape[:2], dtype=torch.bool, device=noise.device)
        x, before, last = noise, None, 0.0
        times = shifted(torch.linspace(0, 1, steps + 1)).tolist()
        for step, (time, after) in enumerate(itertools.pairwise(times)):
            own = None if memory is None else memory.setdefault((id(self), step), {})
            velocity = (self(x, x.new_full((len(x),), time), conditions, known, own) - x) / (1 - time)
            stride = after - time
            half = 0.0 if before is None else 0.5 * stride / last
            x = x + stride * ((1 + half) * velocity - half * (velocity if before is None else before))
            before, last = velocity, stride
        return x
