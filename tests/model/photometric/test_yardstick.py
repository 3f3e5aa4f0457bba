"""Better codes give sharper pictures of frames that were held out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.head.load import HeadModel
from model.photometric.config import PhotometricConfig
from model.photometric.yardstick import held_out
from tests.model.photometric.conftest import CAMERA, FRAMES, Scene

CONFIG = PhotometricConfig(size=128, samples=1500, texel_m=0.003)


def test_true_codes_beat_fitted_ones_and_those_beat_shaken_ones(head: HeadModel, scene: Scene) -> None:
    single = scene.codes.astype(np.float32)
    true = replace(
        scene.fast, expression=single[:, :-15], jaw=single[:, -15:-12], eyes=single[:, -12:-6],
        rotation=single[:, -6:-3], translation=(scene.codes[:, -3:] - scene.root).astype(np.float32),
    )  # fmt: skip
    noise = np.random.default_rng(0).normal(size=(FRAMES, 3)) * (0.003, 0.003, 0)
    shaken = replace(true, translation=(true.translation + noise).astype(np.float32))
    codes = {"true": true, "fast": scene.fast, "shaken": shaken}
    found = held_out(head, codes, lambda a, b: scene.frames[a:b], CAMERA, config=CONFIG)
    assert found["true"].psnr_db > found["fast"].psnr_db + 1 > found["shaken"].psnr_db
    assert found["true"].residual < found["fast"].residual < found["shaken"].residual
    assert {one.frames for one in found.values()} == {FRAMES - round(0.7 * FRAMES)}


def test_nothing_to_compare_is_refused(head: HeadModel, scene: Scene) -> None:
    none = replace(scene.fast, valid=np.arange(FRAMES) < 10)
    with pytest.raises(ValueError, match="none is valid"):
        held_out(head, {"a": none}, lambda a, b: scene.frames[a:b], CAMERA, config=CONFIG)
    away = replace(scene.fast, translation=scene.fast.translation + np.array([5, 0, 0], np.float32))
    with pytest.raises(ValueError, match="seen"):
        held_out(head, {"a": away}, lambda a, b: scene.frames[a:b], CAMERA, config=CONFIG)
