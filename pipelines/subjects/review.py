"""The review list: pairs of people that the scores could not settle, and the user's answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.subjects.people import Person
from pipelines.subjects.score import CUES, Pairs, probability
from rsat_data.errors import ConfigError

REVIEW_FILE = "subject_review.json"
_HOW = (
    "Pairs of people who may be one. Answer with true or false at 'same', save this as a file of yours, and build "
    "again with --set subjects.review=FILE. Aligned faces: .work/units/shape; names in a sidecar settle a pair too."
)


@dataclass(frozen=True)
class Answers:
    """What the user settled, as pairs of keys, the smaller first."""

    same: frozenset[tuple[str, str]] = frozenset()
    """One person."""
    different: frozenset[tuple[str, str]] = frozenset()
    """Two."""


def read_answers(path: Path) -> Answers:
    """Read a review list with answers; pairs whose ``same`` is null are passed over.

    Raises:
        ConfigError: the file is missing, no review list, or contradicts itself.
    """
    hint = "It should be a copy of meta/subject_review.json with true or false at 'same'."
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        pairs = [(_pair(row["a"]["person"], row["b"]["person"]), row["same"]) for row in content["pairs"]]
        if any(answer not in (True, False, None) or isinstance(answer, float | str) for _, answer in pairs):
            raise ValueError("'same' is something else than true, false or null")
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise ConfigError(f"The review list {path} cannot be used: {reason}.", hint=hint, path=path) from error
    same = frozenset(pair for pair, answer in pairs if answer is True)
    different = frozenset(pair for pair, answer in pairs if answer is False)
    for pair in sorted(same & different):
        raise ConfigError(f"The review list {path} says both of {pair[0]} and {pair[1]}.", hint=hint, path=path)
    return Answers(same, different)


def _pair(one: Any, other: Any) -> tuple[str, str]:
    if not isinstance(one, str) or not isinstance(other, str) or one == other:
        raise ValueError("a pair is not two different people")
    return (one, other) if one < other else (other, one)


def open_pairs(
    people: Sequence[Person],
    pairs: Pairs,
    groups: Sequence[int],
    subject_of: Mapping[str, str],
    answers: Answers,
    *,
    least: float,
    count: int,
) -> list[dict[str, Any]]:
    """Pairs to be looked at: in two subjects, likely enough, unsettled; one pair for every two subjects.

    Args:
        people: everybody.
        pairs: their scores.
        groups: group of everybody.
        subject_of: key -> subject id.
        answers: what was settled before.
        least: log odds from which a pair is listed.
        count: at most so many pairs, the likeliest.
    """
    listed: dict[tuple[int, int], dict[str, Any]] = {}
    group_of = {person.key: group for person, group in zip(people, groups, strict=True)}
    settled = {(group_of[a], group_of[b]) for a, b in answers.different if a in group_of and b in group_of}
    marks: dict[int, set[tuple[str, str | None]]] = {}
    for person, group in zip(people, groups, strict=True):
        marks.setdefault(group, set()).add(("clip", person.clip_id))
        if person.given is not None:
            marks[group].add(("name", None))
    for at in np.lexsort((pairs.second, pairs.first, -pairs.logit)):
        first, second = int(pairs.first[at]), int(pairs.second[at])
        if pairs.logit[at] < least or len(listed) >= count:
            break
        both = min(groups[first], groups[second]), max(groups[first], groups[second])
        a, b = people[first], people[second]
        # Two subjects seen in one clip, or with two names, are two: nothing to ask.
        if both[0] == both[1] or both in listed or marks[both[0]] & marks[both[1]]:
            continue
        if both in settled or both[::-1] in settled:
            continue
        listed[both] = {
            "a": _shown(a, subject_of),
            "b": _shown(b, subject_of),
            "score": round(float(probability(pairs.logit[at])), 4),
            "log_odds": {cue: round(float(value), 2) for cue, value in zip(CUES, pairs.cues[at], strict=True)},
            "same": None,
        }
    return list(listed.values())


def _shown(person: Person, subject_of: Mapping[str, str]) -> dict[str, Any]:
    return {
        "person": person.key,
        "subject_id": subject_of[person.key],
        "source_id": person.source_id,
        "start_s": person.start_s,
        "end_s": person.end_s,
    }


def as_text(rows: list[dict[str, Any]]) -> str:
    """The review list as it is written."""
    return json.dumps({"how": _HOW, "pairs": rows}, indent=1) + "\n"
