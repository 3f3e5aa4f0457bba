"""One person in one conversation, as measures see it: prediction, truth, partner, and the frames that count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from model.metrics.motion import meshes
from model.metrics.motion.codes import frechet_terms
from model.metrics.motion.events import gap_range
from model.metrics.motion.face import FaceShape, VertexSet, Vertices
from model.metrics.motion.figures import Bools, Floats, NoFigure

Role = Literal["all", "speaking", "listening"]
ROLES: tuple[Role, ...] = ("all", "speaking", "listening")
"""all frames that count; those in which the person speaks; those in which the person does not."""

GROUPS = ("expression", "jaw", "pose", "eyes")
"""Groups of a motion; pose is the rotation of the head. DualTalk's table has the first three."""

Motion = Mapping[str, npt.NDArray[np.floating]]
"""Group -> (T, d)."""


def wide(motion: Motion) -> dict[str, Floats]:
    """A motion in float64."""
    return {group: np.asarray(values, np.float64) for group, values in motion.items()}


@dataclass(eq=False)
class Truth:
    """What is known of one person in one conversation; shared by all predictors, so costly parts are made once."""

    motion: Motion
    """The tracked motion."""
    mask: Bools
    """(T,) frames that count: valid, and outside the reference that the predictor was given."""
    speaking: Bools
    """(T,) this person speaks."""
    shape: npt.NDArray[np.floating]
    """(S,) shape code."""
    partner: Motion | None = None
    """The partner's tracked motion; None where there is none."""
    partner_mask: Bools | None = None
    """(T,) the partner's valid frames."""
    partner_speaking: Bools | None = None
    """(T,) the partner speaks."""
    face: FaceShape | None = None
    """The head model; None leaves the vertex measures out."""
    expression: int | None = None
    """Columns of the expression code that measures of codes look at; the others hold nothing. None for all."""

    def held(self, group: str, values: Floats) -> Floats:
        """The columns (T, d) of a group that measures of codes look at."""
        return values[:, : self.expression] if group == "expression" and self.expression else values

    @cached_property
    def wide(self) -> dict[str, Floats]:
        """The motion in float64."""
        return wide(self.motion)

    @cached_property
    def wide_partner(self) -> dict[str, Floats]:
        """The partner's motion in float64."""
        return wide(self.partner or {})

    def frames(self, role: Role) -> Bools:
        """(T,) frames that count for a role."""
        if role == "all":
            return self.mask
        return self.mask & (self.speaking if role == "speaking" else ~self.speaking)

    @cached_property
    def both(self) -> Bools:
        """(T,) frames in which the partner is valid too."""
        if self.partner_mask is None:
            raise NoFigure("there is no partner")
        return self.mask & self.partner_mask

    @cached_property
    def vertices(self) -> Vertices:
        """(M, V, 3) vertices of the M frames that count, mm."""
        return self.posed(self.motion)

    @cached_property
    def rest(self) -> Vertices:
        """(V, 3) the person's head at rest, mm."""
        return self._face().rest(self.shape)

    @cached_property
    def gap(self) -> Floats:
        """(T,) gap between the lips, mm; 0 in frames that do not count."""
        return self.spread(self._gap(self.vertices))

    @cached_property
    def gap_range(self) -> tuple[float, float]:
        """Tightest and widest gap of the subject, mm."""
        return gap_range(self.gap, self.mask)

    @cached_property
    def smile(self) -> Floats:
        """(T,) strength of the smile."""
        return self.smile_of(self.motion)

    @cached_property
    def smile_rest(self) -> float:
        """Strength of the smile at rest."""
        if not self.mask.any():
            raise NoFigure("no frames")
        return float(np.quantile(self.smile[self.mask], 0.2))

    @cached_property
    def upper(self) -> tuple[Floats, Floats]:
        """(M, U) stir of the upper face, mm^2, and (M, U) sum of its coordinates, mm."""
        return self.upper_of(self.vertices)

    def upper_of(self, vertices: Vertices) -> tuple[Floats, Floats]:
        """:attr:`upper` of any vertices (M, V, 3)."""
        ids = self.set_of("upper_face").ids
        if not len(ids):
            raise NoFigure("the head model has no such vertices")
        face = vertices[:, ids]
        return meshes.stir(face, self.rest[ids]), meshes.coordinate_sum(face)

    def set_of(self, name: str) -> VertexSet:
        """A vertex set of the head model."""
        return self._face().sets[name]

    def posed(self, motion: Motion) -> Vertices:
        """(M, V, 3) vertices of any motion with this person's shape, in the frames that count."""
        return self._face().vertices(self.shape, motion["expression"][self.mask], motion["jaw"][self.mask])

    def smile_of(self, motion: Motion) -> Floats:
        """(T,) strength of the smile of any motion."""
        found = self._face().smile(motion["expression"])
        if found is None:
            raise NoFigure("the head's expression codes have no names")
        return found

    def _gap(self, vertices: Vertices) -> Floats:
        found = self._face().lip_gap(vertices)
        if found is None:
            raise NoFigure("the head has no landmarks")
        return found

    def spread(self, values: Floats) -> Floats:
        """(T,) from one value a frame that counts (M,)."""
        whole = np.zeros(len(self.mask))
        whole[self.mask] = values
        return whole

    def _face(self) -> FaceShape:
        if self.face is None:
            raise NoFigure("no head model was given")
        return self.face


