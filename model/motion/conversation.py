"""Conversations of a dataset: two people, their codes, who speaks, their sound on demand, how they are related.

Read through ``rsat_data.reader`` alone; one row group is in memory at a time where conversations are taken in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np

import rsat_data.reader as reader
from rsat_data.content import content_hash
from rsat_data.errors import DatasetError, HeadMismatch
from schemas.vocabulary import KINSHIP, SENIOR_OF_CLIP, SENIOR_OF_PERSON, STATUS, senior_of_clip
from schemas.vocabulary import senior_of_person as _senior_of_person

FPS, SAMPLE_RATE, SAMPLES_PER_FRAME = 25, 16000, 640
"""Frames a second, samples a second, samples that go with a frame: frame i is samples 640 i to 640 (i + 1)."""
CODES = ("expression", "jaw", "rotation", "eyes", "neck", "translation")
"""Per-frame codes of a person."""
_WIDTHS = {"jaw": 3, "rotation": 3, "eyes": 6, "neck": 3, "translation": 3}
_IDS = ("row_id", "clip_id", "person", "partner_row_id", "head_model", "num_frames")
_COLUMNS = (*_IDS, "dyad_id", "source_id", "subject_id", "split", "fps", "sample_rate", *CODES, "shape", "valid",
            "speaking", "kinship", "status", "senior")  # fmt: skip


@dataclass(frozen=True)
class Relation:
    """How two people are related; every field may be ``unknown``."""

    kinship: str = "unknown"
    """blood, non_blood or unknown."""
    status: str = "unknown"
    """equal, unequal or unknown."""
    senior: str = "unknown"
    """Who has the higher standing: A, B, none or unknown."""

    def __post_init__(self) -> None:
        """Refuse words the format does not know.

        Raises:
            DatasetError: naming the field.
        """
        for name, known in (("kinship", KINSHIP), ("status", STATUS), ("senior", SENIOR_OF_CLIP)):
            if getattr(self, name) not in known:
                raise DatasetError(f"A relation's {name} is one of {', '.join(known)}, not {getattr(self, name)!r}.")

    @property
    def known(self) -> bool:
        """Whether anything is known."""
        return (self.kinship, self.status, self.senior) != ("unknown", "unknown", "unknown")

    def senior_seen_from(self, person: str) -> str:
        """self, partner, none or unknown, as ``person`` (A or B) sees it."""
        return _senior_of_person(self.senior, person)

    def ids(self, person: str) -> tuple[int, int, int]:
        """Numbers of kinship, status and senior seen from ``person``; 0 is unknown in each."""
        seen = self.senior_seen_from(person)
        return _number(KINSHIP, self.kinship), _number(STATUS, self.status), _number(SENIOR_OF_PERSON, seen)

    def swapped(self) -> Relation:
        """The same relation of the two people in each other's places."""
        return replace(self, senior={"A": "B", "B": "A"}.get(self.senior, self.senior))


PERSONS = ("A", "B")
"""From left to right in the frame."""
UNKNOWN = Relation()
"""Nothing is known."""


def _number(words: Sequence[str], word: str) -> int:
    return 0 if word == "unknown" else 1 + [w for w in words if w != "unknown"].index(word)


