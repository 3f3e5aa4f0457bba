"""Rows of one clip from the artefacts of the stages before. Reads files, computes scores, checks; writes nothing."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile

from pipelines.assemble import ids, offscreen
from pipelines.assemble.checks import check
from pipelines.assemble.turn_columns import turn_columns
from pipelines.stage import StageContext
from rsat_data.errors import StageError, UnsupportedSource
from schemas.triplets import FPS, FRAME_COLUMNS, SAMPLE_RATE
from schemas.vocabulary import INVALID_REASONS, KINSHIP, PERSONS, SENIOR_OF_CLIP, STATUS, senior_of_person

if TYPE_CHECKING:
    from pipelines.assemble.config import AssembleConfig

Row = dict[str, Any]


@dataclass(frozen=True)
class Relation:
    """The relation of a clip as the owner of the source stated it."""

    kinship: str = "unknown"
    """blood, non_blood, unknown."""
    status: str = "unknown"
    """equal, unequal, unknown."""
    senior: str = "unknown"
    """A, B, none, unknown."""

    @property
    def labelled(self) -> bool:
        """Whether anything is known."""
        return (self.kinship, self.status) != ("unknown", "unknown")


def assemble(ctx: StageContext, config: AssembleConfig) -> tuple[list[Row], Row]:
    """Make the rows of triplets, one a person from A on, and the row of clips.

    Raises:
        StageError: an artefact is missing or does not fit the others.
        UnsupportedSource: the sidecar's relation contradicts itself.
    """
    clip = _Clip(ctx, config)
    rows = clip.rows()
    conversation = clip.conversation(rows)
    check(clip.clip_id, rows, conversation)
    return rows, conversation


def parse_relation(stated: Mapping[str, Any] | None) -> Relation:
    """Read the sidecar's ``relation`` and complete what follows: equal says none is senior, a senior says unequal.

    Raises:
        UnsupportedSource: a value is not one of the known ones, or they contradict each other.
    """
    if not stated:
        return Relation()
    values = {name: str(stated.get(name) or "unknown") for name in ("kinship", "status", "senior")}
    for name, allowed in (("kinship", KINSHIP), ("status", STATUS), ("senior", SENIOR_OF_CLIP)):
        if values[name] not in allowed:
            raise UnsupportedSource(
                f"The sidecar's relation.{name} is {values[name]!r}.", hint=f"It should be one of {', '.join(allowed)}."
            )
    status, senior = values["status"], values["senior"]
    if (status == "equal" and senior in PERSONS) or (status == "unequal" and senior == "none"):
        raise UnsupportedSource(
            f"The sidecar's relation contradicts itself: status is {status}, senior is {senior}.",
            hint="With status equal, senior is none; with status unequal, it is A, B or unknown.",
        )
    if status == "equal":
        senior = "none"
    elif senior in PERSONS:
        status = "unequal"
    elif senior == "none":
        status = "equal"
    return Relation(values["kinship"], status, senior)


class _Clip:
    """The artefacts of a clip, read once."""

    def __init__(self, ctx: StageContext, config: AssembleConfig) -> None:
        self.ctx, self.config = ctx, config
        self.frames = int(ctx.unit["num_frames"])
        self.clip_id = str(ctx.unit["clip_id"])
        self.faces = self._json("faces", "faces.json")
        self.speech = self._json("speech", "speech.json")
        self.flame = self._json("flame", "flame.json")
        seen = tuple(sorted(str(entry["person"]) for entry in self.faces["persons"]))
        if seen not in (("A",), ("A", "B")):
            raise StageError(f"{self.clip_id}: the faces stage found persons {seen}, expected A or A and B.")
        part = ctx.parts["subjects"].get("partner") if config.off_screen_partner and len(seen) == 1 else None
        self.unseen = offscreen.Unseen.from_part(part)
        # Artefacts call whoever is alone A; in the recording that may be B.
        self.name_of = {person: person for person in seen}
        if self.unseen is not None:
            self.name_of = {next(p for p in PERSONS if p != self.unseen.letter): "A"}
        self.seen = tuple(self.name_of)
        self.persons = self.seen if self.unseen is None else PERSONS
        with self._npz("speech", "speech.npz") as arrays:
            self.speaking = {
                person: self._track(arrays, f"speaking_{name}", "speech") for person, name in self.name_of.items()
            }
            if self.unseen is not None:
                self.speaking[self.unseen.letter] = self._track(arrays, "speaking_hidden", "speech").astype(bool)
        self.words, self.turns = list(self.speech["words"]), list(self.speech["turns"])
        if self.unseen is not None:
            (visible,), hidden = self.seen, self.unseen.letter
            self.words = offscreen.attribute(self.words, visible, self.speaking)
            self.turns = offscreen.turns(self.turns, self.words, visible, hidden, self.speaking[hidden])
        self.relation = parse_relation(ctx.metadata.get("relation")) if len(self.persons) == 2 else Relation()
        self.identity = self._identity()
        self.subjects = {person: str(entry["subject_id"]) for person, entry in self.identity.items()}
        self.seconds = self.frames / FPS

    # Reading -------------------------------------------------------------------------------------------------------

    def _path(self, stage: str, name: str) -> Path:
        path = self.ctx.inputs[stage] / name
        if not path.is_file():
            raise StageError(
                f"{self.clip_id}: the stage {stage} left no {name}.",
                hint=f"Remove {path.parent} and run the same command again.",
                path=path,
            )
        return path

    def _json(self, stage: str, name: str) -> dict[str, Any]:
        path = self._path(stage, name)
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise StageError(f"{path} is not JSON ({error}).", path=path) from error
        if not isinstance(value, dict):
            raise StageError(f"{path} does not hold a JSON object.", path=path)
        return value

    def _npz(self, stage: str, name: str) -> Any:
        path = self._path(stage, name)
        try:
            return np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise StageError(f"{path} is not a readable array file ({error}).", path=path) from error

    def _track(self, arrays: Mapping[str, np.ndarray], name: str, stage: str) -> np.ndarray:
        """An array whose first axis is time."""
        if name not in arrays:
            raise StageError(f"{self.clip_id}: the stage {stage} left no array {name}.")
        array = np.asarray(arrays[name])
        if array.ndim == 0 or len(array) != self.frames:
            raise StageError(
                f"{self.clip_id}: {name} of the stage {stage} has shape {array.shape}; "
                f"the clip has {self.frames} frames."
            )
        return array

    def _reasons(self, codes: np.ndarray, valid: np.ndarray) -> list[str]:
        """Reason codes (T,) of the stage flame as words: empty where valid, and only there."""
        if not np.issubdtype(codes.dtype, np.integer) or codes.min() < 0 or codes.max() >= len(INVALID_REASONS):
            raise StageError(f"{self.clip_id}: reason of the stage flame holds values that name no reason.")
        words = np.asarray(INVALID_REASONS, dtype=object)[codes]
        return np.where(valid, "", np.where(codes == 0, "lost", words)).tolist()

    def _media(self, stage: str, name: str, path: str) -> dict[str, Any]:
        return {"bytes": self._path(stage, name).read_bytes(), "path": path}

    # Who -----------------------------------------------------------------------------------------------------------

    def _identity(self) -> dict[str, dict[str, Any]]:
        """Person -> subject_id, source and score, as the stage `subjects` found over all clips."""
        stated = dict(self.ctx.parts["subjects"]["identity"])
        if sorted(stated) != sorted(self.name_of.values()):
            names = sorted(self.name_of.values())
            raise StageError(f"{self.clip_id}: the stage subjects knows {sorted(stated)}, faces {names}.")
        identity = {person: stated[name] for person, name in self.name_of.items()}
        if self.unseen is not None:
            identity[self.unseen.letter] = dict(self.unseen.identity)
        return identity

    def partner(self, person: str) -> str | None:
        return next((other for other in self.persons if other != person), None)

    def shared(self) -> Row:
        """Columns that the rows and the clip have in common."""
        subjects = [self.subjects[person] for person in self.persons]
        pii = {*self.config.always_pii, *map(str, self.ctx.metadata.get("pii") or ())}
        provenance = self.ctx.provenance
        hashes = dict(provenance.get("model_hashes") or {})
        labelled = self.relation.labelled
        return {
            "clip_id": self.clip_id,
            "dyad_id": ids.dyad_id(subjects[0], subjects[1] if len(subjects) > 1 else None),
            "source_id": str(self.ctx.unit["source_id"]),
            "split": "train",
            "start_s": float(self.ctx.unit["start_s"]),
            "end_s": float(self.ctx.unit["end_s"]),
            "fps": FPS,
            "num_frames": self.frames,
            "sample_rate": SAMPLE_RATE,
            "language": self.speech.get("language") or "",
            "kinship": self.relation.kinship,
            "status": self.relation.status,
            "relation_source": "metadata" if labelled else "unlabelled",
            "relation_confidence": self.config.metadata_confidence if labelled else None,
            "licence": str(self.ctx.metadata.get("licence") or ""),
            "consent_id": self.ctx.metadata.get("consent_id"),
            "pii": sorted(pii),
            "provenance": {
                "version": str(provenance.get("version", "")),
                "config_hash": str(provenance.get("config_hash", "")),
                "model_hashes": [{"name": name, "sha256": str(hashes[name])} for name in sorted(hashes)],
            },
        }

    # Rows ----------------------------------------------------------------------------------------------------------

    def rows(self) -> list[Row]:
        """The rows of triplets, A first."""
        rows = {person: self.row(person) for person in self.seen}
        if self.unseen is not None:
            (visible,), hidden = rows.values(), self.unseen.letter
            folder = self.ctx.inputs["speech"]
            audio = (folder / "hidden.flac").read_bytes() if self.speaking[hidden].any() else None
            isolation = "channel" if self.speech["isolation"] == "channel" else "gated"
            rows[hidden] = {
                **visible,
                **self.who(hidden),
                **offscreen.columns(
                    self.unseen,
                    visible,
                    offscreen.silence(self.frames) if audio is None else audio,
                    isolation,
                    self.speaking[hidden].astype(bool),
                ),
            }
        return [rows[person] for person in self.persons]

    def who(self, person: str) -> Row:
        """Columns that say who the person of a row is, and what they say."""
        other = self.partner(person)
        return {
            "row_id": ids.row_id(self.clip_id, person),
            "subject_id": self.subjects[person],
            "subject_source": str(self.identity[person]["source"]),
            "subject_score": _score(self.identity[person]["score"]),
            "partner_row_id": None if other is None else ids.row_id(self.clip_id, other),
            "partner_subject_id": None if other is None else self.subjects[other],
            "person": person,
            "text": " ".join(turn["text"] for turn in self.turns if turn["person"] == person and turn["text"]),
            "senior": senior_of_person(self.relation.senior, person),
        }

    def row(self, person: str) -> Row:
        """One row of triplets, of a person who is seen."""
        row_id, name = ids.row_id(self.clip_id, person), self.name_of[person]
        face = next(entry for entry in self.faces["persons"] if entry["person"] == name)
        heard = (self.speech.get("persons") or {}).get(name, {})
        fitted = self.flame["persons"][name]
        with self._npz("faces", f"{name}.npz") as arrays:
            seen, blur, yaw = (self._track(arrays, key, "faces") for key in ("valid", "blur", "yaw_deg"))
        with self._npz("flame", f"{name}.npz") as arrays:
            codes = {key: self._track(arrays, key, "flame").astype(np.float32) for key in FRAME_COLUMNS}
            shape = np.asarray(arrays["shape"], dtype=np.float32)
            valid = self._track(arrays, "valid", "flame").astype(bool) & seen.astype(bool)
            residual = self._track(arrays, "reprojection_px", "flame").astype(np.float32)
            reason = self._reasons(self._track(arrays, "reason", "flame"), valid)
            confidence = self._track(arrays, "confidence", "flame").astype(np.float32)
            photometric = None
            if "photometric" in arrays:
                photometric = self._track(arrays, "photometric", "flame").astype(np.float32)
        judged = valid if valid.any() else np.ones_like(valid)
        return {
            **self.shared(),
            **self.who(person),
            "audio": self._media("speech", f"{name}.flac", f"{row_id}.flac"),
            "audio_isolation": heard.get("isolation") or self.speech["isolation"],
            "speaking": self.speaking[person].astype(bool),
            "words": [self._timed(word, ("word", "score", "speaker")) for word in self.words],
            "head_model": str(self.flame["head_model"]),
            "shape": shape,
            **codes,
            "camera": {key: fitted["camera"][key] for key in ("fx", "fy", "cx", "cy", "width", "height")},
            "valid": valid,
            "reprojection_px": residual,
            "invalid_reason": reason,
            "confidence": confidence,
            "photometric": photometric,
            "image": self._media("faces", f"{name}.jpg", f"{row_id}.jpg"),
            "video": self._media("faces", f"{name}.mp4", f"{row_id}.mp4"),
            "matte": self._media("faces", f"{name}_matte.mp4", f"{row_id}_matte.mp4"),
            "q_sync": _score(heard.get("sync_score")),
            "q_sync_offset_ms": _score(heard.get("sync_offset_ms")),
            "q_blur": _score(np.median(blur[judged])),
            "q_face_px": _score(face.get("face_px")),
            "q_yaw_p95_deg": _score(np.percentile(np.abs(yaw[judged]), 95)),
            "q_snr_db": _score(heard.get("snr_db")),
            "q_reprojection": _score(fitted.get("reprojection")),
            "q_photometric": None if photometric is None else _score(_median(photometric[judged])),
            "q_confidence": _score(np.mean(confidence[judged])),
            "q_speaker": _score(heard.get("speaker_confidence")),
            "q_valid": float(valid.mean()),
            "avatar_id": None,
            "avatar_psnr": None,
        }

    def conversation(self, rows: Sequence[Row]) -> Row:
        """The row of clips."""
        second = rows[1] if len(rows) > 1 else None
        talk = np.stack([self.speaking[person].astype(bool) for person in self.persons])
        assignment = self.speech.get("assignment") or {}
        return {
            **self.shared(),
            "row_id_a": rows[0]["row_id"],
            "row_id_b": second and second["row_id"],
            "subject_id_a": rows[0]["subject_id"],
            "subject_id_b": second and second["subject_id"],
            "audio": {"bytes": self._mixture(), "path": f"{self.clip_id}.flac"},
            "preview": self._media("faces", "preview.mp4", f"{self.clip_id}.mp4"),
            "text": str(self.speech.get("text") or ""),
            "turns": [self._timed(turn, ("person", "text")) for turn in self.turns],
            **turn_columns({person: track.astype(bool) for person, track in self.speaking.items()}),
            "senior": self.relation.senior,
            "num_votes": 0,
            "agreement": None,
            "q_assignment": _score(assignment.get("confidence")),
            "q_overlap": float((talk.sum(axis=0) > 1).mean()),
            "q_speech": float(talk.any(axis=0).mean()),
            "q_valid": float(
                np.logical_and.reduce([row["valid"] for row in rows if row["person"] in self.seen]).mean()
            ),
        }

    def _timed(self, span: Mapping[str, Any], keys: Sequence[str]) -> Row:
        """A word or turn, its times cut to the clip: recognisers run over the edges by a few hundredths."""
        start = min(max(float(span["start"]), 0.0), self.seconds)
        end = min(max(float(span["end"]), start), self.seconds)
        return {"start": start, "end": end, **{key: span.get(key) for key in keys}}

    def _mixture(self) -> bytes:
        """The clip's part of the source's sound as FLAC; silence where the source has ended."""
        path = self._path("ingest", "mixture.flac")
        count = round(self.seconds * SAMPLE_RATE)
        try:
            with soundfile.SoundFile(path) as file:
                if file.samplerate != SAMPLE_RATE:
                    raise StageError(
                        f"{path} has {file.samplerate} samples a second, expected {SAMPLE_RATE}.", path=path
                    )
                first = min(round(float(self.ctx.unit["start_s"]) * SAMPLE_RATE), file.frames)
                file.seek(first)
                sound = file.read(count, dtype="int16")
        except soundfile.LibsndfileError as error:
            raise StageError(f"{path} cannot be read: {error}.", path=path) from error
        sound = np.pad(sound, (0, count - len(sound)))
        buffer = io.BytesIO()
        soundfile.write(buffer, sound, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
        return buffer.getvalue()


def _median(values: np.ndarray) -> float | None:
    """Median of the finite values; None where there are none."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else None


def _score(value: Any) -> float | None:
    """A score as float; None where there is none."""
    return None if value is None or not np.isfinite(value) else float(value)
