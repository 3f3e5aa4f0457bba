"""The stage on two seconds of the real interview."""

from __future__ import annotations

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
import soundfile

from pipelines.faces.run import clip_sound, fit_height
from pipelines.faces.stage import STAGE
from pipelines.ingest.media import iter_frames, probe, read_audio_16k
from rsat_data.errors import SkippedClip
from tests.media_factory import make_video, test_card, tone
from tests.pipelines.ingest.helpers import run_stage

T = 50


def test_the_declaration_imports_nothing_heavy():
    heavy = "[m for m in ('torch', 'cv2', 'av', 'mediapipe', 'numpy') if m in sys.modules]"
    code = f"import pipelines.faces.stage, sys; print({heavy})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_both_people_are_found_in_every_frame(interview_run):
    assert interview_run.clip["num_frames"] == T
    assert interview_run.result == {"persons": ["A", "B"], "valid": {"A": 1.0, "B": 1.0}}
    record = json.loads((interview_run.faces / "faces.json").read_text(encoding="utf-8"))
    assert (record["width"], record["height"], record["fps"], record["num_frames"]) == (1280, 720, 25.0, T)
    first, second = record["persons"]
    assert (first["person"], second["person"]) == ("A", "B")
    assert first["crop"]["x0"] < second["crop"]["x0"]
    for person in (first, second):
        crop = person["crop"]
        assert crop["size"] == 512 and crop["side"] < 600 and 120 < person["face_px"] < 260
        assert all(isinstance(crop[k], int) for k in ("x0", "y0", "side"))


@pytest.mark.parametrize("person", ["A", "B"])
def test_arrays_have_the_promised_shapes(interview_run, person):
    with np.load(interview_run.faces / f"{person}.npz", allow_pickle=False) as data:
        arrays = dict(data)
    shapes = {
        "landmarks": (T, 478, 3), "blendshapes": (T, 52), "matrix": (T, 4, 4), "valid": (T,), "confidence": (T,),
        "blur": (T,), "yaw_deg": (T,), "pitch_deg": (T,), "roll_deg": (T,), "box": (T, 4),
    }  # fmt: skip
    assert {k: v.shape for k, v in arrays.items()} == shapes
    assert arrays["valid"].dtype == bool
    assert all(v.dtype == np.float32 and np.isfinite(v).all() for k, v in arrays.items() if k != "valid")
    inside = arrays["landmarks"][..., :2]
    assert inside.min() > 0 and inside.max() < 512
    assert np.abs(arrays["yaw_deg"]).max() < 30 and arrays["confidence"].min() > 0.5 and arrays["blur"].min() > 10


def test_crop_and_source_coordinates_agree(interview_run):
    record = json.loads((interview_run.faces / "faces.json").read_text(encoding="utf-8"))
    for person in record["persons"]:
        crop = person["crop"]
        with np.load(interview_run.faces / f"{person['person']}.npz") as data:
            points, box = data["landmarks"], data["box"]
        source = points[..., :2] * crop["side"] / 512 + (crop["x0"], crop["y0"])
        assert np.allclose(source.min(axis=1), box[:, :2], atol=0.02)
        frame = next(iter_frames(interview_run.source, 1.0, 1))
        square = frame[crop["y0"] : crop["y0"] + crop["side"], crop["x0"] : crop["x0"] + crop["side"]]
        square = cv2.resize(np.ascontiguousarray(square), (512, 512), interpolation=cv2.INTER_CUBIC)
        written = list(iter_frames(interview_run.faces / f"{person['person']}.mp4", 0.0, T))[25]
        assert np.abs(written.astype(int) - square).mean() < 4


