from __future__ import annotations

import numpy as np
import pytest

from pipelines.ingest.audio import SAMPLE_RATE, iter_audio_16k, read_audio_16k
from rsat_data.errors import NoAudioTrack
from tests.media_factory import make_video, test_card, tone


def test_a_tone_keeps_its_pitch_level_and_length(tmp_path):
    path = make_video(tmp_path / "a.mkv", test_card(64, 64), num_frames=50, audio=tone(2.0), audio_codec="flac")
    mono, channels = read_audio_16k(path)
    assert mono.dtype == np.float32 and channels.shape == (1, len(mono))
    assert abs(len(mono) - 2 * SAMPLE_RATE) <= 1
    expected = 0.4 * np.sin(2 * np.pi * 440 * np.arange(len(mono)) / SAMPLE_RATE)
    assert np.abs(mono - expected)[200:-200].max() < 2e-3


def test_channels_are_kept_and_mixed(tmp_path):
    path = make_video(
        tmp_path / "a.mkv", test_card(64, 64), num_frames=25, audio=tone(1.0, channels=2), audio_codec="flac"
    )
    mono, channels = read_audio_16k(path)
    assert channels.shape[0] == 2
    assert np.abs(mono - channels.mean(axis=0)).max() < 1e-3
    assert np.corrcoef(channels)[0, 1] < 0.05


def test_six_channels_are_mixed_without_clipping(tmp_path):
    sound = np.repeat(tone(1.0) / 0.4 * 0.99, 6, axis=0)
    path = make_video(tmp_path / "a.mkv", test_card(64, 64), num_frames=25, audio=sound, audio_codec="flac")
    mono, channels = read_audio_16k(path)
    assert channels.shape[0] == 6
    assert 0.5 < np.abs(mono[500:-500]).max() < 1.0
    assert np.corrcoef(mono[500:-500], channels[0, 500:-500])[0, 1] > 0.999


def test_sound_that_starts_late_gets_silence_before_it(tmp_path):
    path = make_video(
        tmp_path / "a.mkv", test_card(64, 64), num_frames=50, audio=tone(1.0), audio_codec="flac", audio_start_s=0.5
    )
    mono, _ = read_audio_16k(path)
    assert np.abs(mono[: SAMPLE_RATE // 2 - 40]).max() == 0
    assert np.abs(mono[SAMPLE_RATE // 2 + 40 :]).max() > 0.3
    assert abs(len(mono) - 1.5 * SAMPLE_RATE) <= 20  # the container rounds to milliseconds


def test_blocks_are_the_whole(tmp_path):
    path = make_video(tmp_path / "a.mp4", test_card(64, 64), num_frames=25, audio=tone(1.0, channels=2))
    blocks = list(iter_audio_16k(path))
    mono, channels = read_audio_16k(path)
    assert len(blocks) > 3
    assert all(m.shape[0] == c.shape[1] for m, c in blocks)
    assert sum(len(m) for m, _ in blocks) == len(mono) == channels.shape[1]


def test_no_audio(tmp_path):
    path = make_video(tmp_path / "silent.mp4", test_card(64, 64), num_frames=5)
    with pytest.raises(NoAudioTrack, match=r"'silent\.mp4'"):
        read_audio_16k(path)
