"""From a recording in another format to rows of triplets and a row of clips, as the assemble stage would leave them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rsat_data import __version__
from rsat_data.content import clip_id as clip_id_of
from rsat_data.content import source_id as source_id_of
from rsat_data.dialects.pictures import Pictures
from rsat_data.dialects.resample import FPS, grid_of, resampled
from rsat_data.dialects.track import (
    FRAME_CODES,
    IMPLIED_FOCAL,
    BadDialectFile,
    Recording,
    Track,
    Unit,
    make_track,
    zeros,
)
from rsat_data.errors import UnreadableSource

SAMPLE_RATE = 16_000
SAMPLES_PER_FRAME = 640
SLACK_FRAMES = 2
"""Sound and codes may differ by this many frames; both are then cut to the shorter."""
_QUIET_DB = -50.0
_ABOVE_FLOOR_DB = 12.0
_SHORT_S = 0.16
_PAUSE_S = 0.24


@dataclass(frozen=True)
class Facts:
    """What is known of a unit besides its files."""

    sha256: str
    """Hash of all its files."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """The sidecar's fields: subjects, relation, licence, consent_id, pii, audio, language."""
    audio: Path | None = None
    """One sound file for the whole, where the format brings no voices."""
    own_audio: bool = False
    """Whether that sound is this one person's alone."""
    silence: bool = False
    """Write silence where there is no sound."""
    config_hash: str = ""
    """Hash of the options, for provenance."""
    head_sha256: str = ""
    """Hash of the head's file, where it is on this machine."""


@dataclass(frozen=True)
class Voices:
    """Sound of a clip at 16 kHz, (N,) float32."""

    own: Mapping[str, np.ndarray]
    """Person -> own voice; where ``isolation`` is mixture, everybody's."""
    isolation: str
    """channel or mixture."""

    @property
    def mixture(self) -> np.ndarray:
        """Everything that is heard."""
        if self.isolation == "mixture":
            return next(iter(self.own.values()))
        return np.clip(np.sum(list(self.own.values()), axis=0), -1.0, 1.0).astype(np.float32)


@dataclass(frozen=True)
class Assembled:
    """The rows of a unit."""

    rows: list[dict[str, Any]]
    """Rows of triplets, person A first."""
    clip: dict[str, Any]
    """The row of clips."""
    extras: dict[str, dict[str, np.ndarray]]
    """Row id -> what the format holds and the dataset has no column for."""
    notes: tuple[str, ...]
    """What was lost or assumed."""


def assemble(unit: Unit, recording: Recording, facts: Facts, scratch: Path) -> Assembled:
    """Make the rows of one recording.

    Raises:
        BadDialectFile: there is no sound, or it does not last as long as the codes.
        UnsupportedSource: the codes cannot be brought to 25 frames a second.
    """
    persons = ("A", "B") if len(set(recording.tracks) | set(recording.audio)) == 2 else ("A",)
    tracks = dict(recording.tracks)
    renamed = persons == ("A",) and "A" not in tracks
    if renamed:  # one speaker of a pair, whose partner is neither seen nor heard
        tracks = {"A": tracks["B"]}
    grids = {person: grid_of(track) for person, track in tracks.items()}
    frames = min(len(grid.before) for grid in grids.values())
    given = {"A": recording.audio["B"]} if renamed and "B" in recording.audio else recording.audio
    voices, frames = _voices(unit, facts, given, persons, frames)
    notes = [*recording.notes, *(note for track in tracks.values() for note in track.notes)]
    rows, extras = [], {}
    names = _Names(unit, facts, persons, frames)
    for person in persons:
        track = tracks.get(person)
        if track is None:
            track = _absent(next(iter(tracks.values())), frames)
            row = _row(names, person, track, Pictures(), voices)
        else:
            grid = grids[person]
            if not grid.exact or grid.bridged.any():
                notes.append(f"{unit.name}: {track.num_frames} frames at {track.fps:g}/s became {frames} at 25/s")
            if track.extras:
                shown = grid.nearest[:frames]
                extras[names.row(person)] = {
                    name: value[shown] if len(value) == track.num_frames else value
                    for name, value in track.extras.items()
                }
            media = Pictures.encode(track, grid.nearest[:frames], scratch)
            if media.padded and track.camera is not None:
                track = track.replace(camera=media.camera_of(track.camera))
            row = _row(names, person, _cut(resampled(track, grid), frames), media, voices)
        rows.append(row)
    return Assembled(rows, _clip(names, rows, voices), extras, tuple(notes))


