"""Conversations filmed one camera a person, from the table to the rows, on real people and real voices.

The people are the halves of a split screen; what they say is another conversation with a recording a speaker, so that
each microphone hears mostly its own. B's camera starts later than A's, and its clock is fast.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

import rsat_data
from pipelines.assemble.ids import named_subject_id
from pipelines.ingest.audio import read_audio_16k
from pipelines.ingest.frames import iter_frames
from pipelines.ingest.timeline import Clock, on_shared
from rsat_data.cli import run
from rsat_data.errors import ModelFileError
from rsat_data.registry import model_path
from tests.media_factory import make_video

SECONDS, OFFSET_S, DRIFT_PPM = 5.0, 1.36, 1000.0
SIZES = {"A": (360, 400), "B": (340, 384)}
OPTIONS = ("--workers", "2", "--set", "speech.model=whisper-tiny.en", "--max-failed", "100%", "--quiet")


@pytest.fixture(scope="session")
def voices(real_data: Path) -> dict[str, np.ndarray]:
    """What each microphone hears on the shared timeline: its own person, and the other 20 dB fainter and 4 ms later."""
    files = sorted((real_data / "dualtalk_demo").glob("xkHwl*.wav"))
    own = [read_audio_16k(file)[0][13 * 16_000 :] for file in files]
    late = [np.concatenate([np.zeros(64, np.float32), voice[:-64]]) for voice in own]
    return {"A": own[0] + 0.1 * late[1], "B": own[1] + 0.1 * late[0]}


@pytest.fixture(scope="session")
def talks(real_data: Path, voices: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        for name in ("face_landmarker", "selfie_segmenter", "whisper-tiny.en", "pyannote-segmentation"):
            model_path(name)
    except ModelFileError as error:
        pytest.skip(f"model files cannot be had here: {error.message}")
    folder = tmp_path_factory.mktemp("talks")
    (folder / "cams").mkdir()
    count = round(SECONDS * 25)
    starts = {"A": 0.0, "B": OFFSET_S}
    for person, left in (("A", 0), ("B", 640)):
        frames = iter_frames(real_data / "clips" / "two_interview.mp4", starts[person], count)
        width, height = SIZES[person]
        pictures = [_shrunk(frame[:, left : left + 640], width, height) for frame in frames]
        clock = Clock(OFFSET_S, DRIFT_PPM) if person == "B" else Clock()
        heard = on_shared(voices[person], clock.inverse(), 0, round(SECONDS * 16_000))
        make_video(folder / "cams" / f"{person}.mp4", pictures, num_frames=count, audio=np.repeat(heard, 3)[None])
    shared = "talk 1,{},cams/{}.mp4,,,{},CC-BY-4.0,equal"
    rows = [shared.format("B", "B", "ben"), shared.format("A", "A", "anna")]
    rows += ["odd,A,cams/A.mp4,,,,,", "gone,A,x.mp4,,,,,"]
    head = "conversation,person,video,audio,offset_s,subject_id,licence,status"
    (folder / "recordings.csv").write_text("\n".join([head, *rows]) + "\n", encoding="utf-8-sig")
    return folder


def _shrunk(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    import cv2

    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA))


@pytest.fixture(scope="session")
def dataset(talks: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("recorded") / "out"
    assert run(["build", "--manifest", str(talks / "recordings.csv"), "--out", str(out), *OPTIONS]) == 0
    return out


def unit(dataset: Path, stage: str) -> Path:
    (found,) = (dataset / ".work/units" / stage).glob("*/*")
    return found


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_recordings_lie_on_one_timeline(dataset: Path) -> None:
    recordings = read(unit(dataset, "ingest") / "recordings.json")
    assert (recordings["A"]["offset_s"], recordings["A"]["offset_from"]) == (0.0, "reference")
    b = recordings["B"]
    assert b["offset_from"] == "sound" and b["correlation"] > 2 and b["windows"] >= 3
    assert Clock(b["offset_s"], b["drift_ppm"]).offset_near(3.2) == pytest.approx(
        Clock(OFFSET_S, DRIFT_PPM).offset_near(3.2), abs=0.02
    )
    assert {person: (one["width"], one["height"]) for person, one in recordings.items()} == SIZES
    (clip,) = read(unit(dataset, "ingest") / "clips.json")["clips"]
    assert clip["start_s"] == pytest.approx(1.4, abs=0.05) and clip["end_s"] == pytest.approx(5.0, abs=0.05)
    assert clip["offsets"]["A"] == 0.0 and clip["offsets"]["B"] == pytest.approx(OFFSET_S, abs=0.02)


def test_channels_are_each_persons_sound_and_nothing_is_gated(dataset: Path, voices: dict[str, np.ndarray]) -> None:
    folder = unit(dataset, "ingest")
    channels, rate = soundfile.read(folder / "channels.flac", dtype="float32")
    mixture, _ = soundfile.read(folder / "mixture.flac", dtype="float32")
    assert rate == 16_000 and channels.shape[1] == 2 and len(mixture) == len(channels)
    assert np.corrcoef(channels.sum(axis=1), mixture)[0, 1] > 0.999 and np.abs(mixture).max() <= 1
    span = slice(2 * 16_000, 4 * 16_000)
    for column, person in enumerate("AB"):
        moved = (np.roll(channels[:, column], k)[span] for k in range(-320, 321))
        # Within 20 ms, after AAC and the drift.
        assert max(np.corrcoef(sound, voices[person][span])[0, 1] for sound in moved) > 0.7
    rows = {row["person"]: row for row in rsat_data.load(dataset, split=None)}
    assert {row["audio_isolation"] for row in rows.values()} == {"channel"}
    start = round(rows["A"]["start_s"] * 16_000)
    for column, person in enumerate("AB"):
        own, _ = soundfile.read(unit(dataset, "speech") / f"{person}.flac", dtype="float32")
        np.testing.assert_allclose(own, channels[start : start + len(own), column], atol=1e-4)
        assert 0.05 < np.mean(rows[person]["speaking"]) < 0.98


def test_rows_name_each_other_and_have_a_camera_each(dataset: Path) -> None:
    rows = {row["person"]: row for row in rsat_data.load(dataset, split=None)}
    assert set(rows) == {"A", "B"} and rows["A"]["partner_row_id"] == rows["B"]["row_id"]
    assert rows["A"]["subject_id"] == named_subject_id("anna") and rows["B"]["subject_source"] == "given"
    assert rows["A"]["licence"] == "CC-BY-4.0" and rows["B"]["status"] == "equal"
    faces = read(unit(dataset, "faces") / "faces.json")
    cameras = read(dataset / "meta/cameras.json")["sources"]
    for entry in faces["persons"]:
        person = entry["person"]
        assert (entry["recording"], (entry["width"], entry["height"])) == (person, SIZES[person])
        camera = cameras[f"{rows[person]['source_id']}:{person}"]
        assert camera["source"] == "talk 1"
        scale = 512 / entry["crop"]["side"]
        found, (width, height) = rows[person]["camera"], SIZES[person]
        assert found["fx"] == pytest.approx(camera["focal"] * height * scale, rel=1e-5)
        assert found["cx"] == pytest.approx((width / 2 - entry["crop"]["x0"]) * scale, rel=1e-4)
        assert np.mean(rows[person]["valid"]) > 0.9 and rows[person]["q_reprojection"] < 0.03
    assert run(["validate", str(dataset)]) == 0


def test_the_preview_shows_both_side_by_side(dataset: Path) -> None:
    folder = unit(dataset, "faces")
    (frame,) = iter_frames(folder / "preview.mp4", 1.0, 1)
    assert frame.shape == (360, 324 + 318, 3)
    crop_a, crop_b = (next(iter_frames(folder / f"{person}.mp4", 1.0, 1)) for person in "AB")
    assert np.abs(crop_a.astype(float) - crop_b).mean() > 20  # two pictures of two people


def test_bad_conversations_are_listed_and_the_report_tells_of_the_drift(
    dataset: Path, talks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = {row["source_name"]: row for row in pq.read_table(dataset / "meta/quarantine.parquet").to_pylist()}
    assert listed["odd"]["error"] == "RecordingsError" and "line 4: " in listed["odd"]["message"]
    assert listed["gone"]["error"] == "RecordingsError"
    again = ["build", "--manifest", str(talks / "recordings.csv"), "--out", str(dataset), *OPTIONS]
    assert run(again) == 0
    said = capsys.readouterr().out
    assert "0 units computed" in said and "from 1 conversation with one recording a person" in said
    assert run(["status", str(dataset)]) == 0
    assert "of the files, 1 are conversations" in capsys.readouterr().out
    drift = read(unit(dataset, "ingest") / "recordings.json")["B"]["drift_ppm"]
    assert ("note: talk 1: B: the clock of B.mp4 drifts" in said) == (abs(drift) > 20)


def test_a_dry_run_counts_conversations(talks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["build", "--manifest", str(talks / "recordings.csv"), "--out", str(tmp_path / "o"), "--dry-run"]
    assert run(command) == 0
    said = capsys.readouterr().out
    assert "1 conversation with one recording a person, 5 s in all" in said
    assert "refused: Conversation 'gone', line 5" in said
