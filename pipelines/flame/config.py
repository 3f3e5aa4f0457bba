"""Options of the stage `flame`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from model.fitting.config import FitConfig
from model.photometric.config import PhotometricConfig
from pipelines.flame.validity_config import FlameValidity


@dataclass(frozen=True)
class FlameConfig(FitConfig):
    """Which head is fitted, through which camera, and all settings of the fit."""

    head: str = "open"
    """"open", the name of an imported head (flame2020, flame2023, ict), or the path of a head file."""
    focal: float = 1.6
    """Focal length that a source's camera is expected to have, in units of the longer side of its picture (1.6: 35
    degrees across). Estimates are drawn to it; with ``subjects.cameras=fixed`` it is taken as it stands."""
    device: Literal["cpu", "auto", "cuda"] = "cpu"
    """Where codes are fitted and refined: numba on the CPU, or torch on the GPU ("auto": if there is one); docs/gpu.md.
    The shape is always found on the CPU."""
    profile: Literal["fast", "full"] = "fast"
    """"fast" fits landmarks; "full" refines their codes by the pixels of the face, at a tenth of the speed or less."""
    photometric: PhotometricConfig = field(default_factory=PhotometricConfig)
    """Settings of that refinement; `flame.photometric.samples` and so on. Unused with the profile "fast"."""
    validity: FlameValidity = field(default_factory=FlameValidity)
    """Limits beyond which a frame is not valid: `flame.validity.max_turn_deg` and so on."""
