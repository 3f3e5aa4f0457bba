"""The table ``triplets``: one person in one clip. A conversation is two rows that share clip_id and dyad_id."""

from __future__ import annotations

import pyarrow as pa

from schemas import vocabulary as words_of
from schemas.column import FRAMES_F32, MEDIA, Column, Table

#: Frames per second of every clip.
FPS = 25.0
#: Audio samples per second of every clip.
SAMPLE_RATE = 16000

#: A spoken word; times in seconds from the clip's start, score in [0, 1], speaker A, B or null.
WORD = pa.struct(
    [
        ("word", pa.string()),
        ("start", pa.float32()),
        ("end", pa.float32()),
        ("score", pa.float32()),
        ("speaker", pa.string()),
    ]
)

#: Pinhole camera of the column ``video``: focal lengths and principal point in its pixels, and its size.
CAMERA = pa.struct(
    [
        ("fx", pa.float32()),
        ("fy", pa.float32()),
        ("cx", pa.float32()),
        ("cy", pa.float32()),
        ("width", pa.int32()),
        ("height", pa.int32()),
    ]
)

#: What made the row. model_hashes is sorted by name.
PROVENANCE = pa.struct(
    [
        ("version", pa.string()),
        ("config_hash", pa.string()),
        ("model_hashes", pa.list_(pa.struct([("name", pa.string()), ("sha256", pa.string())]))),
    ]
)

_CAMERA_FRAME = "camera (OpenCV: x right, y down, z away)"
_S, _F32, _I32, _F64 = pa.string(), pa.float32(), pa.int32(), pa.float64()

