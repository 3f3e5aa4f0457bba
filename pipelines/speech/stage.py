"""The speech stage of a clip: words, turns, who talks in every frame, and each person's audio.

Outputs are described in docs/speech.md.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipelines.speech.config import SpeechConfig
from pipelines.stage import Resources, Stage, StageContext

if TYPE_CHECKING:
    from pathlib import Path

    from model.speech.pyannet import PyanNet

SEGMENTATION_MODEL = "pyannote-segmentation"
_network: dict[tuple[str, str], PyanNet] = {}


def models(config: SpeechConfig) -> tuple[str, ...]:
    """Model files needed under ``config``."""
    return (config.model, SEGMENTATION_MODEL)


def key_material(config: SpeechConfig) -> Mapping[str, str]:
    """The recogniser that ``auto`` means here: its name, versions, device and what could align words."""
    from pipelines.speech.backends import describe

    return describe(config)


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
    from pipelines.speech.activity import listen, report
    from pipelines.speech.backends import recognise
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
    ctx.progress(0.1)
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, ctx.threads))
    try:
        heard = listen(sound, mouths, network, config)
    finally:
        torch.set_num_threads(before)
    ctx.progress(0.4)
    transcript, words, dropped = recognise(sound, heard, whisper, config, ctx.threads)
    ctx.progress(0.9)
    turns = make_turns(heard.speaking, words, gap_s=config.turn_gap_s)
    quality = measure(sound, heard, mouths)

    arrays: dict[str, np.ndarray] = {
        "voice": heard.voice.astype(np.float32),
        "voices": heard.voices.astype(np.float32),
        "hidden": heard.hidden.astype(np.float32),
    }
    persons = {}
    for person, mouth in mouths.items():
        inputs.write_flac(ctx.out / f"{person}.flac", heard.audio[person])
        arrays[f"speaking_{person}"] = heard.speaking[person]
        arrays[f"posterior_{person}"] = heard.posterior[person].astype(np.float32)
        arrays[f"mouth_opening_{person}"] = mouth.opening.astype(np.float32)
        arrays[f"lips_log_odds_{person}"] = mouth.log_odds.astype(np.float32)
        for name, value in quality[person].items():
            arrays[f"{name}_{person}"] = np.asarray(value, dtype=np.float32)
        persons[person] = {
            "isolation": heard.isolation,
            "speaking_s": round(float(heard.speaking[person].sum()) / 25.0, 2),
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
            "words": [word.as_dict() for word in words],
            "dropped_words": dict(sorted(dropped.items())),
            "turns": [turn.as_dict() for turn in turns],
            "persons": persons,
            "assignment": report(heard),
        },
    )
    ctx.progress(1.0)
    spoken = {person: values["speaking_s"] for person, values in persons.items()}
    return {"language": transcript.language, "words": len(words), "turns": len(turns), "speaking_s": spoken}


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
    version="1",
    unit="clip",
    config=SpeechConfig,
    run=run,
    inputs=("ingest", "faces"),
    models=models,
    key_material=key_material,
    metadata_fields=("language",),
    resources=Resources(cpu=1.0, memory_gb=1.5, timeout_s=1800.0),
)
