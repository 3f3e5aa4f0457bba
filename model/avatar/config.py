"""Settings of an avatar's fit."""

from __future__ import annotations

from dataclasses import dataclass

from rsat_data.errors import ConfigError

_MAY_BE_ZERO = (
    "max_steps", "seed", "sh_degree", "coarse_share", "densify_rounds", "ssim_weight", "alpha_weight", "mean_weight",
    "scale_weight", "code_lr", "code_smooth", "code_weight", "code_from", "perceptual_weight", "perceptual_from",
    "light_lr", "relief_lr", "torso_lr", "track_torso", "checkpoint_s",
)  # fmt: skip


@dataclass(frozen=True)
class AvatarConfig:
    """How a subject's Gaussians are fitted to its pictures."""

    budget_s: float = 300.0
    """Seconds the fit may take, judging the result apart; the schedule adapts to what a step costs."""
    max_steps: int = 0
    """Steps after which it ends in any case; 0: only the budget ends it. Fits that end by steps are reproducible."""
    size: int = 256
    """Side of the pictures compared, pixels; the head crop is reduced to it."""
    max_frames: int = 2000
    """Frames of the training span that are used, evenly spread; a longer recording adds no memory and no disk space."""
    hold_out: float = 0.3
    """Share of the subject's valid time, at its end, that is never trained on."""
    min_frames: int = 8
    """Least number of valid training frames."""
    seed: int = 0
    """Of frames, backgrounds and splits."""
    sh_degree: int = 0
    """Degree of the spherical harmonics of the colours; above 0 only with more than one camera."""

    coarse_share: float = 0.2
    """Share of the fit that works on pictures of half the size."""
    densify_rounds: int = 6
    """How often Gaussians are split and pruned."""
    densify_until: float = 0.6
    """Share of the fit after which the count of Gaussians stays."""
    densify_share: float = 0.08
    """Largest share of the Gaussians that one round splits: those whose gradient on the screen is largest."""
    max_gaussians: int = 40_000
    """Largest count; each face keeps at least one whatever this says."""
    prune_opacity: float = 0.02
    """Gaussians below this opacity are removed, but for the last one of a face."""

    ssim_weight: float = 0.2
    """Weight of 1 - SSIM; L1 has the rest, 1 - ssim_weight."""
    alpha_weight: float = 0.1
    """Weight of the mean absolute difference between alpha and matte."""
    perceptual_weight: float = 0.0
    """Weight of ST-LPIPS, where its weights are at hand (``rsat-data models fetch st-lpips``); 0 leaves it out. A
    picture through its network costs as much as several steps, so it is looked at in some steps only."""
    perceptual_every: int = 8
    """Every how many steps ST-LPIPS is looked at; it then weighs as many times as much."""
    perceptual_from: float = 0.5
    """Share of the fit after which it is looked at: detail comes once the shape is there."""
    mean_weight: float = 0.01
    """Weight of how far Gaussians stray from their triangle, in its units, beyond what they started with."""
    scale_weight: float = 1.0
    """Weight of how far scales exceed what they started with, in units of the triangle."""

    mean_lr: float = 5e-3
    """Step of positions, in units of the triangle's scale; all steps are Adam's, and shrink towards the end."""
    scale_lr: float = 1.7e-2
    """Step of log-scales."""
    rotation_lr: float = 1e-2
    """Step of quaternions."""
    opacity_lr: float = 5e-2
    """Step of logits of opacity."""
    colour_lr: float = 1e-2
    """Step of the colours' coefficients."""
    code_lr: float = 5e-2
    """Step of the codes of training frames, relative to their usual error; 0 leaves them as tracked. Codes of
    frames held out are never changed."""
    code_smooth: float = 0.01
    """Pull of a correction towards the mean of its neighbours in time, in units of the loss."""
    code_weight: float = 0.001
    """Pull of a correction towards none, likewise."""
    code_from: float = 0.3
    """Share of the fit after which codes are corrected: first the Gaussians need a likeness."""
    light_lr: float = 1e-2
    """Step of the logarithms of each row's light, for subjects of several rows; 0: all rows have the same light."""
    track_torso: bool = True
    """Look for the shoulders in every frame that is trained on or judged (six numbers a frame, as the head's pose is
    tracked), unless the footage brings ``torso`` among its codes. Otherwise they stand still or follow the head."""
    torso_lr: float = 3e-3
    """Step of how the torso stands and follows the head, relative to a head's usual motion; 0 holds it still."""
    relief_lr: float = 3e-4
    """Step, metres, of how deep the head is at ``relief_points`` points; 0: as deep as the identity code says."""
    relief_points: int = 60
    """Points, spread over the head, that have a depth of their own."""
    end_lr: float = 0.05
    """Share of the steps that is left at the end."""

    checkpoint_s: float = 20.0
    """Seconds between two checkpoints, where a folder for them is given."""
    validation_frames: int = 12
    """Frames of the training span that are kept for choosing the best state."""

    def __post_init__(self) -> None:
        """Refuse values no fit can work with.

        Raises:
            ConfigError: naming the field.
        """
        for name, value in vars(self).items():
            if not (value > 0 or (value == 0 and name in _MAY_BE_ZERO)):
                raise ConfigError(f"avatar.{name} must be positive, it is {value!r}.")
        for name, least, most in (("size", 32, 1024), ("sh_degree", 0, 3), ("hold_out", 0.01, 0.9)):
            if not least <= getattr(self, name) <= most:
                raise ConfigError(f"avatar.{name} must lie between {least} and {most}.")
        for name in ("coarse_share", "densify_until", "densify_share", "prune_opacity", "ssim_weight", "end_lr"):
            if getattr(self, name) > 1:
                raise ConfigError(f"avatar.{name} must not exceed 1.")
        if self.size % 2:
            raise ConfigError("avatar.size must be even: part of the fit works on pictures of half the size.")
