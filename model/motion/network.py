"""The motion network: both people's speech and the partner's motion -> this person's codes.

As in dual-speaker models, the partner's speech asks the partner's motion, and the target's features ask what comes of
it; the target's reference (mean and spread of its codes over a few seconds) says where the face rests and how lively
it is. After the abstract of RSATalker; what the stages contain is our reading.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.motion.config import NetworkConfig
from model.motion.draw import DrawHead
from model.motion.layers import Attention, Convolution, FeedForward, Memory
from model.motion.social import SocialModule


@dataclass
class Batch:
    """Inputs of the network for B targets and T frames; everything on one device."""

    own: Tensor
    """(B, T * per_frame, channels) features of the target's speech."""
    partner: Tensor
    """The same of the partner's."""
    state: Tensor
    """(B, T) int64: 1 if the target speaks, plus 2 if the partner does."""
    motion: Tensor
    """(B, T, D) the partner's motion; anything where it is not known."""
    motion_known: Tensor
    """(B, T) bool: the partner's motion of this frame may be looked at."""
    reference: Tensor
    """(B, 2, D) mean and standard deviation of the target's codes over its reference."""
    reference_known: Tensor
    """(B,) bool: there is a reference."""
    relation: Tensor
    """(B, 3) int64 numbers of kinship, status, senior seen from the target; 0 is unknown."""

    def to(self, device: torch.device | str) -> Batch:
        """The same on another device."""
        return Batch(**{name: value.to(device, non_blocking=True) for name, value in vars(self).items()})


class SpeechFront(nn.Module):
    """Features of speech to one vector a frame: two convolutions over the columns, one over the frames."""

    def __init__(self, channels: int, per_frame: int, width: int, *, causal: bool) -> None:
        super().__init__()
        self.first = Convolution(channels, width, 5, causal=causal)
        # Exactly the columns of a frame become that frame.
        self.fold = Convolution(width, width, per_frame, stride=per_frame, causal=causal)
        self.norm = nn.LayerNorm(width)
        self.second = Convolution(width, width, 5, causal=causal)
        self.act = nn.GELU()

    def forward(self, features: Tensor, memory: Memory | None = None) -> Tensor:
        """(B, T * per_frame, channels) -> (B, T, C)."""
        x = self.act(self.first(features, memory))
        x = self.act(self.fold(x, memory))
        return x + self.act(self.second(self.norm(x), memory))


