from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from model.fitting import rotations
from model.fitting.config import FitConfig
from model.fitting.fit import FitResult, fit_landmarks, interpolate
from model.fitting.landmark_model import LandmarkModel
from model.fitting.problem import closed_eyes, observe, smoothing_weights
from model.fitting.regions import eye_distance
from model.fitting.start import choose_frames, start_codes, start_pose
from rsat_data.errors import ConfigError, SkippedClip
from tests.model.fitting.conftest import CAMERA, Truth, make_truth
from tests.model.fitting.made_head import NAMES, MadeHead

E = len(NAMES)
# Made frames are independent pictures of the shape, and made expressions are large: priors as wide as that.
CONFIG = FitConfig(shape_evidence=24.0, expression_sd=0.5, tolerance=1e-5)


def fit(model: LandmarkModel, landmarks: np.ndarray, valid: np.ndarray | None = None, **changes: Any) -> FitResult:
    seen = np.ones(len(landmarks), dtype=bool) if valid is None else valid
    return fit_landmarks(model, landmarks, seen, CAMERA, config=replace(CONFIG, **changes))


def motion(result: FitResult, model: LandmarkModel) -> np.ndarray:
    """Codes in the order of the truth: (T, E + 15)."""
    origin = result.translation + model.with_shape(result.shape.astype(np.float64)).root_joint
    return np.concatenate([result.expression, result.jaw, result.eyes, result.rotation, origin], axis=1)


def errors(result: FitResult, truth: Truth, model: LandmarkModel) -> dict[str, np.ndarray]:
    """Absolute errors per frame."""
    away = np.abs(motion(result, model) - truth.codes)
    parts = {"expression": (0, E), "jaw": (E, E + 3), "eyes": (E + 3, E + 9), "pose": (E + 9, E + 12)}
    return {name: away[:, a:b].max(axis=1) for name, (a, b) in parts.items()}


def test_exact_landmarks_give_back_the_codes(model: LandmarkModel, truth: Truth) -> None:
    result = fit(model, truth.landmarks)
    found = errors(result, truth, model)
    assert result.valid.all()
    assert result.reprojection < 0.002
    assert found["expression"].max() < 0.1 and np.median(found["expression"]) < 0.03
    assert found["jaw"].max() < 0.01 and found["eyes"].max() < 0.02 and found["pose"].max() < 0.006
    assert np.linalg.norm(result.shape - truth.shape) < 0.2 * np.linalg.norm(truth.shape)
    assert not result.neck.any()


def test_first_and_last_frames_are_as_good_as_the_others(model: LandmarkModel, truth: Truth) -> None:
    found = errors(fit(model, truth.landmarks), truth, model)
    for name, error in found.items():
        assert error[[0, -1]].max() <= np.quantile(error, 0.95) + 2e-3, name


