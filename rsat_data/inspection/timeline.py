"""What is known of a clip, frame by frame, gathered from the dataset and, where it is still there, its workspace."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rsat_data.errors import DatasetError
from rsat_data.find_id import find_id
from rsat_data.reader import Row, load
from rsat_data.workspace import WORK_DIR

ENVELOPE_S = 0.01
"""Step of the waveform's envelope."""
_ROW_COLUMNS = (
    "row_id", "clip_id", "person", "speaking", "valid", "invalid_reason", "jaw", "words", "audio_isolation",
    "subject_id", "q_sync", "q_sync_offset_ms", "q_snr_db", "q_face_px", "q_valid", "q_speaker",
)  # fmt: skip


@dataclass(frozen=True)
class Person:
    """One person of the clip."""

    letter: str
    """A or B."""
    speaking: np.ndarray
    """(T,) bool."""
    valid: np.ndarray
    """(T,) bool."""
    jaw_deg: np.ndarray
    """(T,) float64: how far the jaw is open, from the codes; NaN where they are not valid."""
    scores: Mapping[str, float | None]
    """q_ columns of the row."""
    witnesses: Mapping[str, np.ndarray] = field(default_factory=dict)
    """posterior, lips, asd: (T,) each, as the speech stage left them; empty where the workspace is gone."""


@dataclass(frozen=True)
class Timeline:
    """A clip in time."""

    clip_id: str
    """Its id."""
    seconds: float
    """Its length."""
    fps: float
    """Frames a second."""
    envelope: np.ndarray
    """(M, 2) float32: least and greatest sample of every 10 ms of the mixture."""
    persons: tuple[Person, ...]
    """From A on."""
    words: tuple[Mapping[str, Any], ...]
    """word, start, end, score, speaker."""
    turn_taking: tuple[Mapping[str, Any], ...]
    """person, start, end, kind, offset_s."""
    facts: Mapping[str, Any]
    """Columns of the clip's row that say how good it is."""
    missing: str = ""
    """Why there are no witnesses; empty where there are."""


def read_timeline(dataset: Path, clip: str) -> Timeline:
    """Gather one clip.

    Args:
        dataset: folder of a finished dataset.
        clip: its id, the beginning of just one, or its number in the dataset, counted from 0.

    Raises:
        DatasetError: there is no such clip, or the dataset cannot be read.
    """
    clips = load(dataset, split=None, table="clips")
    names: list[str] = clips.arrow(["clip_id"])["clip_id"].to_pylist() if len(clips) else []
    if not names:
        raise DatasetError(f"{dataset} holds no clip: there is nothing to show.", path=dataset)
    if clip.isdecimal() and int(clip) < len(names):
        name = names[int(clip)]
    else:
        name = find_id("clip", clip, names, dataset)
    row = clips.by_id(name)
    seconds = float(row["num_frames"]) / float(row["fps"])
    there = load(dataset, split=None).columns
    rows = load(dataset, split=None, columns=[name for name in _ROW_COLUMNS if name in there])  # older ones have fewer
    ids = [row[f"row_id_{side}"] for side in "ab"]
    people = [rows.by_id(one) for one in ids if one is not None]
    artefacts, missing = _speech_of(dataset, name)
    return Timeline(
        clip_id=name,
        seconds=seconds,
        fps=float(row["fps"]),
        envelope=envelope(np.asarray(row.audio()), int(row["sample_rate"])),
        persons=tuple(_person(one, _own(artefacts, one, people)) for one in people),
        words=tuple(dict(word) for word in people[0]["words"]),
        turn_taking=tuple(dict(one) for one in _cell(row, "turn_taking") or ()),
        facts={key: _cell(row, key) for key in ("source_id", "language", "q_assignment", "q_overlap", "gap_share")},
        missing=missing,
    )


def _cell(row: Row, name: str) -> Any:
    """A cell; None where the dataset is older than the column."""
    return row[name] if name in row else None


