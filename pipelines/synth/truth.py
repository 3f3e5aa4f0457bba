"""The truth of a synthetic clip, and its two files: ``<name>.truth.json`` to read, ``<name>.truth.npz`` for arrays.

Both are the same bytes for the same truth: JSON has sorted keys, and the archive's members carry a fixed date (NumPy's
own writer stamps them with the time of day).
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from model.camera import Camera
from pipelines.synth.hard import HardCase
from pipelines.synth.records import FPS, PERSONS, Event, Span, Turn
from pipelines.synth.relations import Rates, Relation, RelationEffects
from pipelines.synth.scene import FRAME_CODES, Codes
from rsat_data.errors import UnreadableSource

FORMAT = "rsat-synth-truth-1"
_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Truth:
    """Everything that is known about a synthetic clip."""

    name: str
    """Name of the clip; its files begin with it."""
    seed: int
    """The run's seed."""
    index: int
    """Number of the clip in its run."""
    num_frames: int
    """T."""
    head_model: str
    """Id of the head that the codes belong to."""
    expression_names: tuple[str, ...]
    """(E,) meaning of the expression codes."""
    camera: Camera
    """Sees the whole frame."""
    subjects: dict[str, str]
    """A and B -> name of the subject."""
    family: dict[str, str]
    """A and B -> name of the family; the same for relatives by blood."""
    appearance: dict[str, int]
    """A and B -> seed of the looks."""
    relation: Relation
    """Of the two."""
    effects: RelationEffects
    """Effect sizes in force."""
    rates: dict[str, Rates]
    """A and B -> behaviour rates that follow from relation and effects."""
    codes: dict[str, Codes]
    """A and B -> mesh codes."""
    speaking: dict[str, np.ndarray]
    """A and B -> (T,) bool."""
    turns: tuple[Turn, ...]
    """Who speaks when; back-channels included."""
    words: dict[str, tuple[Span, ...] | None]
    """A and B -> words with times, or None where they are not known."""
    phonemes: dict[str, tuple[Span, ...] | None]
    """A and B -> phonemes (IPA) with times, or None where they are not known."""
    events: dict[str, tuple[Event, ...]]
    """A and B -> gestures acted."""
    audio_source: str
    """Where the speech comes from."""
    audio_isolation: Literal["channel", "gated"]
    """How each person's audio was separated."""
    audio_arranged: bool
    """Whether turn-taking and loudness follow the relation (False for the user's own recordings)."""
    voices: dict[str, str]
    """A and B -> voice."""
    language: str | None
    """ISO 639-1 code where it is known."""
    hard: tuple[HardCase, ...] = ()
    """Hard moments, if they were asked for."""

    @property
    def text(self) -> dict[str, str | None]:
        """A and B -> all the person says, or None where it is not known."""
        result: dict[str, str | None] = {}
        for person in PERSONS:
            texts = [turn.text for turn in self.turns if turn.person == person]
            result[person] = None if any(text is None for text in texts) else " ".join(str(text) for text in texts)
        return result


def truth_paths(folder: Path, name: str) -> tuple[Path, Path]:
    """The JSON file and the archive of a clip."""
    return folder / f"{name}.truth.json", folder / f"{name}.truth.npz"


def write_truth(folder: Path, truth: Truth) -> None:
    """Write both files, each under a temporary name first."""
    for path, content in zip(truth_paths(folder, truth.name), truth_bytes(truth), strict=True):
        tmp = path.with_name(path.name + ".tmp")
        tmp.write_bytes(content)
        tmp.replace(path)


