from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.flame.confidence import CONFIDENCE, confidence_of, features_of
from pipelines.flame.validity import Fitted, Judgement, Reason, Seen, judge
from pipelines.flame.validity_config import FlameValidity
from rsat_data.errors import ConfigError
from schemas.vocabulary import INVALID_REASONS
from tests.pipelines.flame.faces_factory import joined, track


def words(judgement: Judgement) -> list[str]:
    return [INVALID_REASONS[code] for code in judgement.reason]


def expect(judgement: Judgement, reason: str, frames: slice, *, rest: bool = True) -> None:
    """The reason holds in the frames, and all others are valid."""
    found = np.array(words(judgement))
    assert (found[frames] == reason).all(), found[frames]
    others = np.delete(found, np.arange(len(found))[frames])
    assert not rest or (others == "").all(), others


def test_reasons_are_those_of_the_format() -> None:
    # Who is not in the picture at all is never judged here.
    assert (*(item.name.lower() for item in Reason if item), "off_screen") == INVALID_REASONS[1:]
    assert [int(item) for item in Reason] == list(range(len(INVALID_REASONS) - 1))


def test_a_quiet_face_is_valid_and_trusted() -> None:
    judgement = judge(*track())
    assert judgement.valid.all() and not judgement.reason.any()
    assert judgement.confidence.min() > 0.8
    assert judgement.shares() == {}


def test_lost_and_not_finite_frames() -> None:
    seen, fitted, colours = track()
    valid, landmarks = seen.valid.copy(), seen.landmarks.copy()
    valid[10:14] = False
    landmarks[40, 7] = np.nan
    rotation = fitted.rotation.copy()
    rotation[60] = np.nan
    judgement = judge(replace(seen, valid=valid, landmarks=landmarks), replace(fitted, rotation=rotation), colours)
    found = words(judgement)
    assert found[10:14] == ["lost"] * 4 and found[40] == "lost" and found[60] == "misfit"
    assert judgement.valid.sum() == 80 - 6
    assert (judgement.confidence[~judgement.valid] == 0).all()


def test_nothing_found_at_all() -> None:
    seen, fitted, colours = track(12)
    judgement = judge(replace(seen, valid=np.zeros(12, bool)), fitted, colours)
    assert words(judgement) == ["lost"] * 12 and (judgement.confidence == 0).all()


def test_a_turn_by_its_limit() -> None:
    yaw = np.interp(np.arange(80), [0, 20, 40, 60, 80], [0, 0, 75, 0, 0])
    judgement = judge(*track(yaw_deg=yaw))
    assert {words(judgement)[t] for t in np.flatnonzero(yaw > 63)} == {"turned"}
    assert judgement.valid[yaw < 45].all()
    assert judge(*track(yaw_deg=48.0)).valid.all()  # three quarters all the time is not a profile
    assert not judge(*track(yaw_deg=48.0), FlameValidity(max_turn_deg=40)).valid.any()


def test_outside_of_the_picture() -> None:
    seen, fitted, colours = track()
    shifted = seen.landmarks.copy()
    shifted[..., 0] -= np.interp(np.arange(80), [30, 40, 50, 60], [0, 240, 240, 0])[:, None]
    judgement = judge(replace(seen, landmarks=shifted), fitted, colours)
    assert set(words(judgement)[39:52]) == {"outside"}
    assert judgement.valid[:30].all() and judgement.valid[62:].all()


def test_gaps_are_put_down_to_what_was_beside_them() -> None:
    yaw = np.interp(np.arange(80), [0, 20, 35, 45, 60, 80], [0, 0, 58, 58, 0, 0])
    seen, fitted, colours = track(yaw_deg=yaw)
    valid = seen.valid.copy()
    valid[36:44] = False
    valid[70] = False
    found = words(judge(replace(seen, valid=valid), fitted, colours))
    assert found[36:44] == ["turned"] * 8 and found[70] == "lost"


def covered(colours: np.ndarray, landmarks: np.ndarray, frames: slice, rows: tuple[float, float]) -> np.ndarray:
    """Something of one colour before a band of the face, between shares of its height."""
    out = colours.copy()
    y = landmarks[..., 1]
    low, high = y.min(axis=1, keepdims=True), y.max(axis=1, keepdims=True)
    place = (y - low) / (high - low)
    band = np.zeros_like(place, dtype=bool)
    band[frames] = ((place > rows[0]) & (place < rows[1]))[frames]
    out[band] = (90, 118, 140)
    return out