class Fusion(nn.Module):
    """A block: the target's features ask themselves, then the partner's, then a feed-forward layer."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width = config.width
        self.norm_self, self.norm_cross, self.norm_partner = (nn.LayerNorm(width) for _ in range(3))
        self.self_attention = _attention(config)
        self.cross_attention = _attention(config)
        self.drop = nn.Dropout(config.dropout)
        self.after = FeedForward(width, config.feedforward, config.dropout)

    def forward(self, x: Tensor, partner: Tensor, memory: Memory | None = None) -> Tensor:
        """(B, T, C), (B, T, C) -> (B, T, C)."""
        own = self.norm_self(x)
        x = x + self.drop(self.self_attention(own, own, memory))
        x = x + self.drop(self.cross_attention(self.norm_cross(x), self.norm_partner(partner), memory))
        return self.after(x)


def _attention(config: NetworkConfig) -> Attention:
    return Attention(config.width, config.heads, config.reach, causal=config.causal, dropout=config.dropout)


class MotionNetwork(nn.Module):
    """Predicts a person's motion (B, T, D) in the dataset's units.

    Args:
        config: sizes.
        channels: numbers a feature vector of speech.
        per_frame: feature vectors a frame.
        motion: D.
        social: with the social module (stage 3).
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, config: NetworkConfig, channels: int, per_frame: int, motion: int, *, social: bool) -> None:
        super().__init__()
        width = config.width
        self.config = config
        self.front = SpeechFront(channels, per_frame, width, causal=config.causal)
        self.state = nn.Embedding(4, width)
        self.motion_in = nn.Sequential(nn.Linear(motion, width), nn.GELU(), nn.Linear(width, width))
        self.no_motion = nn.Parameter(torch.zeros(width))
        self.norm_speech, self.norm_motion = nn.LayerNorm(width), nn.LayerNorm(width)
        self.look = _attention(config)
        self.reference = nn.Sequential(nn.Linear(2 * motion, width), nn.Dropout(config.dropout))
        self.no_reference = nn.Parameter(torch.zeros(width))
        self.blocks = nn.ModuleList(Fusion(config) for _ in range(config.layers))
        self.social: SocialModule | None = None
        if social:
            self.social = SocialModule(
                width, config.heads, config.queries, config.reach, causal=config.causal, dropout=config.dropout
            )
        self.decode = FeedForward(width, config.feedforward, config.dropout)
        self.norm_out = nn.LayerNorm(width)
        self.out = nn.Linear(width, motion)
        nn.init.normal_(self.out.weight, std=0.01)
        nn.init.zeros_(self.out.bias)
        self.draw = DrawHead(width, motion, config.draw_width, config.draw_parts, config.draw_choices, config.dropout)
        # How far to trust the reference's mean, by column: a few seconds say much of a pose, little of a smile.
        self.trust = nn.Parameter(torch.full((motion,), 0.5))
        self.register_buffer("mean", torch.zeros(motion))
        self.register_buffer("scale", torch.ones(motion))

    def fit_scale(self, mean: Tensor, scale: Tensor) -> None:
        """Set the mean and unit (both (D,)) of every column of motion, from training data."""
        self.mean.copy_(mean)
        self.scale.copy_(scale)

    @property
    def receptive(self) -> int:
        """Frames to either side beyond which nothing matters to a frame of features and of the mean."""
        return (self.config.layers * 2 + 2) * self.config.reach + 8

    def forward(self, batch: Batch, memory: Memory | None = None) -> Tensor:
        """Motion of the targets; with ``memory``, of the next piece of a stream (causal networks only)."""
        return self.normalised(batch, memory) * self.scale + self.mean

    def normalised(self, batch: Batch, memory: Memory | None = None) -> Tensor:
        """Motion (B, T, D) in the units of training."""
        return self.decoded(self.features(batch, memory), batch)

    def drawn(self, batch: Batch, noise: Tensor, memory: Memory | None = None, *, temperature: float = 1.0) -> Tensor:
        """A draw (B, T, D) in the dataset's units: the mean and what the face might do besides.

        Args:
            batch: inputs.
            noise: (B, T, D), normal; the same noise gives the same draw (``model.motion.draw.frame_noise``).
            memory: of a stream (causal networks only).
            temperature: what the drawn residual is multiplied by; 0 gives the mean.
        """
        features = self.features(batch, memory)
        mean = self.decoded(features, batch)
        residual = self.draw.residual(self.draw.inform(features, mean), noise, memory)
        return (mean + temperature * residual) * self.scale + self.mean

    def learn(self, batch: Batch, target: Tensor, known: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The mean, and how surprised the head that draws is.

        Args:
            batch: inputs.
            target: (B, T, D) true motion in the dataset's units; frames that are not known may hold anything.
            known: (B, T) bool: frames that are.
            noise: (B, T, D), normal, for the error of the past that the head is shown.

        Returns:
            The mean (B, T, D) in the dataset's units, and surprise (B, T), 0 where nothing is known. The latter's
            gradient reaches the head and, where there is one, the social module; never the mean, nor what is before.
        """
        features = self.features(batch)
        mean = self.decoded(features, batch)
        # Without a social module only the mean decides what features are.
        told = features if self.social is not None else features.detach()
        return mean * self.scale + self.mean, self.surprise(told, mean.detach(), target, known, noise)

    def surprise(
        self, features: Tensor, mean: Tensor, target: Tensor, known: Tensor, noise: Tensor | None = None
    ) -> Tensor:
        """Surprise (B, T) of :meth:`learn`, given features (B, T, C) and the mean (B, T, D) in units of training.

        In full precision: narrow densities do not bear less.
        """
        with torch.autocast(features.device.type, enabled=False):
            residual = torch.where(known[..., None], (target - self.mean) / self.scale - mean.float(), 0.0)
            return self.draw.surprise(self.draw.inform(features, mean), residual, known, noise)

    def features(self, batch: Batch, memory: Memory | None = None) -> Tensor:
        """Features (B, T, C) of both people and, where there is a social module, of their relation."""
        if memory is not None and not self.config.causal:
            raise ValueError("only a causal network streams")
        fused = self.fused(batch, memory)
        return fused if self.social is None else self.social(fused, batch.relation, memory)

    def decoded(self, features: Tensor, batch: Batch) -> Tensor:
        """The mean (B, T, D) in the units of training, of :meth:`features`."""
        moving = self.out(self.norm_out(self.decode(features)))
        rest = (batch.reference[:, 0] - self.mean) / self.scale * self.trust
        return moving + torch.where(batch.reference_known[:, None], rest, 0.0)[:, None]

    def fused(self, batch: Batch, memory: Memory | None = None) -> Tensor:
        """Features (B, T, C) of both people, before any relation."""
        # One pass through the front for both people: the same ear.
        both = self.front(torch.cat([batch.own, batch.partner]), memory)
        own, partner = both.chunk(2)
        mirrored = torch.tensor([0, 2, 1, 3], device=batch.state.device)[batch.state]
        partner = partner + self.state(mirrored)
        seen = self.motion_in((batch.motion - self.mean) / self.scale)
        seen = torch.where(batch.motion_known[..., None], seen, self.no_motion)
        partner = partner + self.look(self.norm_speech(partner), self.norm_motion(seen), memory)
        lively = torch.log(batch.reference[:, 1] / self.scale + 0.05)
        style = torch.cat([(batch.reference[:, 0] - self.mean) / self.scale, lively], dim=-1)
        known = self.reference(style)
        style = torch.where(batch.reference_known[:, None], known, self.no_reference)
        x = own + self.state(batch.state) + style[:, None]
        for block in self.blocks:
            x = block(x, partner, memory)
        return x