@dataclass(frozen=True, eq=False)
class Conversation:
    """Two people in one clip. Arrays are float32 (bool where said) and read-only; T frames at 25 a second."""

    clip_id: str
    """Name of the clip."""
    dyad_id: str
    """Name of the pair."""
    source_id: str
    """Where it was cut from."""
    split: str
    """train, validation or test."""
    subject_id: Mapping[str, str]
    """A and B -> the human being."""
    head_model: str
    """Head the codes belong to."""
    num_frames: int
    """T."""
    codes: Mapping[str, Mapping[str, np.ndarray]]
    """A and B -> expression (T, E), jaw (T, 3), rotation (T, 3), eyes (T, 6), neck (T, 3), translation (T, 3):
    radians, metres, camera frame of OpenCV."""
    shape: Mapping[str, np.ndarray]
    """A and B -> (S,) shape code."""
    valid: Mapping[str, np.ndarray]
    """A and B -> (T,) bool: codes can be trusted."""
    speaking: Mapping[str, np.ndarray]
    """A and B -> (T,) bool."""
    relation: Relation = UNKNOWN
    """Of the two."""
    row_id: Mapping[str, str] = field(default_factory=dict)
    """A and B -> row of triplets."""
    fps: int = FPS
    """Frames a second."""
    sound: Mapping[str, Callable[[], np.ndarray]] = field(default_factory=dict, repr=False)
    """A and B -> decodes that person's speech."""

    def audio(self, person: str) -> np.ndarray:
        """(640 T,) float32 at 16 kHz: speech of ``person``, decoded now.

        Raises:
            DatasetError: it is not as long as the frames, not finite, or cannot be decoded.
        """
        samples = np.asarray(self.sound[person](), np.float32).reshape(-1)
        wanted = self.num_frames * SAMPLES_PER_FRAME
        name = self.row_id.get(person, f"{self.clip_id}/{person}")
        if abs(len(samples) - wanted) >= SAMPLES_PER_FRAME:
            raise DatasetError(
                f"Row {name}: {len(samples)} samples of sound do not go with {self.num_frames} frames ({wanted}).",
                hint="`rsat-data validate` names all such rows.",
            )
        if not np.isfinite(samples).all():
            raise DatasetError(f"Row {name}: its sound holds values that are not finite.")
        return np.pad(samples, (0, max(wanted - len(samples), 0)))[:wanted]


def partner_of(person: str) -> str:
    """B for A, A for B."""
    return "B" if person == "A" else "A"


def conversations(dataset: str | Path, split: str | None = None) -> Conversations:
    """Conversations of two people of a dataset.

    Args:
        dataset: folder with ``manifest.jsonl``.
        split: train, validation or test; None for all.

    Raises:
        DatasetError: there is no such dataset, or its rows do not fit together.
        HeadMismatch: it mixes codes of several heads.
    """
    return Conversations(Path(dataset), split)


class Conversations(Sequence[Conversation]):
    """A sequence that decodes a conversation when it is asked for it; clips of one person are left out and counted."""

    def __init__(self, dataset: Path, split: str | None) -> None:
        self.path, self.split = dataset, split
        self._rows = reader.load(dataset, split, columns=list(_COLUMNS))  # type: ignore[arg-type]
        table = self._rows.arrow(list(_IDS)) if len(self._rows) else None
        columns = {name: table[name].to_pylist() for name in _IDS} if table is not None else {n: [] for n in _IDS}
        heads = sorted(set(columns["head_model"]))
        if len(heads) > 1:
            raise HeadMismatch(f"{dataset} mixes codes of the heads {', '.join(heads)}.", path=dataset)
        self.head_model: str = heads[0] if heads else ""
        places: dict[str, dict[str, int]] = {}
        for position, (clip, person) in enumerate(zip(columns["clip_id"], columns["person"], strict=True)):
            places.setdefault(clip, {})[person] = position
        self._pairs = [(p["A"], p["B"]) for p in places.values() if len(p) == 2]
        self._pairs.sort(key=lambda pair: min(pair))
        self.left_out: int = len(places) - len(self._pairs)
        """Clips of one person, which are no conversations."""
        self.frames: tuple[int, ...] = tuple(int(columns["num_frames"][a]) for a, _ in self._pairs)
        """T of every conversation."""
        names = columns["row_id"]
        self._places = {names[pair[k]]: (i, "AB"[k]) for i, pair in enumerate(self._pairs) for k in (0, 1)}

    def place_of(self, row_id: str) -> tuple[int, str] | None:
        """Number of the conversation that a row belongs to, and which person it is; None for clips of one person."""
        return self._places.get(row_id)

    def __len__(self) -> int:
        return len(self._pairs)

    @overload
    def __getitem__(self, index: int) -> Conversation: ...
    @overload
    def __getitem__(self, index: slice) -> list[Conversation]: ...
    def __getitem__(self, index: int | slice) -> Conversation | list[Conversation]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        a, b = self._pairs[index]
        try:
            return conversation_of(self._rows[a], self._rows[b])
        except DatasetError as error:
            hint = error.hint or "`rsat-data validate` names all such rows; build them again."
            raise type(error)(f"{self.path}: {error.message}", hint=hint, path=self.path) from error

    def __iter__(self) -> Iterator[Conversation]:
        for index in range(len(self)):
            yield self[index]


