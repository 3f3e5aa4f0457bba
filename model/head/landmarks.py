"""The 478 MediaPipe landmarks as fixed points on the mesh: a face and barycentric coordinates each."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

NUM_LANDMARKS = 478
"""468 face-mesh points, then 5 iris points of the right eye (468 is its centre) and 5 of the left (473)."""


@dataclass(frozen=True, eq=False)
class LandmarkEmbedding:
    """Where MediaPipe's landmarks lie on a head's surface."""

    face_index: Tensor
    """(478,) int64, index of a triangle of the head."""
    bary: Tensor
    """(478, 3) float32 barycentric coordinates in that triangle, each row sums to 1."""
    weight: Tensor
    """(478,) float32 in [0, 1]: how much a landmark can be trusted; 0 where calibration did not see it."""
    spread: Tensor
    """(478,) float32, root mean square distance over the calibration's views and identities, metres."""

    def to(self, device: torch.device | str) -> LandmarkEmbedding:
        """The same embedding on another device."""
        return LandmarkEmbedding(
            self.face_index.to(device), self.bary.to(device), self.weight.to(device), self.spread.to(device)
        )

    def points(self, vertices: Tensor, faces: Tensor) -> Tensor:
        """Landmarks (B, 478, 3) on posed vertices (B, V, 3); differentiable."""
        corners = faces[self.face_index]
        return (vertices[:, corners] * self.bary[None, :, :, None].to(vertices.dtype)).sum(2)
