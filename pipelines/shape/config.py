"""Options of the stage `shape`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from model.fitting.config import FitConfig
from rsat_data.errors import ConfigError


@dataclass(frozen=True)
class ShapeConfig(FitConfig):
    """What is measured of a person in a clip. Options that `flame` has too are taken from there."""

    head: str = "open"
    """The head model; as in `flame`."""
    focal: float = 1.6
    """Focal length where a source's clips do not tell, in units of the longer side of its picture; as in `flame`."""
    focals: tuple[float, ...] = (0.8, 1.0, 1.25, 1.6, 2.0, 2.8, 5.0)
    """Candidates for the focal length, ascending, same unit: evidence is kept for each of them."""
    evidence_frames: int = 12
    """Frames of the evidence, at most ``flame.shape_frames``; 24 took twice the time for the same curves."""
    face_frames: int = 12
    """Frames over which the look of a face is averaged: the most frontal, with eyes open and mouth shut."""
    voice: Literal["auto", "none"] = "auto"
    """auto: with the speaker embedding where its file can be had; none: without."""
    voice_min_s: float = 1.6
    """Least speech, alone and in seconds, that makes a voice."""

    def __post_init__(self) -> None:
        """Refuse values no search can work with.

        Raises:
            ConfigError: naming the field.
        """
        super().__post_init__()
        if len(self.focals) < 3 or min(self.focals) <= 0 or list(self.focals) != sorted(set(self.focals)):
            raise ConfigError(
                f"shape.focals must be at least three ascending positive numbers, they are {list(self.focals)}.",
                hint="For example: --set 'shape.focals=[1.0,1.6,2.5]'",
            )
        if self.evidence_frames < 1 or self.face_frames < 1:
            raise ConfigError("shape.evidence_frames and shape.face_frames must be at least 1.")
        if self.voice_min_s < 1.6:
            raise ConfigError(f"shape.voice_min_s is {self.voice_min_s:g}; the network needs at least 1.6 seconds.")