def conversation_of(a: reader.Row, b: reader.Row) -> Conversation:
    """The conversation of the two rows, of A and of B, of a clip.

    Raises:
        DatasetError: they do not fit together, or hold what is not finite.
        HeadMismatch: their codes are of different lengths.
    """
    rows = {"A": a, "B": b}
    frames = int(a["num_frames"])
    if int(b["num_frames"]) != frames:
        raise DatasetError(
            f"Rows {a['row_id']} and {b['row_id']} of one clip have {frames} and {b['num_frames']} frames.",
            hint="`rsat-data validate` names all such rows.",
        )
    for person, row in rows.items():
        if row["fps"] != FPS or row["sample_rate"] != SAMPLE_RATE:
            raise DatasetError(
                f"Row {row['row_id']} ({person}) has {row['fps']:g} frames and {row['sample_rate']} samples a second; "
                f"conversations have {FPS} and {SAMPLE_RATE}."
            )
    valid = {p: _track(r, "valid", frames) for p, r in rows.items()}
    codes = {p: {name: _code(r, name, valid[p]) for name in CODES} for p, r in rows.items()}
    if codes["A"]["expression"].shape != codes["B"]["expression"].shape:
        raise HeadMismatch(f"Rows {a['row_id']} and {b['row_id']} have expression codes of different lengths.")
    relation = Relation(a["kinship"], a["status"], senior_of_clip(a["senior"], "A"))
    return Conversation(
        clip_id=a["clip_id"],
        dyad_id=a["dyad_id"],
        source_id=a["source_id"],
        split=a["split"],
        subject_id={p: r["subject_id"] for p, r in rows.items()},
        head_model=a["head_model"],
        num_frames=frames,
        codes=codes,
        shape={p: _shape(r) for p, r in rows.items()},
        valid=valid,
        speaking={p: _track(r, "speaking", frames) for p, r in rows.items()},
        relation=relation,
        row_id={p: r["row_id"] for p, r in rows.items()},
        sound={p: r.audio for p, r in rows.items()},
    )


def _track(row: reader.Row, name: Literal["valid", "speaking"], frames: int) -> np.ndarray:
    values = np.asarray(row[name], bool)
    if values.shape != (frames,):
        raise DatasetError(f"Row {row['row_id']}: {name} has shape {values.shape}, it should have ({frames},).")
    return values


def _shape(row: reader.Row) -> np.ndarray:
    values = np.asarray(row["shape"], np.float32)
    if not np.isfinite(values).all():
        raise DatasetError(f"Row {row['row_id']}: its shape code is not finite.")
    return values


def _code(row: reader.Row, name: str, valid: np.ndarray) -> np.ndarray:
    """(T, d) of a row, checked. What frames that are not valid hold is nobody's business: not finite becomes 0."""
    values: Any = np.asarray(row[name], np.float32)
    width = _WIDTHS.get(name, values.shape[-1] if values.ndim == 2 else -1)
    if values.shape != (len(valid), width):
        raise DatasetError(f"Row {row['row_id']}: {name} has shape {values.shape}, not ({len(valid)}, {width}).")
    finite = np.isfinite(values).all(axis=1)
    wrong = valid & ~finite
    if wrong.any():
        raise DatasetError(
            f"Row {row['row_id']}: {name} is not finite in frame {int(np.argmax(wrong))}, though the frame is valid.",
            hint="`rsat-data validate` names all such rows; frames that cannot be trusted have `valid` false.",
        )
    if not finite.all():
        values = np.where(finite[:, None], values, np.float32(0))
    return values


def dataset_hash(dataset: str | Path) -> str:
    """32 hex digits of which rows a dataset holds, in which splits, made with which configuration and head.

    Labels are no part of it (:func:`labels_hash`): a dataset that is labelled after the first stage stays the same.
    """
    table = reader.load(dataset, None).arrow(["row_id", "split", "head_model", "provenance"])
    rows = [
        [row["row_id"], row["split"], row["head_model"], (row["provenance"] or {}).get("config_hash")]
        for row in table.to_pylist()
    ]
    return content_hash(sorted(rows))


def labels_hash(dataset: str | Path) -> str:
    """32 hex digits of the relation of every row."""
    table = reader.load(dataset, None).arrow(["row_id", "kinship", "status", "senior"])
    return content_hash(sorted([list(row.values()) for row in table.to_pylist()]))
