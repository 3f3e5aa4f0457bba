"""What the votes agree on: clip by clip by majority, then pair by pair, because a relation is a fact of two people.

Pure functions. An answer is agreed on if enough people voted, enough of them gave it, and, where a model of the
annotators has enough votes to be fitted, the model believes it too. Then all clips of a pair of people must say the
same: a pair that is blood in one clip and not in another is a conflict, and none of it is labelled. An adjudicator's
word goes before votes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from annotation.agreement.report import ClipInfo
from annotation.votes import current_votes

QUESTIONS = ("kinship", "status", "senior")
UNSURE = "unsure"

#: clip -> question -> answer -> probability; answers to senior are subject ids.
Posteriors = Mapping[str, Mapping[str, Mapping[str, float]]]


@dataclass(frozen=True)
class ConsensusOptions:
    """When votes count as agreement."""

    majority: float = 2 / 3
    """Least share of the votes that must give an answer."""
    posterior: float = 0.8
    """Least probability of that answer by the model of the annotators, where there is one."""
    min_votes: int = 2
    """Least number of votes on a clip."""
    model_votes: int = 50
    """Votes in all below which the model of the annotators is not asked: it would know nobody well enough."""
    model_annotators: int = 3
    """Annotators below which it is not asked: of two that disagree it cannot tell who is right."""
    spread: bool = True
    """Whether what is agreed on a pair also goes to its clips without a decision of their own."""
    metadata: str = "keep"
    """Votes against what the owner of the source said: keep (reported, and only an adjudicator may overrule it) or
    replace (reported, and the votes win)."""


@dataclass(frozen=True)
class Relation:
    """A relation as a row of clips holds it."""

    kinship: str = "unknown"
    """blood, non_blood, unknown."""
    status: str = "unknown"
    """equal, unequal, unknown."""
    senior: str = "unknown"
    """A, B, none, unknown."""
    relation_source: str = "unlabelled"
    """unlabelled, metadata, votes, adjudicated."""
    relation_confidence: float | None = None
    """Trust; None if unlabelled."""
    num_votes: int = 0
    """Votes on the clip, adjudicators' included."""
    agreement: float | None = None
    """Share of these votes that say the same as the relation; None without votes, or without a relation."""


@dataclass(frozen=True)
class Answer:
    """What was decided on one question."""

    value: str
    """The answer; for senior a subject id; unsure where people agree that it cannot be told."""
    trust: float
    """Probability by the model where there is one, else share of the votes."""
    adjudicated: bool = False
    """Whether an adjudicator said it."""


@dataclass(frozen=True)
class Item:
    """A clip that somebody should look at again."""

    clip_id: str
    """The clip."""
    dyad_id: str
    """Its pair."""
    reasons: tuple[str, ...]
    """Why, one sentence each."""


@dataclass(frozen=True)
class Conflict:
    """A pair of people of whom different clips say different things."""

    dyad_id: str
    """The pair."""
    question: str
    """kinship, status or senior."""
    values: Mapping[str, tuple[str, ...]]
    """What is said (senior as subject id) -> the clips that say it."""
    with_metadata: bool
    """Whether the owner of the source is among those who say it."""
    settled: bool
    """Whether one side won all the same: an adjudicator, or the votes where metadata may be replaced."""

    def __str__(self) -> str:
        said = "; ".join(f"{value} in {', '.join(clips)}" for value, clips in sorted(self.values.items()))
        return f"pair {self.dyad_id}, {self.question}: {said}"


@dataclass(frozen=True)
class Consensus:
    """The outcome."""

    labels: Mapping[str, Relation]
    """Every clip of the dataset -> its relation; without a label it is what the owner said, or nothing."""
    items: tuple[Item, ...]
    """Clips to adjudicate, sorted."""
    conflicts: tuple[Conflict, ...]
    """Contradictions within a pair, sorted."""
    decided: int
    """Clips on which votes or an adjudicator decided something."""
    spread: int
    """Clips labelled by other clips of their pair alone."""
    gone: Mapping[str, int]
    """Clips that were voted on and are not in the dataset -> their votes."""
    alone: tuple[str, ...]
    """Clips that were voted on and show one person; nothing follows from these votes."""


