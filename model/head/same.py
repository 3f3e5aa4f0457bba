"""Codes belong to one head: the one check that keeps codes of two heads apart."""

from __future__ import annotations

from model.head.load import HeadModel
from rsat_data.errors import HeadMismatch


def require_same_head(a: HeadModel | str, b: HeadModel | str, what: str = "codes") -> str:
    """Make sure that two things are coded with the same head.

    FLAME 2020 and FLAME 2023 have the same mesh and the same numbers of codes, but other bases: a code of one is
    another face in the other. Only the id (name, version and hash of the file) tells them apart.

    Args:
        a: a head, or its id as in the column ``head_model``.
        b: the other.
        what: what would be mixed, for the message.

    Returns:
        The common id.

    Raises:
        HeadMismatch: they differ; the hint says how to retarget.
    """
    first, second = (head if isinstance(head, str) else head.id for head in (a, b))
    if first != second:
        raise HeadMismatch(
            f"These {what} belong to different heads: {first} and {second}. Their numbers do not mean the same.",
            hint="Retarget one of them through vertices first: model.head.retarget.retarget(codes, source, target).",
        )
    return first
