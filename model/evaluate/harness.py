"""The harness: every predictor, every measure, speaking and listening apart, split by split, with intervals over dyads.

Conversations are taken one at a time and forgotten; what stays is one number a person, clip, predictor and measure.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from model.evaluate.intervals import FEW, Bootstrap, Cells, Estimate
from model.evaluate.predictors import Others, Predictor, controls, counted, floors, truth, truth_of
from model.evaluate.report import Found, Judged, Measure, Report, SplitSize, Versus
from model.head.load import HeadModel
from model.metrics.motion import REGISTRY, ROLES, FaceShape, Figure, Metric, Role, Sample, Truth
from model.motion.conversation import Conversation, partner_of
from rsat_data.errors import ConfigError, DatasetError, HeadMismatch, RunError

PERSONS = ("A", "B")


@dataclass(frozen=True)
class EvaluateConfig:
    """Options of an evaluation."""

    reference_s: float = 3.0
    """Seconds at the start of each clip that predictors are given as the person's reference, and that never count."""
    metrics: tuple[str, ...] = ()
    """Ids of the measures to take; none for all."""
    vertices: bool = True
    """Whether measures on vertices and lips are taken."""
    expression: int | None = None
    """Columns of the expression code that hold something, where an import filled codes up with zeros; measures of codes
    look at those alone. None for all."""
    rounds: int = 2000
    """Rounds of the bootstrap over dyads."""
    seed: int = 0
    """Of the bootstrap."""
    level: float = 0.95
    """Coverage of the intervals."""

    def __post_init__(self) -> None:
        """Refuse options that make no sense.

        Raises:
            ConfigError: naming the option.
        """
        if self.expression is not None and self.expression < 1:
            raise ConfigError(f"expression should be at least 1, got {self.expression}.")
        for name in self.metrics:
            if name not in REGISTRY:
                raise ConfigError(f"There is no metric {name!r}.", hint=f"Metrics: {', '.join(REGISTRY)}.")
        if self.reference_s < 0:
            raise ConfigError(f"reference_s should be at least 0, got {self.reference_s:g}.")
        if self.rounds < 100:
            raise ConfigError(f"rounds should be at least 100, got {self.rounds}.")
        if not 0.5 <= self.level < 1:
            raise ConfigError(f"level should lie in [0.5, 1), got {self.level:g}.")

    def bootstrap(self) -> Bootstrap:
        """How intervals are made."""
        return Bootstrap(self.rounds, self.seed, self.level)

    def chosen(self) -> list[Metric]:
        """The measures to take."""
        picked = [REGISTRY[name] for name in self.metrics] if self.metrics else list(REGISTRY.values())
        return [one for one in picked if self.vertices or not needs_face(one)]


def needs_face(metric: Metric) -> bool:
    """Whether a measure poses the head."""
    return bool(metric.vertices) or metric.id == "closure_f1"


Key = tuple[Role, str, str]
"""Role, metric, group."""


class Table:
    """Figures of one split: predictor and key -> cells over persons in clips."""

    def __init__(self, metrics: Sequence[Metric], roles: Sequence[Role] = ROLES) -> None:
        self.keys: list[Key] = [
            (role, one.id, group) for one in metrics for group in one.groups for role in one.roles if role in roles
        ]
        self.dyads: list[str] = []
        """(N,) dyad of every person in a clip."""
        self._values: dict[str, list[list[float]]] = {}
        self._weights: dict[str, list[list[float]]] = {}
        self.reasons: dict[tuple[str, Key], str] = {}
        """Why a predictor has no figure, where it had none."""

    def add(self, predictor: str, figures: Mapping[Key, Figure]) -> None:
        """Figures of one predictor for the next person in a clip."""
        values = [figures[key].value for key in self.keys]
        there = [value is not None for value in values]
        self._values.setdefault(predictor, []).append([np.nan if v is None else v for v in values])
        weights = [figures[key].weight if ok else 0.0 for key, ok in zip(self.keys, there, strict=True)]
        self._weights.setdefault(predictor, []).append(weights)
        for key, ok in zip(self.keys, there, strict=True):
            if not ok:
                self.reasons.setdefault((predictor, key), figures[key].reason)

    def cells(self, predictor: str) -> dict[Key, Cells]:
        """Key -> cells (N,)."""
        values, weights = (np.asarray(d[predictor], np.float64) for d in (self._values, self._weights))
        return {key: Cells(values[:, i], weights[:, i]) for i, key in enumerate(self.keys)}

    def dyad(self) -> np.ndarray:
        """(N,) number of the dyad of every person in a clip."""
        found: np.ndarray = np.unique(np.asarray(self.dyads, object).astype(str), return_inverse=True)[1]
        return found.astype(np.int64)


