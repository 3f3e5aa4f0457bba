"""The table ``quarantine``: one source or clip that could not be used, and why."""

from __future__ import annotations

import pyarrow as pa

from schemas.column import Column, Table

_S, _F64 = pa.string(), pa.float64()

TABLE = Table(
    "quarantine",
    "one source or clip that is not in the dataset",
    (
        Column("key", _S, "Content key of the unit that failed, or the source's id."),
        Column("source_id", _S, "The source; null where its bytes could not be read.", nullable=True),
        Column("source_name", _S, "File name within the folder given; no path of the machine."),
        Column("clip_id", _S, "The clip; null where the whole source failed.", nullable=True),
        Column("start_s", _F64, "Start of the span on the source's timeline; null for the whole.", "s", nullable=True),
        Column("end_s", _F64, "End of the span on the source's timeline; null for the whole.", "s", nullable=True),
        Column("stage", _S, "Stage that failed."),
        Column("error", _S, "Class of the error."),
        Column("message", _S, "What was wrong."),
        Column("hint", _S, "What can be done; empty for nothing."),
        Column("attempts", pa.int32(), "How often it was tried."),
        Column("transient", pa.bool_(), "Whether trying again may help."),
        Column("traceback_hash", _S, "Hash of where it failed: equal failures have equal hashes; empty for none."),
        Column("detail", _S, "Tail of the traceback or log; empty for none."),
    ),
)

SCHEMA = TABLE.schema
