"""The table ``sources``: one file as it was given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from schemas.column import Column, Table

_S, _I32, _I64, _F64 = pa.string(), pa.int32(), pa.int64(), pa.float64()

TABLE = Table(
    "sources",
    "one file as it was given",
    (
        Column("source_id", _S, "Name of the source, made from its bytes."),
        Column("sha256", _S, "sha256 of the file."),
        Column("name", _S, "File name within the folder given; no path of the machine."),
        Column("bytes", _I64, "Size of the file.", unit="bytes"),
        Column("container", _S, "Container format; empty where the source was not a file.", nullable=True),
        Column("duration_s", _F64, "Length.", unit="s", nullable=True),
        Column("video_codec", _S, "Codec of the video.", nullable=True),
        Column("width", _I32, "Width, upright, square pixels.", unit="px", nullable=True),
        Column("height", _I32, "Height, upright, square pixels.", unit="px", nullable=True),
        Column("rotation", _I32, "Rotation that was undone.", unit="deg", nullable=True),
        Column("fps", _F64, "Mean frame rate.", unit="1/s", nullable=True),
        Column("vfr", pa.bool_(), "Whether the frame rate varies.", nullable=True),
        Column("pix_fmt", _S, "Pixel format of the video.", nullable=True),
        Column("num_frames", _I64, "Frames of the video.", unit="frames", nullable=True),
        Column("audio_codec", _S, "Codec of the audio.", nullable=True),
        Column("channels", _I32, "Channels of the audio.", nullable=True),
        Column("sample_rate", _I32, "Samples per second of the audio as given.", unit="Hz", nullable=True),
        Column("num_clips", _I32, "Clips of this source in the dataset."),
        Column("licence", _S, "Licence as given by the owner; empty where none was given."),
        Column("consent_id", _S, "Reference to the consent of the people seen; null for none given.", nullable=True),
    ),
)

SCHEMA = TABLE.schema


def from_ingest(source_id: str, name: str, probe: Mapping[str, Any], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Make the record of a source, without ``num_clips``.

    Args:
        source_id: name of the source.
        name: file name within the folder given.
        probe: the content of ingest's ``source.json``.
        metadata: what the sidecar says; licence and consent_id are used.
    """
    video, audio = probe.get("video") or {}, probe.get("audio") or {}
    rotation, frames = video.get("rotation"), video.get("num_frames")
    return {
        "source_id": source_id,
        "sha256": probe["sha256"],
        "name": name,
        "bytes": int(probe["bytes"]),
        "container": probe.get("container"),
        "duration_s": probe.get("duration_s"),
        "video_codec": video.get("codec"),
        "width": video.get("width"),
        "height": video.get("height"),
        "rotation": None if rotation is None else round(rotation),
        "fps": video.get("fps"),
        "vfr": video.get("vfr"),
        "pix_fmt": video.get("pix_fmt"),
        "num_frames": None if frames is None else int(frames),
        "audio_codec": audio.get("codec"),
        "channels": audio.get("channels"),
        "sample_rate": audio.get("sample_rate"),
        "licence": str(metadata.get("licence") or ""),
        "consent_id": metadata.get("consent_id"),
    }
