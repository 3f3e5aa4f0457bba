"""How much a mouth moves, from face landmarks, as evidence that its owner talks; and how well it fits the sound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.metrics.lip_sync import EYE_CORNERS, INNER_LIPS, envelope, lip_sync, smooth

__all__ = ["EYE_CORNERS", "INNER_LIPS", "Mouth", "envelope", "lip_sync", "measure_mouth", "smooth"]

#: Mouth corners in MediaPipe's 478-point mesh.
MOUTH_CORNERS = (61, 291)
#: Movement per frame, in distances of the outer eye corners, at which a mouth is as likely to talk as not, as log10.
#: Seen on real footage at 25 frames a second: closed mouths of listeners -3.9 to -2.6, talking ones -2.0 to -1.2.
TALKING_LOG10 = -2.2
#: Slope of the log-odds per decade of movement.
TALKING_SLOPE = 4.0
#: Lips alone never say more than this (log-odds): people chew, smile, lick their lips, and mumble.
MAX_LOG_ODDS = 2.0


@dataclass(frozen=True)
class Mouth:
    """One person's mouth through a clip."""

    opening: np.ndarray
    """(T,) float64: distance of the inner lips, in distances of the outer eye corners. NaN where unseen."""
    movement: np.ndarray
    """(T,) float64: RMS change of opening and width per frame over a third of a second, same unit; NaN where unseen."""
    log_odds: np.ndarray
    """(T,) float64: log-odds that the mouth talks, from its movement alone; 0 where the face is not seen."""


def measure_mouth(landmarks: np.ndarray, valid: np.ndarray) -> Mouth:
    """Opening, movement and log-odds of talking for each frame.

    Distances are taken in three dimensions (z is scaled like x), so that turning the head changes little.

    Args:
        landmarks: (T, 478, 3) pixels, at 25 frames a second.
        valid: (T,) bool.
    """
    points = landmarks.astype(np.float64)

    def distance(pair: tuple[int, int]) -> np.ndarray:
        return np.linalg.norm(points[:, pair[0]] - points[:, pair[1]], axis=1)

    eyes = distance(EYE_CORNERS)
    seen = valid & np.isfinite(eyes) & (eyes > 1e-6)
    scale = np.where(seen, eyes, np.nan)
    opening, width = distance(INNER_LIPS) / scale, distance(MOUTH_CORNERS) / scale
    if len(opening) < 2:
        return Mouth(opening=opening, movement=np.full(len(opening), np.nan), log_odds=np.zeros(len(opening)))
    # A change between two frames belongs to both of them.
    change = np.square(np.diff(opening)) + 0.5 * np.square(np.diff(width))
    both = np.stack([np.append(change, np.nan), np.insert(change, 0, np.nan)])
    known = np.isfinite(both)
    mean = np.where(known, both, 0.0).sum(0) / np.maximum(known.sum(0), 1)
    movement = np.sqrt(smooth(np.where(known.any(0), mean, np.nan), sigma=3.5))
    odds = TALKING_SLOPE * (np.log10(np.maximum(movement, 1e-6)) - TALKING_LOG10)
    log_odds = np.where(np.isfinite(odds) & seen, np.clip(odds, -MAX_LOG_ODDS, MAX_LOG_ODDS), 0.0)
    return Mouth(opening=opening, movement=np.where(seen, movement, np.nan), log_odds=log_odds)
