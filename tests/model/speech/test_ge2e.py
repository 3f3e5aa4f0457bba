"""The speaker encoder: its front end against slow references, its weights, and two real voices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from model.speech.ge2e import (
    SpeakerEncoder,
    at_level,
    embed,
    hz_of_mel,
    load_encoder,
    mel_filters,
    mel_of_hz,
    mel_power,
)
from rsat_data.errors import ModelFileError
from rsat_data.registry import model_path


@pytest.fixture(scope="module")
def encoder() -> SpeakerEncoder:
    try:
        return load_encoder(model_path("speaker-embedding"))
    except ModelFileError as error:
        pytest.skip(f"the speaker embedding cannot be had here: {error.message}")


def test_mel_scale_has_slaneys_fixed_points_and_an_inverse() -> None:
    assert mel_of_hz(np.array([0.0, 200.0, 1000.0, 6400.0])) == pytest.approx([0.0, 3.0, 15.0, 42.0])
    hz = np.linspace(0, 8000, 97)
    np.testing.assert_allclose(hz_of_mel(mel_of_hz(hz)), hz, atol=1e-9)


def test_filters_have_equal_area_and_meet_their_neighbours_tops() -> None:
    filters = mel_filters()
    assert filters.shape == (40, 201) and (filters >= 0).all()
    wide = filters[20:]  # the narrow ones are sampled by too few bins for a sum to be an integral
    np.testing.assert_allclose(wide.sum(axis=1) * 40.0, 1.0, atol=0.05)


def test_spectrogram_against_a_plain_sum() -> None:
    samples = np.random.default_rng(0).standard_normal(1600).astype(np.float32)
    mels = mel_power(samples)
    assert mels.shape == (11, 40) and mels.dtype == np.float32
    padded = np.pad(samples.astype(np.float64), 200)
    n = np.arange(400)
    frame = padded[3 * 160 : 3 * 160 + 400] * (0.5 - 0.5 * np.cos(2 * np.pi * n / 400))
    power = [abs(np.sum(frame * np.exp(-2j * np.pi * k * n / 400))) ** 2 for k in range(201)]
    np.testing.assert_allclose(mels[3], mel_filters() @ np.array(power), rtol=1e-5)


def test_quiet_sound_is_raised_and_loud_sound_left() -> None:
    quiet = 1e-3 * np.random.default_rng(0).standard_normal(16000)
    assert np.sqrt(np.mean(np.square(at_level(quiet)))) == pytest.approx(10 ** (-30 / 20))
    np.testing.assert_array_equal(at_level(300 * quiet), 300 * quiet)


def test_two_voices_of_a_telephone_call_are_told_apart(encoder: SpeakerEncoder) -> None:
    try:
        folder = model_path("sample-conversation")
    except ModelFileError as error:
        pytest.skip(f"the packaged recording cannot be had here: {error.message}")
    sound, rate = soundfile.read(folder / "sample.wav", dtype="float32")
    spoken: dict[str, list[np.ndarray]] = {}
    for line in (folder / "sample.rttm").read_text().splitlines():
        words = line.split()
        start, length = float(words[3]), float(words[4])
        spoken.setdefault(words[7], []).append(sound[round(start * rate) : round((start + length) * rate)])
    voices = []
    for pieces in spoken.values():
        whole = np.concatenate(pieces)
        voices += [embed(encoder, whole[: len(whole) // 2]), embed(encoder, whole[len(whole) // 2 :])]
    same = min(voices[0] @ voices[1], voices[2] @ voices[3])
    other = max(a @ b for a in voices[:2] for b in voices[2:])
    assert same > other + 0.02
    assert all(voice.shape == (256,) and np.linalg.norm(voice) == pytest.approx(1.0, abs=1e-5) for voice in voices)


def test_too_short_a_sound_is_no_voice(encoder: SpeakerEncoder) -> None:
    with pytest.raises(ValueError, match="1.6 s"):
        embed(encoder, np.zeros(16000))


def test_other_files_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.pt"
    torch.save({"model_state": {"weight": torch.zeros(2)}}, other)
    (tmp_path / "text.pt").write_text("hello")

    class Harm:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "harm",))

    torch.save({"model_state": Harm()}, tmp_path / "harmful.pt")
    for name in ("other.pt", "text.pt", "harmful.pt", "gone.pt"):
        with pytest.raises(ModelFileError, match=name):
            load_encoder(tmp_path / name)
    assert not (tmp_path / "harm").exists()
