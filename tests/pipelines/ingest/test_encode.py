from __future__ import annotations

import numpy as np
import pytest

from pipelines.ingest.media import iter_frames, probe, read_audio_16k, write_video
from tests.media_factory import test_card, tone


def test_frames_and_sound_come_back(tmp_path):
    draw = test_card(128, 96)
    sound = tone(2.0, rate=16_000)[0]
    assert write_video(tmp_path / "a.mp4", (draw(i) for i in range(50)), crf=12, audio=sound) == 50
    info = probe(tmp_path / "a.mp4")
    assert info.video is not None and info.audio is not None
    assert (info.video.codec, info.video.pix_fmt, info.video.fps) == ("h264", "yuv420p", 25)
    frames = list(iter_frames(tmp_path / "a.mp4", 0.0, 50))
    error = np.abs(frames[20][8:28, 8:56].astype(int) - draw(20)[8:28, 8:56])
    assert error.max() <= 4
    mono, _ = read_audio_16k(tmp_path / "a.mp4")
    assert np.abs(mono[1000:31000] - sound[1000:31000]).mean() < 0.01


def test_the_same_frames_give_the_same_bytes(tmp_path):
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(30)]
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, frames, audio=tone(1.2, rate=16_000)[0])
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_grey_frames_and_other_rates(tmp_path):
    write_video(tmp_path / "m.mp4", (np.full((32, 48), 8 * i, np.uint8) for i in range(20)), fps=29.97)
    frames = iter_frames(tmp_path / "m.mp4", 0.0, 20, 30_000 / 1001)
    assert [round(float(f.mean()) / 8) for f in frames] == list(range(20))


def test_refuses_what_it_cannot_write(tmp_path):
    with pytest.raises(ValueError, match="even"):
        write_video(tmp_path / "a.mp4", [np.zeros((33, 32, 3), np.uint8)])
    with pytest.raises(ValueError, match="no frames"):
        write_video(tmp_path / "b.mp4", [])
    with pytest.raises(ValueError, match="frame 1"):
        write_video(tmp_path / "c.mp4", [np.zeros((32, 32, 3), np.uint8), np.zeros((32, 34, 3), np.uint8)])
