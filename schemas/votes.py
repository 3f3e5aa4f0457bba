"""The table ``votes``: one row a vote on the relation of a clip. Append-only: a changed mind is a new row."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from schemas.column import Column, Table

#: What the annotator marked in the transcript as the reason; seconds from the clip's start.
EVIDENCE = pa.struct([("label", pa.string()), ("start", pa.float32()), ("end", pa.float32()), ("text", pa.string())])

#: Where a vote comes from: the annotators' project, the adjudicators', or answers known beforehand.
ROUNDS = ("labelling", "adjudication", "gold")

#: Annotator of the votes of round gold.
GOLD = "gold"

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
        Column("round", _S, "Annotators', adjudicators' or known answer.", values=ROUNDS, since="1.2"),
        Column(
            "prediction_version", _S, "Version of the machine that guessed; null if none.", nullable=True, since="1.2"
        ),
        Column("withdrawn", pa.bool_(), "Whether the annotator took the vote back with this row.", since="1.2"),
    ),
)

SCHEMA = TABLE.schema

#: What columns hold in rows of format versions that did not have them.
BEFORE: dict[str, Any] = {"round": "labelling", "prediction_version": None, "withdrawn": False}


def upgraded(table: pa.Table) -> pa.Table:
    """Votes of any format version with all of today's columns.

    Raises:
        ValueError: a column that every version has is missing, or a type is another one.
    """
    columns = []
    for field in SCHEMA:
        if field.name in table.column_names:
            columns.append(table[field.name])
        elif field.name in BEFORE:
            columns.append(pa.array([BEFORE[field.name]] * table.num_rows, type=field.type))
        else:
            raise ValueError(f"votes lack the column {field.name!r}")
    try:
        return pa.Table.from_arrays(columns, names=SCHEMA.names).cast(SCHEMA)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(f"votes have a column of another type: {error}") from error


def current(table: pa.Table) -> pa.Table:
    """The rows that count: of each person, clip and round the one changed last; none where that one was withdrawn.

    Rows keep their order. Of two rows of the same moment the later in the table counts.
    """
    if not table.num_rows:
        return table
    names = ("clip_id", "annotator", "round", "updated_at", "withdrawn")
    numbered = table.select(names).append_column("number", pa.array(range(table.num_rows), pa.int64()))
    numbered = numbered.sort_by([("updated_at", "ascending"), ("number", "ascending")])
    last = numbered.group_by(["clip_id", "annotator", "round"], use_threads=False).aggregate(
        [("number", "last"), ("withdrawn", "last")]
    )
    kept = last.filter(pc.invert(last["withdrawn_last"]))["number_last"]
    return table.take(pc.take(kept, pc.sort_indices(kept)))
