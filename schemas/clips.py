"""The table ``clips``: one conversation, with what both people share."""

from __future__ import annotations

import pyarrow as pa

from schemas import vocabulary as words_of
from schemas.column import MEDIA, Column, Table
from schemas.triplets import PROVENANCE

#: A span in which one person holds the floor; seconds from the clip's start.
TURN = pa.struct([("person", pa.string()), ("start", pa.float32()), ("end", pa.float32()), ("text", pa.string())])

#: A stretch of speech and what it does to the floor; seconds from the clip's start.
STRETCH = pa.struct(
    [
        ("person", pa.string()),
        ("start", pa.float32()),
        ("end", pa.float32()),
        ("kind", pa.string()),
        ("offset_s", pa.float32()),
    ]
)

_S, _F32, _I32, _F64 = pa.string(), pa.float32(), pa.int32(), pa.float64()


def _of_both(name: str, kind: pa.DataType, about: str, unit: str = "") -> tuple[Column, Column]:
    """A column for either person of a conversation, ``<name>_a`` and ``<name>_b``."""
    a, b = (
        Column(
            f"{name}_{person.lower()}",
            kind,
            about.format(person) + "; null where the clip has one person" + (", or never." if unit else "."),
            unit,
            nullable=True,
            since="1.3",
        )
        for person in words_of.PERSONS
    )
    return a, b


TABLE = Table(
    "clips",
    "one conversation",
    (
        Column("clip_id", _S, "Name of the clip, made from the source's bytes and the span."),
        Column("dyad_id", _S, "Name of the unordered pair of subjects; of the one subject where there is one."),
        Column("source_id", _S, "The source file the clip was cut from."),
        Column("row_id_a", _S, "Row of person A in triplets."),
        Column("row_id_b", _S, "Row of person B in triplets; null where the clip has one person.", nullable=True),
        Column("subject_id_a", _S, "Person A, the left one."),
        Column("subject_id_b", _S, "Person B, the right one; null where the clip has one person.", nullable=True),
        Column("split", _S, "Part of the dataset, the same as that of the rows.", values=words_of.SPLITS),
        Column("start_s", _F64, "Start of the clip on the source's timeline.", unit="s"),
        Column("end_s", _F64, "End of the clip on the source's timeline.", unit="s"),
        Column("fps", _F32, "Frames per second of the per-frame columns and of the preview.", unit="1/s"),
        Column("num_frames", _I32, "T, the number of frames.", unit="frames"),
        Column("sample_rate", _I32, "Samples per second of the audio.", unit="Hz"),
        Column("audio", MEDIA, "The mixture of all that is heard as FLAC, mono, T / fps long.", media="audio"),
        Column("preview", MEDIA, "The whole frame, small, with the mixture, as MP4.", media="video", nullable=True),
        Column("text", _S, "Everything said, in order; empty for nothing."),
        Column("language", _S, "ISO 639-1 code of the speech; empty where none was heard."),
        Column("turns", pa.list_(TURN), "Who holds the floor when, and what they say; from the clip's start.", "s"),
        Column(
            "turn_taking",
            pa.list_(STRETCH),
            "Every stretch of speech and what it does to the floor: first, hold, change, interruption, attempt or "
            "backchannel; offset_s: from the end of the other's speech, where the floor is taken, negative in overlap. "
            "Null where the clip has one person.",
            "s",
            nullable=True,
            since="1.3",
        ),
        *_of_both("floor_share", _F32, "Share of frames in which {0} holds the floor, pauses included"),
        *_of_both("num_turns", _I32, "How often {0} took the floor, the first turn included"),
        *_of_both("num_backchannels", _I32, "How often {0} said something short while the other held the floor"),
        *_of_both("num_interruptions", _I32, "How often {0} took the floor over 0.4 s before the other stopped"),
        *_of_both("num_attempts", _I32, "How often {0} spoke for over 1 s while the other spoke on and kept the floor"),
        *_of_both("latency", _F32, "Median time from the other's end to {0}'s beginning where {0} took the floor", "s"),
        Column(
            "gap_share",
            _F32,
            "Share of frames from the first speech to the last in which nobody speaks; null in clips of one person.",
            nullable=True,
            since="1.3",
        ),
        Column("kinship", _S, "Whether the two are blood relatives.", values=words_of.KINSHIP),
        Column("status", _S, "Whether the two are of equal social standing.", values=words_of.STATUS),
        Column("senior", _S, "Who has the higher standing.", values=words_of.SENIOR_OF_CLIP),
        Column("relation_source", _S, "Where the relation comes from.", values=words_of.RELATION_SOURCES),
        Column("relation_confidence", _F32, "Trust in the relation, in [0, 1]; null if unlabelled.", nullable=True),
        Column("num_votes", _I32, "Number of votes behind the relation."),
        Column("agreement", _F32, "Share of votes that agree with the relation; null without votes.", nullable=True),
        Column("q_assignment", _F32, "Trust in who of the two was heard, in [0, 1].", nullable=True),
        Column("q_overlap", _F32, "Share of frames in which both speak."),
        Column("q_speech", _F32, "Share of frames in which anyone speaks."),
        Column("q_valid", _F32, "Share of frames in which the codes of every person who is seen are valid."),
        Column("licence", _S, "Licence of the source as given by its owner; empty where none was given."),
        Column("consent_id", _S, "Reference to the consent of the people seen; null for none given.", nullable=True),
        Column("pii", pa.list_(_S), "What in the row identifies a person: face, voice, name, place, minor, ..."),
        Column("provenance", PROVENANCE, "Version of rsat-data, hash of its configuration, hashes of model files."),
    ),
)

SCHEMA = TABLE.schema
MEDIA_COLUMNS = tuple(column.name for column in TABLE if column.media)
