"""Recordings that cut between two people: who is meant by A and B, and who is the partner of the one who is seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipelines.assemble.ids import named_subject_id
from pipelines.subjects.people import Person

CUTTING_FILE = "cutting.json"


@dataclass(frozen=True)
class Cut:
    """What a source with shots of one person is."""

    clips: tuple[str, ...]
    """Its clips that show one person, in time order."""
    group_a: int = -1
    """Group of person A: left in the first two-shot, or else seen first; -1 where it is no conversation of two."""
    group_b: int = -1
    """Group of person B."""
    why: str = ""
    """Why it is taken for no conversation of two people; empty where it is."""


def find_cuts(people: Sequence[Person], groups: Sequence[int]) -> dict[str, Cut]:
    """Every source that has clips with one person -> what it is.

    A conversation of two is a source whose clips show two subjects in all.

    Args:
        people: everybody, without people who have a recording of their own.
        groups: group of everybody.
    """
    sources: dict[str, dict[str, list[tuple[Person, int]]]] = {}
    for person, group in zip(people, groups, strict=True):
        if not person.recording:
            sources.setdefault(person.source_id, {}).setdefault(person.clip_id, []).append((person, group))
    cuts = {}
    for source, clips in sorted(sources.items()):
        ordered = sorted(clips.values(), key=lambda seen: (seen[0][0].start_s, seen[0][0].clip_id))
        single = [seen[0] for seen in ordered if len(seen) == 1]
        if not single:
            continue
        names = tuple(person.clip_id for person, _ in single)
        everybody = {group for seen in ordered for _, group in seen}
        if len(everybody) != 2:
            count = "one person is" if len(everybody) == 1 else f"{len(everybody)} people are"
            cuts[source] = Cut(names, why=f"{count} seen in its clips, not two")
            continue
        first = next((seen for seen in ordered if len(seen) == 2), ordered[0])
        group_a = min(first, key=lambda entry: entry[0].letter)[1]
        cuts[source] = Cut(names, group_a, (everybody - {group_a}).pop())
    return cuts


def name_cuts(
    people: Sequence[Person],
    groups: Sequence[int],
    metadata: Mapping[str, Mapping[str, Any]],
) -> list[Person]:
    """Give people seen alone the names that the sidecar has for A and B, where it is clear who they are.

    Args:
        people: everybody.
        groups: group of everybody.
        metadata: source -> its sidecar.
    """
    cuts, out = find_cuts(people, groups), list(people)
    for at, (person, group) in enumerate(zip(people, groups, strict=True)):
        cut = cuts.get(person.source_id)
        names = (metadata.get(person.source_id) or {}).get("subjects") or {}
        if person.given is None and cut and not cut.why and names.get("A") and names.get("B"):
            if person.clip_id in cut.clips:
                out[at] = replace(person, given=named_subject_id(str(names["A" if group == cut.group_a else "B"])))
    return out


def settle(
    cuts: Mapping[str, Cut],
    people: Sequence[Person],
    groups: Sequence[int],
    open_groups: Iterable[frozenset[int]],
    *,
    looked_for: bool,
) -> dict[str, Cut]:
    """Take back what is not sure: the two may be one, or nobody looked whether they are.

    Args:
        cuts: from `find_cuts`.
        people: everybody.
        groups: group of everybody.
        open_groups: pairs of groups that are on the review list.
        looked_for: whether people are known again by their looks.
    """
    doubtful = set(open_groups)
    named = {group for person, group in zip(people, groups, strict=True) if person.given is not None}
    out = {}
    for source, cut in cuts.items():
        pair = frozenset((cut.group_a, cut.group_b))
        if not cut.why and pair in doubtful:
            cut = Cut(cut.clips, why="its two people may be one: see the review list")
        elif not cut.why and not looked_for and not pair <= named:
            cut = Cut(cut.clips, why="its people have no names, and subjects.match is off")
        out[source] = cut
    return out


def partners(
    cuts: Mapping[str, Cut],
    people: Sequence[Person],
    groups: Sequence[int],
    identity: Mapping[str, Mapping[str, Any]],
    shapes: Mapping[int, Sequence[float]],
) -> dict[str, dict[str, Any]]:
    """Clip -> who is not seen in it: letter, subject_id, source, score, shape.

    Args:
        cuts: settled.
        people: everybody.
        groups: group of everybody.
        identity: key of a person -> subject_id, source, score.
        shapes: group -> (S,) shape, rounded as it is handed out.
    """
    of_clip = {clip: cut for cut in cuts.values() if not cut.why for clip in cut.clips}
    first: dict[tuple[str, int], Person] = {}
    for person, group in sorted(zip(people, groups, strict=True), key=lambda pair: (pair[0].start_s, pair[0].key)):
        first.setdefault((person.source_id, group), person)
    out = {}
    for person, group in zip(people, groups, strict=True):
        cut = of_clip.get(person.clip_id)
        if cut is None:
            continue
        letter, other = ("B", cut.group_b) if group == cut.group_a else ("A", cut.group_a)
        known = identity[first[person.source_id, other].key]
        out[person.clip_id] = {"letter": letter, **known, "shape": list(shapes[other])}
    return out


def record(
    cuts: Mapping[str, Cut],
    people: Sequence[Person],
    groups: Sequence[int],
    identity: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """What users are told about every source that has clips of one person."""
    subject = {group: identity[p.key]["subject_id"] for p, group in zip(people, groups, strict=True)}
    return {
        "sources": {
            source: {
                "clips_of_one": len(cut.clips),
                "subject_a": subject.get(cut.group_a),
                "subject_b": subject.get(cut.group_b),
                "why_no_partner": cut.why or None,
            }
            for source, cut in cuts.items()
        }
    }
