"""Options that decide which frames of a fit can be trusted; cheap to import."""

from __future__ import annotations

from dataclasses import dataclass

from rsat_data.errors import ConfigError


@dataclass(frozen=True)
class FlameValidity:
    """Limits beyond which a frame is not valid. ``docs/validity.md`` says how each quantity is measured."""

    max_turn_deg: float = 60.0
    """Angle between where the face looks and the way to the camera; beyond it half of the landmarks are guesses."""
    max_outside: float = 0.12
    """Share of the landmarks that lie outside the picture."""
    max_hidden: float = 0.125
    """Share of the face's visible area that does not look as it does in the rest of the clip."""
    max_unlike: float = 0.16
    """Share of the face, laid flat, whose texture is another than in the rest of the clip; more where it nods."""
    min_sharpness: float = 0.2
    """Sharpness relative to the clip's median."""
    max_jump: float = 0.6
    """Step from one frame to the next that the steps around it do not explain, in distances between the eyes."""
    jump_frames: int = 5
    """A face that leaves its place by a jump and is back after at most so many frames was a false detection."""
    max_shape_change: float = 0.055
    """Change of the face's proportions that, with ``max_looks_change``, makes another person; in units of its size."""
    max_looks_change: float = 0.15
    """Change of the pattern of light and dark on the face (rms of log luma) that makes another person."""
    drift_ratio: float = 2.5
    """Landmark error, over a second, relative to the clip's best fifth, from which codes have drifted away ..."""
    drift_rise: float = 0.02
    """... and by how much it must have risen at the least, in distances between the eyes."""
    min_frames: int = 5
    """A person with fewer valid frames is not used ..."""
    min_share: float = 0.2
    """... nor one with a smaller share of valid frames."""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing.

        Raises:
            ConfigError: naming the field.
        """
        for name, value in vars(self).items():
            if not value >= 0:
                raise ConfigError(f"flame.validity.{name} must not be negative, it is {value!r}.")