@pytest.mark.parametrize("rows", [(0.0, 0.35), (0.55, 1.0)])
def test_a_covered_face_is_occluded(rows: tuple[float, float]) -> None:
    seen, fitted, colours = track()
    judgement = judge(seen, fitted, covered(colours, seen.landmarks, slice(30, 50), rows))
    expect(judgement, "occluded", slice(30, 50))
    assert judgement.confidence[30:50].max() < judgement.confidence[:30].min()
    assert judge(seen, fitted, None).valid.all()  # without colours nothing can be said


def test_light_and_blinks_hide_nothing() -> None:
    seen, fitted, colours = track()
    lit = colours.astype(np.float64)
    across = (seen.landmarks[..., 0] - 256) / 150
    lit[40:, :, 0] *= (1 + 0.3 * across)[40:]
    lit[20:24, 263] = lit[20:24, 33] = 30
    assert judge(seen, fitted, lit.clip(0, 255).astype(np.uint8)).valid.all()


def test_blur_is_relative_to_the_clip() -> None:
    seen, fitted, colours = track()
    sharpness = seen.sharpness.copy()
    sharpness[50:53] = 12.0
    expect(judge(replace(seen, sharpness=sharpness), fitted, colours), "blurred", slice(50, 53))
    assert judge(replace(seen, sharpness=0.1 * seen.sharpness), fitted, colours).valid.all()


def test_a_false_detection_is_a_jump() -> None:
    seen, fitted, colours = track()
    landmarks = seen.landmarks.copy()
    landmarks[30:32, :, 0] += 150
    expect(judge(replace(seen, landmarks=landmarks), fitted, colours), "jump", slice(30, 32))


def test_a_track_that_goes_over_to_somebody_else_is_a_swap() -> None:
    judgement = judge(*joined(track(60), track(30, seed=1, person=1)))
    found = words(judgement)
    assert set(found[60:]) <= {"swap", "jump"} and found.count("swap") >= 28
    assert judgement.valid[:58].all()
    assert (judgement.confidence[60:] == 0).all()


def test_the_same_person_elsewhere_is_no_swap() -> None:
    first, second = track(50), track(50, seed=3)
    landmarks = second[0].landmarks.copy()
    landmarks[..., 0] += 120
    judgement = judge(
        *joined(first, (replace(second[0], landmarks=landmarks, picture=(-500, 0, 1000, 512)), *second[1:]))
    )
    assert "swap" not in words(judgement)
    assert words(judgement)[49:51] == ["jump", "jump"]


def test_slow_growth_of_the_error_is_drift() -> None:
    seen, fitted, colours = track(200)
    error = np.interp(np.arange(200), [0, 80, 180, 200], [1.5, 1.5, 9.0, 9.0]).astype(np.float32)
    judgement = judge(seen, replace(fitted, reprojection_px=error), colours)
    found = words(judgement)
    assert set(found[:90]) == {""} and set(found[150:]) == {"drift"}
    step = np.where(np.arange(200) < 100, 1.5, 9.0).astype(np.float32)
    assert "drift" not in words(judge(seen, replace(fitted, reprojection_px=step), colours))


def test_drift_of_the_photometric_residual() -> None:
    seen, fitted, colours = track(200)
    residual = np.interp(np.arange(200), [0, 80, 180, 200], [0.02, 0.02, 0.12, 0.12]).astype(np.float32)
    residual[20] = np.nan
    assert words(judge(seen, replace(fitted, photometric=residual), colours))[190] == "drift"


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 24))
def test_whatever_comes_in_there_is_a_verdict_for_every_frame(seed: int, frames: int) -> None:
    rng = np.random.default_rng(seed)
    seen, fitted, colours = track(frames)
    landmarks = seen.landmarks * rng.choice([1.0, np.nan, 1e6], (frames, 1, 1), p=[0.8, 0.1, 0.1])
    score = np.where(rng.random(frames) < 0.2, np.nan, seen.score)
    seen = replace(
        seen, landmarks=landmarks, valid=rng.random(frames) < 0.7, score=score, sharpness=rng.normal(0, 1, frames)
    )
    places = np.where(rng.random((frames, 1)) < 0.2, rng.choice([np.inf, np.nan, 0.0], (frames, 1)), fitted.translation)
    fitted = replace(fitted, translation=places, valid=rng.random(frames) < 0.9)
    judgement = judge(seen, fitted, rng.integers(0, 256, colours.shape).astype(np.uint8))
    assert judgement.reason.dtype == np.int8 and judgement.confidence.dtype == np.float32
    np.testing.assert_array_equal(judgement.valid, judgement.reason == 0)
    assert ((judgement.confidence >= 0) & (judgement.confidence <= 1)).all()