def _own(artefacts: Mapping[str, np.ndarray], row: Row, people: Sequence[Row]) -> dict[str, np.ndarray]:
    """What the speech stage left of one person.

    It calls whoever is alone in a clip A, whatever their letter in the recording; the one who is not seen has only what
    was heard of somebody out of sight.
    """
    keys = {"posterior": "posterior", "lips": "lips_log_odds", "asd": "asd"}
    if _unseen(row):
        return {"posterior": artefacts["hidden"]} if "hidden" in artefacts else {}
    letter = "A" if any(_unseen(one) for one in people) else str(row["person"])
    return {name: artefacts[f"{key}_{letter}"] for name, key in keys.items() if f"{key}_{letter}" in artefacts}


def _unseen(row: Row) -> bool:
    reasons = _cell(row, "invalid_reason")
    return reasons is not None and len(reasons) > 0 and set(reasons) == {"off_screen"}


def _person(row: Row, left: Mapping[str, np.ndarray]) -> Person:
    valid = np.asarray(row["valid"], bool)
    letter = str(row["person"])
    jaw = np.degrees(np.asarray(row["jaw"], np.float64)[:, 0])
    found = {name: track for name, track in left.items() if len(track) == len(valid)}
    return Person(
        letter,
        np.asarray(row["speaking"], bool),
        valid,
        np.where(valid, jaw, np.nan),
        {name: _number(_cell(row, name)) for name in _ROW_COLUMNS if name.startswith("q_")},
        found,
    )


def _number(value: Any) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)


def envelope(samples: np.ndarray, rate: int) -> np.ndarray:
    """Least and greatest sample (M, 2) float32 of every 10 ms of (N,) sound."""
    step = round(ENVELOPE_S * rate)
    count = -(-len(samples) // step)
    padded = np.zeros(count * step, np.float32)
    padded[: len(samples)] = samples
    pieces = padded.reshape(count, step)
    return np.stack([pieces.min(axis=1), pieces.max(axis=1)], axis=1)


def _speech_of(dataset: Path, clip_id: str) -> tuple[dict[str, np.ndarray], str]:
    """Arrays of the speech stage that made this clip, the latest; or why there are none."""
    folder = dataset / WORK_DIR / "units" / "speech"
    if not folder.is_dir():
        return {}, "the workspace of this dataset is gone"
    found: list[tuple[float, Path]] = []
    for done in folder.glob("*/*/done.json"):
        try:
            if json.loads(done.read_text(encoding="utf-8"))["unit"].get("clip_id") == clip_id:
                found.append((done.stat().st_mtime, done.parent / "speech.npz"))
        except (OSError, ValueError, KeyError, AttributeError):
            continue
    for _, path in sorted(found, reverse=True):
        try:
            with np.load(path) as arrays:
                return {name: arrays[name] for name in arrays.files}, ""
        except (OSError, ValueError):
            continue
    return {}, "the workspace holds no speech of this clip"


def as_json(timeline: Timeline) -> dict[str, Any]:
    """The numbers behind the picture, for scripts; tracks at 25 frames a second, rounded."""

    def plain(track: np.ndarray) -> list[Any]:
        if track.dtype == bool:
            return [bool(value) for value in track]
        return [round(float(value), 4) if np.isfinite(value) else None for value in track]

    return {
        "clip_id": timeline.clip_id,
        "seconds": timeline.seconds,
        "fps": timeline.fps,
        "facts": dict(timeline.facts),
        "missing": timeline.missing,
        "persons": {
            person.letter: {
                "scores": dict(person.scores),
                "speaking": plain(person.speaking),
                "valid": plain(person.valid),
                "jaw_deg": plain(person.jaw_deg),
                **{name: plain(track) for name, track in person.witnesses.items()},
            }
            for person in timeline.persons
        },
        "words": [_plain(word) for word in timeline.words],
        "turn_taking": [_plain(one) for one in timeline.turn_taking],
    }


def _plain(record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: round(float(value), 3) if isinstance(value, (float, np.floating)) else value
        for key, value in record.items()
    }
