from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.motion.network import Batch
from model.motion.speech import LogMel
from model.train.augment import augmented
from model.train.config import AugmentConfig
from model.train.stages import Prepared
from model.train.windows import Windows
from rsat_data.errors import ConfigError

NOTHING = AugmentConfig()
MUCH = AugmentConfig(gain_db=6, tilt_db=6, warp=0.1, hole_bands=6, hole_frames=3)


@pytest.fixture
def inputs(prepared: Prepared) -> Batch:
    return Windows(prepared.training, 40, 20, 1.0, training=True).example(range(4), np.random.default_rng(0)).inputs


def test_nothing_asked_is_nothing_done_and_only_speech_is_changed(inputs: Batch) -> None:
    same = augmented(inputs, NOTHING, np.random.default_rng(0), 4)
    torch.testing.assert_close(same.own, inputs.own, atol=1e-5, rtol=1e-5)
    other = augmented(inputs, MUCH, np.random.default_rng(0), 4)
    for name, value in vars(inputs).items():
        assert torch.equal(getattr(other, name), value) == (name not in ("own", "partner")), name
    again = augmented(inputs, MUCH, np.random.default_rng(0), 4)
    assert torch.equal(other.own, again.own) and torch.equal(other.partner, again.partner)
    assert torch.isfinite(other.own).all()


def test_louder_features_are_those_of_louder_sound() -> None:
    audio = np.random.default_rng(0).normal(0, 0.05, 640 * 20).astype(np.float32)
    encoder = LogMel()
    plain = torch.from_numpy(encoder.features(audio))[None]
    batch = Batch(own=plain, partner=plain, **dict.fromkeys(
        ("state", "motion", "motion_known", "reference", "reference_known", "relation"), torch.zeros(1)
    ))  # fmt: skip
    found = augmented(batch, replace(NOTHING, gain_db=6), np.random.default_rng(1), 4).own[0]
    gain = np.random.default_rng(1)
    gain.uniform(-1, 1, (1, 1))  # the throat's
    decibels = float(gain.uniform(-6, 6))
    louder = encoder.features(audio * 10 ** (decibels / 20))
    np.testing.assert_allclose(found.numpy(), louder, atol=2e-3)
    assert abs(decibels) > 0.5


def test_a_longer_throat_moves_a_peak_down() -> None:
    features = torch.full((1, 8, 64), -0.9)
    features[:, :, 30] = 0.5
    batch = Batch(own=features, partner=features, **dict.fromkeys(
        ("state", "motion", "motion_known", "reference", "reference_known", "relation"), torch.zeros(1)
    ))  # fmt: skip
    places = set()
    for seed in range(20):
        own = augmented(batch, replace(NOTHING, warp=0.1), np.random.default_rng(seed), 4).own
        places.add(int(own[0, 0].argmax()))
    assert min(places) < 30 < max(places) and min(places) >= 27 and max(places) <= 33


def test_values_below_zero_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"augment\.warp"):
        AugmentConfig(warp=-0.1)
    with pytest.raises(ConfigError, match=r"augment\.hole_bands"):
        AugmentConfig(hole_bands=64)
