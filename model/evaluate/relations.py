"""The relation-shuffle test: the same model under the true relations, under permuted ones, and under none.

A model that is better under the true relation has learned something about relations, if the interval of the difference
lies above zero. What a permutation gives is not drawn but computed: every conversation is predicted under every
relation of the split, and the figures are weighed by how often each occurs. So a model that is merely better under some
relation than under others, whoever speaks, gains nothing: over the split, true and permuted relations are equally
frequent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from model.evaluate.harness import (
    PERSONS,
    EvaluateConfig,
    Key,
    Table,
    checked,
    figures_of,
    gained,
    truth_sample,
)
from model.evaluate.intervals import Cells, mix
from model.evaluate.predictors import Codes, counted
from model.evaluate.report import Shuffle, ShuffleTest
from model.head.load import HeadModel
from model.metrics.motion import REGISTRY, FaceShape, Figure, Metric, Sample
from model.metrics.motion.figures import MIN_FRAMES
from model.motion.conversation import UNKNOWN, Conversation, Relation
from rsat_data.errors import RunError

SURPRISE = Metric(
    "surprise",
    "surprise",
    "mean over frames of minus the log density of y under the model that draws, a part (Run.surprise)",
    "nat",
    "lower",
    lambda sample, group, role: Figure(None, 0.0, "taken of the model, not of a prediction"),
    groups=("motion",),
    roles=("all",),
)
"""How little the true motion is expected. All groups together; a model says it of itself, no prediction is compared."""
PRIMARY = (
    ("mse", "expression"),
    ("mse", "jaw"),
    ("mse", "pose"),
    ("mse", "eyes"),
    (SURPRISE.id, "motion"),
)
"""Outcomes that the verdict rests on, fixed before anything is seen: what the model is trained to make small, each
group of the mean and the surprise of the head that draws."""
OTHERS = ("mse_centred", "fd", "fd_centred", "jaw_correlation", "nod_f1", "smile_f1")
"""Measures that are shown beside."""


_TRUE = "true"


class RelationPredict(Protocol):
    """A model that can be told a relation."""

    def __call__(self, conversation: Conversation, person: str, relation: Relation, /) -> Codes:
        """Codes for every frame of a person, as if the two were related so."""
        ...


class RelationSurprise(Protocol):
    """A model that can say how surprising the true motion is under a relation."""

    def __call__(self, conversation: Conversation, person: str, relation: Relation, /) -> np.ndarray:
        """(T,) nats a part of every frame, lower for what was expected (``Run.surprise``)."""
        ...


def shuffle_test(
    split: str,
    conversations: Sequence[Conversation],
    predict: RelationPredict,
    head: HeadModel | None,
    config: EvaluateConfig,
    *,
    surprise: RelationSurprise | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> ShuffleTest:
    """Run the test on one split. Conversations without a known relation are left out.

    Args:
        split: its name.
        conversations: of the split.
        predict: the model's mean motion under a relation.
        head: of the codes, for what poses it; None leaves that out.
        config: options.
        surprise: the model's surprise under a relation; None for a model that draws nothing: then the verdict rests on
            the errors alone.
        progress: told the share that is done.

    Raises:
        RunError: a prediction is no motion, or a surprise no number.
        HeadMismatch: it is another head's.
    """
    relations = Counter(one.relation for one in conversations if one.relation.known)
    counts = {words(relation): count for relation, count in sorted(relations.items(), key=lambda pair: words(pair[0]))}
    total = sum(relations.values())
    if len(relations) < 2:
        why = "no conversation has a known relation" if not relations else f"all {total} have the same relation"
        return ShuffleTest(split, total, counts, (), "untested", f"Untested: {why}, so none can be permuted.")
    wanted = {one.id for one in config.chosen()}
    metrics = [REGISTRY["mse"], *(REGISTRY[name] for name in OTHERS if name in wanted)]
    table = Table([*metrics, SURPRISE] if surprise is not None else metrics, ("all",))
    face = FaceShape(head) if head is not None else None
    done = 0
    for conversation in conversations:
        if not conversation.relation.known:
            continue
        for person in PERSONS:
            table.dyads.append(conversation.dyad_id)
            _judge(conversation, person, predict, surprise, relations, face, table, config)
        done += 1
        progress(done / total)
    shares = {words(relation): count / total for relation, count in relations.items()}
    return _result(split, counts, shares, table, config)


def words(relation: Relation) -> str:
    """A relation as a short name."""
    senior = f"/{relation.senior}" if relation.senior in PERSONS else ""
    return f"{relation.kinship}/{relation.status}{senior}"


def _judge(
    conversation: Conversation,
    person: str,
    predict: RelationPredict,
    surprise: RelationSurprise | None,
    relations: Mapping[Relation, int],
    face: FaceShape | None,
    table: Table,
    config: EvaluateConfig,
) -> None:
    """One person in one clip under every relation, and under none."""
    frames = counted(conversation, person, config.reference_s)
    truth = truth_sample(conversation, person, frames, face, config.expression)
    for relation in (UNKNOWN, *relations):
        codes = predict(conversation, person, relation)
        checked(codes, truth.motion, frames, f"Clip {conversation.clip_id}, person {person}, {words(relation)}")
        figures = figures_of(Sample(truth, codes), [key for key in table.keys if key[1] != SURPRISE.id])
        if surprise is not None:
            found = surprise(conversation, person, relation)
            figures["all", SURPRISE.id, "motion"] = _surprised(found, frames, f"{conversation.clip_id}, {person}")
        table.add(words(relation), figures)
        if relation == conversation.relation:
            table.add(_TRUE, figures)


def _surprised(errors: np.ndarray, frames: np.ndarray, where: str) -> Figure:
    """Mean of (T,) errors over the frames that count.

    Raises:
        RunError: there is not one for every frame, or one is not finite.
    """
    if errors.shape != frames.shape or not np.isfinite(errors[frames]).all():
        raise RunError(f"Clip {where}: the model's surprise is no row of {len(frames)} numbers.")
    if frames.sum() < MIN_FRAMES:
        return Figure(None, 0.0, f"{int(frames.sum())} frames, {MIN_FRAMES} needed")
    return Figure(float(errors[frames].astype(np.float64).mean()))


def _result(
    split: str, counts: dict[str, int], shares: Mapping[str, float], table: Table, config: EvaluateConfig
) -> ShuffleTest:
    dyad, bootstrap = table.dyad(), config.bootstrap()
    cells = {name: table.cells(name) for name in (_TRUE, words(UNKNOWN), *shares)}
    outcomes = []
    for key in table.keys:
        metric = SURPRISE if key[1] == SURPRISE.id else REGISTRY[key[1]]
        true, unknown = cells[_TRUE][key], cells[words(UNKNOWN)][key]
        permuted = _permuted(cells, shares, key)
        outcomes.append(
            Shuffle(
                split=split,
                metric=key[1],
                group=key[2],
                primary=key[1:] in PRIMARY,
                true=bootstrap.figure(true, dyad),
                permuted=bootstrap.figure(permuted, dyad),
                unknown=bootstrap.figure(unknown, dyad),
                over_permuted=gained(true, permuted, dyad, metric, bootstrap),
                over_unknown=gained(true, unknown, dyad, metric, bootstrap),
            )
        )
    adjusted = iter(holm([one.over_permuted.p for one in outcomes if one.primary]))
    outcomes = [replace(one, p_adjusted=next(adjusted)) if one.primary else one for one in outcomes]
    outcomes.sort(key=lambda one: not one.primary)
    verdict, sentence = _verdict(outcomes, 1 - config.level)
    return ShuffleTest(split, sum(counts.values()), counts, tuple(outcomes), verdict, sentence)


def _permuted(cells: Mapping[str, Mapping[Key, Cells]], shares: Mapping[str, float], key: Key) -> Cells:
    return mix([cells[name][key] for name in shares], list(shares.values()))


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Adjusted p values that hold for all outcomes together (Holm, Scand. J. Stat. 6, 1979); None stays None."""
    order = sorted((value, index) for index, value in enumerate(p) if value is not None)
    found: list[float | None] = [None] * len(p)
    largest = 0.0
    for rank, (value, index) in enumerate(order):
        largest = max(largest, min(1.0, value * (len(order) - rank)))
        found[index] = largest
    return found


def _verdict(outcomes: Sequence[Shuffle], alpha: float) -> tuple[str, str]:
    primary = [one for one in outcomes if one.primary]
    if all(one.p_adjusted is None for one in primary):
        reason = next((one.over_permuted.reason for one in primary if one.over_permuted.reason), "no figures")
        return "untested", f"Untested: {reason}."
    clear = [one for one in primary if one.p_adjusted is not None and one.p_adjusted < alpha]
    names = {
        sign: [f"{one.metric} of {one.group}" for one in clear if (one.over_permuted.value or 0.0) * sign > 0]
        for sign in (1, -1)
    }
    if names[1] and names[-1]:
        return "mixed", f"Mixed: true relations make {_and(names[1])} better and {_and(names[-1])} worse than permuted."
    if names[1]:
        return "gain", f"A gain: true relations are better than permuted ones in {_and(names[1])}."
    if names[-1]:
        return "harm", f"A harm: true relations are worse than permuted ones in {_and(names[-1])}."
    return (
        "none seen",
        "None seen: no outcome that was fixed before tells true from permuted relations.",
    )


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + f" and {names[-1]}"