def write_part(folder: Path, assembled: Assembled) -> None:
    """Check the rows and write them where the publisher looks for them.

    Raises:
        BadDialectFile: a value is none that a body can have; the first ones are named.
    """
    import schemas
    from pipelines.assemble.checks import media_problems
    from rsat_data.publish import CLIPS_FILE, ROWS_FILE
    from schemas.arrow import table_from_rows
    from schemas.validators import row_problems

    folder.mkdir(parents=True)
    for name, table, records in (
        (ROWS_FILE, "triplets", assembled.rows),
        (CLIPS_FILE, "clips", [assembled.clip]),
    ):
        spec = schemas.TABLES[table]
        filled = table_from_rows(spec, [_filled(record, spec) for record in records])
        found = [f"{problem.column} {problem.message}" for problem in row_problems(filled, spec)]
        found += [text for record in records for text in media_problems(record, spec)]
        if found:
            raise BadDialectFile(
                f"The codes cannot be a person's: {'; '.join(found[:3])}" + (" ..." if len(found) > 3 else "."),
                hint="Is it the right --format, and are angles in radians and lengths in metres?",
            )
        pq.write_table(filled, folder / name, row_group_size=1, **schemas.parquet_options(spec.schema))


# Sound -------------------------------------------------------------------------------------------------------------


def _voices(
    unit: Unit, facts: Facts, given: Mapping[str, Path], persons: tuple[str, ...], frames: int
) -> tuple[Voices, int]:
    """The sound of every person, and the number of frames that codes and sound share."""
    stated = {person: Path(path) for person, path in (facts.metadata.get("audio") or {}).items()}
    files = {**given, **stated}
    if not files and facts.audio is not None:
        files = dict.fromkeys(persons, facts.audio)
        isolation = "channel" if facts.own_audio and len(persons) == 1 else "mixture"
    else:
        isolation = "channel"
    if not files and facts.silence:
        quiet = np.zeros(frames * SAMPLES_PER_FRAME, np.float32)
        return Voices(dict.fromkeys(persons, quiet), "channel"), frames
    missing = [person for person in persons if person not in files]
    if missing:
        raise BadDialectFile(
            f"{unit.name}: no sound for person {missing[0]}; every row of a dataset has some.",
            hint=f"Put {unit.path.name}.wav beside it, name a file with --audio, or write silence with --silence.",
            path=unit.path,
        )
    from pipelines.ingest.audio import read_audio_16k

    sounds = {path: read_audio_16k(path)[0] for path in dict.fromkeys(files.values())}
    for path, sound in sounds.items():
        heard = len(sound) / SAMPLES_PER_FRAME
        if abs(heard - frames) > SLACK_FRAMES:
            raise BadDialectFile(
                f"{unit.name}: the codes last {frames} frames ({frames / FPS:.2f} s), the sound {path.name} "
                f"{heard:.1f} frames ({heard / FPS:.2f} s).",
                hint="Cut one to the other; or give the rate of the codes with --fps, if it is not what was assumed.",
                path=path,
            )
        frames = min(frames, int(heard + 1e-6))
    if frames < 1:
        raise UnreadableSource(f"{unit.name}: nothing is left after codes and sound were cut to the same length.")
    length = frames * SAMPLES_PER_FRAME
    return Voices({person: sounds[files[person]][:length] for person in persons}, isolation), frames


