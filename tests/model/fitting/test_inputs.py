from __future__ import annotations

import numpy as np
import torch

from model.fitting import reference, regions
from model.fitting.config import FitConfig
from model.fitting.fit import fit_landmarks
from model.fitting.inputs import prepare
from model.fitting.landmark_model import LandmarkModel
from tests.model.fitting.conftest import CAMERA
from tests.model.fitting.made_head import NAMES, MadeHead

E = len(NAMES)


def turned(head: MadeHead, yaw: np.ndarray) -> np.ndarray:
    """Landmarks (T, 478, 2) of a neutral average head turned about the vertical by ``yaw`` radians."""
    codes = torch.zeros(len(yaw), E + 15, dtype=torch.float64)
    codes[:, E + 10], codes[:, -1] = torch.as_tensor(yaw), 0.9
    shape = torch.zeros(head.shapedirs.shape[2], dtype=torch.float64)
    return reference.landmarks(head, shape, codes, CAMERA).numpy()  # type: ignore[arg-type]


def test_eye_distance_does_not_shrink_with_the_turn(head: MadeHead, model: LandmarkModel) -> None:
    yaw = np.radians([0.0, 20.0, 40.0, 55.0])
    marks = turned(head, yaw)
    seen = prepare(model, marks, np.ones(4, bool), None, (), FitConfig(), CAMERA).observations
    assert regions.eye_distance(marks)[3] < 0.7 * regions.eye_distance(marks)[0]
    np.testing.assert_allclose(seen.distance, seen.distance[0], rtol=0.12)


def test_the_hidden_side_weighs_less_and_errs_less(head: MadeHead, model: LandmarkModel) -> None:
    marks = turned(head, np.radians([0.0, 50.0, -50.0]))
    facing = prepare(model, marks, np.ones(3, bool), None, (), FitConfig(), CAMERA).facing
    x = np.asarray(model.root.rest).reshape(-1, 3)[:, 0]
    right, left = x < np.quantile(x, 0.1), x > np.quantile(x, 0.9)
    assert facing.min() > 0 and facing.max() <= 1
    hidden = right if facing[1, right].mean() < facing[1, left].mean() else left
    shown = left if hidden is right else right
    assert facing[1, hidden].mean() < 0.4 < 0.9 < facing[1, shown].mean()
    assert facing[2, shown].mean() < 0.4 < 0.9 < facing[2, hidden].mean()
    # A detector that errs on the hidden side alone must not turn the head.
    course = np.full(20, np.radians(50.0))
    spoilt = turned(head, course)
    spoilt[:, hidden] += [4.0, 0.0]
    found = fit_landmarks(model, spoilt, np.ones(20, bool), CAMERA, shape=np.zeros(8))
    assert np.abs(found.rotation[:, 1] - course).max() < np.radians(2.0)
