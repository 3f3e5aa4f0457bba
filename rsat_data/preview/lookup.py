"""Rows drawn at random, and the head that codes belong to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rsat_data.errors import HeadMismatch

if TYPE_CHECKING:
    from model.head import HeadModel


def sample_rows(names: Sequence[str], count: int, seed: int = 0) -> list[str]:
    """``count`` of the row ids (all, where there are fewer) drawn by ``seed``, in the dataset's order."""
    chosen = np.random.default_rng(seed).permutation(len(names))[:count]
    return [names[index] for index in sorted(chosen.tolist())]


def find_head(head_id: str, given: str | Path | None = None) -> HeadModel:
    """The head that codes belong to.

    Args:
        head_id: name, version and hash, as in the column ``head_model``; or the bare name of a head, as imported rows
            have it whose codes came without one.
        given: name or file of another head to draw the codes with all the same, such as a newer version of theirs.

    Raises:
        HeadMismatch: no head on this machine has that id.
        ModelFileError: ``given`` is not here or is no head file.
    """
    from model.head import load_head

    if given is not None:
        return load_head(given)
    return load_head(head_name(head_id))


def head_name(head_id: str) -> str:
    """The name under which the head with this id is loaded on this machine.

    Raises:
        HeadMismatch: no head on this machine has that id; the hint says how to get it.
    """
    from model.head import list_heads
    from model.head.file import read_head_file

    here: list[str] = []
    advice = "Import that head (rsat-data models import-flame --help), or name its file: --head FILE."
    for entry in list_heads():
        if not entry.here:
            if entry.name == head_id:
                advice = f"Import it once: {entry.how}; or name its file: --head FILE."
            continue
        _, metadata, sha256 = read_head_file(entry.path)
        here.append(f"{metadata['name']}-{metadata['version']}@{sha256[:12]}")
        if head_id in (here[-1], entry.name):
            return entry.name
    name = head_id.split("@")[0]
    newer = next((other for other in here if other.split("@")[0] == name), None)
    if newer is not None:
        advice = (
            f"This installation has another edition of it ({newer}). Build the dataset again, or draw the codes with "
            "that edition, which may be off by a little: --head open."
        )
    known = ", ".join(here)
    raise HeadMismatch(f"The head {head_id} of these codes is not on this machine. Here: {known}.", hint=advice)
