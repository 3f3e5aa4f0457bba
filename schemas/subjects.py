"""The table ``subjects``: one human being across clips."""

from __future__ import annotations

import pyarrow as pa

from schemas import vocabulary as words_of
from schemas.column import Column, Table

_S, _I32, _F64 = pa.string(), pa.int32(), pa.float64()

TABLE = Table(
    "subjects",
    "one human being",
    (
        Column("subject_id", _S, "Name of the subject: a hash, never the person's own name."),
        Column("family_id", _S, "Name of the set of subjects joined by blood relations."),
        Column("component_id", _S, "Name of the set that no split may cut."),
        Column("split", _S, "Part of the dataset all rows of the subject are in.", values=words_of.SPLITS),
        Column("num_rows", _I32, "Rows of this subject."),
        Column("num_frames", pa.int64(), "Frames of this subject.", unit="frames"),
        Column("seconds", _F64, "Length of all rows.", unit="s"),
        Column("partners", pa.list_(_S), "Subjects this one is seen with."),
        Column("sources", pa.list_(_S), "Sources this one is seen in."),
        Column("consent_ids", pa.list_(_S), "Consents given for this subject's rows."),
        Column("licences", pa.list_(_S), "Licences of this subject's rows."),
        Column("avatar_id", _S, "Avatar fitted to this subject, if any.", nullable=True),
    ),
)

SCHEMA = TABLE.schema