@pytest.mark.parametrize("person", ["A", "B"])
def test_videos_have_every_frame(interview_run, person):
    for name in (f"{person}.mp4", f"{person}_matte.mp4"):
        video = probe(interview_run.faces / name).video
        assert video is not None and (video.width, video.height, video.fps, video.codec) == (512, 512, 25.0, "h264")
        assert video.declared_end_s == pytest.approx(T / 25)
    matte = np.stack(list(iter_frames(interview_run.faces / f"{person}_matte.mp4", 0.0, T)))[..., 0]
    with np.load(interview_run.faces / f"{person}.npz") as data:
        nose = data["landmarks"][:, 1, :2].astype(int)
    assert all(matte[t, y, x] > 230 for t, (x, y) in enumerate(nose))
    assert np.median(matte[:, :40, :40]) < 60
    assert 0.2 < (matte > 127).mean() < 0.8


def test_the_still_is_one_of_the_frames(interview_run):
    for person in "AB":
        still = cv2.imread(str(interview_run.faces / f"{person}.jpg"))[..., ::-1]
        assert still.shape == (512, 512, 3)
        frames = iter_frames(interview_run.faces / f"{person}.mp4", 0.0, T)
        assert min(np.abs(f.astype(int) - still).mean() for f in frames) < 4


def test_the_preview_has_picture_and_sound(interview_run):
    info = probe(interview_run.faces / "preview.mp4")
    assert info.video is not None and info.audio is not None
    assert (info.video.width, info.video.height, info.audio.codec) == (640, 360, "aac")
    sound, _ = read_audio_16k(interview_run.faces / "preview.mp4")
    mixture, _ = soundfile.read(interview_run.ingest / "mixture.flac")
    assert np.corrcoef(sound[: T * 640], mixture[: T * 640])[0, 1] > 0.95


def test_the_same_clip_gives_the_same_bytes(interview_run, tmp_path):
    clip = {**interview_run.clip, "num_frames": 12, "end_s": 0.48}
    for name in ("one", "two"):
        run_stage(STAGE, interview_run.source, tmp_path / name, unit=clip, inputs={"ingest": interview_run.ingest})
    names = sorted(p.name for p in (tmp_path / "one").iterdir())
    assert names == [
        "A.jpg", "A.mp4", "A.npz", "A_matte.mp4", "B.jpg", "B.mp4", "B.npz", "B_matte.mp4", "faces.json", "preview.mp4",
    ]  # fmt: skip
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_a_span_without_the_faces_it_promised_is_skipped(tmp_path):
    path = make_video(tmp_path / "cards.mp4", test_card(320, 240), num_frames=10, audio=tone(0.4))
    ingest = tmp_path / "ingest"
    ingest.mkdir()
    (ingest / "source.json").write_text(json.dumps({"video": {"width": 320, "height": 240}}), encoding="utf-8")
    unit = {"start_s": 0.0, "num_frames": 10, "boxes": [[100, 60, 120, 120]]}
    with pytest.raises(SkippedClip, match=r"'cards\.mp4' from 0\.00 s") as caught:
        run_stage(STAGE, path, tmp_path / "out", unit=unit, inputs={"ingest": ingest})
    assert caught.value.path == path


def test_a_face_covered_for_half_of_the_clip_is_skipped(interview_run, tmp_path):
    frames = list(iter_frames(interview_run.source, 0.0, 16))
    for i in range(8, 16):
        frames[i] = frames[i].copy()
        frames[i][:, 640:] = 60
    path = make_video(tmp_path / "covered.mp4", frames, num_frames=16, audio=tone(0.64))
    unit = {**interview_run.clip, "num_frames": 16}
    with pytest.raises(SkippedClip, match=r"person B was found in 50%"):
        run_stage(STAGE, path, tmp_path / "out", unit=unit, inputs={"ingest": interview_run.ingest})


def test_preview_sizes():
    assert fit_height((1280, 720), 360) == (640, 360)
    assert fit_height((607, 1080), 360) == (202, 360)
    assert fit_height((321, 241), 360) == (320, 240)


def test_sound_past_the_end_is_silence(tmp_path):
    soundfile.write(tmp_path / "a.flac", np.full(1000, 0.5), 16_000)
    samples = clip_sound(tmp_path / "a.flac", 0.04, 2)
    assert len(samples) == 1280 and (samples[:360] > 16_000).all() and (samples[360:] == 0).all()
    assert (clip_sound(tmp_path / "a.flac", 9.0, 1) == 0).all()
