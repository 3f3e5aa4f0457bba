"""The register: every measure with its id, formula, unit, how it is averaged, and where its definition comes from.

A measure turns a :class:`~model.metrics.motion.sample.Sample` and a group of codes into a
:class:`~model.metrics.motion.figures.Figure`; the pure functions behind it take arrays. **Aggregation**: the mean over
persons in conversations weighted by ``Figure.weight``. Where that is 1, it is the plain mean of a figure a clip; where
it is a number of events or minutes, it is the figure of all clips' events together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from model.metrics.motion import codes, events, meshes
from model.metrics.motion.clusters import CLUSTERS, shannon_index
from model.metrics.motion.figures import FPS, Figure, Floats, NoFigure
from model.metrics.motion.sample import GROUPS, ROLES, Role, Sample

Better = Literal["lower", "higher", "closer"]
"""closer: to the truth's own figure (``Metric.target`` where that is known before, else the row of the truth)."""

THREE = ("expression", "jaw", "pose")
FACE = ("face",)
"""The group of measures that look at the face as a whole."""
_PER_CLIP = "mean over persons in conversations, each the same weight"
_POOLED_EVENTS = "over all conversations' events together"
_DUALTALK = "DualTalk (CVPR 2025) and TIMAR, as released"
_OURS = "rsat-data"


@dataclass(frozen=True)
class Metric:
    """One measure."""

    id: str
    """Name in tables and files; never reused for another definition."""
    title: str
    """What a table's head says."""
    formula: str
    """In one line; x prediction, y truth, a partner."""
    unit: str
    """Unit of the figure."""
    better: Better
    """lower, higher, or closer to the truth's own figure."""
    measure: Callable[[Sample, str, Role], Figure | float]
    """From a sample, a group and a role; may raise NoFigure."""
    groups: tuple[str, ...] = THREE
    """Groups of codes it is taken of; ``face`` for measures of the whole face."""
    roles: tuple[Role, ...] = ROLES
    """Parts of a conversation it is taken in."""
    aggregation: str = _PER_CLIP
    """How figures become one."""
    source: str = _OURS
    """Where the definition comes from."""
    vertices: str = ""
    """Vertex set it looks at: lips, upper_face, all; empty for none."""
    target: float | None = None
    """Of ``closer``: the figure of a perfect prediction; None where it is the truth's own."""

    def __call__(self, sample: Sample, group: str, role: Role = "all") -> Figure:
        """The figure, or the reason why there is none."""
        try:
            found = self.measure(sample, group, role)
        except NoFigure as reason:
            return Figure(None, 0.0, str(reason))
        return found if isinstance(found, Figure) else Figure(found)


def _two(function: Callable[..., float], **options: object) -> Callable[[Sample, str, Role], float]:
    """A measure of prediction and truth."""

    def measure(sample: Sample, group: str, role: Role) -> float:
        return function(*sample.group(group), sample.truth.frames(role), **options)

    return measure


def _three(function: Callable[..., float]) -> Callable[[Sample, str, Role], float]:
    """A measure of prediction, truth and partner, in frames in which both people are valid."""

    def measure(sample: Sample, group: str, role: Role) -> float:
        x, y = sample.group(group)
        return function(x, y, sample.partner(group), sample.truth.frames(role) & sample.truth.both)

    return measure


def _one(function: Callable[..., float]) -> Callable[[Sample, str, Role], float]:
    """A measure of the prediction alone."""

    def measure(sample: Sample, group: str, role: Role) -> float:
        return function(sample.group(group)[0], sample.truth.frames(role))

    return measure


def _sid(reverse: bool) -> Callable[[Sample, str, Role], float]:
    def measure(sample: Sample, group: str, role: Role) -> float:
        return shannon_index(*sample.group(group), CLUSTERS[group], sample.truth.frames(role), reverse=reverse)

    return measure


def _frechet(centred: bool) -> Callable[[Sample, str, Role], float]:
    def measure(sample: Sample, group: str, role: Role) -> float:
        means, spreads = sample.frechet(group, role)
        return spreads if centred else means + spreads

    return measure


