from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from model.fitting import inputs, offsets
from model.fitting.config import FitConfig
from model.fitting.evidence import fuse_shapes, shape_evidence
from model.fitting.fit import fit_landmarks
from model.fitting.landmark_model import LandmarkModel
from model.fitting.start import neutral_landmarks
from rsat_data.errors import ModelFileError
from tests.model.fitting.conftest import CAMERA, Truth
from tests.model.fitting.made_head import NAMES, MadeHead
from tests.model.fitting.test_inputs import turned

CONFIG = FitConfig(expression_sd=0.5, shape_tolerance=1e-3, shape_frames=8, shape_evidence=8.0, offsets=3)


@pytest.fixture(scope="module")
def modes() -> np.ndarray:
    """Three smooth random fields of about 3 mm over the made head's 478 points."""
    rng = np.random.default_rng(4)
    waves = np.cumsum(rng.normal(size=(478, 3, 3)), axis=0)
    return 0.003 * (waves - waves.mean(axis=0)) / waves.std(axis=0)


@pytest.fixture
def learned(modes: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """The fit takes these modes for the detector's."""
    monkeypatch.setattr(offsets, "offset_modes", lambda: modes.astype(np.float32))
    return modes


def spoilt(model: LandmarkModel, truth: Truth, modes: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Landmarks (T, 478, 2) of a detector with these offsets, to first order."""
    e = len(NAMES)
    turn = Rotation.from_rotvec(truth.codes[:, e + 9 : e + 12]).as_matrix()
    moved = np.einsum("tab,lb->tla", turn, modes @ codes)
    return truth.landmarks + moved[..., :2] * CAMERA.fx / truth.codes[:, None, -1:]


def test_the_learned_modes_are_millimetres_of_a_smooth_field() -> None:
    modes = offsets.offset_modes().astype(np.float64)
    assert modes.shape == (478, 3, 40) and not offsets.offset_modes().flags.writeable
    reach = np.sqrt(np.square(modes).sum(axis=(1, 2)))
    assert 0.001 < np.median(reach) < 0.004
    strength = np.square(modes).sum(axis=(0, 1))
    assert strength[0] > strength[10] > strength[39] > 0


def test_the_learned_noise_is_less_than_the_offsets_and_fades() -> None:
    modes = offsets.noise_modes().astype(np.float64)
    assert modes.shape == (478, 3, 20) and not offsets.noise_modes().flags.writeable
    assert 0.0003 < np.median(np.sqrt(np.square(modes).sum(axis=(1, 2)))) < 0.0015
    strength = np.square(modes).sum(axis=(0, 1))
    assert strength[0] > strength[5] > strength[19] > 0
    taken = offsets.frame_noise(6)
    np.testing.assert_array_equal(taken.transpose(2, 1, 0), offsets.noise_modes()[:, :, :6])
    assert offsets.frame_noise(0).shape == (0, 3, 478) and offsets.frame_noise(6, 68).shape == (0, 3, 68)


def test_noise_that_landmarks_share_turns_the_head_less_when_it_is_known(model: LandmarkModel, truth: Truth) -> None:
    rng = np.random.default_rng(8)
    amount = rng.normal(size=(len(truth.landmarks), 16))
    e = len(NAMES)
    turn = Rotation.from_rotvec(truth.codes[:, e + 9 : e + 12]).as_matrix()
    moved = np.einsum("tab,lbk,tk->tla", turn, offsets.noise_modes()[:, :, :16], amount)
    marks = truth.landmarks + moved[..., :2] * CAMERA.fx / truth.codes[:, None, -1:]
    valid = np.ones(len(marks), bool)

    def error(noise: int) -> float:
        config = replace(CONFIG, offsets=0, noise_modes=noise)
        found = fit_landmarks(model, marks, valid, CAMERA, config=config, shape=truth.shape)
        true = Rotation.from_rotvec(truth.codes[:, e + 9 : e + 12])
        return float((Rotation.from_rotvec(found.rotation) * true.inv()).magnitude().mean())

    assert error(16) < 0.8 * error(0)


def test_a_broken_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    monkeypatch.setattr(offsets, "FILE", tmp_path / "broken.safetensors")
    offsets.offset_modes.cache_clear()
    try:
        with pytest.raises(ModelFileError, match="offsets cannot be read"):
            offsets.offset_modes()
    finally:
        offsets.offset_modes.cache_clear()


def test_offsets_move_landmarks_and_nothing_else(model: LandmarkModel, modes: np.ndarray) -> None:
    wide = offsets.add_offsets(model, modes)
    assert wide.num_offsets == 3 and wide.num_linear == model.num_linear + 3
    assert offsets.with_offsets(wide, 3) is wide and offsets.with_offsets(model, 0) is model
    rng = np.random.default_rng(0)
    shape, codes = rng.normal(size=model.num_linear - model.num_expressions), rng.normal(size=3)
    own, both = wide.with_shape(shape), wide.with_shape(np.concatenate([shape, codes]))
    assert own.num_offsets == 3 and own.num_linear == model.num_expressions + 3
    assert both.num_offsets == 0 and both.num_linear == model.num_expressions
    plain = model.with_shape(shape)
    np.testing.assert_allclose(both.root_joint, plain.root_joint)
    np.testing.assert_allclose(neutral_landmarks(both), neutral_landmarks(plain) + modes @ codes, atol=1e-6)
    again = own.with_shape(codes)
    np.testing.assert_allclose(neutral_landmarks(again), neutral_landmarks(both), atol=1e-6)
    with pytest.raises(ValueError, match="shape codes"):
        wide.with_shape(np.concatenate([shape, codes[:1]]))


def test_a_detectors_error_is_not_taken_for_the_face(model: LandmarkModel, truth: Truth, learned: np.ndarray) -> None:
    wanted = np.array([1.2, -0.8, 1.0])
    marks, valid = spoilt(model, truth, learned, wanted)[:40], np.ones(40, bool)
    told = fit_landmarks(model, marks, valid, CAMERA, config=CONFIG)
    plain = fit_landmarks(model, marks, valid, CAMERA, config=replace(CONFIG, offsets=0))
    assert plain.offsets.shape == (0,)
    assert np.abs(told.offsets - wanted).max() < 0.5
    assert np.linalg.norm(told.shape - truth.shape) < 0.6 * np.linalg.norm(plain.shape - truth.shape)
    assert told.reprojection < 0.5 * plain.reprojection
    # Given the shape, the offsets are found alone; given both, they are kept.
    known = fit_landmarks(model, marks, valid, CAMERA, config=CONFIG, shape=truth.shape)
    np.testing.assert_allclose(known.shape, truth.shape, rtol=1e-6)
    assert np.abs(known.offsets - wanted).max() < 0.3
    kept = fit_landmarks(model, marks, valid, CAMERA, config=CONFIG, shape=truth.shape, offsets=wanted)
    np.testing.assert_allclose(kept.offsets, wanted, rtol=1e-6)
    with pytest.raises(ValueError, match="3 finite offsets"):
        fit_landmarks(model, marks, valid, CAMERA, config=CONFIG, shape=truth.shape, offsets=wanted[:2])


def test_evidence_is_about_the_shape_alone(model: LandmarkModel, truth: Truth, learned: np.ndarray) -> None:
    marks, valid = truth.landmarks[:40], np.ones(40, bool)
    plain, told = (
        shape_evidence(model, marks, valid, [CAMERA], config=replace(CONFIG, offsets=count))[0] for count in (0, 3)
    )
    assert told.information.shape == plain.information.shape and told.shape.shape == plain.shape.shape
    # What might be the detector's error says less about the shape.
    assert (
        np.linalg.slogdet(told.information + np.eye(len(told.vector)))[1]
        < np.linalg.slogdet(plain.information + np.eye(len(plain.vector)))[1]
    )
    np.testing.assert_allclose(fuse_shapes([told]), told.shape, atol=0.02)


def test_the_fit_brings_the_modes_in_by_itself(head: MadeHead, model: LandmarkModel) -> None:
    marks = turned(head, np.zeros(4))
    found = inputs.prepare(model, marks, np.ones(4, bool), None, (), FitConfig(offsets=5), CAMERA)
    assert found.model.num_offsets == 5 and found.model.names[-1] == "offset_04"
