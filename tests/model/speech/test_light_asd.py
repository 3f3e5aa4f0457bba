"""The active speaker network: what it hears, its shapes, its answer to a real voice, and the safety of its load."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from model.speech.light_asd import CEPSTRA, SIDE, LightAsd, _ours, cepstra, load_light_asd
from rsat_data.errors import ModelFileError


@pytest.fixture(scope="module")
def weights(real_data: Path) -> Path:
    path = real_data / "asd" / "light_asd_talkset.model"
    if not path.is_file():
        pytest.skip("the weights of Light-ASD are not here")
    return path


def test_cepstra_are_those_that_the_weights_were_trained_on() -> None:
    """Two sines; figures of python_speech_features.mfcc (0.6) with its defaults."""
    t = np.arange(6400) / 16000
    tone = 0.3 * np.sin(2 * np.pi * 440 * t) + 0.1 * np.sin(2 * np.pi * 1234 * t)
    expected = [20.0883, 18.9187, -15.9646, -32.7263, -21.3795, -11.802, -25.5468, -42.2608, -26.6483, 13.3281,
                37.7776, 24.4125, -2.7667]  # fmt: skip
    np.testing.assert_allclose(cepstra(tone, 10)[10], expected, atol=1e-3)


def test_cepstra_of_silence_and_of_sound_that_ends_early() -> None:
    silence = cepstra(np.zeros(0), 3)
    assert silence.shape == (12, CEPSTRA) and np.isfinite(silence).all()
    short, whole = cepstra(np.ones(1000) * 0.1, 5), cepstra(np.ones(10_000) * 0.1, 5)
    np.testing.assert_array_equal(short[:3], whole[:3])
    assert not np.array_equal(short[8:], whole[8:])


@torch.inference_mode()
def test_every_frame_gets_an_answer_and_sees_two_seconds_at_once_as_it_does_in_a_batch() -> None:
    torch.manual_seed(0)
    network = LightAsd().eval()
    faces, columns = torch.rand(2, 9, SIDE, SIDE) * 255, torch.randn(2, 36, CEPSTRA)
    both = network(faces, columns)
    assert both.shape == (2, 9)
    torch.testing.assert_close(network(faces[:1], columns[:1]), both[:1], atol=1e-4, rtol=1e-4)


def test_names_of_the_published_file_are_ours_and_no_other(weights: Path) -> None:
    published = torch.load(weights, map_location="cpu", weights_only=True)
    ours = [name for name in map(_ours, published) if name]
    assert sorted(ours) == sorted(LightAsd().state_dict())


@torch.inference_mode()
def test_a_face_that_stands_still_does_not_talk(weights: Path) -> None:
    network = load_light_asd(weights)
    faces = torch.full((1, 50, SIDE, SIDE), 110.0)
    rng = np.random.default_rng(0)
    sound = torch.from_numpy(cepstra(rng.normal(0, 0.05, 32_000), 50))[None]
    assert (network(faces, sound) < 0).all()


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "asd.model"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelFileError, match="asd.model"):
        load_light_asd(path)


def test_other_tensors_and_numbers_that_are_none_are_refused(tmp_path: Path, weights: Path) -> None:
    path = tmp_path / "asd.model"
    torch.save({"layer.weight": torch.zeros(2)}, path)
    with pytest.raises(ModelFileError, match="does not hold"):
        load_light_asd(path)
    published = torch.load(weights, map_location="cpu", weights_only=True)
    torch.save(published | {"lossAV.FC.bias": torch.tensor([0.0, torch.nan])}, path)
    with pytest.raises(ModelFileError, match="not finite"):
        load_light_asd(path)
