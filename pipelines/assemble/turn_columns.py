"""Turn-taking of a conversation as columns of the table clips."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pipelines.speech.floor import Kind, floor
from schemas.clips import TABLE
from schemas.triplets import FPS
from schemas.vocabulary import PERSONS

COLUMNS = tuple(
    column.name
    for column in TABLE
    if column.name in ("turn_taking", "gap_share")
    or column.name.rpartition("_")[0]
    in ("floor_share", "num_turns", "num_backchannels", "num_interruptions", "num_attempts", "latency")
)
"""Names of all of them."""
_TAKEN: tuple[Kind, ...] = ("first", "change", "interruption")


def turn_columns(speaking: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Columns ``turn_taking``, ``gap_share`` and those of each person; all null unless two people are seen.

    Args:
        speaking: for each person (T,) bool.
    """
    if sorted(speaking) != list(PERSONS):
        return dict.fromkeys(COLUMNS)
    tracks = {person: np.asarray(speaking[person], bool) for person in PERSONS}
    found = floor(tracks, fps=FPS)
    columns: dict[str, Any] = {
        "turn_taking": [
            {
                "person": one.person,
                "start": one.start / FPS,
                "end": one.stop / FPS,
                "kind": one.kind,
                "offset_s": None if one.offset is None else one.offset / FPS,
            }
            for one in found.stretches
        ],
        "gap_share": _gaps(np.logical_or.reduce(list(tracks.values()))),
    }
    for number, person in enumerate(PERSONS):
        latencies = found.latencies(person)
        own = {
            "floor_share": float((found.holder == number).mean()) if len(found.holder) else 0.0,
            "num_turns": sum(len(found.of_kind(kind, person)) for kind in _TAKEN),
            "num_backchannels": len(found.of_kind("backchannel", person)),
            "num_interruptions": len(found.of_kind("interruption", person)),
            "num_attempts": len(found.of_kind("attempt", person)),
            "latency": float(np.median(latencies)) if latencies else None,
        }
        columns |= {f"{name}_{person.lower()}": value for name, value in own.items()}
    return columns


def _gaps(anybody: np.ndarray) -> float:
    """Share of silent frames between the first and the last of speech; 0 where nobody speaks."""
    heard = np.flatnonzero(anybody)
    return float(1.0 - anybody[heard[0] : heard[-1] + 1].mean()) if len(heard) else 0.0
