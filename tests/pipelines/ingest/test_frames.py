from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from pipelines.ingest.frames import iter_decoded, iter_frames, orientation
from pipelines.ingest.media import open_media, probe
from rsat_data.errors import UnreadableSource
from tests.media_factory import grey_levels, make_video, test_card, tone

RED, GREEN, BLUE, GREY = (200, 30, 30), (30, 180, 30), (30, 30, 200), (110, 110, 110)


def corners(picture: np.ndarray) -> list[tuple[int, ...]]:
    """The nearest of the four colours in each corner: upper left, upper right, lower left, lower right."""
    height, width = picture.shape[:2]
    seen = [picture[y, x] for y, x in ((6, 6), (6, width - 7), (height - 7, 6), (height - 7, width - 7))]
    return [min((RED, GREEN, BLUE, GREY), key=lambda c: np.abs(s.astype(int) - c).sum()) for s in seen]


def number(picture: np.ndarray) -> float:
    """Frame number that `grey_levels` wrote into a picture."""
    return float((picture.mean() - 16) / 4)


@pytest.mark.parametrize(
    ("rotation", "mirror", "expected"),
    [
        (0, False, [RED, GREEN, BLUE, GREY]),
        (90, False, [GREEN, GREY, RED, BLUE]),
        (180, False, [GREY, BLUE, GREEN, RED]),
        (270, False, [BLUE, RED, GREY, GREEN]),
        (0, True, [GREEN, RED, GREY, BLUE]),
        (90, True, [GREY, GREEN, BLUE, RED]),
    ],
)
def test_rotation_and_mirroring_are_undone(tmp_path, rotation, mirror, expected):
    path = make_video(tmp_path / "a.mp4", test_card(160, 96), num_frames=3, rotation=rotation, mirror=mirror)
    picture = next(iter_frames(path, 0.0, 1))
    assert picture.shape == ((160, 96, 3) if rotation % 180 else (96, 160, 3))
    assert corners(picture) == expected
    video = probe(path).video
    assert video is not None and video.rotation == rotation
    assert (video.height, video.width) == picture.shape[:2]


def test_a_phone_held_upright(tmp_path):
    """The matrix phones write for a quarter turn clockwise, given as its nine numbers."""
    path = tmp_path / "phone.mov"
    with path.open("wb") as handle, av.open(handle, "w", format="mov") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        stream.set_display_matrix([0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30])
        out.mux(stream.encode(av.VideoFrame.from_ndarray(test_card(160, 96)(0), format="rgb24")))
        out.mux(stream.encode(None))
    assert corners(next(iter_frames(path, 0.0, 1))) == [BLUE, RED, GREY, GREEN]


def test_frames_without_a_matrix_stand_upright():
    assert orientation(av.VideoFrame(16, 16, "yuv420p")) == (0, False)


def test_pixels_become_square(tmp_path):
    path = make_video(tmp_path / "a.mp4", test_card(160, 96), num_frames=3, sar=Fraction(2, 1), rotation=90)
    assert next(iter_frames(path, 0.0, 1)).shape == (320, 96, 3)


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "suffix"),
    [
        ("libx265", "yuv420p10le", ".mp4"),
        ("libx264", "yuv444p", ".mp4"),
        ("ffv1", "yuv420p", ".mkv"),
        ("mpeg4", "yuv420p", ".avi"),
    ],
)
def test_codecs_and_odd_sizes_keep_their_colours(tmp_path, codec, pix_fmt, suffix):
    width, height = (161, 97) if pix_fmt == "yuv444p" or codec == "ffv1" else (160, 96)
    path = make_video(tmp_path / f"a{suffix}", test_card(width, height), num_frames=3, codec=codec, pix_fmt=pix_fmt)
    picture = next(iter_frames(path, 0.0, 1))
    assert picture.shape == (height, width, 3)
    assert np.abs(picture[8, 8].astype(int) - RED).max() <= 6


def test_a_span_is_the_same_frames_as_the_whole(tmp_path):
    path = make_video(tmp_path / "a.mp4", grey_levels(64, 64), num_frames=45, gop=12)
    whole = list(iter_frames(path, 0.0, 45))
    assert [round(number(f)) for f in whole] == list(range(45))
    for start in (1, 11, 12, 13, 30, 44):
        span = list(iter_frames(path, start / 25, 45 - start))
        assert len(span) == 45 - start
        assert all((a == b).all() for a, b in zip(span, whole[start:], strict=True))


@pytest.mark.parametrize("rate", [Fraction(60_000, 1001), 50, Fraction(30_000, 1001), 15])
def test_other_rates_give_the_nearest_frame(tmp_path, rate):
    count = int(2 * rate)
    path = make_video(tmp_path / "a.mp4", test_card(320, 64), num_frames=count, fps=rate)
    with open_media(path) as opened:
        times = np.array([t for t, _ in iter_decoded(opened)])
    with open_media(path) as opened:
        pictures = [f.to_ndarray(format="gray") for _, f in iter_decoded(opened)]
    got = list(iter_frames(path, 0.2, 40))
    assert len(got) == 40
    shown = []
    for picture in got:
        grey = av.VideoFrame.from_ndarray(picture, format="rgb24").to_ndarray(format="gray")
        shown.append(times[int(np.argmin([np.abs(grey.astype(int) - p).sum() for p in pictures]))])
    late = np.array(shown) - (0.2 + np.arange(40) / 25)
    half = 0.5 / float(max(rate, 25)) + 1e-6
    assert late.max() <= half
    assert late.min() >= -(1 / float(rate) - half) - 2e-6


def test_variable_rate_follows_the_timestamps(tmp_path):
    times = [0.0, 0.04, 0.08, 0.30, 0.34, 0.9, 1.0, 1.04]
    path = make_video(tmp_path / "a.mkv", grey_levels(64, 64), num_frames=8, times=times)
    shown = [round(number(f)) for f in iter_frames(path, 0.0, 26)]
    expected = [max(i for i, t in enumerate(times) if t <= k / 25 + 0.0201) for k in range(26)]
    assert shown == expected


def test_time_zero_is_the_earliest_stream(tmp_path):
    late = [0.4 + i / 25 for i in range(20)]
    path = make_video(tmp_path / "a.mkv", grey_levels(64, 64), num_frames=20, times=late, audio=tone(1.2))
    shown = [round(number(f)) for f in iter_frames(path, 0.0, 30)]
    assert shown == [0] * 10 + list(range(20))


def test_a_stream_that_ends_a_little_early_is_held_and_one_that_ends_much_early_is_an_error(tmp_path):
    path = make_video(tmp_path / "short.mp4", grey_levels(64, 64), num_frames=20)
    shown = [round(number(f)) for f in iter_frames(path, 0.0, 24)]
    assert shown == [*range(20), 19, 19, 19, 19]
    with pytest.raises(UnreadableSource, match=r"'short\.mp4'.*ends at 0\.76 s"):
        list(iter_frames(path, 0.0, 60))


def test_size_scales(tmp_path):
    path = make_video(tmp_path / "a.mp4", test_card(160, 96), num_frames=3, rotation=90)
    picture = next(iter_frames(path, 0.0, 1, size=(48, 80)))
    assert picture.shape == (80, 48, 3)
    assert corners(picture) == [GREEN, GREY, RED, BLUE]
