"""The people of all clips, read from the artefacts of the stage `shape`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.assemble.ids import given_subjects
from pipelines.shape.pack import unpack
from pipelines.stage import Member
from rsat_data.errors import StageError


@dataclass(frozen=True)
class Person:
    """One person in one clip. What is large stays in the file."""

    key: str
    """``<clip_id>:<A or B>``: the name in review lists."""
    clip_id: str
    """The clip."""
    letter: str
    """A or B."""
    source_id: str
    """The source of the clip."""
    start_s: float
    """Start of the clip in the source."""
    end_s: float
    """Its end."""
    given: str | None
    """Subject id from the name the owner gave; None where nobody did."""
    path: Path
    """``P.npz`` of the stage `shape`."""
    texture: np.ndarray
    """Descriptor of the face, see ``pipelines.shape.appearance.texture``."""
    colours: np.ndarray
    """(11,) see ``pipelines.shape.appearance.colour_vector``."""
    voice: np.ndarray
    """(256,) or (0,) where too little was said."""
    recording: str = ""
    """Whose recording it is where everybody has one of their own; empty where all are in one picture."""

    @property
    def camera(self) -> str:
        """What people who were filmed by one camera have in common: the source, or their recording of it."""
        return f"{self.source_id}:{self.recording}" if self.recording else self.source_id


@dataclass(frozen=True)
class Evidence:
    """What a clip says about the shape of one person at every candidate focal length."""

    information: np.ndarray
    """(F, S (S + 1) / 2) float32, packed."""
    vector: np.ndarray
    """(F, S)."""

    def at(self, focal: float, focals: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
        """Information (S, S) and vector (S,) at a focal length: between candidates, a mix of the two beside it."""
        grid = np.log(np.asarray(focals))
        place = float(np.clip(np.interp(np.log(focal), grid, np.arange(len(grid))), 0, len(grid) - 1))
        low = min(int(place), len(grid) - 2)
        share = place - low
        packed = (1 - share) * self.information[low] + share * self.information[low + 1]
        return unpack(packed), (1 - share) * self.vector[low] + share * self.vector[low + 1]


def read_evidence(path: Path) -> Evidence:
    """Evidence of one person, from ``P.npz`` of the stage `shape`."""
    with _open(path) as stored:
        return Evidence(stored["information"], stored["vector"])


@dataclass(frozen=True)
class Crowd:
    """Everybody, and what all clips have in common."""

    people: tuple[Person, ...]
    """Ordered by key."""
    focals: tuple[float, ...]
    """Candidates of the stage `shape`."""
    shape_sd: float
    """Prior of its shapes."""
    pictures: float
    """How many independent pictures the evidence of a clip counts for."""
    head_model: str
    """Head the evidence belongs to."""


def read_crowd(members: Sequence[Member]) -> Crowd:
    """Read all clips.

    Raises:
        StageError: an artefact cannot be read, or two clips were measured in different ways.
    """
    facts: set[tuple[str, tuple[float, ...], float, float]] = set()
    people: list[Person] = []
    for member in members:
        folder = member.inputs["shape"]
        try:
            record = json.loads((folder / "shape.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise _unreadable(folder / "shape.json", error) from error
        numbers = float(record["shape_sd"]), float(record["pictures"])
        facts.add((record["head_model"], tuple(record["focals"]), *numbers))
        people += _people(member, record)
    if len(facts) != 1:
        raise StageError(
            "The clips' shapes were not measured in one way.", hint="Remove the folder .work/units/shape and go on."
        )
    head, focals, shape_sd, pictures = facts.pop()
    return Crowd(tuple(sorted(people, key=lambda person: person.key)), focals, shape_sd, pictures, head)


def _people(member: Member, record: dict[str, Any]) -> Iterator[Person]:
    unit = member.unit
    given = given_subjects(tuple(sorted(record["persons"])), member.metadata)
    for letter in sorted(record["persons"]):
        path = member.inputs["shape"] / f"{letter}.npz"
        with _open(path) as stored:
            texture, colours, voice = stored["texture"], stored["colours"], stored["voice"]
        yield Person(
            key=f"{unit['clip_id']}:{letter}",
            clip_id=str(unit["clip_id"]),
            letter=letter,
            source_id=str(unit["source_id"]),
            start_s=float(unit["start_s"]),
            end_s=float(unit["end_s"]),
            given=given.get(letter),
            path=path,
            texture=texture,
            colours=colours,
            voice=voice,
            recording=str(record["persons"][letter].get("recording", "")),
        )


def _open(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> StageError:
    return StageError(
        f"{path} cannot be read ({error}).", hint=f"Remove {path.parent} and run the same command again.", path=path
    )
