"""The table ``votes``: one row a vote on the relation of a clip. Append-only: a changed mind is a new row."""

from __future__ import annotations

import pyarrow as pa

from schemas.column import Column, Table

#: What the annotator marked in the transcript as the reason; seconds from the clip's start.
EVIDENCE = pa.struct([("label", pa.string()), ("start", pa.float32()), ("end", pa.float32()), ("text", pa.string())])

#: Problems an annotator may report.
ISSUES = (
    "wrong_speaker",
    "third_person_visible",
    "dubbed_or_offsync",
    "acted",
    "minor_present",
    "not_a_conversation",
)

_S, _TIME = pa.string(), pa.timestamp("us", tz="UTC")

TABLE = Table(
    "votes",
    "one annotator's vote on one clip",
    (
        Column("vote_id", _S, "Name of the vote, from the annotation's own id and its last change."),
        Column("clip_id", _S, "The clip voted on."),
        Column("annotator", _S, "Pseudonym of the annotator."),
        Column("kinship", _S, "Blood relatives?", values=("blood", "non_blood", "unsure")),
        Column("status", _S, "Equal standing?", values=("equal", "unequal", "unsure")),
        Column("senior", _S, "Who is senior; null unless unequal.", nullable=True, values=("A", "B", "unsure")),
        Column("confidence", pa.int8(), "How sure, from 1 (a guess) to 5 (certain)."),
        Column("issues", pa.list_(_S), "Problems reported.", values=ISSUES),
        Column("evidence", pa.list_(EVIDENCE), "Spans of the transcript that gave the reason.", unit="s"),
        Column("notes", _S, "Free text; empty for none."),
        Column("prediction_shown", pa.bool_(), "Whether the annotator saw a machine's guess."),
        Column("prediction_accepted", pa.bool_(), "Whether the guess was kept; null if none.", nullable=True),
        Column("seconds_spent", pa.float32(), "Time the annotator took.", unit="s", nullable=True),
        Column("created_at", _TIME, "When the vote was made."),
        Column("updated_at", _TIME, "When the vote was last changed."),
        Column("config_hash", _S, "Hash of the labelling form the vote was made with."),
    ),
)

SCHEMA = TABLE.schema
