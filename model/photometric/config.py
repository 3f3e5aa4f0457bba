"""Settings of the photometric refinement, each in physical units."""

from __future__ import annotations

from dataclasses import dataclass

from rsat_data.errors import ConfigError

_MAY_BE_ZERO = ("matte_weight", "overlap", "coarse_rounds")


@dataclass(frozen=True)
class PhotometricConfig:
    """How pixels refine the codes of the landmark fit (profile `full`)."""

    size: int = 256
    """Side of the pictures that are compared, pixels; the head crop is reduced to it."""
    samples: int = 4000
    """Points on the face whose colours are compared in every frame; more cost time in proportion."""
    texel_m: float = 0.0016
    """Distance between neighbouring texels on the face, metres."""
    keyframes: int = 64
    """Frames, spread evenly over the clip, from which texture and light are estimated."""
    rounds: int = 3
    """How often texture and light on one side and the codes of the key frames on the other are solved in turn."""
    coarse_rounds: int = 1
    """How many of these rounds work on pictures of half the size first."""

    noise: float = 0.015
    """Standard deviation of a colour channel in [0, 1] by what no texture and light explain: shadows, highlights,
    wrinkles. Added, squared, to the deviation measured on the clip."""
    cauchy: float = 6.0
    """Scale of the Cauchy loss in units of that deviation: hands, hair and highlights beyond it lose weight."""
    redundancy: float = 8.0
    """How many neighbouring samples share one error: shading and wrinkles that the model lacks span many pixels."""
    matte_weight: float = 0.02
    """Weight of the silhouette: visible skin must lie inside the person's matte. 0 ignores the matte."""
    facing: float = 0.25
    """Least cosine between a surface and the view at which its pixels count."""

    iterations: int = 6
    """Levenberg-Marquardt iterations of the codes in one round."""
    smooth: float = 1.0
    """Factor on all standard deviations of second differences over time; below 1 smooths more than `fast` does."""
    window: int = 128
    """Frames held in memory at once; long clips are cut into overlapping windows."""
    overlap: int = 16
    """Frames that two windows share; half of it is thrown away at each inner end."""
    texture_size: int = 1024
    """Side of the texture that is written, in the head's own texture layout (of which the face takes a small part)."""

    def __post_init__(self) -> None:
        """Refuse values no refinement can work with.

        Raises:
            ConfigError: naming the field.
        """
        for name, value in vars(self).items():
            if not (value > 0 or (value == 0 and name in _MAY_BE_ZERO)):
                raise ConfigError(f"flame.photometric.{name} must be positive, it is {value!r}.")
        for name, least, most in (("size", 32, 1024), ("samples", 500, 100_000), ("texture_size", 16, 4096)):
            if not least <= getattr(self, name) <= most:
                raise ConfigError(f"flame.photometric.{name} must lie between {least} and {most}.")
        if self.overlap >= self.window:
            raise ConfigError("flame.photometric.overlap must be smaller than flame.photometric.window.")
        if not self.facing < 1:
            raise ConfigError("flame.photometric.facing must be below 1.")
