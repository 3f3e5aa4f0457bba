"""Where the codes of a clip are solved: numba on the CPU, or torch on a GPU, behind one call."""

from __future__ import annotations

from functools import partial
from typing import Protocol

import numpy as np

from model.camera import Camera
from model.fitting import solve
from model.fitting.config import FitConfig
from model.fitting.landmark_model import LandmarkModel
from model.fitting.problem import Linearisation, Observations, Priors
from model.fitting.solve import ExtraTerm
from rsat_data.errors import ConfigError


class Solver(Protocol):
    """What :func:`model.fitting.solve.solve_codes` is, and what may stand in for it; arguments and results as there."""

    def __call__(
        self,
        model: LandmarkModel,
        start: np.ndarray,
        seen: Observations,
        camera: Camera,
        priors: Priors,
        config: FitConfig,
        iterations: int | None = None,
        extra: ExtraTerm | None = None,
    ) -> tuple[np.ndarray, Linearisation]:
        """Codes (T, P) float64 of T frames, and the linearisation there."""


def solver_for(device: str = "cpu") -> Solver:
    """The solver for a device.

    Args:
        device: ``cpu`` for numba; ``cuda`` or ``cuda:1`` for torch on that GPU; ``auto`` for the GPU that
            torch sees, else numba; ``torch`` for torch on the CPU, slow, to compare with.

    Raises:
        ConfigError: no such device, or torch does not see it.
    """
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        return solve.solve_codes
    from model.fitting import torch_backend

    kind = device.partition(":")[0]
    if kind not in ("torch", "cuda"):
        raise ConfigError(f"flame.device should be auto, cpu or cuda (or cuda:1, ...), it is {device!r}.")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            f"flame.device is {device!r}, but torch sees no CUDA GPU here.",
            hint="Use flame.device=cpu, or install a build of torch for this GPU: rsat-data doctor shows what it sees.",
        )
    return partial(torch_backend.solve_codes, device="cpu" if kind == "torch" else device)
