"""Tiny real datasets on disk, made by the real writer: true FLAC, JPEG and MP4 bytes, smooth random codes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pyarrow.parquet as pq
import soundfile as sf

import schemas
from pipelines.assemble import ids
from pipelines.assemble.turn_columns import turn_columns
from rsat_data.publish import CLIPS_FILE, ROWS_FILE, Published, publish
from schemas.arrow import table_from_rows
from schemas.vocabulary import senior_of_person

FPS, RATE, SIDE = 25, 16000, 32
EXPRESSIONS, SHAPES = 52, 10
HEAD = "test-head-1.0@0123456789ab"


@dataclass(frozen=True)
class ClipSpec:
    """What a clip of the factory is made of."""

    source: str
    subject_a: str
    subject_b: str | None = None
    start_s: float = 0.0
    frames: int = 10
    kinship: str = "unknown"
    status: str = "unknown"
    senior: str = "unknown"
    video: bool = True
    seed: int = 0
    unseen: str = ""
    """Letter of somebody who is heard and not in the picture."""

    @property
    def clip_id(self) -> str:
        return f"clip_{self.source}_{round(self.start_s * 1000):08d}"


def flac(samples: int, seed: int) -> bytes:
    noise = np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)
    buffer = io.BytesIO()
    sf.write(buffer, noise, RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


@cache
def mp4(frames: int, seed: int = 0) -> bytes:
    """A video whose frame i is grey of level 10 i (as far as H.264 keeps it)."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "10"})
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        for number in range(frames):
            image = np.full((SIDE, SIDE, 3), (10 * number + seed) % 250, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def jpeg(seed: int) -> bytes:
    image = np.random.default_rng(seed).integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
    return bytes(cv2.imencode(".jpg", image)[1].tobytes())


def smooth(rng: np.random.Generator, frames: int, width: int, size: float) -> np.ndarray:
    steps = rng.normal(0, 1, (frames, width)).cumsum(axis=0) / np.sqrt(frames)
    return (size * np.tanh(steps)).astype(np.float32)


def media(data: bytes, name: str) -> dict[str, Any]:
    return {"bytes": data, "path": name}


OF_A_FACE = (
    "image", "video", "matte", "photometric", "q_sync", "q_sync_offset_ms", "q_blur", "q_face_px", "q_yaw_p95_deg",
    "q_reprojection", "q_photometric", "q_confidence", "q_speaker",
)  # fmt: skip
"""Columns that are null for somebody who is not in the picture."""


def make_row(spec: ClipSpec, person: str) -> dict[str, Any]:
    """One row of triplets, without a final split."""
    frames = spec.frames
    rng = np.random.default_rng([spec.seed, ord(person), round(spec.start_s * 25)])
    subjects = {"A": spec.subject_a, "B": spec.subject_b}
    other = "B" if person == "A" else "A"
    mine, theirs = subjects[person], subjects[other]
    assert mine is not None
    valid = np.arange(frames) != frames - 1
    name = ids.row_id(spec.clip_id, person)
    labelled = (spec.kinship, spec.status) != ("unknown", "unknown")
    unseen = person == spec.unseen
    valid = valid & (not unseen)
    return {
        "row_id": name,
        "clip_id": spec.clip_id,
        "dyad_id": ids.dyad_id(mine, theirs),
        "subject_id": mine,
        "subject_source": "matched" if person == "A" else "given",
        "subject_score": 0.96875 if person == "A" else None,
        "partner_row_id": None if theirs is None else ids.row_id(spec.clip_id, other),
        "partner_subject_id": theirs,
        "source_id": spec.source,
        "person": person,
        "split": "train",
        "start_s": spec.start_s,
        "end_s": spec.start_s + frames / FPS,
        "fps": FPS,
        "num_frames": frames,
        "sample_rate": RATE,
        "audio": media(flac(frames * RATE // FPS, spec.seed), f"{name}.flac"),
        "audio_isolation": "gated",
        "speaking": rng.random(frames) < 0.5,
        "text": f"hello from {person}",
        "language": "en",
        "words": [{"word": "hello", "start": 0.0, "end": 0.2, "score": 0.9, "speaker": person}],
        "head_model": HEAD,
        "shape": rng.normal(size=SHAPES).astype(np.float32),
        "expression": np.abs(smooth(rng, frames, EXPRESSIONS, 1.0)),
        "jaw": smooth(rng, frames, 3, 0.2),
        "neck": np.zeros((frames, 3), np.float32),
        "eyes": smooth(rng, frames, 6, 0.3),
        "rotation": smooth(rng, frames, 3, 0.5),
        "translation": smooth(rng, frames, 3, 0.1) + np.float32([0, 0, 1]),
        "camera": {"fx": 100.0, "fy": 100.0, "cx": 16.0, "cy": 16.0, "width": SIDE, "height": SIDE},
        "valid": valid,
        "reprojection_px": np.where(valid, rng.random(frames), np.nan).astype(np.float32),
        "invalid_reason": np.where(valid, "", "off_screen" if unseen else "lost").tolist(),
        "confidence": np.where(valid, 0.9, 0.0).astype(np.float32),
        "photometric": np.where(valid, 0.03, np.nan).astype(np.float32) if person == "A" else None,
        "image": media(jpeg(spec.seed), f"{name}.jpg"),
        "video": media(mp4(frames), f"{name}.mp4") if spec.video else None,
        "matte": media(mp4(frames, 5), f"{name}_matte.mp4") if spec.video else None,
        "q_sync": 3.0,
        "q_sync_offset_ms": 0.0,
        "q_blur": 100.0,
        "q_face_px": 200.0,
        "q_yaw_p95_deg": 12.0,
        "q_snr_db": None,
        "q_reprojection": 0.015,
        "q_photometric": 0.03125 if person == "A" else None,
        "q_confidence": 0.875,
        "q_speaker": 0.8125,
        "q_valid": float(valid.mean()),
        "avatar_id": None,
        "avatar_psnr": None,
        "kinship": spec.kinship,
        "status": spec.status,
        "senior": senior_of_person(spec.senior, person),
        "relation_source": "metadata" if labelled else "unlabelled",
        "relation_confidence": 1.0 if labelled else None,
        "licence": "CC0-1.0",
        "consent_id": None,
        "pii": ["face", "voice"],
        "provenance": {
            "version": "0.1.0",
            "config_hash": "c0ffee",
            "model_hashes": [{"name": "face_landmarker", "sha256": "00" * 32}],
        },
        **(dict.fromkeys(OF_A_FACE) if unseen else {}),
    }


def make_clip(spec: ClipSpec, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The row of clips that belongs to the rows."""
    first, second = rows[0], rows[1] if len(rows) > 1 else None
    same = (
        "clip_id dyad_id source_id split start_s end_s fps num_frames sample_rate language kinship status "
        "relation_source relation_confidence licence consent_id pii provenance"
    ).split()
    return {
        **{name: first[name] for name in same},
        "row_id_a": first["row_id"],
        "row_id_b": second and second["row_id"],
        "subject_id_a": first["subject_id"],
        "subject_id_b": second and second["subject_id"],
        "audio": media(flac(spec.frames * RATE // FPS, spec.seed), "mixture.flac"),
        "preview": media(mp4(spec.frames), "preview.mp4") if spec.video else None,
        "text": "hello",
        "turns": [{"person": "A", "start": 0.0, "end": 0.2, "text": "hello"}],
        **turn_columns({row["person"]: row["speaking"][: spec.frames] for row in rows}),
        "senior": spec.senior,
        "num_votes": 0,
        "agreement": None,
        "q_assignment": 0.9,
        "q_overlap": 0.1,
        "q_speech": 0.7,
        "q_valid": min(row["q_valid"] for row in rows),
    }


def write_part(folder: Path, specs: Sequence[ClipSpec]) -> Path:
    """What the assemble stage leaves behind, for one clip or several (then with more rows a group)."""
    rows, clips = [], []
    for spec in specs:
        people = [make_row(spec, "A")] + ([make_row(spec, "B")] if spec.subject_b else [])
        rows += people
        clips.append(make_clip(spec, people))
    folder.mkdir(parents=True, exist_ok=True)
    for name, table, records in ((ROWS_FILE, "triplets", rows), (CLIPS_FILE, "clips", clips)):
        spec_ = schemas.TABLES[table]
        pq.write_table(
            table_from_rows(spec_, records),
            folder / name,
            row_group_size=len(specs),
            **schemas.parquet_options(spec_.schema),
        )
    return folder


def default_specs(clips: int = 6, frames: int = 10) -> list[ClipSpec]:
    """Clips of separate pairs, the last one of one person; lengths differ."""
    specs = [
        ClipSpec(f"src{n}", f"subj{n}a", f"subj{n}b", frames=frames + n, seed=n, start_s=float(n))
        for n in range(clips - 1)
    ]
    return [*specs, ClipSpec("src_one", "subj_one", frames=frames, seed=99)]


def make_dataset(root: Path, specs: Sequence[ClipSpec] | None = None, **options: Any) -> tuple[Path, Published]:
    """Write parts below ``root/parts`` and publish them to ``root/out``."""
    specs = default_specs() if specs is None else specs
    parts = [write_part(root / "parts" / spec.clip_id, [spec]) for spec in specs]
    out = root / "out"
    return out, publish(parts, out, **options)
