"""What a refinement asks of whoever works it out: the operations, and what they are told of a person.

``refine`` drives them: pictures stay where the backend puts them, codes, texture and light come and go as numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from model.camera import Camera
from model.fitting.backend import Solver
from model.fitting.landmark_model import LandmarkModel
from model.fitting.solve import ExtraTerm
from model.photometric.appearance import Appearance
from model.photometric.config import PhotometricConfig
from model.photometric.surface import Surface
from model.photometric.view import Skin

Images = Any
"""Pictures (T, S, S, 4) uint8 of a backend: an array or a tensor; sliced, or indexed by an array of frames."""


@dataclass(frozen=True, eq=False)
class Subject:
    """One person's surface."""

    surface: Surface
    shape: np.ndarray
    """(S,) shape code."""
    root: np.ndarray
    """(3,) root joint at rest, metres."""
    config: PhotometricConfig
    """Sizes, weights and what counts as seen."""

    @cached_property
    def points(self) -> LandmarkModel:
        """The sample points of this shape."""
        return self.surface.points.with_shape(self.shape.astype(np.float64))

    @property
    def share(self) -> float:
        """Weight of a sample: the same sum for many samples and few, as neighbours share their errors."""
        return 1.0 / self.config.redundancy * 4000.0 / self.config.samples

    def deviation(self, appearance: Appearance) -> float:
        """Standard deviation of a colour channel that the term is scaled by."""
        return float(np.hypot(appearance.noise, self.config.noise))


class Backend(Protocol):
    """What ``refine`` asks for. Codes are (T, E + 15), cameras those of the pictures given."""

    @property
    def solve(self) -> Solver:
        """Finds the codes, given landmarks and a term of this backend."""

    def load(self, frames: np.ndarray, mattes: np.ndarray | None, size: int) -> Images:
        """Pictures and mattes, reduced; arguments as for ``pictures.stack``."""

    def halve(self, images: Images) -> Images:
        """The same pictures at half their size."""

    def join(self, parts: Sequence[Images]) -> Images:
        """Pictures of several parts, one after the other."""

    def describe(
        self, codes: np.ndarray, images: Images, camera: Camera, texels: bool
    ) -> tuple[Appearance, Skin | None]:
        """Texture, light and exposure from these frames: at the samples, and at all texels if asked.

        Raises:
            ValueError: the face is seen in none of the frames.
        """

    def term(self, codes: np.ndarray, images: Images, camera: Camera, appearance: Appearance) -> ExtraTerm:
        """The photometric term of these frames. What is visible, its light and its exposure are those at ``codes``."""

    def measure(self, codes: np.ndarray, images: Images, camera: Camera, skin: Skin) -> tuple[np.ndarray, np.ndarray]:
        """Gain (T, 3) and mean absolute difference of colours (T,) of frames rendered with a texture."""