def test_the_same_input_gives_the_same_bytes(model: LandmarkModel, truth: Truth) -> None:
    first, second = fit(model, truth.landmarks), fit(model, truth.landmarks)
    for name in ("shape", "expression", "jaw", "eyes", "rotation", "translation", "reprojection_px"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes(), name


def test_outliers_and_missing_frames_do_little_harm(model: LandmarkModel, truth: Truth) -> None:
    rng = np.random.default_rng(3)
    spoilt = truth.landmarks + rng.normal(size=truth.landmarks.shape) * 0.5
    wild = rng.random(spoilt.shape[:2]) < 0.1
    spoilt[wild] += rng.normal(size=(int(wild.sum()), 2)) * 40
    valid = np.ones(len(spoilt), dtype=bool)
    valid[[0, 40, 41, 42, 43, 99]] = False
    spoilt[~valid] = np.nan
    result = fit(model, spoilt, valid, error_gate=0.2)
    assert (result.valid == valid).all()
    for name in ("expression", "jaw", "eyes", "rotation", "translation", "reprojection_px"):
        assert np.isfinite(getattr(result, name)).all(), name
    found = errors(result, truth, model)
    assert np.median(found["expression"][valid]) < 0.12 and np.median(found["jaw"][valid]) < 0.02
    assert np.median(found["pose"][valid]) < 0.015
    plain = fit(model, spoilt, valid, error_gate=0.2, cauchy=1e6)
    assert np.median(errors(plain, truth, model)["jaw"][valid]) > 2 * np.median(found["jaw"][valid])


def test_a_frame_the_head_cannot_explain_is_not_valid(model: LandmarkModel, truth: Truth) -> None:
    landmarks = truth.landmarks.copy()
    landmarks[50] = np.random.default_rng(0).uniform(0, 512, (478, 2))
    result = fit(model, landmarks)
    assert not result.valid[50] and result.valid.sum() == len(landmarks) - 1
    assert result.reprojection_px[50] > 20
    between = (motion(result, model)[49] + motion(result, model)[51]) / 2
    np.testing.assert_allclose(motion(result, model)[50], between, atol=2e-3)


def test_smoothing_lowers_jitter_and_keeps_the_motion(model: LandmarkModel, truth: Truth) -> None:
    noisy = truth.landmarks + np.random.default_rng(1).normal(size=truth.landmarks.shape) * 1.5
    rough_settings: dict[str, Any] = {name: 1e3 for name in vars(CONFIG) if name.startswith("smooth_")}
    smooth, rough = fit(model, noisy), fit(model, noisy, **rough_settings)

    def jitter(result: FitResult) -> float:
        return float(np.abs(np.diff(result.jaw[:, 0], 2)).mean())

    true_jitter = float(np.abs(np.diff(truth.jaw, 2)).mean())
    assert jitter(smooth) < 0.85 * jitter(rough)
    assert jitter(smooth) < 1.5 * true_jitter
    # No bias: the jaw opens as far as it did, and on time.
    slope = np.polyfit(truth.jaw, smooth.jaw[:, 0], 1)[0]
    assert 0.93 < slope < 1.07
    assert np.corrcoef(truth.jaw, smooth.jaw[:, 0])[0, 1] > 0.99


def test_a_jerk_of_the_head_is_followed(model: LandmarkModel, truth: Truth) -> None:
    """Filmed heads jerk more than smoothing allows: what all landmarks show together is motion, not noise."""
    jerked = truth.landmarks + np.random.default_rng(2).normal(size=truth.landmarks.shape) * 0.5
    jerked[50:] += (30.0, 8.0)
    free, stiff = fit(model, jerked), fit(model, jerked, jerk=1e6)
    around = slice(48, 52)
    assert stiff.reprojection_px[around].max() > 3 * np.median(stiff.reprojection_px)
    assert free.reprojection_px[around].max() < 1.7 * np.median(free.reprojection_px)


def test_smoothing_weights_fall_with_the_acceleration_of_all_landmarks(model: LandmarkModel, truth: Truth) -> None:
    def weights(landmarks: np.ndarray, seen: np.ndarray) -> np.ndarray:
        closed = np.zeros((len(landmarks), 2))
        return smoothing_weights(observe(landmarks, seen, closed, model.weight, CONFIG), CONFIG)

    landmarks, seen = truth.landmarks.copy(), np.ones(len(truth.landmarks), dtype=bool)
    calm = weights(landmarks, seen)
    assert calm.shape == (len(landmarks) - 2,) and calm.min() > 0.8
    distance = float(np.median(eye_distance(landmarks)))
    still = np.repeat(landmarks[:1], 9, axis=0)
    still[4:] += (CONFIG.jerk * eye_distance(landmarks[:1])[0], 0.0)
    np.testing.assert_allclose(weights(still, np.ones(9, dtype=bool)), [1, 1, 0.5, 0.5, 1, 1, 1], atol=0.02)
    wild = landmarks.copy()
    wild[30, 7] += distance  # one landmark alone says little
    assert weights(wild, seen).min() > 0.75
    seen[60] = False
    assert (weights(landmarks, seen)[58:61] == 0).all()
    assert len(weights(landmarks[:2], seen[:2])) == 0


def test_long_clips_in_windows_agree_with_one_window(model: LandmarkModel, truth: Truth) -> None:
    whole = fit(model, truth.landmarks, tolerance=1e-7, iterations=12)
    pieces = fit(model, truth.landmarks, tolerance=1e-7, iterations=12, window=60, overlap=24)
    np.testing.assert_allclose(motion(pieces, model), motion(whole, model), atol=6e-3)


@pytest.mark.parametrize("num", [1, 2, 3])
def test_very_short_clips(model: LandmarkModel, head: MadeHead, num: int) -> None:
    short = make_truth(head, num)
    result = fit(model, short.landmarks)
    assert result.valid.all() and result.reprojection < 0.005
    assert result.jaw.shape == (num, 3) and result.expression.shape == (num, E)


def test_nothing_seen_is_a_skipped_clip_with_a_reason(model: LandmarkModel, truth: Truth) -> None:
    with pytest.raises(SkippedClip, match="no face could be used in any of the 100 frames") as caught:
        fit(model, truth.landmarks, np.zeros(100, dtype=bool))
    assert caught.value.hint
    scattered = np.random.default_rng(0).uniform(0, 512, (5, 478, 2))
    with pytest.raises(SkippedClip, match="the head fits no frame"):
        fit(model, scattered)


def test_shapes_that_do_not_fit_are_refused(model: LandmarkModel, truth: Truth) -> None:
    with pytest.raises(ValueError, match="landmarks"):
        fit_landmarks(model, truth.landmarks[:, :468], np.ones(100, dtype=bool), CAMERA)
    with pytest.raises(ValueError, match="blendshapes"):
        fit_landmarks(model, truth.landmarks, np.ones(100, dtype=bool), CAMERA, blendshapes=np.zeros((100, 52)))


def test_config_refuses_what_cannot_work() -> None:
    with pytest.raises(ConfigError, match="flame.noise"):
        FitConfig(noise=0.0)
    with pytest.raises(ConfigError, match="flame.overlap"):
        FitConfig(window=10, overlap=10)


def test_start_pose_is_near_the_truth(model: LandmarkModel, truth: Truth) -> None:
    rotation, origin = start_pose(model, truth.landmarks, np.ones(478), CAMERA)
    turn = rotations.exp(rotation) @ rotations.exp(truth.codes[:, E + 9 : E + 12]).transpose(0, 2, 1)
    assert np.linalg.norm(rotations.log(turn), axis=1).max() < 0.25
    assert np.abs(origin - truth.codes[:, E + 12 :]).max() < 0.12


def test_start_codes_read_blendshapes_by_name(model: LandmarkModel) -> None:
    names = ("_neutral", "jawOpen", "mouthSmileLeft", "eyeLookOutLeft", "eyeLookInRight", "eyeLookDownRight")
    scores = np.array([[0.9, 0.5, 0.8, 1.0, 1.0, 0.4]])
    folded = model.with_shape(np.zeros(8))
    codes = start_codes(folded, np.zeros((1, 3)), np.ones((1, 3)), scores, names, CONFIG)[0]
    assert codes[NAMES.index("mouthSmileLeft")] == pytest.approx(0.8 * CONFIG.blendshape_start)
    assert codes[E] == pytest.approx(0.5 * CONFIG.jaw_open_rad), "the jaw opens by a positive turn about x"
    assert codes[E + 4] < 0 and codes[E + 7] < 0, "both eyes look to the subject's left: a negative turn about y"
    assert codes[E + 6] > 0, "down is a positive turn about x"


def test_closed_eyes_hide_their_irises() -> None:
    names = ("eyeBlinkLeft", "eyeBlinkRight")
    np.testing.assert_array_equal(closed_eyes(np.array([[0.2, 1.4]]), names, 1), [[0.2, 1.0]])
    np.testing.assert_array_equal(closed_eyes(None, (), 2), np.zeros((2, 2)))


def test_chosen_frames_are_varied_and_seen() -> None:
    rotation = np.zeros((60, 3))
    rotation[:, 1] = np.linspace(-0.6, 0.6, 60)
    seen = np.ones(60, dtype=bool)
    seen[28:32] = False
    chosen = choose_frames(rotation, None, seen, 6)
    assert len(chosen) == 6 and seen[chosen].all() and (np.diff(chosen) > 0).all()
    assert np.ptp(rotation[chosen, 1]) > 0.9
    assert len(choose_frames(rotation, None, seen, 500)) <= seen.sum()


def test_interpolation_fills_gaps_and_ends() -> None:
    codes = np.zeros((6, 16))
    codes[:, 0] = np.arange(6.0)
    codes[[0, 3, 5], 0] = np.nan
    codes[2, -5], codes[4, -5] = 3.1, -3.1  # half a turn apart the short way, not through zero
    good = np.array([False, True, True, False, True, False])
    filled = interpolate(codes, good)
    np.testing.assert_allclose(filled[:, 0], [1, 1, 2, 3, 4, 4])
    assert abs(np.linalg.norm(filled[3, -6:-3])) > 3.0