def test_confidence_falls_with_everything_that_harms() -> None:
    good = {
        "turn_deg": 0.0,
        "outside": 0.0,
        "hidden": 0.0,
        "sharpness": 1.0,
        "error": 0.01,
        "score": 0.95,
        "glasses": 0.0,
    }
    worse = {
        "turn_deg": 50.0,
        "outside": 0.1,
        "hidden": 0.1,
        "sharpness": 0.3,
        "error": 0.03,
        "score": 0.7,
        "glasses": 1.0,
    }
    assert all(weight > 0 for weight in CONFIDENCE.values())
    best = confidence_of(features_of({name: np.array([value]) for name, value in good.items()}))[0]
    for name, value in worse.items():
        measures = {key: np.array([value if key == name else other]) for key, other in good.items()}
        assert confidence_of(features_of(measures))[0] < best, name


def test_shapes_that_do_not_fit_are_named() -> None:
    seen, fitted, colours = track(10)
    with pytest.raises(ValueError, match="colours should have shape"):
        judge(seen, fitted, colours[:5])
    with pytest.raises(ValueError, match="score should have shape"):
        judge(replace(seen, score=seen.score[:3]), fitted, colours)


def test_limits_below_zero_are_refused() -> None:
    with pytest.raises(ConfigError, match="flame.validity.max_hidden"):
        FlameValidity(max_hidden=-1.0)


RINGS = [230, 229, 228, 231, 450, 449, 448, 451, 27, 28, 29, 257, 258, 259, 226, 446, 110, 339, 24, 254]


def with_glasses(frames: slice) -> tuple[Seen, Fitted, np.ndarray]:
    seen, fitted, colours = track(80)
    colours[frames, RINGS] = (20, 128, 128)
    return seen, fitted, colours


@pytest.mark.parametrize("frames", [slice(30, 45), slice(0, 30), slice(20, 80), slice(18, 78)])
def test_dark_glasses_that_come_or_go_hide_the_eyes(frames: slice) -> None:
    found = words(judge(*with_glasses(frames)))
    assert set(found[frames]) == {"occluded"}
    del found[frames]
    assert set(found) == {""}


def test_glasses_worn_throughout_belong_to_the_face() -> None:
    for frames in (slice(0, 80), slice(10, 80)):  # an eighth of the clip without them does not make them a cover
        judgement = judge(*with_glasses(frames))
        assert judgement.valid.all() and judgement.measures["glasses"][frames].all()


def test_glasses_are_no_other_person() -> None:
    seen, fitted, colours = with_glasses(slice(40, 80))
    landmarks = seen.landmarks.copy()
    landmarks[40:, :, 0] += 90  # a cut: the track jumps as they come
    found = words(judge(replace(seen, landmarks=landmarks, picture=(-500, 0, 1000, 512)), fitted, colours))
    assert "swap" not in found and found.count("occluded") >= 38


def test_errors_are_in_units_of_the_fit() -> None:
    seen, fitted, colours = track(40)
    seen = replace(seen, landmarks=seen.landmarks * [0.6, 1.0, 1.0] + [100.0, 0.0, 0.0])  # foreshortened
    judgement = judge(seen, replace(fitted, eye_distance_px=np.full(40, 150.0, np.float32)), colours)
    np.testing.assert_allclose(judgement.measures["error"], 0.01, rtol=1e-6)


def test_what_a_turn_hides_is_turned_and_what_a_hand_hides_is_not() -> None:
    yaw = np.interp(np.arange(80), [20, 30, 40, 50], [0, 70, 70, 0])
    seen, fitted, colours = track(80, yaw_deg=yaw)
    low = seen.landmarks[0, :, 1] > 265
    colours[24:47, low] = (60, 90, 170)
    colours[60:70, low] = (60, 90, 170)
    found = words(judge(seen, fitted, colours))
    assert set(found[26:45]) == {"turned"} and set(found[60:70]) == {"occluded"}
