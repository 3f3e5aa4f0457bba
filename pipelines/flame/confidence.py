"""What the codes of a frame are worth: a logistic model of what was measured of it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

CONFIDENCE = {
    "bias": 6.42,
    "turn": 0.3,
    "outside": 0.3,
    "hidden": 1.41,
    "blur": 0.3,
    "error": 2.98,
    "score": 5.73,
    "glasses": 0.3,
}
"""Weights of a logistic model of the chance that the face's vertices lie in the picture, on average, within 4 % of the
distance between the eyes (2.5 mm) of where they belong. From ``python -m benchmarks.validity --calibrate``."""


def confidence_of(features: Mapping[str, np.ndarray]) -> np.ndarray:
    """Logistic model on ``features`` of :func:`features_of`, (T,) float64."""
    total = CONFIDENCE["bias"] - sum(CONFIDENCE[name] * values for name, values in features.items())
    return 1.0 / (1.0 + np.exp(-np.clip(total, -30.0, 30.0)))


def features_of(measures: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the confidence is made of, each 0 for the best of frames and bounded: (T,) float64."""
    return {
        "turn": np.clip(np.abs(measures["turn_deg"]) / 60.0, 0, 1.5) ** 2,
        "outside": np.clip(measures["outside"] / 0.12, 0, 2.0),
        "hidden": np.clip(measures["hidden"] / 0.125, 0, 2.5),
        "blur": np.clip(-np.log2(np.clip(measures["sharpness"], 1e-3, 1.0)), 0, 4.0),
        "error": np.clip(measures["error"] / 0.02, 0, 4.0),
        "score": np.clip(1.0 - measures["score"], 0, 0.5),
        "glasses": measures["glasses"].astype(np.float64),
    }