@dataclass
class _Clip:
    """State of one clip on the way."""

    name: str
    info: ClipInfo
    labelling: list[dict[str, Any]] = field(default_factory=list)
    adjudication: list[dict[str, Any]] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)

    @property
    def votes(self) -> list[dict[str, Any]]:
        return [*self.labelling, *self.adjudication]

    def subject(self, senior: str) -> str:
        """A or B as a subject id; other answers stay."""
        return {"A": self.info.subject_a, "B": self.info.subject_b or ""}.get(senior, senior)

    def side(self, subject: str) -> str:
        """A subject id as A or B."""
        return {self.info.subject_a: "A", self.info.subject_b: "B"}.get(subject, "unknown")

    def shown(self, value: str) -> str:
        """An answer as people saw it: a subject id as A or B, others as they are."""
        return value if self.side(value) == "unknown" else self.side(value)


def agree(
    votes: pa.Table,
    clips: Mapping[str, ClipInfo],
    *,
    metadata: Mapping[str, Relation] | None = None,
    posteriors: Posteriors | None = None,
    options: ConsensusOptions = ConsensusOptions(),  # noqa: B008 (frozen)
) -> Consensus:
    """Find what the votes agree on.

    Args:
        votes: table of votes; rows that were superseded or withdrawn do not count, nor do gold answers.
        clips: every clip of the dataset.
        metadata: clips whose relation the owner of the source stated.
        posteriors: of :func:`annotation.agreement.posteriors`, or None where there are too few votes for them.
        options: when votes count as agreement.
    """
    metadata, posteriors = metadata or {}, posteriors or {}
    states = {name: _Clip(name, info) for name, info in clips.items()}
    gone: Counter[str] = Counter()
    needed = ["clip_id", "round", "kinship", "status", "senior", "issues"]
    for vote in current_votes(votes).select(needed).to_pylist():
        state = states.get(vote["clip_id"])
        if vote["round"] not in ("labelling", "adjudication"):
            continue
        if state is None:
            gone[vote["clip_id"]] += 1
        else:
            (state.labelling if vote["round"] == "labelling" else state.adjudication).append(vote)
    alone = sorted(name for name, state in states.items() if state.votes and state.info.subject_b is None)
    pairs: dict[str, list[_Clip]] = {}
    for name in sorted(states):
        state = states[name]
        if name in metadata:
            state.said = _statements(state, metadata[name])
        if state.info.subject_b is None:
            continue
        _decide(state, posteriors.get(name, {}), options)
        pairs.setdefault(state.info.dyad_id, []).append(state)
    labels = {name: metadata.get(name, Relation()) for name in clips}
    conflicts: list[Conflict] = []
    spread = 0
    for dyad in sorted(pairs):
        spread += _settle(pairs[dyad], metadata, options, labels, conflicts)
    items = [
        Item(state.name, state.info.dyad_id, tuple(dict.fromkeys(state.reasons)))
        for name, state in sorted(states.items())
        if state.reasons
    ]
    decided = sum(bool(state.answers) for state in states.values())
    return Consensus(labels, tuple(items), tuple(conflicts), decided, spread, dict(sorted(gone.items())), tuple(alone))


def enough_for_model(votes: pa.Table, options: ConsensusOptions) -> bool:
    """Whether a model of the annotators may be asked."""
    people = current_votes(votes).select(["annotator", "round"]).to_pylist()
    rows = [vote["annotator"] for vote in people if vote["round"] == "labelling"]
    return len(rows) >= options.model_votes and len(set(rows)) >= options.model_annotators


# One clip ----------------------------------------------------------------------------------------------------------


def _decide(state: _Clip, belief: Mapping[str, Mapping[str, float]], options: ConsensusOptions) -> None:
    """Fill in the clip's answers, and the reasons why somebody should look at it."""
    reasons: list[str] = []
    state.answers = _answers(state, state.labelling, options.min_votes, belief, options, reasons)
    issues = Counter(issue for vote in state.labelling for issue in vote["issues"])
    reasons += [f"issue {issue} was reported by {count} of {len(state.labelling)}" for issue, count in issues.items()]
    if not state.adjudication:
        state.reasons = reasons
        return
    # An adjudicator has looked: what was unclear before is so no more, but adjudicators may differ.
    differing: list[str] = []
    ruled = _answers(state, state.adjudication, 1, {}, options, differing)
    state.reasons = [f"adjudicators differ: {reason}" for reason in differing]
    state.answers = {name: Answer(answer.value, answer.trust, True) for name, answer in ruled.items()}


