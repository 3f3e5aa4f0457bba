"""Votes as arrays: one vote of each annotator on each clip, answers as small integers.

The order of rows in the table does not matter: clips, dyads and annotators are numbered by their sorted names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from annotation.agreement.report import ANSWERS, QUESTIONS, ClipInfo
from rsat_data.errors import LabelError
from schemas.votes import current, upgraded

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

#: Answers to ``senior`` as they are clicked.
SENIOR_CLICKED = ("A", "B", "unsure")
#: What confidence can be.
CONFIDENCES: tuple[str, ...] = ("1", "2", "3", "4", "5")
#: Round of votes that are independent opinions, and of right answers.
LABELLING, GOLD = "labelling", "gold"


def number_sorted(values: Ints) -> tuple[Ints, Ints]:
    """Distinct values of a sorted array, and the number of each element's value among them."""
    new = np.ones(len(values), bool)
    new[1:] = values[1:] != values[:-1]
    return values[new], np.cumsum(new) - 1


@dataclass(frozen=True)
class Ratings:
    """The votes on one question: V of them, sorted by item."""

    question: str
    """kinship, status, senior, or confidence."""
    answers: tuple[str, ...]
    """The K answers."""
    item: Ints
    """(V,) number of the clip among ``clips``."""
    rater: Ints
    """(V,) number of the annotator."""
    answer: Ints
    """(V,) number of the answer."""
    clips: Ints
    """(I,) the clip's number in the whole; every one has a vote."""
    dyad: Ints
    """(I,) number of the clip's dyad."""
    num_raters: int
    """J."""
    num_dyads: int
    """D."""

    @property
    def num_items(self) -> int:
        """I."""
        return len(self.clips)

    def counts(self) -> Ints:
        """(I, K) how often each answer was given to each item."""
        size = self.num_items * len(self.answers)
        flat = np.bincount(self.item * len(self.answers) + self.answer, minlength=size)
        return flat.reshape(self.num_items, len(self.answers))

    def where(self, keep: Bools) -> Ratings:
        """The votes marked in ``keep`` (V,), with items numbered anew."""
        number, item = number_sorted(self.item[keep])
        return Ratings(
            self.question,
            self.answers,
            item,
            self.rater[keep],
            self.answer[keep],
            self.clips[number],
            self.dyad[number],
            self.num_raters,
            self.num_dyads,
        )


@dataclass(frozen=True)
class Votes:
    """The votes that count, N of them, sorted by clip and annotator."""

    clip_ids: tuple[str, ...]
    """The C clips voted on (or with a gold answer)."""
    dyad_ids: tuple[str, ...]
    """The D dyads of these."""
    annotators: tuple[str, ...]
    """The J annotators."""
    subjects: tuple[tuple[str, str | None], ...]
    """Of each clip: the subject ids in sorted order, what "first" and "second" stand for; None where one is seen."""
    person_a: Ints
    """(C,) 0 where person A is "first", 1 where "second", -1 where nobody knows."""
    clip: Ints
    """(N,) number of the clip."""
    annotator: Ints
    """(N,) number of the annotator."""
    dyad_of_clip: Ints
    """(C,) number of the dyad."""
    answers: Mapping[str, Ints]
    """Question -> (N,) number of the answer in ANSWERS; -1 for none."""
    clicked: Ints
    """(N,) number of the answer to ``senior`` in SENIOR_CLICKED; -1 for none."""
    confidence: Ints
    """(N,) 1 to 5; 0 for none."""
    seconds: Floats
    """(N,) time taken; nan where it is not known."""
    shown: Bools
    """(N,) a prediction was in sight."""
    accepted: Ints
    """(N,) 1 the same as the prediction (shown or hidden), 0 not the same, -1 no prediction."""
    issues: Mapping[int, tuple[str, ...]]
    """Clip -> problems reported, each once."""
    gold: Mapping[str, Ints]
    """Question -> (C,) the right answer where it is known, else -1."""
    superseded: int
    """Earlier votes of the same annotator on the same clip, and votes taken back."""
    unknown_clips: tuple[str, ...]
    """Clips that are not in the dataset."""
    other_rounds: int
    """Votes of other rounds."""

    def ratings(self, question: str, keep: Bools | None = None) -> Ratings:
        """The votes on one question, of those marked in ``keep`` (N,)."""
        graded = question == "confidence"
        answers = CONFIDENCES if graded else ANSWERS[question]
        answer = self.confidence - 1 if graded else self.answers[question]
        given = answer >= 0 if keep is None else (answer >= 0) & keep
        clips, item = number_sorted(self.clip[given])
        return Ratings(
            question,
            answers,
            item,
            self.annotator[given],
            answer[given],
            clips,
            self.dyad_of_clip[clips],
            len(self.annotators),
            len(self.dyad_ids),
        )


def _codes(column: Any, values: tuple[str, ...] | pa.Array) -> Ints:
    """Number of each cell in ``values``; -1 where it is not among them."""
    found = pc.index_in(column, value_set=pa.array(values, pa.string()))
    return np.asarray(pc.fill_null(found, -1).to_numpy(), np.int64)


