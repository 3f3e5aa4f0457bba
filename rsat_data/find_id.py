"""Rows and subjects by the beginning of their ids, as people type them."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rsat_data.errors import DatasetError

_PREFIXES = {"row": "row_", "subject": "subj_", "clip": "clip_"}
_SHOWN = 5

Kind = Literal["row", "subject", "clip"]


def find_id(kind: Kind, wanted: str, names: Sequence[str], root: Path) -> str:
    """The id that ``wanted`` names: itself, or the only one that begins with it, with or without ``row_``, ``subj_`` or
    ``clip_``.

    Args:
        kind: what is looked for.
        wanted: as it was typed.
        names: all ids of that kind.
        root: the dataset, for the message.

    Raises:
        DatasetError: none, or several; the hint lists those that are meant most likely.
    """
    if wanted in names:
        return wanted
    found = sorted(name for name in names if wanted and name.startswith((wanted, _PREFIXES[kind] + wanted)))
    if len(found) == 1:
        return found[0]
    if found:
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise DatasetError(
            f"{wanted!r} is the beginning of {len(found)} {kind}s of {root}.",
            hint=f"Give more of it: {', '.join(found[:_SHOWN])}{more}.",
            path=root,
        )
    near = ", ".join(nearest(kind, wanted, names))
    raise DatasetError(
        f"No {kind} of {root} is called {wanted!r} or begins with it ({len(names)} {kind}s).",
        hint=f"Nearest: {near}." if near else "The dataset holds no row.",
        path=root,
    )


def nearest(kind: Kind, wanted: str, names: Sequence[str], count: int = _SHOWN) -> list[str]:
    """The ids most like ``wanted``, by beginning and letters; letters are compared for the hundred likeliest only."""
    prefix = _PREFIXES[kind]
    bare = wanted.removeprefix(prefix)

    def common(name: str) -> int:
        return len(os.path.commonprefix([bare, name.removeprefix(prefix)]))

    likely = sorted(names, key=lambda name: (-common(name), name))[:100]

    def likeness(name: str) -> float:
        letters = difflib.SequenceMatcher(None, bare, name.removeprefix(prefix)).ratio()
        return letters + common(name) / max(len(bare), 1)

    return sorted(likely, key=lambda name: (-likeness(name), name))[:count]
