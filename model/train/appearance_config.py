"""Settings of stage 2: how a subject's avatar is refined under the run's motion."""

from __future__ import annotations

from dataclasses import dataclass

from rsat_data.errors import ConfigError

MOTIONS = ("mean", "draw")
"""What of a run's predictions drives the avatar."""


@dataclass(frozen=True)
class AppearanceConfig:
    """How the avatars are refined."""

    budget_s: float = 120.0
    """Seconds a subject, judging apart."""
    max_steps: int = 0
    """Steps after which a subject ends in any case; 0: only the budget ends it. What ends by steps is reproducible."""
    size: int = 256
    """Side of the pictures compared, pixels."""
    stage: int = 1
    """Stage whose predictions are used, 1 or 3."""
    motion: str = "mean"
    """``mean`` for what the network expects, ``draw`` for one draw of what the face might do."""
    share: float = 0.5
    """Share of the steps under predicted motion; the others are under tracked motion."""
    agreement: float = 0.02
    """s of :mod:`model.avatar.driven`, as a share of the picture's side: how far predicted may lie from tracked points
    for their pixels to be compared."""
    coarse_weight: float = 0.5
    """Weight of the coarse grid's difference under predicted motion."""
    perceptual_weight: float = 0.05
    """Weight of ST-LPIPS, where its weights are at hand; 0 leaves it out."""
    keep_weight: float = 0.005
    """Pull of every Gaussian towards the fitted one."""
    rate: float = 0.5
    """Steps, as a share of the fit's."""
    least_gain_db: float = 0.02
    """Gain under predicted motion on the time held out below which the fitted avatar is kept."""
    most_loss_db: float = 0.1
    """Loss under tracked motion on the time held out above which the fitted avatar is kept."""
    judged_frames: int = 60
    """Held-out frames that are judged at most, evenly spread."""
    checkpoint_s: float = 20.0
    """Seconds between two checkpoints."""
    seed: int = 0
    """Of frames and backgrounds."""

    def __post_init__(self) -> None:
        """Refuse values no refinement can work with.

        Raises:
            ConfigError: naming the field.
        """
        for name in ("budget_s", "size", "agreement", "rate", "judged_frames"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"appearance.{name} must be positive, it is {getattr(self, name)!r}.")
        for name in ("max_steps", "coarse_weight", "perceptual_weight", "keep_weight", "checkpoint_s", "seed"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"appearance.{name} must not be negative, it is {getattr(self, name)!r}.")
        if not 0 <= self.share <= 1:
            raise ConfigError(f"appearance.share must lie in [0, 1], it is {self.share!r}.")
        if self.size % 2 or not 32 <= self.size <= 1024:
            raise ConfigError(f"appearance.size must be an even number from 32 to 1024, it is {self.size!r}.")
        if self.stage not in (1, 3):
            raise ConfigError(f"appearance.stage must be 1 or 3, it is {self.stage!r}.")
        if self.motion not in MOTIONS:
            raise ConfigError(f"appearance.motion must be one of {', '.join(MOTIONS)}, it is {self.motion!r}.")
