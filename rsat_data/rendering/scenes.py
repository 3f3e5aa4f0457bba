"""What is drawn: people, their motion in one or two versions, who speaks, what is heard."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from model.motion.conversation import PERSONS, UNKNOWN, Conversation, Relation, conversation_of
from model.motion.run import Run
from model.render.distance import vertex_distance_mm
from model.render.figure import MeshFigure, predicted_codes
from rsat_data.avatars.find import row_of
from rsat_data.errors import DatasetError
from rsat_data.find_id import find_id
from rsat_data.reader import Dataset, Row
from rsat_data.rendering.people import Person, Studio, own_head, require_head, row_person
from rsat_data.rendering.relation import named
from rsat_data.rendering.sound import Tracks, who_speaks

Motion = Mapping[str, dict[str, np.ndarray]]


@dataclass(frozen=True)
class Scene:
    """T frames of one or two people."""

    people: Mapping[str, Person]
    """A, or A and B (or B alone)."""
    versions: Sequence[tuple[str, Motion]]
    """Title and, of everybody, complete codes (T, .)."""
    speaking: Mapping[str, np.ndarray]
    """Of everybody (T,) bool; empty where it is not known."""
    audio: np.ndarray | None = None
    """(N,) or (2, N) float32 at 16 kHz."""
    caption: str = ""
    """The relation, in words."""
    notes: tuple[str, ...] = ()
    """What the user should know."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """For the summary."""

    @property
    def num_frames(self) -> int:
        """T."""
        return len(next(iter(next(iter(self.versions))[1].values()))["rotation"])


def of_talk(
    run: Run, tracks: Tracks, people: Mapping[str, Person], relations: Sequence[Relation], draw: int | None,
    *, see_partner: bool,
) -> Scene:  # fmt: skip
    """A conversation that a run makes of two people's sound.

    Raises:
        HeadMismatch: a person rides on another head than the run's.
    """
    for person in PERSONS:
        require_head(people[person], run.head_model, "the run")
    speaking, means = who_speaks(tracks)
    talk = conversation_from(run, tracks, speaking)
    started = time.perf_counter()
    versions = []
    for relation in relations:
        motion = _predicted(run, talk, people, relation, draw, tracks, see_partner=see_partner)
        versions.append((named(relation), {p: predicted_codes(motion[p], people[p].figure.stand) for p in PERSONS}))
    facts: dict[str, Any] = {
        "network_s": round(time.perf_counter() - started, 3),
        "activity_by": means,
        "spoke": {person: round(float(speaking[person].mean()), 3) for person in PERSONS},
    }
    notes = tracks.notes
    if means == "loudness":
        notes = (*notes, "who speaks is told by loudness: the segmentation network is not here "
                 "(rsat-data models fetch pyannote-segmentation)")  # fmt: skip
    if len(versions) == 2:
        facts["apart"] = apart(run, people, versions[0][1], versions[1][1])
        notes = (*notes, facts["apart"]["says"])
    caption = versions[0][0] if len(versions) == 1 else ""
    return Scene(people, versions, speaking, tracks.stereo(), caption, notes, facts)


def conversation_from(run: Run, tracks: Tracks, speaking: Mapping[str, np.ndarray]) -> Conversation:
    """Sound as a conversation of nobody's codes: none is valid."""
    count = tracks.num_frames
    widths = {"expression": run.layout.num_expression, "jaw": 3, "rotation": 3, "eyes": 6, "neck": 3, "translation": 3}
    return Conversation(
        clip_id="sound",
        dyad_id="sound",
        source_id="sound",
        split="test",
        subject_id={person: person for person in PERSONS},
        head_model=run.head_model,
        num_frames=count,
        codes={person: {n: np.zeros((count, d), np.float32) for n, d in widths.items()} for person in PERSONS},
        shape={person: np.zeros(0, np.float32) for person in PERSONS},
        valid={person: np.zeros(count, bool) for person in PERSONS},
        speaking=speaking,
    )


def _predicted(
    run: Run, talk: Conversation, people: Mapping[str, Person], relation: Relation, draw: int | None, tracks: Tracks,
    *, see_partner: bool,
) -> dict[str, dict[str, np.ndarray]]:  # fmt: skip
    def once(conversation: Conversation, partner: bool) -> dict[str, dict[str, np.ndarray]]:
        return {
            person: run.predict(
                conversation, person, relation=relation, partner_motion=partner, audio=tracks.audio, draw=draw,
                reference=people[person].reference or _nothing(run),
            )
            for person in PERSONS
        }  # fmt: skip

    found = once(talk, False)
    if not see_partner:
        return found
    codes = {person: predicted_codes(found[person], people[person].figure.stand) for person in PERSONS}
    seen = replace(talk, codes=codes, valid={person: np.ones(talk.num_frames, bool) for person in PERSONS})
    return once(seen, True)


