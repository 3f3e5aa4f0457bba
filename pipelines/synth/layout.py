"""Places on a head model that paint and hair refer to: eyeballs, mouth, semantic regions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch


class SurfaceHead(Protocol):
    """What the renderer needs of a head model; :class:`model.head.HeadModel` has it."""

    @property
    def v_template(self) -> torch.Tensor:
        """(V, 3) the average head at rest, metres."""

    @property
    def faces(self) -> torch.Tensor:
        """(F, 3) int64."""

    @property
    def groups(self) -> Mapping[str, torch.Tensor]:
        """Vertex ids by name: left_eye, right_eye, lips, teeth, tongue, lashes, mouth_interior, ears, neck, ..."""


def smoothstep(low: float, high: float, value: np.ndarray) -> np.ndarray:
    """0 below ``low``, 1 above ``high``, smooth between; works for low > high too (falling)."""
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return t * t * (3 - 2 * t)


@dataclass(frozen=True)
class Layout:
    """Places on the template that the paint refers to."""

    vertices: np.ndarray
    """(V, 3) float64."""
    faces: np.ndarray
    """(F, 3)."""
    masks: dict[str, np.ndarray]
    """(V,) float32 indicators of the vertex groups."""
    eyes: np.ndarray
    """(2, 3) centres of the left and the right eyeball."""
    mouth: np.ndarray
    """(3,) centre of the lips."""

    @property
    def middle(self) -> np.ndarray:
        """(3,) the point between the eyeballs' centres."""
        return self.eyes.mean(0)


def make_layout(head: SurfaceHead) -> Layout:
    """Read the places off a head model's template and groups."""
    vertices = head.v_template.detach().cpu().numpy().astype(np.float64)
    masks = {}
    for name, ids in head.groups.items():
        masks[name] = np.zeros(len(vertices), np.float32)
        masks[name][ids.cpu().numpy()] = 1.0
    eyes = np.stack([_ball_centre(vertices[masks[f"{side}_eye"] > 0]) for side in ("left", "right")])
    mouth = vertices[masks["lips"] > 0].mean(0)
    return Layout(vertices, head.faces.cpu().numpy(), masks, eyes, mouth)


def _ball_centre(points: np.ndarray) -> np.ndarray:
    """Centre of the sphere through points, by least squares (the cornea's bulge shifts it by less than 1 mm)."""
    system = np.concatenate([2 * points, np.ones((len(points), 1))], axis=1)
    return np.linalg.lstsq(system, (points**2).sum(1), rcond=None)[0][:3]
