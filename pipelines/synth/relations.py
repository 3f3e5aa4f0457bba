"""The relation of the two people of a clip, and what it does to their behaviour: declared effect sizes.

The effects are a construction, not a finding about people: they exist so that a labelling tool, a statistic or a social
module can be tested against a known answer. ``RelationEffects.scaled(0)`` removes them all.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal

from pipelines.synth.records import PERSONS, rng_for

Kinship = Literal["blood", "non_blood"]
Status = Literal["equal", "unequal"]
Senior = Literal["A", "B", "none"]


@dataclass(frozen=True)
class Relation:
    """Kinship and status of the two people of a clip."""

    kinship: Kinship
    """blood or non_blood."""
    status: Status
    """equal or unequal."""
    senior: Senior
    """Who is senior where status is unequal; none otherwise."""

    def __post_init__(self) -> None:
        if (self.status == "unequal") != (self.senior in PERSONS):
            raise ValueError(f"status {self.status} does not go with senior {self.senior}")

    def role(self, person: str) -> Literal["senior", "junior", "equal"]:
        """The person's place in the relation."""
        if self.status == "equal":
            return "equal"
        return "senior" if self.senior == person else "junior"


@dataclass(frozen=True)
class Rates:
    """How one person behaves in one clip. The defaults are the base rates, before any effect of the relation."""

    nod_hz: float = 0.22
    """Nods a second while listening; a third of it while speaking."""
    smile_hz: float = 0.07
    """Smiles a second."""
    brow_hz: float = 0.20
    """Brow raises a second while speaking; a quarter of it while listening."""
    blink_hz: float = 0.28
    """Blinks a second; 1.3 times as many while speaking."""
    gaze_at_partner: float = 0.72
    """Share of the time the eyes rest on the partner while listening; two thirds of it while speaking."""
    mirror_probability: float = 0.30
    """Chance that a smile of the partner is answered by one."""
    overlap_probability: float = 0.20
    """Chance that a turn starts before the partner has finished."""
    backchannel_hz: float = 0.12
    """Spoken back-channels a second of listening."""
    hold_probability: float = 0.28
    """Chance to go on with another utterance instead of handing over the floor."""
    loudness_db: float = 0.0
    """Level of the voice relative to ``arrange.SPEECH_LEVEL_DB``."""
    articulation: float = 1.0
    """Factor on the movement of the mouth."""


@dataclass(frozen=True)
class RelationEffects:
    """Effect sizes. Ratios multiply the base rate of ``Rates``; 1 is no effect. Decibels are added; 0 is no effect."""

    junior_nod_ratio: float = 1.8
    """Nod rate of the junior against an equal."""
    senior_nod_ratio: float = 0.6
    """Nod rate of the senior against an equal."""
    junior_gaze_ratio: float = 0.75
    """Share of the time the junior looks at the partner, against an equal."""
    junior_overlap_ratio: float = 0.4
    """Chance of the junior to start before the senior has finished, against an equal."""
    senior_overlap_ratio: float = 1.5
    """Chance of the senior to start before the junior has finished, against an equal."""
    junior_backchannel_ratio: float = 1.7
    """Spoken back-channels of the junior against an equal."""
    senior_hold_ratio: float = 1.7
    """Chance of the senior to keep the floor, against an equal."""
    junior_hold_ratio: float = 0.6
    """Chance of the junior to keep the floor, against an equal."""
    senior_loudness_db: float = 1.5
    """Level of the senior's voice against an equal's."""
    junior_loudness_db: float = -1.5
    """Level of the junior's voice against an equal's."""
    blood_smile_ratio: float = 1.6
    """Smile rate of relatives against people who are not."""
    blood_overlap_ratio: float = 1.6
    """Chance of overlapped starts of relatives against people who are not."""
    blood_mirror_ratio: float = 1.5
    """Chance that relatives answer a smile, against people who are not."""
    blood_articulation_ratio: float = 0.88
    """Mouth movement of relatives (they speak less carefully) against people who are not."""
    blood_shape_correlation: float = 0.35
    """Correlation of the head shape codes of relatives; 0 for people who are not."""

    def scaled(self, scale: float) -> RelationEffects:
        """The same effects, weaker or stronger: ratios to the power ``scale``, decibels and correlation times it.

        0 takes every effect away, 1 leaves them. The correlation stays at most 0.95.
        """
        changes = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name.endswith("_ratio"):
                changes[item.name] = value**scale
            else:
                changes[item.name] = value * scale
        changes["blood_shape_correlation"] = min(changes["blood_shape_correlation"], 0.95)
        return replace(self, **changes)

    def rates(self, relation: Relation, person: str, base: Rates | None = None) -> Rates:
        """Behaviour of ``person`` (A or B) in this relation."""
        base = base if base is not None else Rates()
        values = {item.name: float(getattr(base, item.name)) for item in fields(base)}
        role = relation.role(person)
        if role == "junior":
            values["nod_hz"] *= self.junior_nod_ratio
            values["gaze_at_partner"] *= self.junior_gaze_ratio
            values["overlap_probability"] *= self.junior_overlap_ratio
            values["backchannel_hz"] *= self.junior_backchannel_ratio
            values["hold_probability"] *= self.junior_hold_ratio
            values["loudness_db"] += self.junior_loudness_db
        elif role == "senior":
            values["nod_hz"] *= self.senior_nod_ratio
            values["overlap_probability"] *= self.senior_overlap_ratio
            values["hold_probability"] *= self.senior_hold_ratio
            values["loudness_db"] += self.senior_loudness_db
        if relation.kinship == "blood":
            values["smile_hz"] *= self.blood_smile_ratio
            values["overlap_probability"] *= self.blood_overlap_ratio
            values["mirror_probability"] *= self.blood_mirror_ratio
            values["articulation"] *= self.blood_articulation_ratio
        for name in ("gaze_at_partner", "overlap_probability", "mirror_probability", "hold_probability"):
            values[name] = min(values[name], 0.9)
        return Rates(**values)


_BLOCK: tuple[Relation, ...] = (
    Relation("blood", "equal", "none"),
    Relation("non_blood", "equal", "none"),
    Relation("blood", "unequal", "A"),
    Relation("non_blood", "unequal", "B"),
    Relation("blood", "equal", "none"),
    Relation("non_blood", "equal", "none"),
    Relation("blood", "unequal", "B"),
    Relation("non_blood", "unequal", "A"),
)


def relation_of(seed: int, dyad: int) -> Relation:
    """The relation of dyad number ``dyad``: balanced in every block of eight, in an order drawn from the seed."""
    block, index = divmod(dyad, len(_BLOCK))
    order = rng_for(seed, "relation", block).permutation(len(_BLOCK))
    return _BLOCK[int(order[index])]
