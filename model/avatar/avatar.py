"""An avatar: Gaussians bound to the triangles of a head, and whose head that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from model.gaussians import BoundGaussians, World, to_world, triangle_frames
from model.head import HeadModel, require_same_head
from rsat_data.errors import HeadMismatch


@dataclass(frozen=True, eq=False)
class Avatar:
    """A subject's Gaussians and all that is needed to draw them with codes of their head."""

    gaussians: BoundGaussians
    """Bound to the faces of the head."""
    head: str
    """Id of the head (``HeadModel.id``): name, version and hash. Codes of another head do not fit."""
    num_faces: int
    """F of that head; every Gaussian's ``face`` lies below it."""
    shape: Tensor
    """(S,) float32 identity code of the subject."""
    offsets: Tensor | None = None
    """(V, 3) float32 metres, added to the template at rest before it is posed; None for none. What the identity code
    cannot say of this subject."""
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    """Further float32 tensors by name, kept beside the offsets; what they mean is their maker's business (the fit keeps
    how shoulders follow the head there). :meth:`posed` does not look at them."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """What avatar.json says besides: metrics, counts, seconds, versions; values that JSON can hold."""

    def to(self, device: torch.device | str) -> Avatar:
        """The same avatar on another device."""
        offsets = None if self.offsets is None else self.offsets.to(device)
        extras = {name: value.to(device) for name, value in self.extras.items()}
        gaussians, shape = self.gaussians.to(device), self.shape.to(device)
        return replace(self, gaussians=gaussians, shape=shape, offsets=offsets, extras=extras)

    def personal(self, head: HeadModel) -> HeadModel:
        """The head with this subject's offsets in its template; codes mean what they meant.

        Raises:
            HeadMismatch: not the head that this avatar belongs to.
        """
        require_same_head(self.head, head, "avatar and head")
        if len(head.faces) != self.num_faces:
            raise HeadMismatch(
                f"The avatar is bound to {self.num_faces} faces, the head {head.id} has {len(head.faces)}.",
                hint="Use the whole head, not a subset of it.",
            )
        return head if self.offsets is None else replace(head, v_template=head.v_template + self.offsets)

    def posed(self, head: HeadModel, view_directions_from: Tensor | None = None, **codes: Tensor) -> World:
        """Gaussians in the camera's frame for B frames of codes.

        Args:
            head: the avatar's own.
            view_directions_from: as for :func:`model.gaussians.to_world`.
            codes: those of :meth:`model.head.HeadModel.pose`; ``shape`` is the subject's own unless given.

        Raises:
            HeadMismatch: another head.
        """
        vertices, _ = self.personal(head).pose(codes.pop("shape", self.shape), **codes)
        return to_world(self.gaussians, triangle_frames(vertices, head.faces), view_directions_from)
