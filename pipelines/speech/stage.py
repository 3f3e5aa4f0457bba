"""The speech stage of a clip: words, turns, who talks in every frame, and each person's audio.

Outputs are described in docs/speech.md.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.speech.config import SpeechConfig
from pipelines.stage import Resources, Stage, StageContext
from rsat_data.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from model.speech.pyannet import PyanNet
    from pipelines.speech.active_speaker import Answers
    from pipelines.speech.mouth import Mouth

SEGMENTATION_MODEL = "pyannote-segmentation"
_network: dict[tuple[str, str], PyanNet] = {}


def models(config: SpeechConfig) -> tuple[str, ...]:
    """Model files needed under ``config``."""
    from pipelines.speech.active_speaker import MODEL, weights_file

    return (config.model, SEGMENTATION_MODEL, *((MODEL,) if weights_file(config) == MODEL else ()))


def key_material(config: SpeechConfig) -> Mapping[str, str]:
    """The recogniser that ``auto`` means here: its name, versions, device and what could align words."""
    from pipelines.speech.active_speaker import weights_file
    from pipelines.speech.backends import describe

    weights = weights_file(config)
    material = {**describe(config), **describe_diariser(config)}
    if config.asd_weights and weights:
        material["asd_weights"] = own_weights(Path(weights))
    return material


def describe_diariser(config: SpeechConfig) -> dict[str, str]:
    """What tells voices apart here: its name, and for pyannote's pipeline its version and files."""
    from pipelines.speech import diarise_pyannote
    from pipelines.speech.asr_faster_whisper import package_version

    folder = diarise_pyannote.find(config)
    if folder is None:
        return {"diariser": "local"}
    version = package_version("pyannote-audio")
    return {"diariser": "pyannote", "diariser_version": version, "diariser_files": diarise_pyannote.identity(folder)}


def own_weights(path: Path) -> str:
    """The sha256 of the user's file.

    Raises:
        ConfigError: there is no such file.
    """
    from rsat_data.content import file_sha256

    if not path.is_file():
        raise ConfigError(
            f"speech.asd_weights is {str(path)!r}, and there is no such file.",
            hint="Name Light-ASD's finetuning_TalkSet.model, or choose --set speech.active_speaker=lips.",
        )
    return file_sha256(path)


