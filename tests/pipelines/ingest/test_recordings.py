"""Ingest of several recordings: offsets given and heard, sound files for the video's sound, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from pipelines.ingest.audio import read_audio_16k
from pipelines.ingest.media import iter_frames
from pipelines.ingest.recordings import Recording, no_overlap, overlap, put_on_one_timeline
from pipelines.ingest.sound import to_int16
from pipelines.ingest.stage import STAGE
from pipelines.ingest.timeline import Clock, on_shared
from pipelines.ingest.voices import Voice
from rsat_data.errors import NoAudioTrack, OffsetUnknown, RecordingsError, SkippedSource, UnreadableSource
from tests.media_factory import make_video
from tests.media_factory import test_card as card
from tests.pipelines.ingest.helpers import run_stage

SECONDS = 4.0


@pytest.fixture(scope="module")
def heard(real_data: Path) -> dict[str, np.ndarray]:
    """What two microphones hear of one conversation, 28 s, the other person 20 dB fainter."""
    files = sorted((real_data / "dualtalk_demo").glob("xkHwl*.wav"))
    a, b = (read_audio_16k(file)[0] for file in files)
    return {"A": a + 0.1 * b, "B": b + 0.1 * a}


def recording(person: str, sounds: list[np.ndarray], given_s: float | None = None, seconds: float = 20.0) -> Recording:
    scan: Any = type("Scan", (), {"start_s": 0.0, "end_s": seconds})()
    info: Any = None
    one = Recording(person, 2 + "AB".index(person), Path(f"{person}.mp4"), None, given_s, info, scan)
    one.sounds = [Voice(to_int16(sound)) for sound in sounds]
    return one


def pair(heard: dict[str, np.ndarray], clock: Clock, a: float | None = None, b: float | None = None) -> list[Recording]:
    late = on_shared(heard["B"], clock.inverse(), 0, 20 * 16_000)
    return [recording("A", [heard["A"][: 20 * 16_000]], a), recording("B", [late], b)]


def test_the_offset_is_heard(heard) -> None:
    people = pair(heard, Clock(2.5, 150.0))
    put_on_one_timeline("talk", people)
    assert people[0].clock == Clock()
    assert people[1].clock.offset_s == pytest.approx(2.5, abs=0.02)
    assert people[1].clock.drift_ppm == pytest.approx(150, abs=30)
    (note,) = people[1].notes
    assert "the clock of B.mp4 drifts by +1" in note and "ms a minute" in note


@pytest.mark.parametrize(("a", "b", "says"), [(None, 2.5, 2.5), (1.0, 3.5, 2.5), (-2.5, None, 2.5), (0.0, 2.53, 2.53)])
def test_a_given_offset_that_agrees_is_taken_as_it_is(heard, a: float | None, b: float | None, says: float) -> None:
    people = pair(heard, Clock(2.5), a, b)
    put_on_one_timeline("talk", people)
    assert people[1].clock.offset_s == says and not people[1].notes
    assert people[1].facts["offset_from"] == "given"
    assert people[1].facts["heard_offset_s"] == pytest.approx(2.5, abs=0.02)


def test_a_contradiction_is_said_and_not_corrected(heard) -> None:
    people = pair(heard, Clock(2.5, 200.0), None, 1.0)
    put_on_one_timeline("talk", people)
    assert people[1].clock == Clock(1.0)
    assert "offset_s puts B.mp4 at 1.000 s, their sounds at 2.50" in people[1].notes[0]


def test_unrelated_sounds_need_an_offset(heard, real_data: Path) -> None:
    other = read_audio_16k(real_data / "audio" / "sample.wav")[0][: 20 * 16_000]
    people = [recording("A", [heard["A"]]), recording("B", [other])]
    with pytest.raises(OffsetUnknown, match="'talk', lines 2 and 3.*cannot be estimated") as caught:
        put_on_one_timeline("talk", people)
    assert "Give offset_s" in caught.value.hint
    people[1].given_s = 3.0
    put_on_one_timeline("talk", people)
    assert people[1].clock == Clock(3.0) and not people[1].notes  # what is not sure contradicts nothing
    silent = [recording("A", [heard["A"]]), recording("B", [np.zeros(160_000, np.float32)])]
    with pytest.raises(OffsetUnknown, match="nothing can be heard"):
        put_on_one_timeline("talk", silent)


def test_the_camera_hears_both_where_the_microphone_does_not(heard) -> None:
    people = pair(heard, Clock(-1.5))
    rng = np.random.default_rng(0)
    for one, delay in zip(people, (0.25, -0.5), strict=True):  # each person's own sound file, of nothing in common
        one.sounds.append(Voice(to_int16(0.1 * rng.standard_normal(160_000)), Clock(delay)))
    put_on_one_timeline("talk", people)
    assert people[1].clock.offset_s == pytest.approx(-1.5, abs=0.02)
    assert people[1].voice.clock.offset_s == pytest.approx(-2.0, abs=0.02)


@pytest.mark.parametrize("offset", [300.0, -300.0])
def test_an_absurd_offset_leaves_no_overlap(heard, offset: float) -> None:
    people = pair(heard, Clock(2.5), None, offset)
    put_on_one_timeline("talk", people)
    low, high = overlap(people)
    assert high < low
    error = no_overlap("talk", people, 3.0)
    assert isinstance(error, RecordingsError) and "lines 2 and 3: with this offset_s A.mp4 runs" in error.message
    assert f"B.mp4 runs from {offset:.2f} to" in error.message and "Correct offset_s" in error.hint


# On files ---------------------------------------------------------------------------------------------------------


def half(real_data: Path, left: int, target: Path, audio: np.ndarray | None) -> Path:
    import cv2

    frames = iter_frames(real_data / "clips" / "two_interview.mp4", 0.0, round(SECONDS * 25))
    pictures = [cv2.resize(f[:, left : left + 640], (360, 406), interpolation=cv2.INTER_AREA)[:404] for f in frames]
    return make_video(target, pictures, num_frames=len(pictures), audio=None if audio is None else audio[None])


def stated(a: Path, b: Path, **more: Any) -> dict[str, Any]:
    both = {
        person: {"video": str(path), "audio": None, "offset_s": None, "line": 2 + index}
        for index, (person, path) in enumerate((("A", a), ("B", b)))
    }
    for key, value in more.items():
        person, _, name = key.partition("_")
        both[person][name] = value if isinstance(value, float | None) else str(value)
    return {"recordings": both}


@pytest.fixture(scope="module")
def halves(real_data: Path, heard, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("halves")
    camera = np.repeat(heard["A"][: round(SECONDS * 16_000)] * 0.3, 3)
    soundfile.write(folder / "A.wav", np.concatenate([np.zeros(8000), heard["A"][: 6 * 16_000]]), 16_000)
    soundfile.write(folder / "B.wav", heard["B"][: 14 * 16_000 : 2], 8_000)
    return {
        "A": half(real_data, 0, folder / "A.mp4", camera),
        "B": half(real_data, 640, folder / "B.mp4", None),
        "A.wav": folder / "A.wav",
        "B.wav": folder / "B.wav",
    }


def test_sound_files_replace_the_videos_sound(halves, heard, tmp_path: Path) -> None:
    """A's file began half a second before the camera; B's is 8 kHz, 10 s longer than the video, which is silent."""
    metadata = stated(halves["A"], halves["B"], A_audio=halves["A.wav"], B_audio=halves["B.wav"], B_offset_s=0.0)
    result = run_stage(STAGE, halves["A"], tmp_path / "out", metadata=metadata)
    (clip,) = result["clips"]
    assert (clip["start_s"], clip["num_frames"], clip["offsets"]) == (0.0, 100, {"A": 0.0, "B": 0.0})
    recordings = json.loads((tmp_path / "out" / "recordings.json").read_text())
    assert recordings["A"]["audio"]["offset_s"] == pytest.approx(-0.5, abs=0.02)
    assert recordings["B"]["audio"]["offset_s"] == 0.0  # a silent video: they start together
    source = json.loads((tmp_path / "out" / "source.json").read_text())
    assert source["audio"]["persons"] == ["A", "B"]
    assert source["bytes"] == sum(path.stat().st_size for path in halves.values())
    channels, _ = soundfile.read(tmp_path / "out" / "channels.flac", dtype="float32")
    assert len(channels) == 101 * 640
    span = slice(8_000, 60_000)
    for column, person in enumerate("AB"):
        lags = [np.corrcoef(np.roll(channels[:, column], k)[span], heard[person][span])[0, 1] for k in range(-160, 161)]
        assert max(lags) > 0.9
    assert not list((tmp_path / "out").glob(".*"))


def test_what_is_refused(halves, real_data: Path, tmp_path: Path) -> None:
    def refused(kind: type[Exception], says: str, **more: Any) -> None:
        metadata = stated(more.pop("a", halves["A"]), more.pop("b", halves["B"]), **more)
        with pytest.raises(kind, match=says) as caught:
            run_stage(STAGE, halves["A"], tmp_path / f"out{len(list(tmp_path.iterdir()))}", metadata=metadata)
        assert caught.value.hint  # type: ignore[attr-defined]

    refused(NoAudioTrack, r"line 3: 'B.mp4' has no audio track, and no sound file is named for B")
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    refused(UnreadableSource, r"line 3: 'text.mp4'", b=text)
    refused(
        RecordingsError, "less than 3 s in common", A_audio=halves["A.wav"], B_audio=halves["B.wav"], B_offset_s=2.0
    )
    nobody = make_video(tmp_path / "nobody.mp4", card(128, 96), num_frames=100)
    refused(SkippedSource, "no face in B's recording", b=nobody, B_audio=halves["B.wav"], B_offset_s=0.0)


def test_a_silent_video_with_sound_files_in_its_sidecar(halves, heard, real_data: Path, tmp_path: Path) -> None:
    audio = {"A": str(halves["A.wav"]), "B": str(halves["B.wav"])}
    frames = iter_frames(real_data / "clips" / "two_interview.mp4", 0.0, 100)
    video = make_video(tmp_path / "mute.mp4", frames)
    result = run_stage(STAGE, video, tmp_path / "out", metadata={"audio": audio})
    assert [clip["num_faces"] for clip in result["clips"]] == [2]
    source = json.loads((tmp_path / "out" / "source.json").read_text())
    assert source["audio"]["persons"] == ["A", "B"] and "codec" not in source["audio"]
    channels, _ = soundfile.read(tmp_path / "out" / "channels.flac", dtype="float32")
    mixture, _ = soundfile.read(tmp_path / "out" / "mixture.flac", dtype="float32")
    np.testing.assert_allclose(channels[8000:60_000, 0], heard["A"][:52_000], atol=2e-4)  # they start with the video
    assert np.corrcoef(mixture, channels.sum(axis=1))[0, 1] > 0.999
    with pytest.raises(NoAudioTrack, match="mute.mp4"):
        run_stage(STAGE, video, tmp_path / "again")
