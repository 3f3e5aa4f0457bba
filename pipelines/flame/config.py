"""Options of the stage `flame`."""

from __future__ import annotations

from dataclasses import dataclass

from model.fitting.config import FitConfig


@dataclass(frozen=True)
class FlameConfig(FitConfig):
    """Which head is fitted, through which camera, and all settings of the fit."""

    head: str = "open"
    """"open", the name of an imported head (flame2020, flame2023, ict), or the path of a head file."""
    focal: float = 1.6
    """Focal length of the source's camera, in units of the longer side of its picture: 35 degrees across."""
