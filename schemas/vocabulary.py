"""Closed vocabularies that several tables share."""

from __future__ import annotations

PERSONS = ("A", "B")
SPLITS = ("train", "validation", "test")
KINSHIP = ("blood", "non_blood", "unknown")
STATUS = ("equal", "unequal", "unknown")
#: Seen from one person of the pair: who has the higher standing.
SENIOR_OF_PERSON = ("self", "partner", "none", "unknown")
#: Seen from outside: who has the higher standing.
SENIOR_OF_CLIP = ("A", "B", "none", "unknown")
RELATION_SOURCES = ("unlabelled", "metadata", "votes", "adjudicated")
#: Why a row is its subject's: named by the owner, known again by face and voice, or seen in one clip only.
SUBJECT_SOURCES = ("given", "matched", "single")
AUDIO_ISOLATION = ("channel", "gated", "mixture")
#: Why the codes of a frame cannot be trusted; empty where they can.
INVALID_REASONS = (
    *("", "lost", "outside", "turned", "occluded", "blurred", "misfit", "jump", "swap", "drift"),
    "off_screen",  # since 1.3: the clip does not show this person
)


def senior_of_person(senior: str, person: str) -> str:
    """Turn the clip's view of seniority (A, B, none, unknown) into the view of ``person`` (A or B)."""
    if senior in PERSONS:
        return "self" if senior == person else "partner"
    return senior


def senior_of_clip(senior: str, person: str) -> str:
    """Turn the view of ``person`` (self, partner, none, unknown) into the clip's (A, B, none, unknown)."""
    if senior == "self":
        return person
    if senior == "partner":
        return "B" if person == "A" else "A"
    return senior
