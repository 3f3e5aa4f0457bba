"""Cutting a person's audio out of the mixture, channels of one voice each, and the level of the noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.speech.inputs import write_flac
from pipelines.speech.isolate import channels_separate, fit_length, gate, leading, levels_db, snr_db


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.booleans(), min_size=1, max_size=40), st.integers(0, 30000), st.sampled_from([0, 1, 2, 7, 320, 3200])
)
def test_gated_audio_has_640_samples_a_frame_and_never_more_than_the_mixture(
    speaking: list[bool], samples: int, fade: int
) -> None:
    mixture = np.random.default_rng(samples).uniform(-1, 1, samples).astype(np.float32)
    track = np.array(speaking)
    out = gate(mixture, track, fade=fade)
    assert out.shape == (len(track) * 640,) and out.dtype == np.float32
    assert (np.abs(out) <= np.abs(fit_length(mixture, len(out))) + 1e-6).all()
    if track.all():
        np.testing.assert_allclose(out, fit_length(mixture, len(out)), atol=1e-6)
    if not track.any():
        assert not out.any()


def test_fades_are_smooth_and_half_way_at_the_edge() -> None:
    track = np.zeros(20, dtype=bool)
    track[5:15] = True
    gain = gate(np.ones(20 * 640, dtype=np.float32), track, fade=320)
    assert gain[5 * 640] == pytest.approx(0.5, abs=0.01)
    assert np.abs(np.diff(gain)).max() < 0.01
    assert (gain[: 5 * 640 - 160] == 0).all() and (gain[5 * 640 + 161 : 15 * 640 - 161] > 0.9999).all()


@pytest.fixture(scope="module")
def two_voices(telephone_call) -> np.ndarray:
    """(2, N): a real call taken apart by its truth, each voice leaking into the other channel at -20 dB."""
    samples, truth = telephone_call
    parts = [samples * np.repeat(truth[:, k], 160) for k in (0, 1)]
    hum = np.random.default_rng(0).normal(0, 1e-3, (2, len(samples)))
    return np.stack([parts[0] + 0.1 * parts[1], parts[1] + 0.1 * parts[0]]) + hum


def _levels(channels: np.ndarray) -> np.ndarray:
    return np.stack([levels_db(channel) for channel in channels])


def test_channels_of_one_voice_each_are_recognised(two_voices: np.ndarray) -> None:
    assert channels_separate(_levels(two_voices))


def test_a_stereo_picture_is_no_separation(two_voices: np.ndarray) -> None:
    left, right = two_voices
    assert not channels_separate(_levels(np.stack([left + right, left + right])))
    assert not channels_separate(_levels(np.stack([0.7 * left + 0.5 * right, 0.5 * left + 0.7 * right])))
    assert not channels_separate(_levels(np.stack([left + right, 0.05 * (left + right)])))
    assert not channels_separate(_levels(np.zeros((2, 32000))))
    assert not channels_separate(_levels(two_voices[:1]))


def test_a_leaking_voice_does_not_lead(two_voices: np.ndarray, telephone_call) -> None:
    truth = telephone_call[1].reshape(750, 4, 2).mean(axis=1)
    lead = leading(two_voices, 750)
    alone = (truth[:, 0] == 1) & (truth[:, 1] == 0)
    assert (lead[alone, 0] > 0.9).mean() > 0.9 and (lead[alone, 1] < 0.5).mean() > 0.8


@given(st.floats(0.0, 40.0))
@settings(max_examples=10, deadline=None)
def test_snr_of_known_signals(snr: float) -> None:
    generator = np.random.default_rng(3)
    speech = np.zeros(200, dtype=bool)
    speech[50:150] = True
    noise = generator.normal(0, 0.01, 200 * 640)
    voice = generator.normal(0, 0.01 * 10 ** (snr / 20), 200 * 640) * np.repeat(speech, 640)
    assert snr_db((noise + voice).astype(np.float32), speech, ~speech) == pytest.approx(snr, abs=0.7)


def test_snr_of_somebody_silent_is_unknown() -> None:
    assert np.isnan(snr_db(np.ones(6400, dtype=np.float32), np.zeros(10, dtype=bool), np.ones(10, dtype=bool)))


def test_flac_round_trip(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).uniform(-1.2, 1.2, 6400).astype(np.float32)
    write_flac(tmp_path / "a.flac", samples)
    info = soundfile.info(str(tmp_path / "a.flac"))
    assert (info.frames, info.samplerate, info.channels, info.subtype) == (6400, 16000, 1, "PCM_16")
    back, _ = soundfile.read(str(tmp_path / "a.flac"), dtype="float32")
    np.testing.assert_allclose(back, np.clip(samples, -1, 32767 / 32768), atol=1 / 65536 + 1e-9)


def test_a_leak_that_was_measured_does_not_lead() -> None:
    rng = np.random.default_rng(0)
    own = 0.1 * rng.standard_normal(50 * 640).astype(np.float32)
    leak = 10 ** (-11 / 20)
    channels = np.stack([own, leak * own])
    assert leading(channels, 50)[:, 1].mean() > 0.5  # may be a soft voice of their own
    known = leading(channels, 50, 22.0)
    assert known[:, 0].min() == 1.0 and known[:, 1].max() < 0.01
    np.testing.assert_array_equal(leading(channels, 50, 60.0), leading(channels, 50))
    together = np.stack([own, 0.7 * rng.standard_normal(len(own)).astype(np.float32) * 0.1])
    assert leading(together, 50, 22.0).min() > 0.7