@dataclass(eq=False)
class Sample:
    """A prediction beside its truth."""

    truth: Truth
    prediction: Motion
    """Group -> (T, d); groups that the predictor does not make are absent."""

    def group(self, name: str) -> tuple[Floats, Floats]:
        """Prediction and truth (T, d) of a group.

        Raises:
            NoFigure: one of them lacks it.
        """
        if name not in self.prediction:
            raise NoFigure(f"{name} is not predicted")
        if name not in self.truth.motion:
            raise NoFigure(f"the truth has no {name}")
        return self.truth.held(name, self._wide[name]), self.truth.held(name, self.truth.wide[name])

    @cached_property
    def _wide(self) -> dict[str, Floats]:
        return wide(self.prediction)

    def partner(self, name: str) -> Floats:
        """The partner's (T, d) of a group."""
        if self.truth.partner is None or name not in self.truth.partner:
            raise NoFigure("there is no partner")
        return self.truth.held(name, self.truth.wide_partner[name])

    @cached_property
    def vertices(self) -> Vertices:
        """(M, V, 3) vertices of the prediction in the frames that count, mm."""
        if not {"expression", "jaw"} <= self.prediction.keys():
            raise NoFigure("expression and jaw are not predicted")
        if self.prediction is self.truth.motion:
            return self.truth.vertices
        return self.truth.posed(self.prediction)

    @cached_property
    def gap(self) -> Floats:
        """(T,) gap between the prediction's lips, mm."""
        return self.truth.spread(self.truth._gap(self.vertices))

    def picked(self, role: Role) -> Bools:
        """(M,) which of the frames that count are a role's.

        Raises:
            NoFigure: none is.
        """
        found = self.truth.frames(role)[self.truth.mask]
        if not found.any():
            raise NoFigure("no frames")
        return found

    @cached_property
    def lip_errors(self) -> Floats:
        """(M,) largest squared distance among lip vertices, mm^2."""
        ids = self.truth.set_of("lips").ids
        return meshes.largest_squared(self.vertices[:, ids], self.truth.vertices[:, ids])

    @cached_property
    def mesh_errors(self) -> tuple[Floats, Floats]:
        """(M,) mean distance of all vertices, mm, and (M,) mean squared distance, mm^2."""
        return meshes.frame_means(self.vertices, self.truth.vertices)

    @cached_property
    def upper(self) -> tuple[Floats, Floats]:
        """(M, U) stir of the upper face, mm^2, and (M, U) sum of its coordinates, mm."""
        return self.truth.upper_of(self.vertices)

    @cached_property
    def _distances(self) -> dict[tuple[str, Role], tuple[float, float]]:
        return {}

    def frechet(self, group: str, role: Role) -> tuple[float, float]:
        """The two terms of FD, of means and of spreads."""
        key = (group, role)
        if key not in self._distances:
            self._distances[key] = frechet_terms(*self.group(group), self.truth.frames(role))
        return self._distances[key]