def _answers(
    state: _Clip,
    votes: Sequence[Mapping[str, Any]],
    min_votes: int,
    belief: Mapping[str, Mapping[str, float]],
    options: ConsensusOptions,
    reasons: list[str],
) -> dict[str, Answer]:
    found: dict[str, Answer] = {}
    if len(votes) < min_votes:
        return found
    for question in QUESTIONS:
        if question == "senior":
            status = found.get("status")
            if status is None or status.value != "unequal":
                continue
            values = [state.subject(vote["senior"]) for vote in votes if vote["status"] == "unequal"]
        else:
            values = [vote[question] for vote in votes]
        answer = _majority(question, values, state.shown, belief.get(question, {}), options, reasons)
        if answer is not None:
            found[question] = answer
    return found


def _majority(
    question: str,
    values: Sequence[str],
    shown: Callable[[str], str],
    belief: Mapping[str, float],
    options: ConsensusOptions,
    reasons: list[str],
) -> Answer | None:
    ranked = Counter(values).most_common()
    value, count = ranked[0]
    share = count / len(values)
    tied = len(ranked) > 1 and ranked[1][1] == count
    if tied or share < options.majority - 1e-9:
        told = ", ".join(
            f"{number} {shown(name)}" for name, number in sorted(ranked, key=lambda pair: (-pair[1], pair[0]))
        )
        reasons.append(f"{question}: no majority of {options.majority:.0%} ({told})")
        return None
    if value in belief and belief[value] < options.posterior:
        reasons.append(
            f"{question}: {shown(value)} has a probability of {belief[value]:.2f}, below {options.posterior:g}, "
            "given how each annotator votes elsewhere"
        )
        return None
    return Answer(value, belief.get(value, share))


# One pair ----------------------------------------------------------------------------------------------------------


def _statements(state: _Clip, relation: Relation) -> dict[str, str]:
    """What a relation says, senior as a subject id; what it leaves open is absent."""
    said = {name: getattr(relation, name) for name in ("kinship", "status") if getattr(relation, name) != "unknown"}
    if relation.senior in ("A", "B"):
        said["senior"] = state.subject(relation.senior)
    return said


def _settle(
    clips: Sequence[_Clip],
    metadata: Mapping[str, Relation],
    options: ConsensusOptions,
    labels: dict[str, Relation],
    conflicts: list[Conflict],
) -> int:
    """Label the clips of one pair, or report why not. Returns how many were labelled by other clips alone."""
    agreed: dict[str, Answer] = {}
    open_conflict = False
    for question in QUESTIONS:
        value, conflict = _of_pair(question, clips, options)
        if conflict is not None:
            conflicts.append(conflict)
            if not conflict.settled:
                open_conflict = True
                owner = ", as the owner of the source says" if conflict.with_metadata else ""
                for clip in clips:
                    answer = clip.answers.get(question)
                    if answer is not None and answer.value != UNSURE:
                        others = " or ".join(sorted(map(clip.shown, conflict.values.keys() - {answer.value})))
                        clip.reasons.append(
                            f"{question}: {clip.shown(answer.value)} here, {others} of the same two people{owner}"
                        )
        if value is not None:
            agreed[question] = value
    # A senior party goes with unequal standing only; an adjudicator may have changed that in another clip.
    if "status" not in agreed or agreed["status"].value != "unequal":
        agreed.pop("senior", None)
    spread = 0
    for clip in clips:
        answers = {} if open_conflict else _for_clip(clip, agreed, options)
        known = any(answer.value != UNSURE for answer in answers.values())
        if known and not clip.answers and clip.name not in metadata:
            spread += 1
        labels[clip.name] = _relation(clip, answers, metadata.get(clip.name), options)
    return spread