def truth_sample(
    conversation: Conversation, person: str, frames: np.ndarray, face: FaceShape | None, expression: int | None = None
) -> Truth:
    """The truth of a person in a conversation, as measures want it; ``frames`` (T,) count.

    ``expression`` is as in :class:`EvaluateConfig`.
    """
    partner = partner_of(person)
    return Truth(
        motion=truth_of(conversation, person),
        mask=frames,
        speaking=conversation.speaking[person],
        shape=conversation.shape[person],
        partner=truth_of(conversation, partner),
        partner_mask=conversation.valid[partner],
        partner_speaking=conversation.speaking[partner],
        face=face,
        expression=expression,
    )


def checked(codes: Mapping[str, np.ndarray], known: Mapping[str, np.ndarray], frames: np.ndarray, who: str) -> None:
    """Refuse a prediction that does not fit the truth.

    Raises:
        HeadMismatch: a group is of another size.
        RunError: it has another number of frames, or holds values that are not finite.
    """
    if not codes:
        raise RunError(f"{who} predicts nothing.")
    for group, values in codes.items():
        if group not in known:
            raise RunError(f"{who} predicts {group!r}; groups are {', '.join(known)}.")
        if values.ndim != 2 or values.shape[1] != known[group].shape[1]:
            raise HeadMismatch(
                f"{who}: {group} has shape {tuple(values.shape)}, the dataset's has {known[group].shape[1]} columns.",
                hint="The run was trained on codes of another head.",
            )
        if len(values) != len(frames):
            raise RunError(f"{who}: {group} has {len(values)} frames, the conversation {len(frames)}.")
        if not np.isfinite(values[frames]).all():
            raise RunError(f"{who}: {group} holds values that are not finite.", hint="The training diverged.")


def mean_of(samples: Sequence[Figure]) -> Figure:
    """Figures of several samples of one predictor as one: their weighted mean; of those there are, if some are none."""
    there = [(one.value, one.weight) for one in samples if one.value is not None]
    weight = sum(weight for _, weight in there)
    if not there or weight <= 0:
        return samples[0]
    return Figure(sum(value * share for value, share in there) / weight, weight / len(samples))


def figures_of(sample: Sample, keys: Sequence[Key]) -> dict[Key, Figure]:
    """Measures of a sample; none of somebody of whom no frame counts, such as one who is heard and not seen."""
    if not sample.truth.mask.any():
        return dict.fromkeys(keys, Figure(None, 0.0, "no frame counts"))
    return {(role, name, group): REGISTRY[name](sample, group, role) for role, name, group in keys}


Progress = Callable[[float], None]