def _nothing(run: Run) -> dict[str, np.ndarray]:
    """No frame of codes: a person of whom the network knows nothing."""
    return {name: np.zeros((0, width), np.float32) for name, width in run.layout.widths.items()}


def apart(run: Run, people: Mapping[str, Person], first: Motion, second: Motion) -> dict[str, Any]:
    """How far two versions lie apart, in millimetres a vertex, and a sentence about it."""
    found = {}
    for person, who in people.items():
        figure = who.figure
        shape = figure.shape if isinstance(figure, MeshFigure) else figure.avatar.shape.cpu().numpy()  # type: ignore[attr-defined]
        found[person] = round(vertex_distance_mm(own_head(who), shape, first[person], second[person]), 4)
    same = all(
        np.array_equal(first[person][name], second[person][name]) for person in people for name in first[person]
    )
    if run.network.social is None:
        says = "both are identical: this run has no social module (it ended with stage 1), so it hears of no relation"
    elif same:
        says = "both are identical: the social module of this run makes no difference between these relations"
    else:
        says = "the two lie apart, mean over vertices and frames: " + ", ".join(
            f"{person} {value:.2f} mm" for person, value in found.items()
        )
    return {"mean_vertex_mm": found, "identical": same, "says": says}


def of_rows(data: Dataset, rows: Sequence[Row], studio: Studio) -> Scene:
    """One row, or both of a clip, under their tracked codes."""
    people, codes = {}, {}
    notes: list[str] = []
    for row in rows:
        who, moved = row_person(data, row, studio)
        people[row["person"]], codes[row["person"]] = who, moved
        notes += who.notes
        lost = int((~np.asarray(row["valid"], bool)).sum())
        if lost:
            notes.append(f"{lost} frames of {row['row_id']} are not valid: they are drawn between their neighbours")
    speaking = {row["person"]: np.asarray(row["speaking"], bool) for row in rows}
    heard = [row.audio() for row in rows if row["audio"] is not None and row["audio"]["bytes"] is not None]
    audio = None
    if len(heard) == len(rows):
        length = min(map(len, heard))
        audio = heard[0] if len(heard) == 1 else np.stack([samples[:length] for samples in heard])
    return Scene(people, [("tracked", codes)], speaking, audio, "", tuple(notes))


def find_rows(data: Dataset, row: str | None, clip: str | None) -> list[Row]:
    """The row of --row, or all rows of --clip, A first.

    Raises:
        DatasetError: there is none, or several are meant.
    """
    if row is not None:
        return [row_of(data, row)]
    assert clip is not None
    table = data.arrow(["clip_id", "person"]) if len(data) else None
    clips: list[str] = table["clip_id"].to_pylist() if table is not None else []
    name = find_id("clip", clip, sorted(set(clips)), data.root)
    found = [data[position] for position, each in enumerate(clips) if each == name]
    return sorted(found, key=lambda each: str(each["person"]))


def with_prediction(
    scene: Scene, run: Run, rows: Sequence[Row], relations: Sequence[Relation] | None, draw: int | None
) -> Scene:
    """The scene of rows with the run's prediction beside the truth, or two predictions beside it to compare.

    The heads of a prediction stay where the row's stands on the mean, since no run says where a head goes.

    Raises:
        DatasetError: nobody else is in the clip, so that there is no conversation.
        HeadMismatch: the run is of another head.
    """
    first = rows[0]
    other = first.partner() if len(rows) == 1 else rows[1]
    if other is None:
        raise DatasetError(
            f"Row {first['row_id']} shows somebody alone; the run hears conversations of two.",
            hint="Choose a row of a clip with two people, or leave out --run.",
        )
    a, b = sorted((first, other), key=lambda row: str(row["person"]))
    talk = conversation_of(a, b)
    for who in scene.people.values():
        require_head(who, run.head_model, "the run")
    started = time.perf_counter()
    versions = list(scene.versions)
    for relation in relations or (talk.relation,):
        motion = {
            person: predicted_codes(run.predict(talk, person, relation=relation, draw=draw), who.figure.stand)
            for person, who in scene.people.items()
        }
        versions.append((f"predicted, {named(relation)}", motion))
    facts: dict[str, Any] = {"network_s": round(time.perf_counter() - started, 3)}
    notes = (*scene.notes, f"the first {run.reference_s:g} s of the clip were the run's reference")
    if len(versions) == 3:
        facts["apart"] = apart(run, scene.people, versions[1][1], versions[2][1])
        notes = (*notes, facts["apart"]["says"])
    return replace(scene, versions=versions, notes=notes, facts=facts)


def relation_or_unknown(relations: Sequence[Relation] | None) -> Sequence[Relation]:
    """What a run is told where no relation was named."""
    return relations or (UNKNOWN,)


__all__ = ["Scene", "apart", "conversation_from", "find_rows", "of_rows", "of_talk", "relation_or_unknown",
           "with_prediction"]  # fmt: skip
