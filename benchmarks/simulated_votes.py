"""Votes made by a known model: what the agreement report is tested and timed with.

Every clip belongs to a dyad whose relation is drawn once. Each annotator sees some clips, and answers with the truth
with some probability, else with another answer; some answer at random, some keep every prediction they see, some
always click the same.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from annotation.agreement import ClipInfo
from schemas.votes import SCHEMA

KINSHIP, STATUS = ("blood", "non_blood", "unsure"), ("equal", "unequal", "unsure")
START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Simulation:
    """How votes are made."""

    dyads: int = 60
    clips_per_dyad: int = 4
    annotators: int = 6
    votes_per_clip: int = 3
    accuracy: float = 0.85
    """Chance of a right answer of an honest annotator, "unsure" apart."""
    unsure: float = 0.05
    blood: float = 0.4
    unequal: float = 0.4
    random: Collection[int] = ()
    """Annotators who answer at random."""
    stamps: Collection[int] = ()
    """Annotators who keep every prediction they see."""
    straight: Collection[int] = ()
    """Annotators who always click non_blood, equal."""
    predicted: bool = True
    """Whether clips have predictions."""
    right_predictions: float = 0.7
    hidden: float = 0.3
    """Share of clips whose prediction is not shown."""
    pull: float = 0.0
    """Chance that an honest annotator takes over a prediction he sees."""
    gold: float = 0.05
    """Share of clips with a gold answer."""
    fast: Collection[int] = ()
    """Annotators who take two seconds."""
    seed: int = 0


@dataclass(frozen=True)
class Simulated:
    """Votes and the truth behind them."""

    votes: pa.Table
    clips: dict[str, ClipInfo]
    truth: dict[str, dict[str, str]]
    """clip -> question -> answer; senior as subject id, only of unequal dyads."""
    predictions: dict[str, dict[str, str]] = field(default_factory=dict)


def name(number: int) -> str:
    return f"ann-{number:010d}"


def simulate(s: Simulation) -> Simulated:
    rng = np.random.default_rng(s.seed)
    clips = s.dyads * s.clips_per_dyad
    dyad = np.repeat(np.arange(s.dyads), s.clips_per_dyad)
    kinship = np.where(rng.random(s.dyads) < s.blood, 0, 1)[dyad]
    status = np.where(rng.random(s.dyads) < s.unequal, 1, 0)[dyad]
    senior = rng.integers(0, 2, s.dyads)[dyad]  # 0: the first subject
    swapped = rng.integers(0, 2, clips)  # whether A is the second subject
    senior_ab = senior ^ swapped

    def guess(truth: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return np.where(rng.random(clips) < s.right_predictions, truth, 1 - truth)

    guesses = [guess(values) for values in (kinship, status, senior_ab)]
    shown_clip = (rng.random(clips) >= s.hidden) & s.predicted
    order = np.argsort(rng.random((clips, s.annotators)), axis=1)[:, : s.votes_per_clip]
    clip, annotator = np.repeat(np.arange(clips), s.votes_per_clip), order.ravel()
    n = len(clip)
    shown = shown_clip[clip]

    def member(people: Collection[int]) -> npt.NDArray[np.bool_]:
        return np.isin(annotator, list(people))

    follow = shown & (member(s.stamps) | (rng.random(n) < s.pull))
    answers = []
    for truth, predicted in zip((kinship, status, senior_ab), guesses, strict=True):
        mine = np.where(rng.random(n) < s.accuracy, truth[clip], 1 - truth[clip])
        mine = np.where(rng.random(n) < s.unsure, 2, mine)
        mine = np.where(follow, predicted[clip], mine)
        mine = np.where(member(s.random), rng.integers(0, 3, n), mine)
        answers.append(mine)
    answers[0] = np.where(member(s.straight), 1, answers[0])
    answers[1] = np.where(member(s.straight), 0, answers[1])
    unequal = answers[1] == 1
    same = (answers[0] == guesses[0][clip]) & (answers[1] == guesses[1][clip])
    same &= ~unequal | (answers[2] == guesses[2][clip])
    seconds = np.where(member(s.fast), 2.0, rng.gamma(4.0, 8.0, n)).astype(np.float32)
    confidence = np.clip(np.where(answers[0] == 2, 2, 4) + rng.integers(-1, 2, n), 1, 5)
    ids = [f"clip-{number:06d}" for number in range(clips)]
    columns = {
        "vote_id": [f"v{number:07d}" for number in range(n)],
        "clip_id": pa.array(ids).take(pa.array(clip)),
        "annotator": pa.array([name(number) for number in range(s.annotators)]).take(pa.array(annotator)),
        "kinship": pa.array(KINSHIP).take(pa.array(answers[0])),
        "status": pa.array(STATUS).take(pa.array(answers[1])),
        "senior": pa.array(["A", "B", "unsure", None]).take(pa.array(np.where(unequal, answers[2], 3))),
        "confidence": pa.array(confidence, pa.int8()),
        "prediction_shown": shown,
        "prediction_accepted": pa.array(same, mask=~shown),
        "seconds_spent": seconds,
    }
    votes = _table(columns, n, "labelling")
    golden = np.flatnonzero(rng.random(clips) < s.gold)
    truths = np.where(status == 1, senior_ab, 3)[golden]
    gold_columns = {
        "vote_id": [f"g{number:07d}" for number in golden],
        "clip_id": pa.array(ids).take(pa.array(golden)),
        "annotator": ["gold"] * len(golden),
        "kinship": pa.array(KINSHIP).take(pa.array(kinship[golden])),
        "status": pa.array(STATUS).take(pa.array(status[golden])),
        "senior": pa.array(["A", "B", "unsure", None]).take(pa.array(truths)),
        "confidence": pa.array([5] * len(golden), pa.int8()),
        "prediction_shown": [False] * len(golden),
    }
    subjects = [(f"s{2 * d:06d}", f"s{2 * d + 1:06d}") for d in range(s.dyads)]
    infos, truth_of, predictions = {}, {}, {}
    for number, clip_id in enumerate(ids):
        pair = subjects[dyad[number]]
        a, b = pair[::-1] if swapped[number] else pair
        infos[clip_id] = ClipInfo(f"d{dyad[number]:06d}", a, b)
        truth_of[clip_id] = {"kinship": KINSHIP[kinship[number]], "status": STATUS[status[number]]}
        if status[number] == 1:
            truth_of[clip_id]["senior"] = pair[senior[number]]
        guess_of = {"kinship": KINSHIP[guesses[0][number]], "status": STATUS[guesses[1][number]]}
        predictions[clip_id] = {**guess_of, "senior": "AB"[guesses[2][number]]}
    table = pa.concat_tables([votes, _table(gold_columns, len(golden), "gold")])
    return Simulated(table, infos, truth_of, predictions if s.predicted else {})


def _table(columns: dict[str, object], n: int, round_name: str) -> pa.Table:
    empty = {"issues": [[]] * n, "evidence": [[]] * n, "notes": [""] * n, "config_hash": ["h"] * n}
    times = {"created_at": [START] * n, "updated_at": [START] * n, "round": [round_name] * n, "withdrawn": [False] * n}
    given = {**empty, **times, **columns}
    arrays = []
    for item in SCHEMA:
        values = given.get(item.name, [None] * n)
        array = values if isinstance(values, (pa.Array, pa.ChunkedArray)) else pa.array(values, item.type)
        arrays.append(array.cast(item.type))
    return pa.Table.from_arrays(arrays, schema=SCHEMA)
