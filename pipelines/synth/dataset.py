"""A dataset of format 1.0 straight from the truth: no rendering, thousands of rows in seconds.

Codes, speaking, words, turns, audio and relation are exact. There is no picture, so ``image``, ``video``, ``matte`` and
``preview`` are null, ``camera`` is that of the whole frame that would have been rendered, and what only a tracker could
say (``q_reprojection``, ``q_sync``, ``q_blur``) is null as well; ``meta/synth.json`` tells how it was made.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.assemble.turn_columns import turn_columns
from pipelines.synth import driver
from pipelines.synth.clip import CONSENT, licence_of
from pipelines.synth.driver import SynthConfig, disk_errors, run_jobs
from pipelines.synth.records import FPS, PERSONS, SAMPLE_RATE, Dialogue, partner_of
from pipelines.synth.scene import FRAME_CODES, Head
from pipelines.synth.simulate import simulate
from pipelines.synth.truth import Truth, truth_bytes
from rsat_data import __version__
from rsat_data.content import clip_id, content_hash, source_id

Row = dict[str, Any]
ROWS_FILE, CLIPS_FILE = "rows.parquet", "clip.parquet"
"""Files of a part, as the publication reads them."""
BLOCK = 50
"""Clips a unit of work: two row groups of at most 100 rows."""
_FACE_WIDTH_M = 0.145


def rows_of(truth: Truth, dialogue: Dialogue, head: Head, config_hash: str) -> tuple[list[Row], Row, Row]:
    """The two rows of triplets, the row of clips and the row of sources of a clip.

    Args:
        truth: of the clip.
        dialogue: its audio.
        head: facts of the head model.
        config_hash: of the run, for the provenance.
    """
    from pipelines.assemble import ids
    from schemas.sources import from_ingest
    from schemas.vocabulary import senior_of_person

    seconds = truth.num_frames / FPS
    content = b"".join(truth_bytes(truth))
    digest = hashlib.sha256(content).hexdigest()
    clip, source = clip_id(digest, 0.0, seconds), source_id(digest)
    subjects = {p: ids.named_subject_id(truth.subjects[p]) for p in PERSONS}
    row_ids = {p: ids.row_id(clip, p) for p in PERSONS}
    shared = {
        "clip_id": clip,
        "dyad_id": ids.dyad_id(subjects["A"], subjects["B"]),
        "source_id": source,
        "split": "train",
        "start_s": 0.0,
        "end_s": seconds,
        "fps": float(FPS),
        "num_frames": truth.num_frames,
        "sample_rate": SAMPLE_RATE,
        "language": truth.language or "",
        "kinship": truth.relation.kinship,
        "status": truth.relation.status,
        "relation_source": "metadata",
        "relation_confidence": 1.0,
        "licence": licence_of(truth) or "",
        "consent_id": CONSENT,
        "pii": [] if truth.audio_source.startswith("espeak-ng") else ["voice"],
        "provenance": {
            "version": f"{__version__}+synth",
            "config_hash": config_hash,
            "model_hashes": [{"name": "truth-without-pictures", "sha256": digest}],
        },
    }
    words = sorted(
        (
            {"word": w.label, "start": w.start, "end": min(w.end, seconds), "score": 1.0, "speaker": p}
            for p in PERSONS
            for w in truth.words[p] or ()
        ),
        key=lambda word: (word["start"], word["speaker"]),
    )
    rows = []
    for person in PERSONS:
        codes, other = truth.codes[person], partner_of(person)
        rows.append(
            {
                **shared,
                "row_id": row_ids[person],
                "subject_id": subjects[person],
                "subject_source": "given",
                "subject_score": None,
                "partner_row_id": row_ids[other],
                "partner_subject_id": subjects[other],
                "person": person,
                "audio": {"bytes": flac(dialogue.audio[person]), "path": f"{row_ids[person]}.flac"},
                "audio_isolation": truth.audio_isolation,
                "speaking": truth.speaking[person],
                "text": truth.text[person] or "",
                "words": words,
                "head_model": truth.head_model,
                "shape": codes.shape,
                **{name: getattr(codes, name) for name in FRAME_CODES},
                "camera": asdict(truth.camera),
                "valid": np.ones(truth.num_frames, bool),
                "reprojection_px": np.zeros(truth.num_frames, np.float32),
                "invalid_reason": [""] * truth.num_frames,
                "confidence": np.ones(truth.num_frames, np.float32),
                "photometric": None,
                "image": None,
                "video": None,
                "matte": None,
                "q_sync": None,
                "q_sync_offset_ms": None,
                "q_blur": None,
                "q_face_px": _FACE_WIDTH_M * truth.camera.fx / _face_distance(codes, head),
                "q_yaw_p95_deg": float(np.percentile(np.abs(np.degrees(codes.rotation[:, 1])), 95)),
                "q_snr_db": None,
                "q_reprojection": None,
                "q_photometric": None,
                "q_confidence": 1.0,
                "q_speaker": 1.0,
                "q_valid": 1.0,
                "avatar_id": None,
                "avatar_psnr": None,
                "senior": senior_of_person(truth.relation.senior, person),
            }
        )
    talk = np.stack([truth.speaking[p] for p in PERSONS])
    conversation = {
        **shared,
        "row_id_a": row_ids["A"],
        "row_id_b": row_ids["B"],
        "subject_id_a": subjects["A"],
        "subject_id_b": subjects["B"],
        "audio": {"bytes": flac(dialogue.mixture()), "path": f"{clip}.flac"},
        "preview": None,
        "text": " ".join(turn.text for turn in truth.turns if turn.text),
        "turns": [{"person": t.person, "start": t.start, "end": t.end, "text": t.text or ""} for t in truth.turns],
        **turn_columns(dict(zip(PERSONS, talk, strict=True))),
        "senior": truth.relation.senior,
        "num_votes": 0,
        "agreement": None,
        "q_assignment": 1.0,
        "q_overlap": float(talk.all(axis=0).mean()),
        "q_speech": float(talk.any(axis=0).mean()),
        "q_valid": 1.0,
    }
    probe = {"sha256": digest, "bytes": len(content), "container": "synthetic", "duration_s": seconds}
    record = from_ingest(source, truth.name, probe, {"licence": shared["licence"], "consent_id": CONSENT})
    return rows, conversation, record


def flac(audio: np.ndarray) -> bytes:
    """(N,) float32 in [-1, 1] as 16 bit mono FLAC."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, audio, SAMPLE_RATE, format="FLAC", subtype="PCM_16", compression_level=0.0)
    return buffer.getvalue()