def truth_bytes(truth: Truth) -> tuple[bytes, bytes]:
    """Contents of the JSON file and of the archive."""
    arrays = {}
    for person in PERSONS:
        codes = truth.codes[person]
        arrays[f"{person}_shape"] = codes.shape
        for name in FRAME_CODES:
            arrays[f"{person}_{name}"] = getattr(codes, name)
        arrays[f"{person}_speaking"] = truth.speaking[person]
    content = {
        "format": FORMAT,
        "name": truth.name,
        "seed": truth.seed,
        "index": truth.index,
        "fps": FPS,
        "num_frames": truth.num_frames,
        "head_model": truth.head_model,
        "expression_names": list(truth.expression_names),
        "camera": asdict(truth.camera),
        "subjects": truth.subjects,
        "family": truth.family,
        "appearance": truth.appearance,
        "relation": asdict(truth.relation),
        "effects": asdict(truth.effects),
        "rates": {p: asdict(truth.rates[p]) for p in PERSONS},
        "turns": [asdict(turn) for turn in truth.turns],
        "words": {p: _spans(truth.words[p]) for p in PERSONS},
        "phonemes": {p: _spans(truth.phonemes[p]) for p in PERSONS},
        "events": {p: [asdict(event) for event in truth.events[p]] for p in PERSONS},
        "audio": {
            "source": truth.audio_source,
            "isolation": truth.audio_isolation,
            "arranged": truth.audio_arranged,
            "voices": truth.voices,
            "language": truth.language,
        },
    }
    if truth.hard:  # without any, the file is what it was before there were such
        content["hard"] = [asdict(case) for case in truth.hard]
    text = json.dumps(_rounded(content), ensure_ascii=False, sort_keys=True, indent=1, allow_nan=False) + "\n"
    return text.encode(), npz_bytes(arrays)


def npz_bytes(arrays: dict[str, np.ndarray]) -> bytes:
    """An uncompressed ``.npz`` whose bytes depend on names and values alone. Object arrays are refused."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(arrays[name]), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", _DATE), member.getvalue())
    return buffer.getvalue()


def read_truth(folder: Path, name: str) -> Truth:
    """Read what :func:`write_truth` wrote.

    Raises:
        UnreadableSource: a file is missing, damaged or of another format.
    """
    json_path, npz_path = truth_paths(folder, name)
    try:
        raw = json.loads(json_path.read_text(encoding="utf-8"))
        if raw.get("format") != FORMAT:
            raise ValueError(f"format is {raw.get('format')!r}, not {FORMAT!r}")
        # Opened here: np.load leaves a file open that turns out not to be an archive.
        with npz_path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
        return _parsed(raw, arrays)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise UnreadableSource(
            f"The truth of clip {name} cannot be read: {error}.",
            hint="Make it again with `rsat-data synth`.",
            path=json_path,
        ) from error


def _parsed(raw: dict[str, Any], arrays: dict[str, np.ndarray]) -> Truth:
    audio = raw["audio"]
    codes = {p: Codes(arrays[f"{p}_shape"], *(arrays[f"{p}_{name}"] for name in FRAME_CODES)) for p in PERSONS}
    return Truth(
        name=raw["name"],
        seed=raw["seed"],
        index=raw["index"],
        num_frames=raw["num_frames"],
        head_model=raw["head_model"],
        expression_names=tuple(raw["expression_names"]),
        camera=Camera(**raw["camera"]),
        subjects=raw["subjects"],
        family=raw["family"],
        appearance=raw["appearance"],
        relation=Relation(**raw["relation"]),
        effects=RelationEffects(**raw["effects"]),
        rates={p: Rates(**raw["rates"][p]) for p in PERSONS},
        codes=codes,
        speaking={p: arrays[f"{p}_speaking"] for p in PERSONS},
        turns=tuple(Turn(**turn) for turn in raw["turns"]),
        words={p: _parsed_spans(raw["words"][p]) for p in PERSONS},
        phonemes={p: _parsed_spans(raw["phonemes"][p]) for p in PERSONS},
        events={p: tuple(Event(**event) for event in raw["events"][p]) for p in PERSONS},
        audio_source=audio["source"],
        audio_isolation=audio["isolation"],
        audio_arranged=audio["arranged"],
        voices=audio["voices"],
        language=audio["language"],
        hard=tuple(HardCase(**case) for case in raw.get("hard", ())),
    )


def _spans(spans: tuple[Span, ...] | None) -> list[list[Any]] | None:
    return None if spans is None else [[span.label, span.start, span.end] for span in spans]


def _parsed_spans(raw: list[list[Any]] | None) -> tuple[Span, ...] | None:
    return None if raw is None else tuple(Span(str(label), float(start), float(end)) for label, start, end in raw)


def _rounded(value: Any) -> Any:
    """Floats to 7 decimals: a tenth of a microsecond, and no noise of the last binary digit in the text."""
    if isinstance(value, float):
        return round(value, 7)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value