def evaluate(
    splits: Mapping[str, Sequence[Conversation]],
    models: Sequence[Predictor],
    head: HeadModel | None,
    config: EvaluateConfig,
    *,
    dataset: str = "",
    with_floors: bool = True,
    progress: Progress = lambda share: None,
) -> Report:
    """Judge models beside floors and controls.

    Args:
        splits: name of a split -> its conversations; each is read twice, its sizes first.
        models: what is judged; may be empty, then the floors alone are.
        head: the head model of the codes, for measures on the face; None leaves them out.
        config: options.
        dataset: name for the report.
        with_floors: whether floors and controls are judged too.
        progress: told the share that is done.

    Raises:
        DatasetError: no split holds a conversation of two people.
        HeadMismatch: codes and head model, or two splits, do not go together.
        RunError: a model predicts something that is no motion.
    """
    metrics = [one for one in config.chosen() if head is not None or not needs_face(one)]
    face = FaceShape(head) if head is not None else None
    total = sum(len(conversations) for conversations in splits.values())
    if not total:
        raise DatasetError(
            f"There is no conversation of two people in {' or '.join(splits) or 'any split'}.",
            hint="Build the dataset with more clips, or choose another split with --split.",
        )
    if len(heads := sorted({_head_of(conversations) for conversations in splits.values() if len(conversations)})) > 1:
        raise HeadMismatch(
            f"The splits hold codes of different heads: {', '.join(heads)}; those never mix.",
            hint="Give --ood a dataset of the same head, or judge it by itself.",
        )
    sizes, figures, versus, warnings = [], [], [], []
    judged: dict[str, Judged] = {}
    seconds: dict[str, list[float]] = {}
    head_model = heads[0]
    done = 0
    for split, conversations in splits.items():
        if not len(conversations):
            warnings.append(f"split {split}: no conversation of two people, left out")
            continue
        table = Table(metrics)
        size = _size(split, conversations, head, config)
        sizes.append(size)
        warnings += _warn(size)
        others = Others(conversations, [(c.clip_id, c.dyad_id) for c in conversations])
        if not others.complete:
            warnings.append(f"split {split}: one dyad only, so nothing is shuffled and there are no intervals")
        row = list(models)
        if with_floors:
            row += [control for model in models for control in controls(model, others)]
            row += floors(others, config.reference_s)
        row.append(truth())
        for one in row:
            judged.setdefault(one.name, Judged(one.name, one.title, one.kind, one.note))
        for conversation in conversations:
            for person in PERSONS:
                table.dyads.append(conversation.dyad_id)
                _judge(conversation, person, row, face, config, table, seconds)
            done += 1
            progress(done / total)
        found, compared = _summary(split, row, table, metrics, config)
        figures += found
        versus += compared
    return Report(
        dataset=dataset,
        head_model=head_model,
        options=asdict(config),
        sizes=tuple(sizes),
        predictors=tuple(_with_speed(one, seconds) for one in judged.values()),
        measures=tuple(describe(one, face) for one in metrics),
        figures=tuple(figures),
        versus=tuple(versus),
        warnings=tuple(warnings),
    )


def _judge(
    conversation: Conversation,
    person: str,
    row: Sequence[Predictor],
    face: FaceShape | None,
    config: EvaluateConfig,
    table: Table,
    seconds: dict[str, list[float]],
) -> None:
    """All predictors on one person in one clip; the truth's costly parts are made once for those on the same frames."""
    frames = counted(conversation, person, config.reference_s)
    shared = truth_sample(conversation, person, frames, face, config.expression)
    for one in row:
        mine = shared
        if one.frames is not None:
            own = one.frames(conversation, person, frames) & frames
            if not np.array_equal(own, frames):
                mine = truth_sample(conversation, person, own, face, config.expression)
        samples = []
        for predict in (one.predict, *one.more):
            begin = time.perf_counter()
            codes = predict(conversation, person)
            if one.kind == "model":
                seconds.setdefault(one.name, []).extend((conversation.num_frames, time.perf_counter() - begin))
            checked(codes, mine.motion, mine.mask, f"{one.title}, clip {conversation.clip_id}, person {person}")
            samples.append(figures_of(Sample(mine, codes), table.keys))
        table.add(one.name, {key: mean_of([sample[key] for sample in samples]) for key in table.keys})


def _head_of(conversations: Sequence[Conversation]) -> str:
    known = getattr(conversations, "head_model", None)
    return str(known) if known is not None else conversations[0].head_model


def _size(
    split: str, conversations: Sequence[Conversation], head: HeadModel | None, config: EvaluateConfig
) -> SplitSize:
    dyads: set[str] = set()
    subjects: set[str] = set()
    frames = dict.fromkeys(ROLES, 0)
    for conversation in conversations:
        _same_head(conversation, head)
        dyads.add(conversation.dyad_id)
        subjects.update(conversation.subject_id.values())
        for person in PERSONS:
            truth = truth_sample(conversation, person, counted(conversation, person, config.reference_s), None)
            for role in ROLES:
                frames[role] += int(truth.frames(role).sum())
    left_out = int(getattr(conversations, "left_out", 0))
    counts: dict[str, int] = {str(role): count for role, count in frames.items()}
    return SplitSize(split, len(conversations), len(dyads), len(subjects), counts, left_out)


