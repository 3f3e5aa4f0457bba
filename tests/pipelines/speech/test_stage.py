"""The whole stage on short clips: a real call with made-up faces, silence, channels, missing models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipelines.speech.config import SpeechConfig
from pipelines.speech.stage import STAGE, key_material
from pipelines.stage import StageContext
from rsat_data.errors import ConfigError, MissingDependencyError, ModelFileError, UnsupportedSource
from tests.pipelines.speech.conftest import talking_mouth

START_S, FRAMES = 6.0, 250  # of the call: both speak, with overlap
PLAIN = SpeechConfig(backend="faster-whisper", device="cpu", beam_size=1, hop_s=1.0)


@pytest.fixture(scope="session")
def lips_truth(telephone_call) -> np.ndarray:
    """(T, 2) bool: who speaks in the clip used here."""
    track = telephone_call[1][round(START_S * 100) :][: FRAMES * 4]
    return track.reshape(FRAMES, 4, 2).mean(axis=1) >= 0.5


@pytest.fixture
def context(tmp_path: Path, segmentation_file: Path, whisper_folder: Path) -> Callable[..., StageContext]:
    """Makes the artefacts of the stages before, and a context on them."""

    def make(
        mixture: np.ndarray,
        tracks: np.ndarray,
        *,
        start_s: float = 0.0,
        channels: np.ndarray | None = None,
        **more: object,
    ) -> StageContext:
        ingest, faces, out = (tmp_path / name for name in ("ingest", "faces", "out"))
        for folder in (ingest, faces, out):
            folder.mkdir(exist_ok=True)
        soundfile.write(str(ingest / "mixture.flac"), mixture, 16000, subtype="PCM_16")
        if channels is not None:
            soundfile.write(str(ingest / "channels.flac"), channels.T, 16000, subtype="PCM_16")
        persons = []
        for index in range(tracks.shape[1]):
            person = "AB"[index]
            seen = np.ones(len(tracks), dtype=bool)
            np.savez(faces / f"{person}.npz", landmarks=talking_mouth(tracks[:, index], index + 5), valid=seen)
            persons.append({"person": person, "crop": {"x0": 0, "y0": 0, "side": 512, "size": 512}, "face_px": 200})
        info = {"width": 640, "height": 360, "fps": 25.0, "num_frames": len(tracks), "persons": persons}
        (faces / "faces.json").write_text(json.dumps(info), encoding="utf-8")
        models = {"pyannote-segmentation": segmentation_file, "whisper-base": whisper_folder}
        fields: dict[str, object] = {
            "source": tmp_path / "clip.mp4",
            "unit": {"start_s": start_s, "end_s": start_s + len(tracks) / 25, "num_frames": len(tracks)},
            "inputs": {"ingest": ingest, "faces": faces},
            "out": out,
            "model": models.__getitem__,
            "threads": 2,
            **more,
        }
        return StageContext(**fields)  # type: ignore[arg-type]

    return make


def read(folder: Path) -> tuple[dict, dict[str, np.ndarray]]:
    with np.load(folder / "speech.npz") as arrays:
        return json.loads((folder / "speech.json").read_text(encoding="utf-8")), dict(arrays)


def test_a_real_call_of_two_faces(context, telephone_call, lips_truth, tmp_path: Path) -> None:
    ctx = context(telephone_call[0], lips_truth, start_s=START_S)
    STAGE.run(ctx, PLAIN)
    result, arrays = read(ctx.out)
    for index, person in enumerate("AB"):
        speaking = arrays[f"speaking_{person}"]
        assert speaking.shape == (FRAMES,) and speaking.dtype == bool
        assert (speaking == lips_truth[:, index]).mean() > 0.85
        samples, rate = soundfile.read(str(ctx.out / f"{person}.flac"))
        assert (len(samples), rate) == (FRAMES * 640, 16000)
        assert result["persons"][person]["snr_db"] > 5
        silent = ~speaking
        silent[1:] &= ~speaking[:-1]
        silent[:-1] &= ~speaking[1:]
        assert not np.abs(samples.reshape(FRAMES, 640)[silent]).any()
    assert result["isolation"] == "gated" and result["language"] == "en"
    text = result["text"].lower()
    assert all(said in text for said in ("hello", "i didn't know you were there", "this is diane in new jersey"))
    for word in result["words"]:
        assert 0 <= word["start"] < word["end"] <= FRAMES / 25
    who = {word["word"].strip(".,").lower(): word["speaker"] for word in result["words"]}
    assert who["diane"] == "A" and who["sheila"] == "B"
    assert result["assignment"]["confidence"] > 0.5
    first = {file.name: file.read_bytes() for file in ctx.out.iterdir()}
    again = tmp_path / "again"
    again.mkdir()
    STAGE.run(context(telephone_call[0], lips_truth, start_s=START_S, out=again, threads=1), PLAIN)
    assert {file.name: file.read_bytes() for file in again.iterdir()} == first


@pytest.mark.parametrize("noise", [0.0, 3e-5])
def test_silence_has_no_words_and_nobody_speaks(context, noise: float) -> None:
    frames = 75
    mixture = np.random.default_rng(0).normal(0, noise, frames * 640) if noise else np.zeros(frames * 640)
    moving = np.ones((frames, 2), dtype=bool)  # lips may move
    ctx = context(mixture, moving)
    STAGE.run(ctx, PLAIN)
    result, arrays = read(ctx.out)
    assert result["words"] == [] and result["turns"] == [] and result["text"] == ""
    assert not arrays["speaking_A"].any() and not arrays["speaking_B"].any()
    assert result["persons"]["A"]["snr_db"] is None and np.isnan(arrays["snr_db_A"])
    assert not soundfile.read(str(ctx.out / "A.flac"))[0].any()


def test_one_face_keeps_the_mixture_and_strangers_have_no_words(context, telephone_call, lips_truth) -> None:
    ctx = context(telephone_call[0], lips_truth[:, :1], start_s=START_S)
    STAGE.run(ctx, PLAIN)
    result, arrays = read(ctx.out)
    assert result["isolation"] == "mixture" and set(result["persons"]) == {"A"}
    assert (arrays["speaking_A"] == lips_truth[:, 0]).mean() > 0.8
    assert {word["speaker"] for word in result["words"]} == {"A", None}
    begin = round(START_S * 16000)
    kept, _ = soundfile.read(str(ctx.out / "A.flac"), dtype="float32")
    np.testing.assert_allclose(kept, telephone_call[0][begin : begin + FRAMES * 640], atol=1e-4)


def test_a_channel_a_person_is_used(context, telephone_call, lips_truth) -> None:
    samples, truth = telephone_call
    parts = [samples * np.repeat(truth[:, k], 160) for k in (0, 1)]
    channels = np.stack([parts[1] + 0.05 * parts[0], parts[0] + 0.05 * parts[1]])  # the wrong way round
    ctx = context(samples, lips_truth, start_s=START_S, channels=channels)
    STAGE.run(ctx, PLAIN)
    result, arrays = read(ctx.out)
    assert result["isolation"] == "channel"
    assert result["assignment"]["voice_of"] == {"A": 1, "B": 0}
    begin = round(START_S * 16000)
    for index, person in enumerate("AB"):
        assert (arrays[f"speaking_{person}"] == lips_truth[:, index]).mean() > 0.88
        own, _ = soundfile.read(str(ctx.out / f"{person}.flac"), dtype="float32")
        np.testing.assert_allclose(own, channels[1 - index][begin : begin + FRAMES * 640], atol=1e-4)


def test_audio_given_for_each_person(context, telephone_call, lips_truth) -> None:
    samples, truth = telephone_call
    channels = np.stack([samples * np.repeat(truth[:, k], 160) for k in (0, 1)])
    ctx = context(samples, lips_truth, start_s=START_S, channels=channels)
    source = ctx.inputs["ingest"] / "source.json"
    source.write_text('{"audio": {"persons": ["A", "B"]}}')
    STAGE.run(ctx, PLAIN)
    result, arrays = read(ctx.out)
    assert result["isolation"] == "channel" and result["assignment"]["voice_of"] == {"A": 0, "B": 1}
    assert (arrays["speaking_B"] == lips_truth[:, 1]).mean() > 0.88
    spoken = {word["word"].strip(".,?").lower(): word["speaker"] for word in result["words"]}
    assert spoken["diane"] == "A" and spoken["sheila"] == "B"
    source.write_text('{"audio": {"persons": ["A"]}}')
    with pytest.raises(UnsupportedSource, match="not for B"):
        STAGE.run(ctx, PLAIN)


def test_language_of_the_sidecar_is_used(context, telephone_call, lips_truth) -> None:
    ctx = context(telephone_call[0], lips_truth, start_s=START_S, metadata={"language": "en"})
    STAGE.run(ctx, PLAIN)
    result = read(ctx.out)[0]
    assert result["language"] == "en" and result["language_doubt"] == ""
    wrong = context(telephone_call[0], lips_truth, start_s=START_S, metadata={"language": "de"})
    assert STAGE.run(wrong, PLAIN)["notes"] == ["language asked for de, heard en"]
    result = read(wrong.out)[0]
    assert result["language"] == "de" and result["language_doubt"].startswith("asked for de, heard en")
    with pytest.raises(UnsupportedSource, match="'tlh'"):
        STAGE.run(context(telephone_call[0], lips_truth, start_s=START_S, metadata={"language": "tlh"}), PLAIN)


def test_missing_models_are_named_with_the_command(context, tmp_path: Path, segmentation_file: Path) -> None:
    voice = np.random.default_rng(0).normal(0, 0.1, 25 * 640)
    tracks = np.ones((25, 1), dtype=bool)
    absent = tmp_path / "whisper-base"
    absent.mkdir()
    paths = {"pyannote-segmentation": tmp_path / "nowhere.bin", "whisper-base": absent}
    with pytest.raises(ModelFileError) as error:
        STAGE.run(context(voice, tracks, model=paths.__getitem__), PLAIN)
    assert "rsat-data models fetch pyannote-segmentation" in error.value.hint
    from pipelines.speech.asr_faster_whisper import load_whisper

    with pytest.raises(ModelFileError, match="lacks model.bin") as error:
        load_whisper(absent, "cpu", "int8", 1)
    assert "rsat-data models fetch whisper-base" in error.value.hint


def test_declaration() -> None:
    assert STAGE.models(SpeechConfig()) == ("whisper-base", "pyannote-segmentation")
    material = key_material(PLAIN)
    assert material["backend"] == "faster-whisper" and material["backend_version"]
    assert key_material(SpeechConfig(device="cpu", compute_type="float32")) != material
    with pytest.raises(ConfigError, match="turn_gap_s"):
        SpeechConfig(turn_gap_s=-1.0)


def test_a_backend_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.speech import backends

    monkeypatch.setattr(backends, "is_installed", lambda name: name != "whisperx")
    assert backends.choose_backend("auto") == "faster-whisper"
    with pytest.raises(MissingDependencyError, match="whisperx") as error:
        backends.choose_backend("whisperx")
    assert "rsat-data[speech]" in error.value.hint