TABLE = Table(
    "triplets",
    "one person in one clip",
    (
        Column("row_id", _S, "Name of this row, made from clip_id and person."),
        Column("clip_id", _S, "Name of the clip, made from the source's bytes and the span."),
        Column("dyad_id", _S, "Name of the unordered pair of subjects; of the one subject where there is one."),
        Column("subject_id", _S, "The human being, across clips."),
        Column(
            "subject_source",
            _S,
            "Why the row is this subject's: the owner gave a name, it was matched with other clips, or it is the only "
            "clip.",
            values=words_of.SUBJECT_SOURCES,
            since="1.1",
        ),
        Column(
            "subject_score",
            _F32,
            "Of a matched row: score in [0, 1] that it shows the same person as the subject's other rows; else null.",
            nullable=True,
            since="1.1",
        ),
        Column("partner_row_id", _S, "The row of the other person; null where the clip has one person.", nullable=True),
        Column("partner_subject_id", _S, "The other person; null where the clip has one person.", nullable=True),
        Column("source_id", _S, "The source file the clip was cut from."),
        Column("person", _S, "A or B, from left to right in the frame.", values=words_of.PERSONS),
        Column("split", _S, "Part of the dataset; no subject, family, source, dyad is in two.", values=words_of.SPLITS),
        Column("start_s", _F64, "Start of the clip on the source's timeline.", unit="s"),
        Column("end_s", _F64, "End of the clip on the source's timeline.", unit="s"),
        Column("fps", _F32, "Frames per second of every per-frame column and of the video.", unit="1/s"),
        Column("num_frames", _I32, "T, the number of frames.", unit="frames"),
        Column("sample_rate", _I32, "Samples per second of the audio.", unit="Hz"),
        Column("audio", MEDIA, "This person's speech as FLAC, mono, T / fps long.", media="audio"),
        Column(
            "audio_isolation",
            _S,
            "How the audio was made this person's: own channel, mixture gated by own turns, or plain mixture.",
            values=words_of.AUDIO_ISOLATION,
        ),
        Column("speaking", pa.list_(pa.bool_()), "Whether this person speaks in this frame.", shape="(T,)"),
        Column("text", _S, "What this person says; empty for nothing."),
        Column("language", _S, "ISO 639-1 code of the speech; empty where none was heard."),
        Column(
            "words",
            pa.list_(WORD),
            "Every word heard in the clip, of both people, with its speaker (A, B, or null where not assigned); "
            "times from the clip's start.",
            unit="s",
        ),
        Column("head_model", _S, "Name, version and hash of the head the codes belong to; one in a whole dataset."),
        Column("shape", pa.list_(_F32), "Shape code of the subject.", shape="(S,)", unit="standard deviations"),
        Column("expression", FRAMES_F32, "Expression code; 1 is full strength.", shape="(T, E)"),
        Column("jaw", FRAMES_F32, "Rotation of the jaw joint, axis-angle.", "rad", "(T, 3)", "head", width=3),
        Column("neck", FRAMES_F32, "Rotation of the neck joint, axis-angle.", "rad", "(T, 3)", "head", width=3),
        Column(
            "eyes", FRAMES_F32, "Rotations of the left and the right eye, axis-angle.", "rad", "(T, 6)", "head", width=6
        ),
        Column(
            "rotation",
            FRAMES_F32,
            "Rotation of the head at its root, axis-angle.",
            "rad",
            "(T, 3)",
            _CAMERA_FRAME,
            width=3,
        ),
        Column("translation", FRAMES_F32, "Translation of the head.", "m", "(T, 3)", _CAMERA_FRAME, width=3),
        Column("camera", CAMERA, "Pinhole camera of the video, one for the clip.", unit="px"),
        Column("valid", pa.list_(pa.bool_()), "Whether the codes of this frame can be trusted.", shape="(T,)"),
        Column(
            "reprojection_px",
            pa.list_(_F32),
            "Mean distance of the head's landmarks to the detected ones.",
            "px",
            "(T,)",
            "video",
        ),
        Column(
            "invalid_reason",
            pa.list_(_S),
            "Why the codes of this frame cannot be trusted; empty where valid.",
            shape="(T,)",
            values=words_of.INVALID_REASONS,
            since="1.1",
        ),
        Column(
            "confidence",
            pa.list_(_F32),
            "Trust in the codes of this frame, in [0, 1]: how likely the face's vertices lie in the picture, on "
            "average, within 4 % of the distance between the eyes of where they belong.",
            shape="(T,)",
            since="1.1",
        ),
        Column(
            "photometric",
            pa.list_(_F32),
            "Mean absolute colour difference of rendered and seen face, of full scale 1; NaN where not measured, "
            "null where the fit used landmarks alone.",
            shape="(T,)",
            frame="video",
            nullable=True,
            since="1.1",
        ),
        Column("image", MEDIA, "The sharpest frontal frame as JPEG.", media="image", nullable=True),
        Column("video", MEDIA, "The head crop as H.264 MP4, exactly T frames.", media="video", nullable=True),
        Column(
            "matte", MEDIA, "Foreground mask of the video as H.264 MP4, exactly T frames.", media="video", nullable=True
        ),
        Column("q_sync", _F32, "Agreement of the lips with the speech; higher is better.", nullable=True),
        Column("q_sync_offset_ms", _F32, "How long the speech lags behind the lips.", unit="ms", nullable=True),
        Column("q_blur", _F32, "Median sharpness of the face; higher is sharper.", nullable=True),
        Column("q_face_px", _F32, "Median size of the face in the source.", unit="source px", nullable=True),
        Column("q_yaw_p95_deg", _F32, "95th percentile of the head's turn away from the camera.", "deg", nullable=True),
        Column("q_snr_db", _F32, "Loudness of this person's speech above the background.", "dB", nullable=True),
        Column(
            "q_reprojection", _F32, "Median landmark distance, divided by the distance between the eyes.", nullable=True
        ),
        Column("q_photometric", _F32, "Median of photometric over valid frames.", nullable=True, since="1.1"),
        Column("q_confidence", _F32, "Mean confidence over valid frames.", nullable=True, since="1.1"),
        Column(
            "q_speaker",
            _F32,
            "How sure it is in which frames this person speaks, in [0, 1]; null where nobody is heard.",
            nullable=True,
            since="1.3",
        ),
        Column("q_valid", _F32, "Share of frames that are valid."),
        Column("avatar_id", _S, "The avatar of the subject, if one was fitted.", nullable=True),
        Column("avatar_psnr", _F32, "Image quality of the avatar on this row's frames.", "dB", nullable=True),
        Column("kinship", _S, "Whether the two are blood relatives.", values=words_of.KINSHIP),
        Column("status", _S, "Whether the two are of equal social standing.", values=words_of.STATUS),
        Column("senior", _S, "Who has the higher standing, seen from this person.", values=words_of.SENIOR_OF_PERSON),
        Column("relation_source", _S, "Where the relation comes from.", values=words_of.RELATION_SOURCES),
        Column("relation_confidence", _F32, "Trust in the relation, in [0, 1]; null if unlabelled.", nullable=True),
        Column("licence", _S, "Licence of the source as given by its owner; empty where none was given."),
        Column("consent_id", _S, "Reference to the consent of the people seen; null for none given.", nullable=True),
        Column("pii", pa.list_(_S), "What in the row identifies a person: face, voice, name, place, minor, ..."),
        Column("provenance", PROVENANCE, "Version of rsat-data, hash of its configuration, hashes of model files."),
    ),
)

SCHEMA = TABLE.schema

#: The (T, D) columns, in file order.
FRAME_COLUMNS = tuple(column.name for column in TABLE if column.is_frames)
#: The columns with one value a frame.
TRACK_COLUMNS = ("speaking", "valid", "reprojection_px", "invalid_reason", "confidence", "photometric")
#: The columns that hold files.
MEDIA_COLUMNS = tuple(column.name for column in TABLE if column.media)