def speaking_of(sound: np.ndarray) -> np.ndarray:
    """Where a voice alone on its channel is heard: (N,) float32 at 16 kHz -> (N // 640,) bool.

    Louder than -50 dB of full scale and 12 dB above the channel's own floor (its 10th percentile); pauses below 0.24 s
    are bridged, and bursts below 0.16 s are dropped.
    """
    from pipelines.speech.isolate import levels_db
    from pipelines.speech.turns import drop_short_runs

    levels = levels_db(sound, hop=SAMPLES_PER_FRAME)
    if not len(levels):
        return np.zeros(0, bool)
    floor = float(np.percentile(levels, 10))
    loud = levels > max(_QUIET_DB, min(floor + _ABOVE_FLOOR_DB, -30.0))
    bridged = ~drop_short_runs(~loud, round(_PAUSE_S * FPS))
    result: np.ndarray = drop_short_runs(bridged, round(_SHORT_S * FPS))
    return result


def _flac(sound: np.ndarray) -> bytes:
    import soundfile

    buffer = io.BytesIO()
    whole = np.clip(np.round(sound * 32768.0), -32768, 32767).astype(np.int16)
    soundfile.write(buffer, whole, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


# Rows --------------------------------------------------------------------------------------------------------------


class _Names:
    """Ids of a unit, and the columns that rows and clip share."""

    def __init__(self, unit: Unit, facts: Facts, persons: tuple[str, ...], frames: int) -> None:
        from pipelines.assemble import ids
        from pipelines.assemble.rows import parse_relation

        self.persons, self.frames, self.facts = persons, frames, facts
        self.clip_id = clip_id_of(facts.sha256, 0.0, frames / FPS)
        named = facts.metadata.get("subjects") or {}
        self.stated = stated = {str(key): str(name) for key, name in named.items() if name}
        self.subjects = {
            person: ids.named_subject_id(stated[person])
            if person in stated
            else ids.unnamed_subject_id(self.clip_id, person)
            for person in persons
        }
        self.relation = parse_relation(facts.metadata.get("relation") if len(persons) == 2 else None)
        self._ids = ids

    def row(self, person: str) -> str:
        return str(self._ids.row_id(self.clip_id, person))

    def other(self, person: str) -> str | None:
        return next((other for other in self.persons if other != person), None)

    def shared(self) -> dict[str, Any]:
        metadata, labelled = self.facts.metadata, self.relation.labelled
        people = [self.subjects[person] for person in self.persons]
        hashes = [{"name": "head", "sha256": self.facts.head_sha256}] if self.facts.head_sha256 else []
        return {
            "clip_id": self.clip_id,
            "dyad_id": self._ids.dyad_id(people[0], people[1] if len(people) > 1 else None),
            "source_id": source_id_of(self.facts.sha256),
            "split": "train",
            "start_s": 0.0,
            "end_s": self.frames / FPS,
            "fps": FPS,
            "num_frames": self.frames,
            "sample_rate": SAMPLE_RATE,
            "language": str(metadata.get("language") or ""),
            "kinship": self.relation.kinship,
            "status": self.relation.status,
            "relation_source": "metadata" if labelled else "unlabelled",
            "relation_confidence": 1.0 if labelled else None,
            "licence": str(metadata.get("licence") or ""),
            "consent_id": metadata.get("consent_id"),
            "pii": sorted({"face", "voice", *map(str, metadata.get("pii") or ())}),
            "provenance": {"version": __version__, "config_hash": self.facts.config_hash, "model_hashes": hashes},
        }


def _row(names: _Names, person: str, track: Track, media: Pictures, voices: Voices) -> dict[str, Any]:
    from schemas.vocabulary import senior_of_person

    name, other = names.row(person), names.other(person)
    sound, frames = voices.own[person], names.frames
    assert track.valid is not None
    camera = track.camera
    focal = IMPLIED_FOCAL * 512
    stated = {"fx": focal, "fy": focal, "cx": 256.0, "cy": 256.0, "width": 512, "height": 512}
    if camera is not None:
        stated = {key: getattr(camera, key) for key in stated}
    own = voices.isolation == "channel"
    return {
        **names.shared(),
        "row_id": name,
        "subject_id": names.subjects[person],
        "subject_source": "given" if person in names.stated else "single",
        "partner_row_id": None if other is None else names.row(other),
        "partner_subject_id": None if other is None else names.subjects[other],
        "person": person,
        "audio": {"bytes": _flac(sound), "path": f"{name}.flac"},
        "audio_isolation": voices.isolation,
        "speaking": speaking_of(sound) if own else np.zeros(frames, bool),
        "text": "",
        "words": [],
        "head_model": track.head,
        "shape": track.shape.astype(np.float32),
        **{code: getattr(track, code).astype(np.float32) for code in FRAME_CODES},
        "camera": stated,
        "valid": track.valid,
        "reprojection_px": np.where(track.valid, 0.0, np.nan).astype(np.float32),
        "invalid_reason": np.where(track.valid, "", "lost"),
        "confidence": track.valid.astype(np.float32),
        "image": media.image(f"{name}.jpg", track),
        "video": media.cell("video", f"{name}.mp4"),
        "matte": media.cell("matte", f"{name}_matte.mp4"),
        "q_valid": float(track.valid.mean()),
        "senior": senior_of_person(names.relation.senior, person),
    }


def _clip(names: _Names, rows: list[dict[str, Any]], voices: Voices) -> dict[str, Any]:
    from pipelines.assemble.turn_columns import turn_columns

    second = rows[1] if len(rows) > 1 else None
    talk = np.stack([row["speaking"] for row in rows])
    return {
        **names.shared(),
        "row_id_a": rows[0]["row_id"],
        "row_id_b": second and second["row_id"],
        "subject_id_a": rows[0]["subject_id"],
        "subject_id_b": second and second["subject_id"],
        "audio": {"bytes": _flac(voices.mixture), "path": f"{names.clip_id}.flac"},
        "text": "",
        "turns": _turns(rows) if voices.isolation == "channel" else [],
        **(turn_columns({row["person"]: row["speaking"] for row in rows}) if voices.isolation == "channel" else {}),
        "senior": names.relation.senior,
        "num_votes": 0,
        "q_overlap": float((talk.sum(axis=0) > 1).mean()),
        "q_speech": float(talk.any(axis=0).mean()),
        "q_valid": float(np.logical_and.reduce([row["valid"] for row in rows]).mean()),
    }


def _turns(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Who holds the floor when; what is said is not known."""
    from pipelines.speech.turns import make_turns

    turns = make_turns({row["person"]: row["speaking"] for row in rows}, [])
    return [{"person": turn.person, "start": turn.start, "end": turn.end, "text": ""} for turn in turns]


def _filled(record: Mapping[str, Any], spec: Any) -> dict[str, Any]:
    """The record with every column of the table: null, or empty, where an import cannot know."""
    return {column.name: record.get(column.name, _empty(column)) for column in spec}


def _empty(column: Any) -> Any:
    if column.nullable:
        return None
    if pa.types.is_list(column.type):
        return []
    if pa.types.is_string(column.type):
        return column.values[0] if column.values else ""
    return 0


def _absent(like: Track, frames: int) -> Track:
    """A person who is heard and has no codes: the head at rest before the other's camera, valid nowhere."""
    codes = zeros(frames)
    codes["translation"][:, 2] = max(float(np.median(like.translation[:, 2])), 0.1)
    return make_track(
        codes,
        head=like.head,
        shape=np.zeros_like(like.shape),
        expression=np.zeros((frames, like.expression.shape[1]), np.float32),
        camera=like.camera,
        valid=np.zeros(frames, bool),
    )


def _cut(track: Track, frames: int) -> Track:
    assert track.valid is not None
    return track.replace(**{code: getattr(track, code)[:frames] for code in FRAME_CODES}, valid=track.valid[:frames])
