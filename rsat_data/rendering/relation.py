"""Relations as people type them: ``unequal,senior=A``, ``blood,equal``, ``unknown``."""

from __future__ import annotations

from model.motion.conversation import UNKNOWN, Relation
from rsat_data.errors import UsageError
from schemas.vocabulary import KINSHIP, SENIOR_OF_CLIP, STATUS


def parse_relation(text: str) -> Relation:
    """A relation of words with commas between them, in any order.

    Kinship and status that are not named are unknown. Equal people have no senior.

    Raises:
        UsageError: a word that the format does not have, one field twice, or words that do not go together.
    """
    words = [word.strip().lower() for word in text.split(",") if word.strip()]
    if words == ["unknown"]:
        return UNKNOWN
    found: dict[str, str] = {}
    for word in words:
        name, value = _field(word, text)
        if name in found:
            raise _wrong(text, f"it names {name} twice")
        found[name] = value
    if not found:
        raise _wrong(text, "it is empty")
    status, senior = found.get("status", "unknown"), found.get("senior")
    if status == "equal" and senior not in (None, "none"):
        raise _wrong(text, f"equal people have no senior, here it is {senior}")
    if status == "unequal" and senior == "none":
        raise _wrong(text, "one of two unequal people is senior: senior=A or senior=B")
    if status == "unknown" and senior not in (None, "unknown"):
        raise _wrong(text, "a senior goes with unequal, which is not named")
    return Relation(
        found.get("kinship", "unknown"), status, senior or ("none" if status == "equal" else "unknown")
    )


def _field(word: str, text: str) -> tuple[str, str]:
    if word.startswith("senior="):
        value = word.removeprefix("senior=")
        known = {name.lower(): name for name in SENIOR_OF_CLIP}
        if value in known:
            return "senior", known[value]
    for name, vocabulary in (("kinship", KINSHIP), ("status", STATUS)):
        if word in vocabulary and word != "unknown":
            return name, word
    raise _wrong(text, f"{word!r} is none of its words")


def _wrong(text: str, why: str) -> UsageError:
    kinship, status = ("|".join(word for word in words if word != "unknown") for words in (KINSHIP, STATUS))
    return UsageError(
        f"--relation {text!r} is no relation: {why}.",
        hint=f"Words, with commas between them: {kinship}, {status}, senior={'|'.join(SENIOR_OF_CLIP)}; or unknown. "
        "Such as: unequal,senior=A",
    )


def mirrored(relation: Relation) -> Relation:
    """What a relation is compared with: the other one senior; the unknown relation where nobody is."""
    return relation.swapped() if relation.senior in ("A", "B") else UNKNOWN


def named(relation: Relation) -> str:
    """For people: ``unequal, A senior``."""
    if not relation.known:
        return "relation unknown"
    words = [word.replace("_", " ") for word in (relation.kinship, relation.status) if word != "unknown"]
    if relation.senior in ("A", "B"):
        words.append(f"{relation.senior} senior")
    return ", ".join(words)