def _same_head(conversation: Conversation, head: HeadModel | None) -> None:
    width = conversation.codes["A"]["expression"].shape[1]
    if head is not None and (width != head.num_expression or len(conversation.shape["A"]) != head.num_shape):
        raise HeadMismatch(
            f"Clip {conversation.clip_id} has {width} expression and {len(conversation.shape['A'])} shape codes "
            f"({conversation.head_model}), the head model {head.id} has {head.num_expression} and {head.num_shape}.",
            hint="Give the head that the dataset was made with, or --no-vertices for measures that need none.",
        )


def _warn(size: SplitSize) -> list[str]:
    found = []
    if 1 < size.dyads < FEW:
        found.append(f"split {size.split}: {size.dyads} dyads are few; its intervals rest on Student's t and are wide")
    if size.subjects < 2 * size.dyads:
        found.append(
            f"split {size.split}: {size.subjects} people make {size.dyads} dyads, so some are in several and the "
            "intervals are somewhat too narrow"
        )
    if not size.frames["all"]:
        found.append(f"split {size.split}: no frame counts; clips are no longer than the reference, or not valid")
    if size.left_out:
        found.append(f"split {size.split}: {size.left_out} clips of one person left out")
    return found


def _summary(
    split: str, row: Sequence[Predictor], table: Table, metrics: Sequence[Metric], config: EvaluateConfig
) -> tuple[list[Found], list[Versus]]:
    bootstrap, dyad = config.bootstrap(), table.dyad()
    cells = {one.name: table.cells(one.name) for one in row}
    figures, versus = [], []
    by_id = {one.id: one for one in metrics}
    for one in row:
        for key in table.keys:
            estimate = bootstrap.figure(cells[one.name][key], dyad)
            if estimate.value is None:
                estimate = Estimate(None, dyads=estimate.dyads, reason=table.reasons.get((one.name, key), ""))
            figures.append(Found(split, key[0], one.name, key[1], key[2], _inside(estimate, by_id[key[1]])))
    for model in (one for one in row if one.kind == "model"):
        for other in (one for one in row if one.kind in ("model", "control", "floor") and one is not model):
            for key in table.keys:
                metric = by_id[key[1]]
                if metric.better == "closer":
                    continue
                gain = gained(cells[model.name][key], cells[other.name][key], dyad, metric, bootstrap)
                versus.append(Versus(split, key[0], key[1], key[2], model.name, other.name, gain))
    return figures, versus


def gained(first: Cells, second: Cells, dyad: np.ndarray, metric: Metric, bootstrap: Bootstrap) -> Estimate:
    """How much better the first is than the second: positive is better; paired."""
    pair = (first, second) if metric.better == "higher" else (second, first)
    return bootstrap.difference(*pair, dyad, pooled=is_pooled(metric))


def is_pooled(metric: Metric) -> bool:
    """Whether figures are of all clips' events together."""
    return metric.aggregation.startswith("over all")


def _inside(estimate: Estimate, metric: Metric) -> Estimate:
    """Ends of an interval brought into the range that figures can have."""
    if estimate.low is None or estimate.high is None:
        return estimate
    low = estimate.low if metric.id in ("fdd_codetalker", "jaw_correlation") else max(estimate.low, 0.0)
    high = min(estimate.high, 1.0) if metric.unit == "1" and metric.id != "rpcc" else estimate.high
    return replace(estimate, low=low, high=high)


def _with_speed(one: Judged, seconds: Mapping[str, list[float]]) -> Judged:
    spent = seconds.get(one.name)
    if not spent:
        return one
    return replace(one, frames_per_second=sum(spent[0::2]) / max(sum(spent[1::2]), 1e-9))


def describe(metric: Metric, face: FaceShape | None) -> Measure:
    """The register's entry, with the vertices of this head."""
    chosen = face.sets[metric.vertices] if face is not None and metric.vertices else None
    return Measure(
        metric.id,
        metric.title,
        metric.formula,
        metric.unit,
        metric.better,
        metric.aggregation,
        metric.source,
        metric.groups,
        tuple(metric.roles),
        metric.vertices,
        0 if chosen is None else len(chosen.ids),
        "" if chosen is None else chosen.sha256,
        metric.target,
    )