def _lips(sample: Sample, group: str, role: Role) -> float:
    return float(sample.lip_errors[sample.picked(role)].mean())


def _mesh(number: int) -> Callable[[Sample, str, Role], float]:
    def measure(sample: Sample, group: str, role: Role) -> float:
        return float(sample.mesh_errors[number][sample.picked(role)].mean())

    return measure


def _root_of(inner: Callable[[Sample, str, Role], float]) -> Callable[[Sample, str, Role], float]:
    return lambda sample, group, role: float(np.sqrt(inner(sample, group, role)))


def _upper(function: Callable[[Floats, Floats], float], number: int) -> Callable[[Sample, str, Role], float]:
    def measure(sample: Sample, group: str, role: Role) -> float:
        picked = sample.picked(role)
        return function(sample.upper[number][picked], sample.truth.upper[number][picked])

    return measure


def _jaw_correlation(sample: Sample, group: str, role: Role) -> float:
    x, y = sample.group("jaw")
    return codes.correlation(x[:, 0], y[:, 0], sample.truth.frames(role))


def _closures(sample: Sample, group: str, role: Role) -> Figure:
    truth = sample.truth
    frames = truth.frames(role)
    found, wanted = (events.lip_closures(gap, *truth.gap_range, frames) for gap in (sample.gap, truth.gap))
    return Figure(*events.f1(found, wanted, events.CLOSURE_REACH))


Kind = Literal["nod", "smile"]


def _starts(sample: Sample, kind: Kind, role: Role, *, whose: Literal["x", "y"]) -> events.Ints:
    """Starts of nods or smiles of the prediction (x) or the truth (y), in a role's frames."""
    truth, frames = sample.truth, sample.truth.mask
    motion = {"x": sample.prediction, "y": truth.motion}[whose]
    if kind == "nod":
        x, y = sample.group("pose")
        found = events.nods((x if whose == "x" else y)[:, 0], frames)
    else:
        if "expression" not in motion:
            raise NoFigure("expression is not predicted")
        found = events.smiles(truth.smile_of(motion), frames, truth.smile_rest)
    return found[truth.frames(role)[found]]


def _event_f1(kind: Kind) -> Callable[[Sample, str, Role], Figure]:
    def measure(sample: Sample, group: str, role: Role) -> Figure:
        found, wanted = (_starts(sample, kind, role, whose=whose) for whose in ("x", "y"))
        return Figure(*events.f1(found, wanted, events.RESPONSE_REACH))

    return measure


def _timing(kind: Kind) -> Callable[[Sample, str, Role], Figure]:
    def measure(sample: Sample, group: str, role: Role) -> Figure:
        found, wanted = (_starts(sample, kind, role, whose=whose) for whose in ("x", "y"))
        return Figure(*events.timing(found, wanted, events.RESPONSE_REACH))

    return measure


def _rate(kind: Kind) -> Callable[[Sample, str, Role], Figure]:
    def measure(sample: Sample, group: str, role: Role) -> Figure:
        minutes = float(sample.truth.frames(role).sum()) / FPS / 60
        if minutes == 0:
            raise NoFigure("no frames")
        return Figure(len(_starts(sample, kind, role, whose="x")) / minutes, minutes)

    return measure


def _answered(kind: Kind) -> Callable[[Sample, str, Role], Figure]:
    def measure(sample: Sample, group: str, role: Role) -> Figure:
        truth = sample.truth
        if truth.partner_speaking is None or truth.partner is None:
            raise NoFigure("there is no partner")
        frames = truth.frames(role)
        if kind == "nod":
            calls = events.speech_events(truth.partner_speaking)
        else:
            valid = truth.both  # the partner's smiles are seen in valid frames only
            strength = truth.smile_of(truth.partner)
            rest = float(np.quantile(strength[valid], 0.2)) if valid.any() else 0.0
            calls = events.smiles(strength, valid, rest)
        answered, possible = events.answers(calls, _starts(sample, kind, role, whose="x"), frames)
        if not possible:
            raise NoFigure("the partner does nothing to answer")
        return Figure(answered / possible, possible)

    return measure


