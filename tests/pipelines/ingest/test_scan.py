from __future__ import annotations

import numpy as np
import pytest

from pipelines.faces.nets import FaceDetector, FaceLandmarker
from pipelines.ingest.media import probe
from pipelines.ingest.scan import scan_video, varies
from pipelines.ingest.stage import IngestConfig
from rsat_data.errors import UnreadableSource, UnsupportedSource
from tests.media_factory import damage, make_video, tone, truncate
from tests.pipelines.ingest.helpers import need_model


def noise(width: int, height: int):
    """A picture that costs bytes in every frame, so that a share of the bytes is a share of the time."""
    base = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return lambda index: np.roll(base, 3 * index, axis=1)


@pytest.fixture(scope="module")
def networks():
    model = need_model("face_landmarker")
    with FaceDetector(model) as detector, FaceLandmarker(model) as landmarker:
        yield detector, landmarker


def scan(path, networks, **config):
    return scan_video(path, probe(path), IngestConfig(**config), *networks, lambda share: None)


FORMATS = {
    ".mp4": {"faststart": True},
    ".mkv": {},
    ".avi": {"codec": "mpeg4", "audio_codec": "mp3"},
}


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_truncated_file_is_told_from_a_whole_one(tmp_path, networks, suffix):
    whole = make_video(
        tmp_path / f"whole{suffix}", noise(96, 64), num_frames=60, audio=tone(2.4), **FORMATS[suffix]
    )
    result = scan(whole, networks)
    assert result.num_frames == 60 and result.end_s == pytest.approx(2.4, abs=0.05)
    cut = truncate(whole, tmp_path / f"cut{suffix}", 0.6)
    with pytest.raises(UnreadableSource, match=rf"'cut{suffix}'.*truncated.* up to [01]\.\d\d s") as caught:
        scan(cut, networks)
    assert caught.value.hint


def test_less_than_two_missing_frames_are_forgiven(tmp_path, networks):
    whole = make_video(tmp_path / "a.mp4", noise(96, 64), num_frames=60, audio=tone(2.4), faststart=True)
    assert scan(truncate(whole, tmp_path / "b.mp4", 0.998), networks).num_frames >= 58


def test_damage_in_the_middle_is_an_error_that_names_the_time(tmp_path, networks):
    whole = make_video(tmp_path / "whole.mkv", noise(96, 64), num_frames=75, audio=tone(3.0), gop=12)
    with pytest.raises(UnreadableSource, match=r"'hurt\.mkv'.*damaged.* \d\.\d\d s"):
        scan(damage(whole, tmp_path / "hurt.mkv", 0.3, 0.6), networks)


def test_a_stalled_recording_of_unsteady_rate_is_cut_not_refused(tmp_path, networks):
    rng = np.random.default_rng(1)
    steps = rng.choice([0.03, 0.05, 0.08], 60)
    steps[30] = 1.2
    times = np.cumsum(steps) - steps[0]
    path = make_video(tmp_path / "a.mkv", noise(96, 64), num_frames=60, times=times.tolist(), audio=tone(times[-1]))
    result = scan(path, networks)
    assert result.vfr
    gap = float(times[29]), float(times[30])
    assert not any(start < sum(gap) / 2 < end for start, end in result.shots)


def test_a_header_without_a_length_does_not_open_the_bounds(tmp_path, networks):
    path = make_video(tmp_path / "long.ts", noise(96, 64), num_frames=80, audio=tone(3.2))
    with pytest.raises(UnsupportedSource, match=r"'long\.ts'.*longer than"):
        scan(path, networks, max_duration_s=2.0)


def test_steady_and_unsteady_rates():
    assert not varies(np.arange(100) / 25)
    assert not varies(np.round(np.arange(100) * 1001 / 30000, 3))
    assert varies(np.cumsum(np.tile([0.03, 0.05], 50)))
