"""Attention within a reach and convolutions over time that give the same whether a clip comes whole or in pieces.

A causal module takes ``memory``, a dictionary that it leaves its recent past in: called piece by piece with the same
dictionary, it returns what one call on the whole would have.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

Memory = dict[int, tuple[Tensor, ...]]
"""What causal modules remember between two pieces of a stream, by the identity of the module."""


class Convolution(nn.Module):
    """(B, T, C) -> (B, T / stride, D): looks at both sides, or (causal) at nothing later."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, causal: bool) -> None:
        super().__init__()
        self.weights = nn.Conv1d(inputs, outputs, kernel, stride=stride)
        self.past = kernel - stride if causal else (kernel - stride) // 2
        self.future = kernel - stride - self.past

    def forward(self, x: Tensor, memory: Memory | None = None) -> Tensor:
        """Zeros stand before the beginning and after the end."""
        rows = x.transpose(1, 2)
        if memory is not None and self.past:
            before = memory[id(self)][0] if id(self) in memory else rows.new_zeros(*rows.shape[:2], self.past)
            rows = torch.cat([before, rows], dim=2)
            memory[id(self)] = (rows[:, :, -self.past :],)
        else:
            rows = functional.pad(rows, (self.past, self.future))
        return self.weights(rows).transpose(1, 2)


class Attention(nn.Module):
    """Multi-head attention over frames within ``reach``, with a learned bias for every distance and head."""

    def __init__(self, width: int, heads: int, reach: int, *, causal: bool, dropout: float) -> None:
        super().__init__()
        self.heads, self.reach, self.causal, self.dropout = heads, reach, causal, dropout
        self.query, self.joint = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        # A start that prefers what is near, more so in some heads than in others.
        slope = 2.0 ** -torch.arange(1, heads + 1, dtype=torch.float32)
        distance = torch.arange(-reach, reach + 1, dtype=torch.float32).abs()
        self.bias = nn.Parameter(-slope[:, None] * distance[None] * 0.5)

    def forward(self, x: Tensor, other: Tensor, memory: Memory | None = None) -> Tensor:
        """Frames ``x`` (B, T, C) ask frames ``other`` (B, T, C) of the same times -> (B, T, C)."""
        query = self._split(self.query(x))
        key, value = (self._split(part) for part in self.joint(other).chunk(2, dim=-1))
        behind = 0
        if memory is not None:
            if id(self) in memory:
                old_key, old_value = memory[id(self)]
                behind = old_key.shape[2]
                key, value = torch.cat([old_key, key], dim=2), torch.cat([old_value, value], dim=2)
            memory[id(self)] = (key[:, :, -self.reach :], value[:, :, -self.reach :])
        mask = self._mask(query.shape[2], behind)
        drop = self.dropout if self.training else 0.0
        found = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=drop)
        return self.out(found.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _mask(self, count: int, behind: int) -> Tensor:
        """(heads, count, behind + count): the bias, and minus infinity where attention does not reach."""
        device = self.bias.device
        times = torch.arange(behind + count, device=device)
        distance = times[None] - times[behind:, None]
        bias = self.bias[:, distance.clamp(-self.reach, self.reach) + self.reach]
        outside = (distance.abs() > self.reach) | (distance > 0 if self.causal else distance.new_zeros(1).bool())
        return bias.masked_fill(outside, -torch.inf)


class FeedForward(nn.Module):
    """Two layers and what comes before and after them."""

    def __init__(self, width: int, factor: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, factor * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(factor * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        return x + self.layers(x)
