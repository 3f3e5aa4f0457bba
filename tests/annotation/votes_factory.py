"""Votes for tests: rows of the table of votes with everything filled in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from annotation.votes import vote_id

START = datetime(2026, 1, 1, tzinfo=UTC)


def make_vote(clip: str, annotator: str, *, at: float = 0.0, salt: int = 0, **changes: Any) -> dict[str, Any]:
    """One vote, made ``at`` seconds after a fixed moment; ``salt`` makes votes of the same moment differ."""
    moment = START + timedelta(seconds=at)
    number = int.from_bytes(f"{clip} {annotator} {changes.get('round', '')} {salt}".encode(), "big")
    row = {
        "vote_id": vote_id("http://test", 1, number, moment),
        "clip_id": clip,
        "annotator": annotator,
        "kinship": "non_blood",
        "status": "equal",
        "senior": None,
        "confidence": 4,
        "issues": [],
        "evidence": [],
        "notes": "",
        "prediction_shown": False,
        "prediction_accepted": None,
        "seconds_spent": 20.0,
        "created_at": moment,
        "updated_at": moment,
        "config_hash": "f0",
        "round": "labelling",
        "prediction_version": None,
        "withdrawn": False,
    }
    assert changes.keys() <= row.keys(), changes
    return row | changes
