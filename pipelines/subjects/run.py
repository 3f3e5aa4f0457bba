"""The work of the stage `subjects`: people of all clips to subjects, shapes, cameras."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from model.fitting.evidence import FocalChoice
from pipelines.assemble.ids import unnamed_subject_id
from pipelines.shape.pack import pack
from pipelines.stage import PARTS_FILE, StageContext
from pipelines.subjects.cluster import cluster
from pipelines.subjects.config import SubjectsConfig
from pipelines.subjects.cutting import CUTTING_FILE, find_cuts, name_cuts, partners, record, settle
from pipelines.subjects.fuse import fuse_groups, source_focals
from pipelines.subjects.people import Crowd, Person, read_crowd, read_evidence
from pipelines.subjects.review import REVIEW_FILE, Answers, as_text, open_pairs, read_answers
from pipelines.subjects.score import Pairs, log_odds, probability, score_pairs
from rsat_data.errors import ConfigError

CAMERAS_FILE = "cameras.json"
_DECIMALS = 5
"""Shapes are rounded, so that a sum in another order cannot change the last bit and with it what is fitted again."""
_FOCAL_DECIMALS = 2


def run(context: StageContext, config: SubjectsConfig) -> Mapping[str, Any]:
    """Join the clips.

    Writes ``parts.json`` {clip_id: {fit: {focal, shapes: {P: [...]}, focals (per person, where each
    has a camera)}, identity: {P: {subject_id, source, score}}, partner: who is not seen, or null}},
    ``subject_review.json``, ``cameras.json`` and ``cutting.json``; see docs/subjects.md and docs/cutting.md.

    Returns:
        {"people", "subjects", "matched", "open_pairs", "cameras", "off_screen"}: counts.

    Raises:
        ConfigError: the review list cannot be used, or asks for what cannot be.
        StageError: an artefact cannot be read.
    """
    answers = read_answers(Path(config.review)) if config.review else Answers()
    crowd = read_crowd(context.members)
    focals = source_focals(crowd, config.focal, fixed=config.cameras == "fixed")
    context.progress(0.1)
    pairs = _pairs(context, crowd, {source: choice.focal for source, choice in focals.items()}, config)
    groups = _groups(crowd.people, pairs, answers, config)
    sidecars = {str(member.unit["source_id"]): member.metadata for member in context.members}
    named = tuple(name_cuts(crowd.people, groups, sidecars))
    if named != crowd.people:  # names for A and B say more once it is known who is who
        crowd = replace(crowd, people=named)
        groups = _groups(crowd.people, pairs, answers, config)
    context.progress(0.7)
    shapes = fuse_groups(crowd, groups, focals)
    identity = identities(crowd.people, groups, pairs)
    subject_of = {key: entry["subject_id"] for key, entry in identity.items()}
    rows = open_pairs(
        crowd.people,
        pairs,
        groups,
        subject_of,
        answers,
        least=log_odds(config.review_from),
        count=len(pairs.first),
    )
    group_of = {person.key: group for person, group in zip(crowd.people, groups, strict=True)}
    doubtful = [frozenset(group_of[row[side]["person"]] for side in "ab") for row in rows]
    rows = rows[: config.max_review]
    cuts = settle(find_cuts(crowd.people, groups), crowd.people, groups, doubtful, looked_for=config.match)
    handed_out = parts(crowd.people, groups, shapes, focals, identity)
    rounded = {group: [round(float(v), _DECIMALS) for v in shape] for group, shape in shapes.items()}
    unseen = partners(cuts, crowd.people, groups, identity, rounded)
    for clip, part in handed_out.items():
        part["partner"] = unseen.get(clip)
    (context.out / PARTS_FILE).write_text(_json(handed_out), encoding="utf-8")
    (context.out / REVIEW_FILE).write_text(as_text(rows), encoding="utf-8")
    cutting = record(cuts, crowd.people, groups, identity)
    (context.out / CUTTING_FILE).write_text(_json(cutting), encoding="utf-8")
    (context.out / CAMERAS_FILE).write_text(_json(cameras(crowd, focals)), encoding="utf-8")
    context.progress(1.0)
    return {
        "people": len(crowd.people),
        "subjects": len(set(subject_of.values())),
        "matched": sum(entry["source"] == "matched" for entry in identity.values()),
        "open_pairs": len(rows),
        "cameras": sum(choice.decided for choice in focals.values()),
        "off_screen": len(unseen),
    }


def _pairs(context: StageContext, crowd: Crowd, focals: Mapping[str, float], config: SubjectsConfig) -> Pairs:
    """Scores of all pairs that count; none where nobody is to be matched."""
    people = crowd.people
    if not config.match or all(person.given for person in people):
        empty = np.zeros(0, np.int64)
        return Pairs(empty, empty, np.zeros(0), np.zeros((0, 5)))
    information, vector = [], []
    for person in people:
        matrix, right = read_evidence(person.path).at(focals[person.camera], crowd.focals)
        information.append(pack(matrix))
        vector.append(right)
    return score_pairs(
        people,
        np.stack(information),
        np.stack(vector),
        least=log_odds(config.review_from),
        shape_sd=crowd.shape_sd,
        pictures=crowd.pictures,
        progress=lambda share: context.progress(0.1 + 0.6 * share),
    )


def _groups(people: Sequence[Person], pairs: Pairs, answers: Answers, config: SubjectsConfig) -> list[int]:
    """Group of everybody: the number of its first person.

    Raises:
        ConfigError: two people whom the review list calls one are in one clip, or bear two names.
    """
    number = {person.key: at for at, person in enumerate(people)}

    def known(listed: frozenset[tuple[str, str]]) -> list[tuple[int, int]]:
        return [(number[a], number[b]) for a, b in sorted(listed) if a in number and b in number]

    scored = zip(pairs.first.tolist(), pairs.second.tolist(), pairs.logit.tolist(), strict=True)
    try:
        return cluster(
            len(people),
            scored,
            log_odds(config.threshold),
            missing=log_odds(config.review_from) - 2.0,
            apart=[(person.clip_id,) for person in people],
            labels=[person.given for person in people],
            together=known(answers.same),
            forbidden=known(answers.different),
        )
    except ValueError as error:
        words = str(error).split()
        a, b = people[int(words[0])].key, people[int(words[2])].key
        raise ConfigError(
            f"The review list {config.review} calls {a} and {b} one person, but then one clip would show it twice or "
            "it would bear two names.",
            hint="Set 'same' to false there, or correct the names in the sidecars.",
        ) from error


def identities(people: Sequence[Person], groups: Sequence[int], pairs: Pairs) -> dict[str, dict[str, Any]]:
    """Key -> subject_id, source (given, matched, single) and score (None unless matched) of everybody.

    A group bears its name's id; without a name, one made from its first person. The score of a matched person is that
    of the mean log odds of its scored pairs with others of the group.
    """
    members: dict[int, list[int]] = {}
    for at, group in enumerate(groups):
        members.setdefault(group, []).append(at)
    total, count = np.zeros(len(people)), np.zeros(len(people))
    group_of = np.asarray(groups)
    inside = group_of[pairs.first] == group_of[pairs.second]
    for side in (pairs.first[inside], pairs.second[inside]):
        np.add.at(total, side, pairs.logit[inside])
        np.add.at(count, side, 1)
    out = {}
    for own in members.values():
        names = sorted({name for at in own if (name := people[at].given) is not None})
        first = people[own[0]]
        subject = names[0] if names else unnamed_subject_id(first.clip_id, first.letter)
        for at in own:
            source = "given" if people[at].given else "matched" if len(own) > 1 else "single"
            score = None
            if source == "matched" and count[at]:
                score = round(float(probability(total[at] / count[at])), 4)
            out[people[at].key] = {"subject_id": subject, "source": source, "score": score}
    return out


def parts(
    people: Sequence[Person],
    groups: Sequence[int],
    shapes: Mapping[int, np.ndarray],
    focals: Mapping[str, FocalChoice],
    identity: Mapping[str, Mapping[str, Any]],
) -> dict[str, dict[str, Any]]:
    """What every clip is handed."""
    out: dict[str, dict[str, Any]] = {}
    for person, group in zip(people, groups, strict=True):
        focal = round(focals[person.camera].focal, _FOCAL_DECIMALS)
        part = out.setdefault(person.clip_id, {"fit": {"focal": focal, "shapes": {}}, "identity": {}})
        if person.recording:
            part["fit"].setdefault("focals", {})[person.letter] = focal
        part["fit"]["shapes"][person.letter] = [round(float(v), _DECIMALS) for v in shapes[group]]
        part["identity"][person.letter] = dict(identity[person.key])
    return out


def cameras(crowd: Crowd, focals: Mapping[str, FocalChoice]) -> dict[str, Any]:
    """Focal length of every source, or every recording of one (``<source>:<person>``), and how sure it is."""
    return {
        "unit": "longer side of the picture",
        "candidates": list(crowd.focals),
        "sources": {
            source: {
                "focal": round(choice.focal, _FOCAL_DECIMALS),
                "decided": choice.decided,
                "drop": round(choice.drop, 3),
                "curve": [round(value, 3) for value in choice.curve],
            }
            for source, choice in focals.items()
        },
    }


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"
