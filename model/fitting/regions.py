"""Which of MediaPipe's 478 face-mesh points are lips, lids, irises and outline, and how much each region counts.

Indices follow MediaPipe's canonical face mesh (468 points) and its ten iris points. "Left" and "right" are the
subject's own; the subject's left eye lies on the right of an unmirrored picture.
"""

from __future__ import annotations

import numpy as np

NUM_LANDMARKS = 478

LIPS_OUTER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409)
LIPS_INNER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415)
RIGHT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
LEFT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
RIGHT_IRIS = (468, 469, 470, 471, 472)
LEFT_IRIS = (473, 474, 475, 476, 477)
BROWS = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46, 300, 293, 334, 296, 336, 285, 295, 282, 283, 276)
OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip

LIP_PAIRS = (
    (13, 14), (82, 87), (81, 178), (80, 88), (191, 95), (312, 317), (311, 402), (310, 318), (415, 324),
)  # fmt: skip
"""Upper and lower point of the inner lip line, facing each other: their distance is how far the mouth is open."""
LID_PAIRS = (
    (159, 145), (158, 153), (160, 144), (157, 154), (161, 163),
    (386, 374), (385, 380), (387, 373), (384, 381), (388, 390),
)  # fmt: skip
"""Upper and lower point of each eyelid rim, facing each other."""

RIGHT_CORNERS = (33, 133)
LEFT_CORNERS = (263, 362)


def eye_distance(landmarks: np.ndarray) -> np.ndarray:
    """Distance between the centres of the two eyes (midpoints of their corners) in the image.

    Args:
        landmarks: (..., 478, 2) pixels.

    Returns:
        (...) pixels, as seen: it shrinks with the cosine of the head's yaw.
    """
    right = landmarks[..., RIGHT_CORNERS, :2].mean(axis=-2)
    left = landmarks[..., LEFT_CORNERS, :2].mean(axis=-2)
    return np.linalg.norm(left - right, axis=-1)


def region_weights(lips: float, lids: float, iris: float, oval: float) -> np.ndarray:
    """Weight of every landmark by its region, 1 where none applies.

    Args:
        lips: weight of the 40 lip points.
        lids: weight of the 32 eyelid points.
        iris: weight of the 10 iris points.
        oval: weight of the face outline, which slides along the silhouette when the head turns.

    Returns:
        (478,) float64.
    """
    weights = np.ones(NUM_LANDMARKS)
    weights[list(OVAL)] = oval
    weights[list(LIPS_OUTER + LIPS_INNER)] = lips
    weights[list(RIGHT_EYE + LEFT_EYE)] = lids
    weights[list(RIGHT_IRIS + LEFT_IRIS)] = iris
    return weights