def run(ctx: StageContext, config: SpeechConfig) -> Mapping[str, Any]:
    """Listen to one clip. See the module's text.

    Raises:
        ModelFileError: a model file is missing or damaged.
        MissingDependencyError: the backend asked for is not installed.
        UnsupportedSource: audio was given for one of two persons only.
    """
    import numpy as np
    import torch

    from pipelines.speech import inputs
    from pipelines.speech.active_speaker import weights_file
    from pipelines.speech.activity import listen, report, speaker_confidence
    from pipelines.speech.backends import recognise
    from pipelines.speech.hallucinations import counted
    from pipelines.speech.quality import measure
    from pipelines.speech.turns import make_turns
    from pipelines.speech.words import joined_text

    if not config.language and ctx.metadata.get("language"):
        config = replace(config, language=str(ctx.metadata["language"]))
    num_frames = int(ctx.unit["num_frames"])
    mouths = inputs.read_faces(ctx.inputs["faces"])
    sound = inputs.read_sound(ctx, tuple(mouths), num_frames)
    material = dict(key_material(config))
    network = _load_network(ctx.model(SEGMENTATION_MODEL), material["device"])
    whisper = ctx.model(config.model)
    ask = _asker(ctx, mouths, sound.mixture, weights_file(config))
    ctx.progress(0.1)
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, ctx.threads))
    try:
        heard = listen(sound, mouths, network, config, ask, _teller(config, material["device"]))
    finally:
        torch.set_num_threads(before)
    ctx.progress(0.4)
    transcript, words, removed = recognise(sound, heard, whisper, config, ctx.threads)
    ctx.progress(0.9)
    turns = make_turns(heard.speaking, words, gap_s=config.turn_gap_s)
    quality = measure(sound, heard, mouths)

    arrays: dict[str, np.ndarray] = {
        "voice": heard.voice.astype(np.float32),
        "voices": heard.voices.astype(np.float32),
        "hidden": heard.hidden.astype(np.float32),
        "speaking_hidden": heard.speaking_hidden,
    }
    if heard.audio_hidden is not None:
        inputs.write_flac(ctx.out / "hidden.flac", heard.audio_hidden)
    persons = {}
    for person, mouth in mouths.items():
        inputs.write_flac(ctx.out / f"{person}.flac", heard.audio[person])
        arrays[f"speaking_{person}"] = heard.speaking[person]
        arrays[f"posterior_{person}"] = heard.posterior[person].astype(np.float32)
        arrays[f"mouth_opening_{person}"] = mouth.opening.astype(np.float32)
        arrays[f"lips_log_odds_{person}"] = mouth.log_odds.astype(np.float32)
        if heard.answers is not None:
            arrays[f"asd_{person}"] = heard.answers.raw[person]
        for name, value in quality[person].items():
            arrays[f"{name}_{person}"] = np.asarray(value, dtype=np.float32)
        persons[person] = {
            "isolation": heard.isolation,
            "speaking_s": round(float(heard.speaking[person].sum()) / 25.0, 2),
            "speaker_confidence": _rounded(speaker_confidence(heard, person)),
            **{name: None if math.isnan(value) else round(value, 4) for name, value in quality[person].items()},
        }
    np.savez(ctx.out / "speech.npz", **arrays)  # type: ignore[arg-type]
    _write_json(
        ctx.out / "speech.json",
        {
            "language": transcript.language,
            "text": joined_text(words),
            **material,
            "model": config.model,
            "word_timing": transcript.timing,
            "isolation": heard.isolation,
            "active_speaker": "lips" if heard.answers is None else "light_asd",
            "voices_heard": heard.voices_heard,
            "words": [word.as_dict() for word in words],
            "language_doubt": transcript.doubt,
            "dropped_words": dict(sorted(counted(removed).items())),
            "removed": [one.as_dict() for one in removed],
            "turns": [turn.as_dict() for turn in turns],
            "persons": persons,
            "assignment": report(heard),
        },
    )
    ctx.progress(1.0)
    spoken = {person: values["speaking_s"] for person, values in persons.items()}
    return {
        "language": transcript.language,
        "words": len(words),
        "turns": len(turns),
        "speaking_s": spoken,
        "notes": [f"language {transcript.doubt.split(' (')[0]}"] if transcript.doubt else [],
    }


def _asker(
    ctx: StageContext, mouths: Mapping[str, Mouth], mixture: np.ndarray, weights: str
) -> Callable[[], Answers] | None:
    """What asks the active speaker network about this clip; None where it is not to be asked."""
    if not weights:
        return None
    from pipelines.speech.active_speaker import MODEL, ask

    path = ctx.model(MODEL) if weights == MODEL else Path(weights)
    return lambda: ask(ctx.inputs["faces"], mixture, mouths, path)


def _teller(config: SpeechConfig, device: str) -> Callable[[np.ndarray], np.ndarray] | None:
    """What tells voices apart in place of the segmentation network; None where that does."""
    from pipelines.speech import diarise_pyannote

    folder = diarise_pyannote.find(config)
    if folder is None:
        return None
    return lambda mixture: diarise_pyannote.tell_apart(mixture, folder, device, config.speakers)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _load_network(path: Path, device: str) -> PyanNet:
    """The segmentation network; kept for the next clips of this process."""
    import torch

    from model.speech.pyannet import load_pyannet

    where = "cuda" if device == "cuda" and torch.cuda.is_available() else "cpu"
    key = (str(path), where)
    if key not in _network:
        _network.clear()
        _network[key] = load_pyannet(path, where)
    return _network[key]


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


STAGE = Stage(
    name="speech",
    version="6",
    unit="clip",
    config=SpeechConfig,
    run=run,
    inputs=("ingest", "faces"),
    models=models,
    key_material=key_material,
    metadata_fields=("language",),
    resources=Resources(cpu=1.0, memory_gb=1.5, timeout_s=1800.0),
)
