"""Which head codes belong to, and codes of one head as codes of another."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

from rsat_data.dialects.track import FLAME_FAMILIES, Unit, family
from rsat_data.errors import HeadMismatch, ModelFileError, UsageError

if TYPE_CHECKING:
    from model.head import HeadModel

KNOWN = {
    "dualtalk": "DualTalk does not say which FLAME its tracker used; the names in its files are DECA's, and DECA, "
    "EMOCA and SPECTRE use flame2020",
    "vertices": "Vertices belong to a mesh, and the head of that mesh has to be named",
}


def resolve_head(name: str) -> tuple[str, HeadModel | None]:
    """Id and model of a head that the user or a format names; FLAME's heads may be absent from this machine.

    Raises:
        ModelFileError: there is no such head.
    """
    from model.head import load_head

    try:
        model = load_head(name)
    except ModelFileError:
        if name in FLAME_FAMILIES:
            return name, None
        raise
    return model.id, model


def require_head(heads: AbstractSet[str], unit: Unit, dialect: str) -> None:
    """Make sure that a unit's codes have one known head.

    Raises:
        UsageError: nobody said which head it is.
        HeadMismatch: they have two.
    """
    if "" in heads:
        why = KNOWN.get(dialect, f"The format {dialect} does not say which head its codes belong to")
        raise UsageError(
            f"{unit.name}: it is not known which head these codes belong to. {why}.",
            hint="Say it: --head flame2020, --head flame2023, or the name or file of another head.",
        )
    if len(heads) > 1:
        raise HeadMismatch(
            f"{unit.name} holds codes of two heads: {', '.join(sorted(heads))}.",
            hint="Import them into separate datasets.",
        )


def fits(head: str, wanted: str | None) -> bool:
    """Whether codes of ``head`` (an id) may be written where a format wants FLAME, of one family or of any (None)."""
    own = family(head)
    return own in FLAME_FAMILIES if wanted is None else own == wanted
