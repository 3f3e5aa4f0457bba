"""The real recordings through the public functions of `pipelines.ingest.media`."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.ingest.media import iter_decoded, iter_frames, open_media, probe, read_audio_16k, to_rgb, upright_of


@pytest.mark.parametrize("name", ["two_interview.mp4", "two_debate.avi", "three_shots.mp4"])
def test_a_seek_lands_on_the_frame_that_decoding_from_the_start_gives(real_data, name):
    path = real_data / "clips" / name
    with open_media(path) as opened:
        decoded = [(t, f) for t, f in iter_decoded(opened) if t < 4.0]
        times = np.array([t for t, _ in decoded])
        for start in (2.0, 3.2):
            span = list(iter_frames(path, start, 4))
            for i, picture in enumerate(span):
                nearest = decoded[int(np.abs(times - (start + i / 25)).argmin())][1]
                assert (picture == to_rgb(nearest, upright_of(opened, nearest))).all()


def test_clocks_of_picture_and_sound_agree(real_data):
    path = real_data / "clips" / "two_interview.mp4"
    video = probe(path).video
    assert video is not None and video.declared_end_s is not None
    mono, channels = read_audio_16k(path)
    assert abs(len(mono) / 16_000 - video.declared_end_s) < 0.05
    assert channels.shape == (2, len(mono))
    assert 0.1 < np.abs(mono).max() <= 1.0
