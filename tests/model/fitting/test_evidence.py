from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.fitting.config import FitConfig
from model.fitting.evidence import ShapeEvidence, choose_focal, fuse_shapes, shape_evidence
from model.fitting.landmark_model import LandmarkModel
from tests.model.fitting.conftest import CAMERA, Truth

CONFIG = FitConfig(shape_evidence=24.0, expression_sd=0.5, shape_tolerance=1e-4)


def gather(model: LandmarkModel, landmarks: np.ndarray, **changes: Any) -> ShapeEvidence:
    return shape_evidence(model, landmarks, np.ones(len(landmarks), bool), [CAMERA], config=replace(CONFIG, **changes))[
        0
    ]


def test_evidence_of_one_clip_gives_its_own_shape(model: LandmarkModel, truth: Truth) -> None:
    one = gather(model, truth.landmarks)
    np.testing.assert_allclose(fuse_shapes([one]), one.shape, atol=0.02)
    assert one.num_seen == len(truth.landmarks) and len(one.frames) == CONFIG.shape_frames
    assert (one.information == one.information.T).all() and np.linalg.eigvalsh(one.information).min() > -1e-6


def test_clips_of_one_subject_add_up(model: LandmarkModel, truth: Truth) -> None:
    rng = np.random.default_rng(5)

    def noisy(part: slice) -> ShapeEvidence:
        marks = truth.landmarks[part]
        return gather(model, marks + rng.normal(size=marks.shape) * 3.0)

    parts = [noisy(slice(start, start + 25)) for start in range(0, 100, 25)]
    alone = [np.linalg.norm(part.shape - truth.shape) for part in parts]
    assert np.linalg.norm(fuse_shapes(parts) - truth.shape) < np.mean(alone)
    np.testing.assert_allclose(fuse_shapes(parts), fuse_shapes(parts[::-1]), atol=1e-9)


def test_what_cannot_be_fused_is_refused(model: LandmarkModel, truth: Truth) -> None:
    one = gather(model, truth.landmarks[:25])
    with pytest.raises(ValueError, match="No evidence"):
        fuse_shapes([])
    with pytest.raises(ValueError, match="different numbers"):
        fuse_shapes([one, replace(one, vector=one.vector[:3])])


@given(st.floats(1.1, 2.6), st.floats(150, 2000))
@settings(max_examples=40, deadline=None)
def test_a_clear_minimum_is_found(focal: float, sharpness: float) -> None:
    grid = np.geomspace(0.8, 3.6, 9)
    curve = sharpness * np.square(np.log(grid / focal))
    curves = [list(curve / 2), list(curve / 2 + 7.0)]
    choice = choose_focal(curves, list(grid), 1.6, log_sd=1.0, trust=1.0, apparent=(0.0, 1.0))
    assert choice.decided and choice.focal == pytest.approx(focal, rel=0.01)
    assert min(choice.curve) == 0


def test_flat_curves_keep_the_default() -> None:
    grid = (1.0, 1.3, 1.6, 2.0, 2.6)
    for curves in ([], [(0.1, 0.0, 0.05, 0.1, 0.2)], [(np.nan,) * 5]):
        choice = choose_focal(curves, grid, 1.6)
        assert not choice.decided and choice.focal == 1.6


def test_a_one_sided_curve_moves_as_far_as_the_prior_lets_it() -> None:
    grid = (1.0, 1.3, 1.6, 2.0, 2.6)
    falling = [(9.0, 6.0, 3.0, 1.0, 0.0)]
    near, far = (choose_focal(falling, grid, 1.6, log_sd=width) for width in (0.2, 0.6))
    assert near.decided and 1.6 < near.focal < far.focal < 1.6 * np.exp(2 * 0.6)


def test_many_clips_say_no_more_than_a_few_independent_ones() -> None:
    grid = (1.0, 1.3, 1.6, 2.0, 2.6)
    curve = (3.0, 1.0, 0.0, 0.5, 2.0)
    few, many = choose_focal([curve] * 4, grid, 1.6), choose_focal([curve] * 50, grid, 1.6)
    assert few.focal == many.focal and many.curve == pytest.approx(few.curve)


def test_perspective_that_the_detector_evens_out_is_restored() -> None:
    """A clip of a wide lens looks like one of a longer lens, and the other way round."""
    grid = np.geomspace(0.8, 5.0, 9)
    a, b = 0.53, 0.24
    for true in (0.9, 1.6, 3.0):
        shown = 1 / (a + b / true)
        curve = 4000 * np.square(np.log(grid / shown))
        choice = choose_focal([list(curve)], list(grid), 1.6, apparent=(a, b), log_sd=0.5)
        assert choice.focal == pytest.approx(true, rel=0.06)


def test_candidates_and_curves_must_fit_each_other() -> None:
    grid = (1.0, 1.3, 1.6, 2.0, 2.6)
    with pytest.raises(ValueError, match="ascending"):
        choose_focal([], (1.6, 1.2, 2.0), 1.6)
    with pytest.raises(ValueError, match="one per focal"):
        choose_focal([(1.0, 2.0)], grid, 1.6)


def test_size_is_not_shrunk_by_the_prior(model: LandmarkModel, truth: Truth) -> None:
    """Exact landmarks say nothing of the size; the prior's typical head is the right answer, not the smallest one."""
    found = gather(model, truth.landmarks)
    expected = np.linalg.norm(truth.shape)
    assert np.linalg.norm(found.shape) > 0.9 * expected
