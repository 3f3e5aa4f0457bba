"""What an evaluation found, as data: written to JSON, shown in a terminal and as a page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from model.evaluate.intervals import Estimate
from model.evaluate.lips import LipSync
from model.evaluate.pictures import Pictures

FORMAT = "1"
"""Version of the JSON."""


@dataclass(frozen=True)
class Judged:
    """A predictor of the report."""

    name: str
    """Key."""
    title: str
    """What people read."""
    kind: str
    """model, control, floor or truth."""
    note: str = ""
    """What it is."""
    frames_per_second: float | None = None
    """Frames predicted per second of its own time, decoding of sound included; of models only."""


@dataclass(frozen=True)
class Measure:
    """A measure of the report: the register's entry, and what it looked at."""

    id: str
    """Name."""
    title: str
    """What a table's head says."""
    formula: str
    """In one line."""
    unit: str
    """Of the figure."""
    better: str
    """lower, higher or closer."""
    aggregation: str
    """How figures of clips become one."""
    source: str
    """Where the definition comes from."""
    groups: tuple[str, ...]
    """Groups it is taken of."""
    roles: tuple[str, ...]
    """Parts of a conversation it is taken in."""
    vertex_set: str = ""
    """lips, upper_face, all, or empty."""
    vertex_count: int = 0
    """Number of vertices."""
    vertex_sha256: str = ""
    """Hash of their ids."""
    target: float | None = None
    """Of closer: a perfect prediction's figure, where it is known before."""


@dataclass(frozen=True)
class Found:
    """One figure: a predictor, a measure of a group, in a role and a split."""

    split: str
    """test, ood..."""
    role: str
    """all, speaking or listening."""
    predictor: str
    """Name."""
    metric: str
    """Id."""
    group: str
    """expression, jaw, pose, eyes or face."""
    estimate: Estimate
    """With its interval."""


@dataclass(frozen=True)
class Versus:
    """A model beside something else, on the same conversations."""

    split: str
    """test, ood..."""
    role: str
    """all, speaking or listening."""
    metric: str
    """Id."""
    group: str
    """Of codes."""
    predictor: str
    """The model."""
    against: str
    """The other."""
    gain: Estimate
    """How much better the model is: difference of the figures, its sign such that positive is better; paired."""


@dataclass(frozen=True)
class Shuffle:
    """One outcome of the relation-shuffle test: what knowing the true relation is worth."""

    split: str
    """test, ood..."""
    metric: str
    """Id."""
    group: str
    """Of codes."""
    primary: bool
    """One of the outcomes that were fixed before: the verdict rests on them."""
    true: Estimate
    """Figure under the true relations."""
    permuted: Estimate
    """Figure under relations of other conversations, in expectation over all permutations."""
    unknown: Estimate
    """Figure without a relation."""
    over_permuted: Estimate
    """How much better true is than permuted, paired over dyads; positive is better."""
    over_unknown: Estimate
    """How much better true is than unknown."""
    p_adjusted: float | None = None
    """p of over_permuted, Holm's over the primary outcomes; None for others."""


@dataclass(frozen=True)
class ShuffleTest:
    """The relation-shuffle test of a split."""

    split: str
    """test, ood..."""
    conversations: int
    """With a known relation."""
    relations: dict[str, int]
    """How often each occurs."""
    outcomes: tuple[Shuffle, ...]
    """Primary ones first."""
    verdict: str
    """gain, harm, mixed, none seen, or untested."""
    sentence: str
    """The verdict in words."""


@dataclass(frozen=True)
class SplitSize:
    """How much a split holds."""

    split: str
    """test, ood..."""
    conversations: int
    """Of two people."""
    dyads: int
    """Pairs of people."""
    subjects: int
    """People."""
    frames: dict[str, int]
    """Role -> frames that count, of all persons."""
    left_out: int = 0
    """Clips of one person."""


@dataclass(frozen=True)
class Report:
    """Everything an evaluation found."""

    dataset: str
    """Its folder's name."""
    head_model: str
    """Head the codes belong to."""
    options: dict[str, Any]
    """Resolved options of the evaluation."""
    sizes: tuple[SplitSize, ...]
    """Of each split."""
    predictors: tuple[Judged, ...]
    """Models first, then controls, floors, truth."""
    measures: tuple[Measure, ...]
    """In the register's order."""
    figures: tuple[Found, ...]
    """All figures."""
    versus: tuple[Versus, ...]
    """Models against floors and controls."""
    shuffles: tuple[ShuffleTest, ...] = ()
    """Relation-shuffle tests; empty where no model takes relations."""
    lips: tuple[LipSync, ...] = ()
    """Lip sync by the clips' own sound, of each split; empty where the head is not known."""
    pictures: tuple[Pictures, ...] = ()
    """Image metrics of each split; empty without a model."""
    warnings: tuple[str, ...] = ()
    """What to know before trusting the figures."""
    run: dict[str, Any] = field(default_factory=dict)
    """What is known of the run: its name, configuration, dataset."""

    def figure(self, split: str, role: str, predictor: str, metric: str, group: str) -> Estimate | None:
        """One figure; None if it was not taken."""
        return self._index.get((split, role, predictor, metric, group))

    @property
    def _index(self) -> dict[tuple[str, str, str, str, str], Estimate]:
        index: dict[tuple[str, str, str, str, str], Estimate] | None = self.__dict__.get("_made")
        if index is None:
            index = {(f.split, f.role, f.predictor, f.metric, f.group): f.estimate for f in self.figures}
            self.__dict__["_made"] = index  # frozen: a cache is no change
        return index

    def of_kind(self, *kinds: str) -> Iterator[Judged]:
        """Predictors of some kinds."""
        return (one for one in self.predictors if one.kind in kinds)

    def headline_rivals(
        self, split: str, role: str, metric: str, group: str, predictor: str
    ) -> list[Versus]:
        """A model's comparisons on one measure that are worth showing: the closest fair floor, and its own controls."""
        kinds = {one.name: one.kind for one in self.predictors}
        wanted = (split, role, metric, group, predictor)
        rows = [
            one
            for one in self.versus
            if (one.split, one.role, one.metric, one.group, one.predictor) == wanted and one.gain.value is not None
        ]
        fair = [r for r in rows if kinds[r.against] == "floor" and r.against not in ("own_mean", "half_split")]
        closest = [min(fair, key=lambda row: row.gain.value or 0.0)] if fair else []
        return closest + [r for r in rows if r.against.startswith(f"{predictor}:")]

    def as_dict(self) -> dict[str, Any]:
        """For JSON: plain values, None for what is not defined, never NaN."""
        return {"format": FORMAT, **asdict(self)}

    def write(self, path: Path) -> None:
        """As JSON (UTF-8)."""
        path.write_text(json.dumps(self.as_dict(), indent=1, allow_nan=False, ensure_ascii=False) + "\n", "utf-8")