def _of_pair(question: str, clips: Sequence[_Clip], options: ConsensusOptions) -> tuple[Answer | None, Conflict | None]:
    """The pair's answer to one question, from its clips; and the contradiction between them, if any."""
    own: dict[str, list[tuple[str, Answer]]] = {}
    ruled: dict[str, list[tuple[str, Answer]]] = {}
    told: dict[str, list[str]] = {}
    for clip in clips:
        answer = clip.answers.get(question)
        if answer is not None and answer.value != UNSURE:
            (ruled if answer.adjudicated else own).setdefault(answer.value, []).append((clip.name, answer))
        if question in clip.said:
            told.setdefault(clip.said[question], []).append(clip.name)
    values: dict[str, list[str]] = {}
    for source in (own, ruled):
        for value, found in source.items():
            values.setdefault(value, []).extend(name for name, _ in found)
    for value, names in told.items():
        values.setdefault(value, []).extend(names)
    # An adjudicator's word before everything; then the owner's and the votes', who must agree unless votes may win.
    winners = ruled or own
    rivals = set(winners) if ruled or options.metadata == "replace" else set(own) | set(told)
    settled = bool(winners) and len(rivals) == 1
    conflict = None
    if len(values) > 1:
        where = {value: tuple(sorted(set(names))) for value, names in values.items()}
        conflict = Conflict(clips[0].info.dyad_id, question, where, bool(told), settled)
    if settled:
        ((value, found),) = winners.items()
        return Answer(value, min(answer.trust for _, answer in found), bool(ruled)), conflict
    return None, conflict


def _for_clip(clip: _Clip, agreed: Mapping[str, Answer], options: ConsensusOptions) -> dict[str, Answer]:
    """What the pair's answers mean for one of its clips: its own trust where it decided itself."""
    answers: dict[str, Answer] = {}
    for question in QUESTIONS:
        own, pair = clip.answers.get(question), agreed.get(question)
        if own is not None and pair is not None and own.value == pair.value:
            answers[question] = own
        elif own is not None and own.adjudicated and own.value == UNSURE:
            answers[question] = own
        elif pair is not None and (options.spread or (own is not None and own.value != UNSURE)):
            answers[question] = pair
        elif own is not None and own.value == UNSURE:
            answers[question] = own
    if answers.get("status", Answer(UNSURE, 0.0)).value != "unequal":
        answers.pop("senior", None)
    return answers


def _relation(
    clip: _Clip, answers: Mapping[str, Answer], stated: Relation | None, options: ConsensusOptions
) -> Relation:
    """The clip's row: answers of votes, and under them what the owner said."""
    said = dict(clip.said)
    if stated is not None and options.metadata != "replace":
        # What the owner said stands against votes; an adjudicator overrules it.
        answers = {name: answer for name, answer in answers.items() if answer.adjudicated or name not in said}
    values = {**said, **{name: answer.value for name, answer in answers.items()}}
    if values.get("status") != "unequal":
        values.pop("senior", None)
    answers = {name: answer for name, answer in answers.items() if name in values}
    kinship, status = (values.get(name, "unknown") for name in ("kinship", "status"))
    kinship, status = ("unknown" if value == UNSURE else value for value in (kinship, status))
    senior = {"equal": "none", "unequal": clip.side(values.get("senior", ""))}.get(status, "unknown")
    count = len(clip.votes)
    agreement = _agreement(clip, values) if values and count else None
    if not answers:
        base = stated or Relation()
        return Relation(
            base.kinship, base.status, base.senior, base.relation_source, base.relation_confidence, count, agreement
        )
    source = "adjudicated" if any(answer.adjudicated for answer in answers.values()) else "votes"
    trust = [answer.trust for answer in answers.values()]
    if stated is not None and stated.relation_confidence is not None and said.keys() - answers.keys():
        trust.append(stated.relation_confidence)
    return Relation(kinship, status, senior, source, min(trust), count, agreement)


def _agreement(clip: _Clip, values: Mapping[str, str]) -> float:
    """Share of the clip's votes that say what the relation says, in every question it answers."""

    def same(vote: Mapping[str, Any]) -> bool:
        given = {**vote, "senior": clip.subject(vote["senior"]) if vote["senior"] else None}
        return all(given[name] == value for name, value in values.items())

    return sum(map(same, clip.votes)) / len(clip.votes)
