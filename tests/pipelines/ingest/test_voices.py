"""Separate voices: read, put on one timeline, mixed without clipping."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipelines.ingest.timeline import Clock
from pipelines.ingest.voices import Voice, read_voice, separation, write_voices
from pipelines.speech.isolate import levels_db
from tests.media_factory import make_video, tone
from tests.media_factory import test_card as card


def loud(seconds: float, seed: int, level: float = 0.6) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.clip(level * 32768 * rng.standard_normal(round(seconds * 16_000)), -32768, 32767).astype(np.int16)


def test_channels_as_they_are_and_a_mixture_that_does_not_clip(tmp_path: Path) -> None:
    first, second = loud(3, 0), loud(2, 1)
    written = write_voices(tmp_path, [Voice(first), Voice(second, Clock(0.5))], 3.2)
    channels, rate = soundfile.read(tmp_path / "channels.flac", dtype="int16")
    mixture, _ = soundfile.read(tmp_path / "mixture.flac", dtype="int16")
    assert rate == 16_000 and channels.shape == (81 * 640, 2) and mixture.shape == (81 * 640,)
    np.testing.assert_array_equal(channels[: len(first), 0], first)
    np.testing.assert_array_equal(channels[8000 : 8000 + len(second), 1], second)
    assert not channels[:8000, 1].any() and not channels[len(first) :, 0].any()
    total = channels.astype(np.float64).sum(axis=1)
    gain = 32767 / np.abs(total).max()
    assert gain < 1 and np.abs(mixture).max() == 32767
    np.testing.assert_allclose(mixture, gain * total, atol=1.0)
    assert len(written.loudness) == 81 and written.loudness[-1] == 0


def test_a_quiet_sum_is_left_alone_and_an_existing_mixture_too(tmp_path: Path) -> None:
    quiet = loud(1, 0, 0.01)
    write_voices(tmp_path, [Voice(quiet)], 1.0)
    mixture, _ = soundfile.read(tmp_path / "mixture.flac", dtype="int16")
    np.testing.assert_array_equal(mixture[:16_000], quiet)
    before = (tmp_path / "mixture.flac").read_bytes()
    write_voices(tmp_path, [Voice(quiet), Voice(quiet)], 1.0, mixture=False)
    assert (tmp_path / "mixture.flac").read_bytes() == before


@pytest.mark.parametrize(("rate", "count"), [(8000, 1), (44_100, 2), (48_000, 6)])
def test_any_rate_and_number_of_channels(tmp_path: Path, rate: int, count: int) -> None:
    path = tmp_path / "voice.mp4"
    make_video(path, card(64, 64), num_frames=0, audio=tone(1.5, rate, channels=count), audio_rate=rate)
    samples = read_voice(path, tmp_path / "scratch", 10.0)
    assert samples.dtype == np.int16 and abs(len(samples) / 16_000 - 1.5) < 0.1
    assert 1000 < np.abs(samples).max() <= 32767


def test_what_is_one_sound_and_what_is_two() -> None:
    rng = np.random.default_rng(0)
    talk = np.repeat(rng.random(60) < 0.5, 8000)
    a = 0.1 * rng.standard_normal(len(talk)) * talk
    b = 0.1 * rng.standard_normal(len(talk)) * ~talk

    def heard(leak_db: float, gain: float = 1.0) -> tuple[float, float]:
        leak = 10 ** (leak_db / 20)
        noise = 1e-4 * rng.standard_normal((2, len(talk)))
        return separation(np.stack([levels_db(a + leak * b + noise[0]), levels_db(gain * (b + leak * a + noise[1]))]))

    assert heard(0)[0] < 3 and heard(-3)[0] < 10
    assert heard(-10)[0] > 18 and heard(-25)[0] > 45
    assert abs(heard(-20)[1]) < 1 and heard(-20, gain=0.25)[1] == pytest.approx(12.04, abs=1)
    assert heard(-3, gain=0.25)[1] == 0.0  # one sound: nobody's level can be told
    both = np.stack([levels_db(a + b), levels_db(0.1 * (a + b))])  # one sound at two gains
    assert separation(both)[0] < 1
    assert separation(both[:, :10]) == separation(both[:1]) == (np.inf, 0.0)
