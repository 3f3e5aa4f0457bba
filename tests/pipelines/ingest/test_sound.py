from __future__ import annotations

import numpy as np
import pytest
import soundfile

from pipelines.ingest.sound import to_int16, write_sound
from tests.media_factory import make_video, test_card, tone


def write(path, out, until=2.0):
    out.mkdir()
    return write_sound(path, out, until_s=until, channel_difference=0.05, max_duration_s=60.0)


@pytest.mark.parametrize("separate", [False, True])
def test_channels_are_kept_only_where_they_differ(tmp_path, separate):
    sound = tone(2.0, channels=2)
    if not separate:
        sound[1] = 0.98 * sound[0]
    path = make_video(tmp_path / "a.mkv", test_card(64, 64), num_frames=50, audio=sound, audio_codec="flac")
    result = write(path, tmp_path / "out")
    assert result.differing is separate
    assert (tmp_path / "out" / "channels.flac").exists() is separate
    mixture, rate = soundfile.read(tmp_path / "out" / "mixture.flac", dtype="int16")
    assert rate == 16_000 and mixture.ndim == 1
    if separate:
        channels, _ = soundfile.read(tmp_path / "out" / "channels.flac", dtype="int16")
        assert channels.shape == (len(mixture), 2)
        assert np.abs(channels.mean(axis=1) - mixture).max() <= 1


def test_sound_that_ends_early_is_padded_and_loudness_is_measured(tmp_path):
    sound = tone(1.0)
    sound[:, :24_000] *= 0.01
    path = make_video(tmp_path / "a.mp4", test_card(64, 64), num_frames=50, audio=sound)
    result = write(path, tmp_path / "out")
    mixture, _ = soundfile.read(tmp_path / "out" / "mixture.flac")
    assert len(mixture) >= 32_000
    assert np.abs(mixture[18_000:]).max() == 0
    assert result.loudness[2:10].max() < 0.02 < 0.2 < result.loudness[14:23].min()
    assert len(result.loudness) >= 25


def test_the_same_source_gives_the_same_bytes(tmp_path):
    path = make_video(tmp_path / "a.mp4", test_card(64, 64), num_frames=25, audio=tone(1.0, channels=2))
    for name in ("one", "two"):
        write(path, tmp_path / name)
    for name in ("mixture.flac", "channels.flac"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_rounding_clips():
    assert to_int16(np.array([-2.0, -1.0, 0.0, 0.5 / 32768, 1.0, 2.0])).tolist() == [
        -32768, -32768, 0, 0, 32767, 32767,
    ]  # fmt: skip
