"""Lip sync by the clip's own sound: the score of the column ``q_sync``, of true lips and of predicted ones.

Lips are those of the posed mesh (:func:`model.metrics.lip_sync.opening_of`), the sound is the person's own speech in a
clip, and frames count where the person speaks, alone if that leaves a second. Beside the truth and the models stand the
same models hearing somebody else, and the true lips under somebody else's voice, which is what chance gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from model.evaluate.intervals import Bootstrap, Cells, Estimate
from model.evaluate.predictors import Others, Predictor, counted, truth_of, with_audio_of
from model.head import HeadModel
from model.metrics.lip_sync import EYE_CORNERS, INNER_LIPS, envelope, lip_sync, opening_of
from model.metrics.motion import FaceShape
from model.motion.conversation import FPS, PERSONS, Conversation, partner_of
from rsat_data.errors import DatasetError

TRUTH, CHANCE = "truth", "chance"


@dataclass(frozen=True)
class LipScore:
    """A row of the table."""

    name: str
    """truth, chance, a model's name, or ``<model>:shuffled_audio``."""
    title: str
    """What people read."""
    kind: str
    """truth, model, control or floor."""
    score: Estimate
    """Mean correlation over persons in clips."""
    offset_ms: Estimate
    """Mean lag of the sound behind the lips."""


@dataclass(frozen=True)
class LipSync:
    """Lip sync of a split."""

    split: str
    """test, ood..."""
    scores: tuple[LipScore, ...]
    """Truth, models with their control, chance."""
    gains: dict[str, Estimate]
    """Model -> how much better it scores than with somebody else's speech; paired."""
    note: str = ""
    """Why there is none, where there is none."""


class Lips:
    """Openings of a head's mouth under codes."""

    def __init__(self, head: HeadModel) -> None:
        marks = head.landmarks
        assert marks is not None
        self._face = FaceShape(head)
        ids = [*INNER_LIPS, *EYE_CORNERS]
        self._corners = head.faces[marks.face_index[ids]].numpy()
        self._shares = marks.bary[ids].numpy()

    def opening(self, shape: np.ndarray, codes: Mapping[str, np.ndarray], known: np.ndarray) -> np.ndarray:
        """(T,) opening of the mouth, in distances of the eyes' outer corners; NaN where not ``known`` (T,)."""
        # Copies: a dataset's arrays may not be written to, which torch warns of.
        expression, jaw = (np.array(codes[name], np.float32) for name in ("expression", "jaw"))
        vertices = np.asarray(self._face.vertices(shape, expression, jaw))
        places = np.einsum("tkcx,kc->tkx", vertices[:, self._corners].astype(np.float64), self._shares)
        points = np.full((len(places), 478, 3), np.nan)
        points[:, [*INNER_LIPS, *EYE_CORNERS]] = places
        return np.where(known, opening_of(points), np.nan)


def judge_lips(
    split: str,
    talks: Sequence[Conversation],
    models: Sequence[Predictor],
    head: HeadModel,
    reference_s: float,
    bootstrap: Bootstrap,
    progress: Callable[[float], None] = lambda share: None,
) -> LipSync:
    """Scores of a split.

    Args:
        split: its name.
        talks: its conversations.
        models: what is judged; may be empty.
        head: of the codes.
        reference_s: seconds at a clip's beginning that do not count.
        bootstrap: how intervals are made.
        progress: told the share that is done.
    """
    if head.landmarks is None:
        return LipSync(split, (), {}, f"the head {head.id} has no landmarks, which lips are measured by")
    lips = Lips(head)
    others = Others(talks, [(talk.clip_id, talk.dyad_id) for talk in talks])
    rows = [(TRUTH, "truth", "truth")]
    for model in models:
        rows.append((model.name, model.title, "model"))
        if others.complete:
            rows.append((f"{model.name}:shuffled_audio", f"{model.title}, shuffled audio", "control"))
    if others.complete:
        rows.append((CHANCE, "true lips, someone else's voice", "floor"))
    found: dict[str, list[tuple[float, float]]] = {name: [] for name, _, _ in rows}
    dyads: list[str] = []
    for done, talk in enumerate(talks):
        other = others(talk) if others.complete else None
        for person in PERSONS:
            try:
                one = _person(talk, person, other, models, lips, reference_s)
            except DatasetError:  # no sound, or one that does not fit: nothing to be in time with
                one = {}
            for name in found:
                found[name].append(one.get(name, (np.nan, np.nan)))
            dyads.append(talk.dyad_id)
        progress((done + 1) / len(talks))
    numbers = np.unique(np.asarray(dyads, object).astype(str), return_inverse=True)[1].astype(np.int64)
    cells = {name: [_cells([value[k] for value in values]) for k in (0, 1)] for name, values in found.items()}
    scores = [
        LipScore(
            name, title, kind, _correlation(bootstrap.figure(cells[name][0], numbers)),
            bootstrap.figure(cells[name][1], numbers),
        )
        for name, title, kind in rows
    ]  # fmt: skip
    gains = {
        model.name: bootstrap.difference(cells[model.name][0], cells[f"{model.name}:shuffled_audio"][0], numbers)
        for model in models
        if others.complete
    }
    note = "" if scores[0].score.value is not None else "nobody speaks for a second outside of the reference"
    return LipSync(split, tuple(scores), gains, note)


def _person(
    talk: Conversation, person: str, other: Conversation | None, models: Sequence[Predictor], lips: Lips,
    reference_s: float,
) -> dict[str, tuple[float, float]]:  # fmt: skip
    """Row -> score and lag of a person in a clip."""
    known, partner = talk.valid[person], partner_of(person)
    frames = counted(talk, person, reference_s) & talk.speaking[person]
    alone = frames & ~talk.speaking[partner]
    judged = alone if alone.sum() >= FPS else frames
    loudness = envelope(talk.audio(person), talk.num_frames)
    true = lips.opening(talk.shape[person], truth_of(talk, person), known)
    found = {TRUTH: lip_sync(true, loudness, judged)}
    if other is not None:
        voice = envelope(with_audio_of(talk, person, other).audio(person), talk.num_frames)
        found[CHANCE] = lip_sync(true, voice, judged)
    for model in models:
        heard = {model.name: talk}
        if other is not None:
            heard[f"{model.name}:shuffled_audio"] = with_audio_of(talk, person, other)
        for name, said in heard.items():
            codes = model.predict(said, person)
            found[name] = lip_sync(lips.opening(talk.shape[person], codes, known), loudness, judged)
    return found


def _correlation(estimate: Estimate) -> Estimate:
    """With ends of the interval that a correlation can have."""
    if estimate.low is None or estimate.high is None:
        return estimate
    return replace(estimate, low=max(estimate.low, -1.0), high=min(estimate.high, 1.0))


def _cells(values: Sequence[float]) -> Cells:
    array = np.asarray(values, np.float64)
    return Cells(array, np.isfinite(array).astype(np.float64))
