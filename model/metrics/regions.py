"""Masks of mouth and eyes, drawn from landmarks: of the detector, or of the tracked head projected into the picture.

A region is the convex hull of its outline's landmarks, widened by a share of the distance between the eyes, so that it
holds lips, teeth, lids and lashes and moves with the face. The same masks serve every method that is compared.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import ConvexHull, QhullError
from torch import Tensor

from model.fitting.regions import LEFT_CORNERS, LEFT_EYE, LIPS_OUTER, RIGHT_CORNERS, RIGHT_EYE

REGIONS: dict[str, tuple[tuple[int, ...], ...]] = {"mouth": (LIPS_OUTER,), "eyes": (LEFT_EYE, RIGHT_EYE)}
"""Region -> outlines, as MediaPipe's landmark ids; the region is the union of their hulls."""
MARGIN = 0.12
"""How far a region reaches beyond its outline, in distances between the centres of the eyes."""


def region_masks(points: Tensor, width: int, height: int, margin: float = MARGIN) -> dict[str, Tensor]:
    """Masks of mouth and eyes.

    Args:
        points: (B, 478, 2) landmarks in pixels of the picture that the masks are for; of the tracked head:
            ``project(head.landmark_points(vertices), camera)``.
        width: of the picture, pixels.
        height: of the picture, pixels.
        margin: see :data:`MARGIN`.

    Returns:
        Region -> (B, height, width) bool; empty where a frame's landmarks are not finite or span no area.
    """
    if points.ndim != 3 or points.shape[1:] != (478, 2):
        raise ValueError(f"Expected landmarks (B, 478, 2), got {tuple(points.shape)}")
    places = points.detach().cpu().double().numpy()
    masks = {name: np.zeros((len(places), height, width), bool) for name in REGIONS}
    eyes = [places[:, list(corners)].mean(1) for corners in (LEFT_CORNERS, RIGHT_CORNERS)]
    reach = margin * np.linalg.norm(eyes[0] - eyes[1], axis=1)
    for name, outlines in REGIONS.items():
        for b in range(len(places)):
            for outline in outlines:
                _add_hull(masks[name][b], places[b, list(outline)], reach[b])
    return {name: torch.from_numpy(mask).to(points.device) for name, mask in masks.items()}


def _add_hull(mask: np.ndarray, outline: np.ndarray, reach: float) -> None:
    """Set the pixels of mask (H, W) whose centres lie in the hull of (K, 2), moved outwards by ``reach`` pixels."""
    if not np.isfinite(outline).all():
        return
    low = np.floor(outline.min(0) - reach).astype(int).clip(0, [mask.shape[1], mask.shape[0]])
    high = np.ceil(outline.max(0) + reach).astype(int).clip(0, [mask.shape[1], mask.shape[0]])
    if (high <= low).any():
        return
    try:
        sides = ConvexHull(outline).equations  # (E, 3): unit normal outwards, and offset
    except QhullError:
        return
    x = np.arange(low[0], high[0]) + 0.5
    y = np.arange(low[1], high[1]) + 0.5
    distance = (sides[:, 0, None, None] * x + sides[:, 1, None, None] * y[:, None] + sides[:, 2, None, None]).max(0)
    mask[low[1] : high[1], low[0] : high[0]] |= distance <= reach
