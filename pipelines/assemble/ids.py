"""Names of rows, subjects and pairs: made from content, never from position."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any


def _hash(kind: str, *parts: str) -> str:
    digest = hashlib.blake2b(digest_size=8, person=kind.encode())
    for part in parts:
        data = part.encode("utf-8")
        digest.update(len(data).to_bytes(4, "little") + data)
    return digest.hexdigest()


def row_id(clip_id: str, person: str) -> str:
    """Name of the row of ``person`` (A or B) in a clip."""
    return f"row_{_hash('row', clip_id, person)}"


def named_subject_id(name: str) -> str:
    """Name of a subject whom the owner of the source named: the same name gives the same subject in every source.

    A hash, so that the dataset does not hold the name itself. Case, surrounding space and Unicode form do not count.
    """
    plain = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
    return f"subj_{_hash('named', plain)}"


def unnamed_subject_id(clip_id: str, person: str) -> str:
    """Name of a subject nobody named, after the first clip it is seen in."""
    return f"subj_{_hash('unnamed', clip_id, person)}"


def given_subjects(persons: Sequence[str], metadata: Mapping[str, Any]) -> dict[str, str]:
    """Person -> subject, for those whom the sidecar names and of whom it is clear who is seen.

    With one person in the frame and two names it is not: that person counts as unnamed.
    """
    names = {str(key): str(name) for key, name in (metadata.get("subjects") or {}).items() if name}
    clear = len(persons) == 2 or len(names) == 1
    return {person: named_subject_id(names[person]) for person in persons if clear and person in names}


def dyad_id(subject: str, partner: str | None) -> str:
    """Name of an unordered pair of subjects; of the one subject where ``partner`` is None."""
    pair = sorted({subject, partner} - {None}, key=str)
    return f"dyad_{_hash('dyad', *map(str, pair))}"
