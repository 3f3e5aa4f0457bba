"""One person in one conversation, as measures see it: prediction, truth, partner, and the frames that count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from model.metrics.motion.events import gap_range
from model.metrics.motion.face import FaceShape, Vertices
from model.metrics.motion.figures import Bools, Floats, NoFigure

Role = Literal["all", "speaking", "listening"]
ROLES: tuple[Role, ...] = ("all", "speaking", "listening")
"""all frames that count; those in which the person speaks; those in which the person does not."""

GROUPS = ("expression", "jaw", "pose", "eyes")
"""Groups of a motion; pose is the rotation of the head. DualTalk's table has the first three."""

Motion = Mapping[str, npt.NDArray[np.floating]]
"""Group -> (T, d)."""


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
        return self.prediction[name], self.truth.motion[name]

    def partner(self, name: str) -> Floats:
        """The partner's (T, d) of a group."""
        if self.truth.partner is None or name not in self.truth.partner:
            raise NoFigure("there is no partner")
        return self.truth.partner[name]

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

    def faces(self, name: str, role: Role) -> tuple[Vertices, Vertices, Vertices]:
        """Prediction (M, K, 3), truth (M, K, 3) and rest (K, 3) of a vertex set in a role's frames.

        Raises:
            NoFigure: no frame counts, or the head lacks the set.
        """
        picked = self.truth.frames(role)[self.truth.mask]
        if not picked.any():
            raise NoFigure("no frames")
        mine, theirs, rest = self.vertices, self.truth.vertices, self.truth.rest
        if not picked.all():
            mine, theirs = mine[picked], theirs[picked]
        if name != "all":
            ids = self.truth._face().sets[name].ids
            mine, theirs, rest = mine[:, ids], theirs[:, ids], rest[ids]
        return mine, theirs, rest
