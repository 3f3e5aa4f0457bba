"""Settings of training."""

from __future__ import annotations

from dataclasses import dataclass, field

from model.motion.config import NetworkConfig, SpeechConfig
from model.train.appearance_config import AppearanceConfig
from rsat_data.errors import ConfigError


@dataclass(frozen=True)
class LossConfig:
    """Weights; every term is 1 for a motionless prediction at the training mean, about."""

    expression: float = 1.0
    """Squared error of the expression code."""
    jaw: float = 1.0
    """Squared error of the jaw."""
    pose: float = 0.5
    """Squared error of the head's rotation."""
    eyes: float = 0.5
    """Squared error of the eyes' rotations."""
    velocity: float = 0.25
    """Squared error of what changes between frames, all groups together."""
    lips: float = 1.0
    """Squared distance of lip vertices, through the head model."""

    draw: float = 1.0
    """Stage 3: surprise of the head that draws what the mean leaves out."""

    def __post_init__(self) -> None:
        """Refuse weights below zero.

        Raises:
            ConfigError: naming the field.
        """
        for name, value in vars(self).items():
            if not value >= 0:
                raise ConfigError(f"loss.{name} must not be negative, it is {value!r}.")


@dataclass(frozen=True)
class TrainConfig:
    """How a stage is trained."""

    steps: int = 800
    """Steps of a stage, unless it stops early."""
    batch: int = 8
    """Windows a step, over all devices together."""
    window: int = 100
    """Frames a window."""
    hop: int = 50
    """Frames from one window's beginning to the next one's."""
    lr: float = 1e-3
    """Highest step of AdamW."""
    warmup: int = 100
    """Steps until it is reached; then it falls like a cosine to a hundredth."""
    weight_decay: float = 0.05
    """Of AdamW."""
    clip: float = 1.0
    """Largest norm of a gradient."""
    ema: float = 0.995
    """Share of the averaged weights that a step keeps; the average is what is judged and kept."""
    validate_every: int = 50
    """Steps between two validations; a checkpoint is written at each."""
    patience: int = 6
    """Validations without a better one after which a stage stops; 0: never."""
    seed: int = 0
    """Of weights, order, dropout."""
    partner_dropout: float = 0.3
    """Chance that a window's partner motion is hidden, so that sound alone works."""
    reference_dropout: float = 0.05
    """Chance that a window's reference is hidden."""
    relation_dropout: float = 0.15
    """Chance that a window's relation is unknown (stage 3), so that unknown works."""
    draw_steps: int = 1000
    """Steps of the head that draws, once the mean stands, and half of them once the relations are learnt; 0 trains
    none, and the run cannot draw."""
    draw_batch: int = 16
    """Windows a step of the head that draws, where it is trained alone."""
    draw_rate: float = 3.0
    """Step of the head that draws, as a share of ``lr``."""
    decoder_rate: float = 0.1
    """Stage 3: step of what is behind the social module, as a share of stage 1's."""
    base_rate: float = 0.0
    """Stage 3: step of everything before it, as a share of ``lr``; 0 freezes it."""
    threads: int = 0
    """Threads on the CPU; 0 leaves torch its default."""

    def __post_init__(self) -> None:
        """Refuse values no training can work with.

        Raises:
            ConfigError: naming the field.
        """
        for name in ("steps", "batch", "draw_batch", "window", "hop", "lr", "clip", "validate_every"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"train.{name} must be positive, it is {getattr(self, name)!r}.")
        for name in ("ema", "partner_dropout", "reference_dropout", "relation_dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"train.{name} must lie in [0, 1], it is {getattr(self, name)!r}.")
        others = ("warmup", "weight_decay", "patience", "seed", "draw_steps", "draw_rate", "decoder_rate", "base_rate")
        for name in (*others, "threads"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"train.{name} must not be negative, it is {getattr(self, name)!r}.")
        if self.window < 4:
            raise ConfigError(f"train.window must be at least 4 frames, it is {self.window}.")


@dataclass(frozen=True)
class AugmentConfig:
    """How log-mel features of the training windows are changed; other encoders' features stay as they are.

    Nothing by default: on 40 conversations the mouth was learnt more slowly with it, see docs/training.md.
    """

    gain_db: float = 0.0
    """Louder or quieter by at most this."""
    tilt_db: float = 0.0
    """The highest band against the lowest, by at most this."""
    warp: float = 0.0
    """Frequencies are stretched or squeezed by at most this share: another throat."""
    hole_bands: int = 0
    """At most so many bands are silenced over the whole window."""
    hole_frames: int = 0
    """At most so many frames are silenced."""

    def __post_init__(self) -> None:
        """Refuse values below zero.

        Raises:
            ConfigError: naming the field.
        """
        for name, value in vars(self).items():
            if not value >= 0:
                raise ConfigError(f"augment.{name} must not be negative, it is {value!r}.")
        if self.hole_bands > 32:
            raise ConfigError(f"augment.hole_bands must be at most 32, it is {self.hole_bands}.")


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run besides its data."""

    speech: SpeechConfig = field(default_factory=SpeechConfig)
    """Features of speech."""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    """The network."""
    loss: LossConfig = field(default_factory=LossConfig)
    """What is minimised."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """The loop."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Other voices from the same words."""
    appearance: AppearanceConfig = field(default_factory=AppearanceConfig)
    """Stage 2."""


SECTIONS = {
    "speech": SpeechConfig, "network": NetworkConfig, "loss": LossConfig, "train": TrainConfig,
    "augment": AugmentConfig, "appearance": AppearanceConfig,
}  # fmt: skip
"""Sections of a configuration file."""
