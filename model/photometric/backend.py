"""Where a refinement is worked out: numba on the CPU or torch on a GPU, behind ``operations.Backend``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.camera import Camera
from model.fitting.backend import Solver, solver_for
from model.fitting.solve import ExtraTerm, solve_codes
from model.photometric import pictures, view
from model.photometric.appearance import Appearance, fit_gain, shine
from model.photometric.operations import Backend, Images, Subject
from model.photometric.term import PhotometricTerm
from model.photometric.view import Skin


def backend_for(device: str, subject: Subject, threads: int = 1) -> Backend:
    """The backend for a device, named as for ``model.fitting.backend.solver_for``.

    Args:
        device: ``cpu`` for numba; ``cuda``, ``cuda:1`` for torch on that GPU; ``auto`` for the GPU that torch sees,
            else numba; ``torch`` for torch on the CPU, slow, to compare with.
        subject: whose pictures.
        threads: jobs at a time of the numba backend; changes nothing in the result.

    Raises:
        ConfigError: no such device, or torch does not see it.
    """
    solve = solver_for(device)
    if solve is solve_codes:
        return NumbaBackend(subject, threads)
    from model.photometric.torch_backend import TorchBackend

    return TorchBackend(subject, {"torch": "cpu", "auto": "cuda"}.get(device, device), solve)


@dataclass(frozen=True)
class NumbaBackend:
    """Kernels on the CPU; the result does not depend on the number of threads."""

    subject: Subject
    threads: int

    @property
    def solve(self) -> Solver:
        """See ``Backend``."""
        return solve_codes

    def _posed(self, codes: np.ndarray, camera: Camera) -> view.Posed:
        subject = self.subject
        return view.pose(
            subject.surface, subject.surface.pose(subject.shape, codes, subject.root), camera, self.threads
        )

    def load(self, frames: np.ndarray, mattes: np.ndarray | None, size: int) -> Images:
        """See ``Backend``."""
        return pictures.stack(frames, mattes, size, self.threads)

    def halve(self, images: Images) -> Images:
        """See ``Backend``."""
        return pictures.halve(images, self.threads)

    def join(self, parts: Sequence[Images]) -> Images:
        """See ``Backend``."""
        return np.concatenate(parts)

    def describe(
        self, codes: np.ndarray, images: Images, camera: Camera, texels: bool
    ) -> tuple[Appearance, Skin | None]:
        """See ``Backend``."""
        subject = self.subject
        vertices = subject.surface.pose(subject.shape, codes, subject.root)
        facing = subject.config.facing
        return view.describe(subject.surface, vertices, images, camera, facing, texels=texels, threads=self.threads)

    def term(self, codes: np.ndarray, images: Images, camera: Camera, appearance: Appearance) -> ExtraTerm:
        """See ``Backend``."""
        subject, config = self.subject, self.subject.config
        colour, normal, weight = view.look(
            subject.surface, self._posed(codes, camera), images, camera, config.facing, threads=self.threads
        )
        lit = shine(normal, appearance.light) * appearance.albedo
        weight = weight * appearance.known
        target = (fit_gain(colour, lit, weight)[:, None] * lit).astype(np.float32)
        return PhotometricTerm(
            subject.points, images, camera, target, weight * np.float32(subject.share), subject.deviation(appearance),
            config.cauchy, config.matte_weight, self.threads,
        )  # fmt: skip

    def measure(
        self, codes: np.ndarray, images: Images, camera: Camera, skin: Skin
    ) -> tuple[np.ndarray, np.ndarray]:
        """See ``Backend``."""
        surface, posed = self.subject.surface, self._posed(codes, camera)
        gain = view.exposure(surface, posed, images, camera, skin, self.subject.config.facing, self.threads)
        rendered, covered = view.render(surface, posed, skin, gain, camera, self.threads)
        return gain, view.residuals(surface, posed, images, rendered, covered)