_ALL: tuple[Role, ...] = ("all",)
_LISTENING: tuple[Role, ...] = ("all", "listening")
_SPEAKING: tuple[Role, ...] = ("speaking",)

_METRICS = (
    Metric(
        "fd",
        "FD",
        "|mean x - mean y|^2 + tr(Sx + Sy - 2 (Sx Sy)^1/2), frames of one clip, raw codes, ddof 1",
        "code^2",
        "lower",
        _frechet(False),
        groups=GROUPS,
        source=_DUALTALK,
    ),
    Metric(
        "fd_centred",
        "FD centred",
        "tr(Sx + Sy - 2 (Sx Sy)^1/2): fd without the difference of the means",
        "code^2",
        "lower",
        _frechet(True),
        groups=GROUPS,
    ),
    Metric(
        "pfd", "P-FD", "fd of [a; x] against [a; y]", "code^2", "lower", _three(codes.paired_frechet), source=_DUALTALK
    ),
    Metric(
        "mse",
        "MSE",
        "mean over frames and codes of (x - y)^2",
        "code^2",
        "lower",
        _two(codes.squared_error),
        groups=GROUPS,
        source=_DUALTALK,
    ),
    Metric(
        "mse_centred",
        "MSE centred",
        "mse after x and y each lost their own mean over the frames",
        "code^2",
        "lower",
        _two(codes.squared_error, centred=True),
        groups=GROUPS,
    ),
    Metric(
        "sid",
        "SID",
        "-sum p log2(p + 1e-6), p the shares of x's frames in k-means clusters of y; k 40, 10, 10",
        "bit",
        "closer",
        _sid(reverse=False),
        roles=_ALL,
        source="Learning2Listen (CVPR 2022), as released",
    ),
    Metric(
        "reverse_sid",
        "reverse SID",
        "as sid with x and y swapped: clusters of x, frames of y",
        "bit",
        "closer",
        _sid(reverse=True),
        roles=_ALL,
        source="what DualTalk's program prints as SID (its arguments are swapped); TIMAR's reverse_sid",
    ),
    Metric(
        "rpcc",
        "rPCC",
        "|corr(y, a) - corr(x, a)|, Pearson over flattened values; 0 for a motion without spread",
        "1",
        "lower",
        _three(codes.residual_correlation),
        source=_DUALTALK,
    ),
    Metric(
        "sts",
        "STS",
        "sqrt(sum over frames and codes of (dx - dy)^2 / 0.1), d the step to the next frame; grows with length",
        "code",
        "lower",
        _two(codes.short_time_synchrony),
        roles=_ALL,
        source=_DUALTALK,
    ),
    Metric(
        "diversity",
        "diversity",
        "mean distance of 100 random pairs of frames of x (seed 0)",
        "code",
        "closer",
        _one(codes.diversity),
        source=_DUALTALK,
    ),
    Metric(
        "variance",
        "variance",
        "mean over codes of the variance of x over frames, ddof 0",
        "code^2",
        "closer",
        _one(codes.variance),
        source=_DUALTALK,
    ),
    Metric(
        "lve_codetalker",
        "LVE (CodeTalker)",
        "mean over frames of max over lip vertices of |x - y|^2: squared",
        "mm^2",
        "lower",
        _lips,
        groups=FACE,
        source="CodeTalker (CVPR 2023), FaceDiffuser (MIG 2023), as released; there in the unit of the mesh, squared",
        vertices="lips",
    ),
    Metric(
        "lve_unils",
        "LVE (UniLS)",
        "sqrt(mean over speaking frames of max over lip vertices of |x - y|^2), no head pose",
        "mm",
        "lower",
        _root_of(_lips),
        groups=FACE,
        roles=_SPEAKING,
        source="UniLS and ARTalk, as released",
        vertices="lips",
    ),
    Metric(
        "mve",
        "MVE",
        "mean over frames and vertices of |x - y|",
        "mm",
        "lower",
        _mesh(0),
        groups=FACE,
        source="FaceDiffuser (MIG 2023), as released",
        vertices="all",
    ),
    Metric(
        "mhd",
        "MHD",
        "sqrt(mean over frames and vertices of |x - y|^2), no head pose",
        "mm",
        "lower",
        _root_of(_mesh(1)),
        groups=FACE,
        source="UniLS, as released",
        vertices="all",
    ),
    Metric(
        "fdd_codetalker",
        "FDD (CodeTalker)",
        "mean_v std_t |y - rest|^2 - mean_v std_t |x - rest|^2, upper face; signed, positive: x moves less",
        "mm^2",
        "closer",
        _upper(meshes.stir_gap, 0),
        groups=FACE,
        source="CodeTalker (CVPR 2023), as released",
        vertices="upper_face",
        target=0.0,
    ),
    Metric(
        "fdd_facediffuser",
        "FDD (FaceDiffuser)",
        "|fdd_codetalker| of each clip",
        "mm^2",
        "lower",
        _upper(lambda x, y: abs(meshes.stir_gap(x, y)), 0),
        groups=FACE,
        source="FaceDiffuser (MIG 2023), as released",
        vertices="upper_face",
    ),
    Metric(
        "fdd_unils",
        "FDD (UniLS)",
        "100 mean_v |std_t(sum of x's coordinates) - std_t(sum of y's)|, upper face, mm",
        "0.01 mm",
        "lower",
        _upper(meshes.sum_gap, 1),
        groups=FACE,
        source="UniLS, as released",
        vertices="upper_face",
    ),
    Metric(
        "pdd_jdd",
        "PDD, JDD",
        "100 mean over codes of |std_t x - std_t y|, ddof 0: PDD of pose, JDD of jaw",
        "0.01 rad",
        "lower",
        _two(codes.spread_gap),
        groups=("pose", "jaw"),
        source="UniLS, as released",
    ),
    Metric(
        "jaw_correlation",
        "jaw corr",
        "Pearson's correlation of the jaw's turn about x; 0 for a prediction that does not move",
        "1",
        "higher",
        _jaw_correlation,
        groups=("jaw",),
    ),
    Metric(
        "closure_f1",
        "closure F1",
        "F1 of lip closures of at most 0.4 s, matched within 80 ms, threshold from the subject's own range",
        "1",
        "higher",
        _closures,
        groups=FACE,
        roles=_SPEAKING,
        aggregation=_POOLED_EVENTS,
    ),
    *(
        metric
        for kind, calls in (("nod", "the partner's starts and ends of speech"), ("smile", "the partner's smiles"))
        for metric in (
            Metric(
                f"{kind}_f1",
                f"{kind} F1",
                f"F1 of {kind}s, starts matched within 0.48 s",
                "1",
                "higher",
                _event_f1(kind),  # type: ignore[arg-type]
                groups=FACE,
                roles=_LISTENING,
                aggregation=_POOLED_EVENTS,
            ),
            Metric(
                f"{kind}_timing",
                f"{kind} timing",
                f"mean time between matched {kind}s of x and y",
                "s",
                "lower",
                _timing(kind),  # type: ignore[arg-type]
                groups=FACE,
                roles=_LISTENING,
                aggregation=_POOLED_EVENTS,
            ),
            Metric(
                f"{kind}_rate",
                f"{kind} rate",
                f"{kind}s of x a minute",
                "1/min",
                "closer",
                _rate(kind),  # type: ignore[arg-type]
                groups=FACE,
                roles=_LISTENING,
                aggregation="over all conversations' minutes together",
            ),
            Metric(
                f"{kind}_response",
                f"{kind} response",
                f"share of {calls} that a {kind} of x follows within 2 s",
                "1",
                "closer",
                _answered(kind),  # type: ignore[arg-type]
                groups=FACE,
                roles=_LISTENING,
                aggregation=_POOLED_EVENTS,
            ),
        )
    ),
)

REGISTRY: dict[str, Metric] = {metric.id: metric for metric in _METRICS}
"""Every measure, by id, in the order of the report."""