def make_block(config: SynthConfig, first: int, last: int, folder: Path) -> tuple[int, list[Row]]:
    """Rows of clips ``first`` to ``last`` - 1 as one part folder; number of clips, and rows of the table sources."""
    import pyarrow.parquet as pq

    import schemas
    from schemas.arrow import table_from_rows

    tools = driver.tools()
    rows, clips, sources = [], [], []
    key = config_hash(config)
    for index in range(first, last):
        truth, dialogue = simulate(config.simulation, index, tools.speech, tools.facts)
        pair, clip, source = rows_of(truth, dialogue, tools.facts, key)
        rows += pair
        clips.append(clip)
        sources.append(source)
    with disk_errors(folder):
        folder.mkdir(parents=True)
        for name, table, content in ((ROWS_FILE, "triplets", rows), (CLIPS_FILE, "clips", clips)):
            spec = schemas.TABLES[table]
            # Parts are read once and removed: speed matters, size does not.
            pq.write_table(table_from_rows(spec, content), folder / name, compression="none", use_dictionary=False)
    return last - first, sources


def make_parts(
    config: SynthConfig, folder: Path, done: Callable[[int], None] = lambda clips: None
) -> tuple[list[Path], list[Row]]:
    """Write the rows of all clips of a run as part folders, ready to be published.

    Args:
        config: the run; ``out`` and ``own_audio`` have no meaning here.
        folder: for the parts; must exist.
        done: called with the number of clips of every finished block.

    Returns:
        The part folders in order, and the rows of the table sources.
    """
    jobs: list[tuple[Any, ...]] = [
        (config, first, min(first + BLOCK, config.clips), folder / f"part-{first:08d}")
        for first in range(0, config.clips, BLOCK)
    ]
    sources: list[Row] = []
    for clips, found in run_jobs(make_block, jobs, config.workers, config.speech):
        sources += found
        done(clips)
    return [job[3] for job in jobs], sorted(sources, key=lambda row: str(row["name"]))


def described(config: SynthConfig) -> dict[str, Any]:
    """What decides the rows, as JSON-able values."""
    simulation = asdict(config.simulation)
    if not simulation["people"]:  # without a cast, hashes stay what they were before there were any
        del simulation["people"]
    if not simulation["hard"]:
        del simulation["hard"]
    return {
        "clips": config.clips,
        "simulation": simulation,
        "speech": {"source": config.speech.source, "files": [path.name for path in config.speech.files]},
        "pictures": "none: rows were written from the truth without rendering",
    }


def config_hash(config: SynthConfig) -> str:
    """Hash of everything that decides a clip besides its number."""
    return content_hash({key: value for key, value in described(config).items() if key != "clips"})


def _face_distance(codes: Any, head: Head) -> float:
    """Median depth of the point between the eyes, metres (turns neglected: they move it by a centimetre)."""
    full = np.concatenate([[1.0], codes.shape.astype(np.float64)])
    return float(np.median(codes.translation[:, 2]) + (head.eyes @ full)[2])
