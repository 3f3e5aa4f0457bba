from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.fitting import fit as module
from model.fitting.config import FitConfig
from model.fitting.fit import fit_landmarks
from model.fitting.landmark_model import LandmarkModel
from model.fitting.stages import as_table, stages
from tests.model.fitting.conftest import CAMERA, Truth


def test_the_page_shows_the_stages_that_run() -> None:
    page = Path(__file__).parents[3] / "docs" / "tracking.md"
    assert as_table(FitConfig()) in page.read_text(encoding="utf-8")


def test_the_fit_runs_from_the_records(model: LandmarkModel, truth: Truth, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaving out smoothing, or steps, in the records alone changes the result."""
    marks = truth.landmarks[:40] + np.random.default_rng(0).normal(size=(40, 478, 2))

    def fit() -> np.ndarray:
        return fit_landmarks(model, marks, np.ones(40, bool), CAMERA, shape=truth.shape).rotation

    plain = fit()
    pose, shape, codes = stages(FitConfig())
    assert [stage.name for stage in (pose, shape, codes)] == ["pose", "shape", "codes"]
    rough = replace(codes, losses=tuple(loss for loss in codes.losses if loss.name != "smoothness"))
    monkeypatch.setattr(module, "stages", lambda config: (pose, shape, rough))
    jitter = [np.abs(np.diff(course, 2, axis=0)).mean() for course in (plain, fit())]
    assert jitter[1] > 1.5 * jitter[0]
    monkeypatch.setattr(module, "stages", lambda config: (pose, shape, replace(codes, steps=0)))
    assert not np.allclose(fit(), plain, atol=1e-3)
