"""The stage on real files: what comes out of good ones, and how bad ones are refused."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import soundfile

from pipelines.ingest.stage import STAGE, IngestConfig
from rsat_data.errors import NoAudioTrack, NoVideoTrack, SkippedSource, SourceError, UnreadableSource, UnsupportedSource
from tests.media_factory import make_video, test_card, tone, truncate
from tests.pipelines.ingest.helpers import first_seconds, run_stage


def refusal(path, tmp_path, kind, **config) -> SourceError:
    with pytest.raises(kind) as caught:
        run_stage(STAGE, path, tmp_path / "out", **config)
    error = caught.value
    assert type(error) is kind
    assert path.name in error.message and error.hint and error.path == path
    return error


def test_the_declaration_imports_nothing_heavy():
    heavy = "[m for m in ('torch', 'cv2', 'av', 'mediapipe', 'numpy') if m in sys.modules]"
    code = f"import pipelines.ingest.stage, sys; print({heavy})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("empty.mp4", UnreadableSource, "0 bytes"),
        ("text.mp4", UnreadableSource, "not a video"),
        ("cut before its index.mp4", UnreadableSource, "cut off"),
        ("silent.mp4", NoAudioTrack, "no audio track"),
        ("blind.mp4", NoVideoTrack, "no video track"),
        ("narrow.mkv", UnsupportedSource, "2 x 240 px"),
        ("slow.mp4", UnsupportedSource, "4 frames a second"),
        ("playlist.mp4", UnreadableSource, "not a video"),
    ],
)
def test_bad_files(tmp_path, name, kind, says):
    path = tmp_path / name
    if name == "empty.mp4":
        path.touch()
    elif name == "text.mp4":
        path.write_text("Dear diary, this is no video.\n" * 100, encoding="utf-8")
    elif name.startswith("cut"):
        truncate(make_video(tmp_path / "whole.mp4", test_card(96, 64), num_frames=30, audio=tone(1)), path, 0.6)
    elif name == "silent.mp4":
        make_video(path, test_card(96, 64), num_frames=30)
    elif name == "blind.mp4":
        make_video(path, test_card(96, 64), num_frames=0, audio=tone(1))
    elif name == "narrow.mkv":
        make_video(path, test_card(2, 240), num_frames=30, audio=tone(1), codec="ffv1", pix_fmt="yuv444p")
    elif name == "slow.mp4":
        make_video(path, test_card(96, 64), num_frames=16, fps=4, audio=tone(4))
    else:
        path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nother.mp4\n#EXT-X-ENDLIST\n", encoding="utf-8")
    error = refusal(path, tmp_path, kind)
    assert says in error.message


def test_a_truncated_video(tmp_path):
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (96, 160, 3), dtype=np.uint8)
    whole = make_video(
        tmp_path / "whole.mp4", lambda i: np.roll(picture, i, 1), num_frames=50, audio=tone(2), faststart=True
    )
    error = refusal(truncate(whole, tmp_path / "half.mp4", 0.5), tmp_path, UnreadableSource)
    assert "truncated" in error.message and "2.00 s of video" in error.message


def test_bounds_of_size_and_length(tmp_path):
    path = make_video(tmp_path / "a.mp4", test_card(160, 96), num_frames=30, audio=tone(1.2))
    assert "larger than 128 px" in refusal(path, tmp_path, UnsupportedSource, max_side_px=128).message
    (tmp_path / "out").rmdir()
    assert "longer than" in refusal(path, tmp_path, UnsupportedSource, max_duration_s=1.0).message


def test_a_video_without_a_face(tmp_path):
    path = make_video(tmp_path / "cards.mp4", test_card(320, 240), num_frames=80, audio=tone(3.2))
    error = refusal(path, tmp_path, SkippedSource)
    assert "no face" in error.message
    assert json.loads((tmp_path / "out" / "clips.json").read_text(encoding="utf-8"))["skipped"]


@pytest.fixture(scope="module")
def interview(real_data, tmp_path_factory):
    """The frames of the first second of the real interview, (640, 360) RGB."""
    from pipelines.ingest.media import iter_frames

    return list(iter_frames(real_data / "clips" / "two_interview.mp4", 0.0, 25, size=(640, 360)))


def loop(frames):
    """Back and forth through frames: number -> frame, without a jump."""
    period = 2 * len(frames) - 2
    return lambda i: frames[min(i % period, period - i % period)]


@pytest.mark.parametrize(
    "options",
    [
        {"rotation": 90},
        {"codec": "libx265", "pix_fmt": "yuv420p10le"},
        {"fps": Fraction(60_000, 1001)},
        {"sar": Fraction(1, 2)},
        {"times": "uneven"},
    ],
    ids=["rotated phone video", "10-bit HEVC", "59.94", "narrow pixels", "variable rate"],
)
def test_odd_but_good_videos_give_the_clip_they_hold(tmp_path, interview, options):
    rate = float(options.get("fps", 25))
    num = int(2 * rate)
    draw = loop(interview)

    def picture(index):
        frame = draw(int(index * 25 / rate))
        if options.get("rotation"):
            return np.rot90(frame, -1)
        return np.repeat(frame, 2, axis=1) if options.get("sar") else frame

    if options.get("times"):
        steps = np.random.default_rng(0).choice([0.03, 0.04, 0.06], num)
        options = {"times": (np.cumsum(steps) - steps[0]).tolist()}
    path = make_video(tmp_path / "odd.mp4", picture, num_frames=num, audio=tone(2.5), **options)
    result = run_stage(STAGE, path, tmp_path / "out", min_clip_s=1.0, min_face_px=60.0)
    source = json.loads((tmp_path / "out" / "source.json").read_text(encoding="utf-8"))
    assert (source["video"]["width"], source["video"]["height"]) == (640, 360)
    assert source["video"]["rotation"] == options.get("rotation", 0)
    assert source["video"]["vfr"] is ("times" in options)
    (clip,) = result["clips"]
    assert clip["num_faces"] == 2
    assert clip["num_frames"] >= 45
    centres = [x + w / 2 for x, _, w, _ in clip["boxes"]]
    assert centres == pytest.approx([198, 449], abs=15)


def test_three_faces_are_refused(tmp_path, interview):
    draw = loop(interview)

    def three(index):
        frame = draw(index)
        face = frame[:, 70:320]
        return np.concatenate([face, frame[:, 320:580], face], axis=1)

    path = make_video(tmp_path / "three faces.mp4", three, num_frames=40, audio=tone(1.6))
    error = refusal(path, tmp_path, SkippedSource, min_clip_s=1.0, min_face_px=60.0)
    assert "three faces or more" in error.message


def test_a_cut_in_the_middle_makes_two_clips(tmp_path, interview):
    draw = loop(interview)

    def two_shots(index):
        frame = draw(index)
        return frame if index < 30 else np.concatenate([frame[:, 320:], frame[:, :320]], axis=1)

    path = make_video(tmp_path / "cut.mp4", two_shots, num_frames=60, audio=tone(2.4))
    result = run_stage(STAGE, path, tmp_path / "out", min_clip_s=1.0, min_face_px=60.0)
    assert [(c["start_s"], c["num_frames"]) for c in result["clips"]] == [(0.0, 29), (pytest.approx(1.24), 29)]


def test_a_clip_of_the_real_interview(tmp_path, real_data):
    path = first_seconds(real_data / "clips" / "two_interview.mp4", tmp_path / "start.mp4", 3.2)
    result = run_stage(STAGE, path, tmp_path / "out")
    (clip,) = result["clips"]
    assert (clip["start_s"], clip["end_s"], clip["num_frames"], clip["num_faces"]) == (0.0, 3.2, 80, 2)
    assert clip["boxes"][0][0] < 400 < clip["boxes"][1][0]
    out = tmp_path / "out"
    assert json.loads((out / "shots.json").read_text(encoding="utf-8")) == [[0.0, 3.2]]
    assert json.loads((out / "clips.json").read_text(encoding="utf-8")) == result
    samples, rate = soundfile.read(out / "mixture.flac", dtype="int16")
    assert rate == 16_000 and len(samples) >= 80 * 640
    assert not (out / "channels.flac").exists()


def test_shots_of_a_stage_show_are_skipped_with_reasons(tmp_path, real_data):
    error = refusal(real_data / "clips" / "three_shots.mp4", tmp_path, SkippedSource)
    assert "shot too short" in error.message and "face too small" in error.message


def test_the_config_has_sane_defaults():
    config = IngestConfig()
    assert 2 * config.min_clip_s <= config.max_clip_s
