"""Offset and drift from sounds alone, with real voices and microphones that hear mostly one of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.ingest.align import align, band_changes
from pipelines.ingest.audio import read_audio_16k
from pipelines.ingest.sound import to_int16
from pipelines.ingest.timeline import Clock, on_shared

Voices = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def voices(real_data: Path) -> Voices:
    """Two people who talk to each other, (N,) float32 each."""
    files = sorted((real_data / "dualtalk_demo").glob("xkHwl*.wav"))
    return read_audio_16k(files[0])[0], read_audio_16k(files[1])[0]


def microphones(voices: Voices, leak_db: float, seed: int = 0, noise: float = 1e-3) -> Voices:
    """What each person's microphone hears: the other's voice fainter and 4 ms later."""
    rng, gain = np.random.default_rng(seed), 10 ** (leak_db / 20)
    late = [np.concatenate([np.zeros(64, np.float32), voice[:-64]]) for voice in voices]
    own, other = voices, late[::-1]
    a, b = (own[k] + gain * other[k] + noise * rng.standard_normal(len(own[k])) for k in (0, 1))
    return a.astype(np.float32), b.astype(np.float32)


def recorded(sound: np.ndarray, clock: Clock, seconds: float) -> np.ndarray:
    """What a recorder with this clock writes of a sound of the shared timeline, int16."""
    return to_int16(on_shared(sound, clock.inverse(), 0, round(seconds * 16_000)))


@pytest.mark.parametrize("leak_db", [-6.0, -20.0, -30.0])
@pytest.mark.parametrize("offset", [2.34, -3.21])
def test_offset_within_20_ms(voices: Voices, leak_db: float, offset: float) -> None:
    a, b = microphones(voices, leak_db)
    found = align(recorded(a, Clock(), 20), recorded(b, Clock(offset), 18))
    assert found is not None and found.sure and found.correlation > 2
    assert found.clock.offset_s == pytest.approx(offset, abs=0.02)
    assert abs(found.clock.drift_ppm) < 100


def test_six_seconds_are_enough(voices: Voices) -> None:
    a, b = microphones(voices, -20)
    found = align(recorded(a, Clock(), 6), recorded(b, Clock(1.5), 6))
    assert found is not None and found.sure
    assert found.clock.offset_s == pytest.approx(1.5, abs=0.02)


@pytest.mark.parametrize("drift", [-200.0, 120.0, 1000.0])
def test_drift_has_its_sign_and_size(voices: Voices, drift: float) -> None:
    a, b = microphones(voices, -12)
    clock = Clock(-1.25, drift)
    found = align(recorded(a, Clock(), 29), recorded(b, clock, 29))
    assert found is not None and found.sure
    assert found.clock.drift_ppm == pytest.approx(drift, abs=40) and found.drift_se_ppm < 40
    for moment in (1.0, 14.0, 27.0):
        assert found.clock.own(moment) == pytest.approx(clock.own(moment), abs=0.02)


def test_a_long_recording_and_a_part_of_it(voices: Voices) -> None:
    a, b = microphones(voices, -15)
    rng = np.random.default_rng(1)
    quiet = (1e-3 * rng.standard_normal(100 * 16_000)).astype(np.float32)
    long = np.concatenate([quiet, a, quiet])
    found = align(to_int16(long), recorded(b, Clock(5.0), 20))
    assert found is not None and found.sure
    assert found.clock.offset_s == pytest.approx(105.0, abs=0.02)
    other = align(recorded(b, Clock(5.0), 20), to_int16(long))
    assert other is not None and other.clock.offset_s == pytest.approx(-105.0, abs=0.02)


def test_unrelated_sounds_are_not_sure(voices: Voices, real_data: Path) -> None:
    others = [read_audio_16k(real_data / name)[0] for name in ("audio/sample.wav", "clips/two_interview.mp4")]
    for one in voices:
        for other in others:
            for seconds in (6, 15):
                first, second = (to_int16(sound[: seconds * 16_000]) for sound in (one, other))
                found = align(first, second)
                assert found is None or not found.sure


def test_nothing_to_hear(voices: Voices) -> None:
    sound = to_int16(voices[0])
    assert align(np.zeros(160_000, np.int16), sound) is None
    assert align(sound[:8000], sound) is None
    noise = to_int16(0.01 * np.random.default_rng(0).standard_normal(160_000))
    found = align(noise, sound)
    assert found is None or not found.sure


def test_levels_do_not_count_changes_do(voices: Voices) -> None:
    sound = to_int16(0.2 * voices[0][: 8 * 16_000])
    assert band_changes(sound).shape == (6, 800)
    louder = band_changes(2 * sound)
    assert np.corrcoef(band_changes(sound).ravel(), louder.ravel())[0, 1] > 0.98
