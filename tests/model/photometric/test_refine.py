"""The whole refinement on a made clip whose codes, texture and light are known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.head.load import HeadModel
from model.photometric.config import PhotometricConfig
from model.photometric.refine import Landmarks, PhotometricFit, choose_keyframes, refine, windows
from rsat_data.errors import ConfigError, SkippedClip
from tests.model.photometric.conftest import CAMERA, FRAMES, Scene

SMALL = PhotometricConfig(size=128, samples=1500, texel_m=0.003, keyframes=12, rounds=2, window=20, overlap=6)


def run(head: HeadModel, scene: Scene, **changes: Any) -> PhotometricFit:
    frames = changes.pop("frames", scene.frames)
    marks = changes.pop("landmarks", scene.landmarks)
    fast = changes.pop("fast", scene.fast)
    return refine(head, fast, marks, lambda a, b: frames[a:b], None, CAMERA, config=SMALL, compare=True, **changes)


@pytest.fixture(scope="module")
def full(head: HeadModel, scene: Scene) -> PhotometricFit:
    return run(head, scene)


def points(head: HeadModel, result: Any) -> np.ndarray:
    """(T, V, 3) of the face, millimetres."""
    import torch

    at = [torch.as_tensor(getattr(result, n)) for n in ("expression", "jaw", "neck", "eyes", "rotation", "translation")]
    vertices, _ = head.pose(torch.as_tensor(result.shape), *at)
    return 1e3 * vertices[:, head.groups["face"]].numpy()


def test_refined_codes_are_nearer_to_the_truth(head: HeadModel, scene: Scene, full: PhotometricFit) -> None:
    single = scene.codes.astype(np.float32)
    truth = replace(
        scene.fast, expression=single[:, :-15], jaw=single[:, -15:-12], eyes=single[:, -12:-6],
        rotation=single[:, -6:-3], translation=(scene.codes[:, -3:] - scene.root).astype(np.float32),
    )  # fmt: skip
    wanted, before, after = (points(head, one) for one in (truth, scene.fast, full.codes))

    def shift(a: np.ndarray) -> float:  # depth is nearly free, so compare what the picture shows
        return float(np.linalg.norm((a - wanted)[..., :2], axis=2).mean())

    def jitter(a: np.ndarray) -> float:
        return float(np.linalg.norm(a[2:] - 2 * a[1:-1] + a[:-2], axis=2).mean())

    assert shift(after) < 0.8 * shift(before)
    assert jitter(after) < jitter(before) and jitter(after) < 1.5 * jitter(wanted)
    turn = np.abs(full.codes.rotation - single[:, -6:-3]).mean()
    assert turn < np.abs(scene.fast.rotation - single[:, -6:-3]).mean()


def test_colours_left_over_shrink_in_frames_held_out(full: PhotometricFit) -> None:
    held = np.setdiff1d(np.arange(FRAMES), full.keyframes)
    assert len(held) == FRAMES - 12
    assert full.residual_before is not None
    assert full.residual[held].mean() < 0.7 * full.residual_before[held].mean()
    assert (full.residual > 0).all() and full.residual.max() < 0.05


def test_result_has_the_promised_shapes(head: HeadModel, scene: Scene, full: PhotometricFit) -> None:
    for name in ("expression", "jaw", "neck", "eyes", "rotation", "translation", "valid", "reprojection_px"):
        ours, given = getattr(full.codes, name), getattr(scene.fast, name)
        assert ours.shape == given.shape and ours.dtype == given.dtype and np.isfinite(ours).all()
    np.testing.assert_array_equal(full.codes.shape, scene.fast.shape)
    assert full.light.shape == (9, 3) and full.gain.shape == (FRAMES, 3) and full.residual.dtype == np.float32
    texture = full.texture(256)
    assert texture.shape == (256, 256, 3) and texture.dtype == np.uint8 and 0.01 < (texture.max(2) > 0).mean() < 0.5


def test_threads_change_nothing(head: HeadModel, scene: Scene, full: PhotometricFit) -> None:
    again = run(head, scene, threads=3)
    assert again.codes.codes.tobytes() == full.codes.codes.tobytes()
    assert again.residual.tobytes() == full.residual.tobytes()
    assert again.texture(64).tobytes() == full.texture(64).tobytes()


def test_a_hand_and_lost_frames_spoil_nothing(head: HeadModel, scene: Scene, full: PhotometricFit) -> None:
    frames = scene.frames.copy()
    frames[10:16, 70:100, 40:80] = (230, 190, 170)
    valid = scene.landmarks.valid.copy()
    valid[25:28] = False
    frames[25:28] = 0
    marks = Landmarks(scene.landmarks.points, valid)
    lost = replace(scene.fast, valid=valid)
    found = run(head, scene, frames=frames, landmarks=marks, fast=lost)
    assert not found.codes.valid[25:28].any() and found.codes.valid[:25].all()
    assert not found.residual[25:28].any() and np.isfinite(found.codes.codes).all()
    apart = points(head, found.codes)[10:16] - points(head, full.codes)[10:16]
    assert np.linalg.norm(apart[..., :2], axis=2).mean() < 0.5  # millimetres, across the view


def test_three_valid_frames_are_enough_and_windows_without_any_stay_as_they_are(head: HeadModel, scene: Scene) -> None:
    valid = np.zeros(FRAMES, bool)
    valid[[2, 3, 9]] = True  # the last window has none
    found = run(head, scene, landmarks=Landmarks(scene.landmarks.points, valid), fast=replace(scene.fast, valid=valid))
    assert found.codes.valid.sum() == 3 and np.isfinite(found.codes.codes).all()
    np.testing.assert_allclose(found.codes.codes[30:], scene.fast.codes[30:], atol=1e-6)
    assert (found.residual > 0).sum() == 3 and len(found.keyframes) == 3


def test_face_never_seen_is_refused(head: HeadModel, scene: Scene) -> None:
    away = replace(scene.fast, translation=scene.fast.translation + np.array([5, 0, 0], np.float32))
    with pytest.raises(SkippedClip, match="none of the frames"):
        run(head, scene, fast=away)


@given(st.integers(1, 700), st.integers(2, 90), st.data())
def test_windows_keep_every_frame_once(num: int, window: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, window - 1))
    spans = windows(num, window, overlap)
    kept = [t for _, part in spans for t in range(part.start, part.stop)]
    assert kept == list(range(num))
    for span, part in spans:
        assert span.start <= part.start < part.stop <= span.stop <= num and span.stop - span.start <= window


@given(st.lists(st.booleans(), min_size=1, max_size=200).filter(any), st.integers(1, 40))
def test_keyframes_are_valid_and_spread(valid: list[bool], count: int) -> None:
    keys = choose_keyframes(np.array(valid), count)
    assert len(keys) == min(count, sum(valid)) and (np.diff(keys) > 0).all() and np.array(valid)[keys].all()


@pytest.mark.parametrize(
    "wrong", [{"size": 8}, {"samples": 10}, {"noise": 0.0}, {"overlap": 200}, {"facing": 1.0}, {"redundancy": -1.0}]
)
def test_settings_no_refinement_can_work_with(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        PhotometricConfig(**wrong)