def _answers(table: pa.Table, question: str, values: tuple[str, ...]) -> Ints:
    column = table[question]
    codes = _codes(column, values)
    bad = np.flatnonzero((codes < 0) & np.asarray(column.is_valid().to_numpy(), bool))
    if len(bad):
        row = table.slice(int(bad[0]), 1).to_pylist()[0]
        raise LabelError(
            f"Vote {row['vote_id']} on clip {row['clip_id']} answers {question} with {row[question]!r}.",
            hint=f"Known answers: {', '.join(values)}. Correct the vote on the server and pull again.",
        )
    return codes


def encode(votes: pa.Table, clips: Mapping[str, ClipInfo]) -> Votes:
    """Number everything in a table of votes (:data:`schemas.votes.SCHEMA`).

    Args:
        votes: all votes, or the current ones; rows of round "gold" are right answers, other rounds than "labelling" are
            counted and left out.
        clips: what is known of the dataset's clips. Votes on other clips are left out and named.

    Raises:
        LabelError: a column is missing, or an answer is not in the form.
    """
    try:
        everything = upgraded(votes)
    except ValueError as error:
        raise LabelError(f"This is no table of votes: {error}.", hint="Read it with annotation.votes.") from error
    counted = current(everything)
    rounds = counted["round"]
    labelling, gold = pc.equal(rounds, LABELLING), pc.equal(rounds, GOLD)
    voted = sorted(pc.unique(counted.filter(pc.or_(labelling, gold))["clip_id"]).to_pylist())
    known = [clip_id for clip_id in voted if clip_id in clips]
    known_array = pa.array(known, pa.string())
    in_dataset = pc.is_in(counted["clip_id"], value_set=known_array)
    order = [("clip_id", "ascending"), ("annotator", "ascending")]
    table = counted.filter(pc.and_(labelling, in_dataset)).sort_by(order).combine_chunks()
    gold_table = counted.filter(pc.and_(gold, in_dataset)).sort_by(order).combine_chunks()

    infos = [clips[clip_id] for clip_id in known]
    dyads = sorted({info.dyad_id for info in infos})
    number_of = {dyad: number for number, dyad in enumerate(dyads)}
    annotators = tuple(sorted(pc.unique(table["annotator"]).to_pylist()))
    clip = _codes(table["clip_id"], known_array)
    person_a = np.array([_first(info) for info in infos], np.int64)
    answers, clicked = _questions(table, clip, person_a)
    gold_answers, _ = _questions(gold_table, gold_clip := _codes(gold_table["clip_id"], known_array), person_a)
    right = {question: np.full(len(known), -1, np.int64) for question in QUESTIONS}
    for question, values in gold_answers.items():
        right[question][gold_clip] = values
    accepted = pc.fill_null(table["prediction_accepted"].cast(pa.int64()), -1)
    return Votes(
        clip_ids=tuple(known),
        dyad_ids=tuple(dyads),
        annotators=annotators,
        subjects=tuple(_sorted_subjects(info) for info in infos),
        person_a=person_a,
        clip=clip,
        annotator=_codes(table["annotator"], annotators),
        dyad_of_clip=np.array([number_of[info.dyad_id] for info in infos], np.int64),
        answers=answers,
        clicked=clicked,
        confidence=np.asarray(pc.fill_null(table["confidence"].cast(pa.int64()), 0).to_numpy()),
        seconds=np.asarray(table["seconds_spent"].cast(pa.float64()).to_numpy(), np.float64),
        shown=np.asarray(pc.fill_null(table["prediction_shown"], False).to_numpy(), bool),
        accepted=np.asarray(accepted.to_numpy(), np.int64),
        issues=_issues(table, clip),
        gold=right,
        superseded=everything.num_rows - counted.num_rows,
        unknown_clips=tuple(clip_id for clip_id in voted if clip_id not in clips),
        other_rounds=int(pc.sum(pc.invert(pc.or_(labelling, gold))).as_py() or 0),
    )


def _sorted_subjects(info: ClipInfo) -> tuple[str, str | None]:
    if info.subject_b is None:
        return info.subject_a, None
    first, second = sorted((info.subject_a, info.subject_b))
    return first, second


def _first(info: ClipInfo) -> int:
    if info.subject_b is None or info.subject_a == info.subject_b:
        return -1
    return int(info.subject_a > info.subject_b)


def _questions(table: pa.Table, clip: Ints, person_a: Ints) -> tuple[dict[str, Ints], Ints]:
    """Answers to each question, and what was clicked for ``senior``."""
    answers = {question: _answers(table, question, ANSWERS[question]) for question in ("kinship", "status")}
    clicked = _answers(table, "senior", SENIOR_CLICKED)
    unequal = answers["status"] == ANSWERS["status"].index("unequal")
    clicked = np.where(unequal, clicked, -1)
    mine = person_a[clip] if len(clip) else clip
    person = np.where(clicked == 0, mine, 1 - mine)
    senior = np.where(clicked == SENIOR_CLICKED.index("unsure"), ANSWERS["senior"].index("unsure"), person)
    answers["senior"] = np.where((clicked < 0) | (mine < 0), -1, senior)
    return answers, clicked


def _issues(table: pa.Table, clip: Ints) -> dict[int, tuple[str, ...]]:
    column = table["issues"]
    rows = np.flatnonzero(np.asarray(pc.fill_null(pc.list_value_length(column), 0).to_numpy()) > 0)
    found: dict[int, set[str]] = {}
    for row, issues in zip(rows, column.take(pa.array(rows)).to_pylist(), strict=True):
        found.setdefault(int(clip[row]), set()).update(issues)
    return {number: tuple(sorted(issues)) for number, issues in found.items()}
