"""A small dataset whose rows an avatar can be fitted to: a painted open head, drawn by the mesh rasteriser."""

from __future__ import annotations

import io
from dataclasses import asdict
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq
import torch

import schemas
from model.camera import Camera
from model.head import HeadModel, load_head
from model.raster import interpolate, rasterize, vertex_normals
from rsat_data.publish import CLIPS_FILE, ROWS_FILE, publish
from schemas.arrow import table_from_rows
from tests.dataset_factory import FPS, ClipSpec, make_clip, make_row, media

SIDE = 64
CAMERA = Camera(150.0, 150.0, 30.0, 34.0, SIDE, SIDE)

SPECS = (
    ClipSpec("src0", "ann", "ben", frames=30, seed=1),
    ClipSpec("src1", "ann", frames=20, seed=2, start_s=3.0),
    ClipSpec("src2", "few", frames=12, seed=3),
    ClipSpec("src3", "bare", frames=20, seed=4),
)


def codes_of(spec: ClipSpec, person: str, head: HeadModel) -> dict[str, np.ndarray]:
    """Talk and small nods in front of the camera."""
    rng = np.random.default_rng([spec.seed, ord(person)])
    time, phase = np.arange(spec.frames) / FPS, rng.uniform(0, 6, 4)

    def wave(rate: float, size: float, number: int) -> np.ndarray:
        return size * np.sin(2 * np.pi * rate * time + phase[number])

    zero = np.zeros(spec.frames)
    codes = {
        "expression": np.zeros((spec.frames, head.num_expression)),
        "jaw": np.stack([0.08 + wave(3, 0.08, 0), zero, zero], 1),
        "neck": np.zeros((spec.frames, 3)),
        "eyes": np.zeros((spec.frames, 6)),
        "rotation": np.stack([wave(0.8, 0.05, 1), wave(0.5, 0.15, 2), zero], 1),
        "translation": np.stack([wave(0.4, 0.005, 3), zero + 0.02, zero + 0.75], 1),
    }
    codes["expression"][:, head.expression_index("browInnerUp")] = 0.3 + wave(1, 0.3, 1)
    return {name: values.astype(np.float32) for name, values in codes.items()}


def pictures(head: HeadModel, shape: np.ndarray, codes: dict[str, np.ndarray], seed: int) -> tuple[Any, Any]:
    """(T, H, W, 3) and matte (T, H, W) uint8 of a head painted in a smooth pattern, before grey."""
    rng = np.random.default_rng(seed)
    wave = torch.from_numpy(rng.normal(0, 25, (3, 3)).astype(np.float32))
    paint = 0.5 + 0.3 * torch.sin(head.v_template @ wave + 2.0)
    given = {name: torch.from_numpy(values) for name, values in codes.items()}
    vertices, _ = head.pose(torch.from_numpy(shape), **given)
    light = 0.5 - 0.5 * vertex_normals(vertices, head.faces)[..., 2:]
    fragments = rasterize(vertices, head.faces, CAMERA)
    seen = (fragments.face_id >= 0).numpy()
    colour = interpolate(fragments, head.faces, paint * light).numpy()
    frames = np.where(seen[..., None], colour, 0.4)
    return (255 * frames.clip(0, 1)).astype(np.uint8), np.where(seen, 255, 0).astype(np.uint8)


def encode(frames: np.ndarray) -> bytes:
    """MP4 of frames (T, H, W, 3) or (T, H, W), nearly lossless."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "4", "preset": "ultrafast"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in frames:
            picture = frame if frame.ndim == 3 else np.repeat(frame[..., None], 3, axis=2)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def make_avatar_dataset(root: Path, specs: tuple[ClipSpec, ...] = SPECS) -> Path:
    """Publish it at ``root/out``: ``few`` has seven valid frames, ``bare`` has no matte."""
    head = load_head()
    shapes = {
        name: np.random.default_rng(number).normal(0, 0.5, head.num_shape).astype(np.float32)
        for number, name in enumerate(("ann", "ben", "few", "bare"))
    }
    parts = []
    for spec in specs:
        rows = [make_row(spec, person) for person in (["A", "B"] if spec.subject_b else ["A"])]
        for row in rows:
            shape, codes = shapes[row["subject_id"]], codes_of(spec, row["person"], head)
            frames, mattes = pictures(head, shape, codes, ord(row["subject_id"][0]))
            valid = np.ones(spec.frames, bool)
            valid[5:7] = False
            if row["subject_id"] == "few":
                valid[7:] = False
            row |= codes | {"shape": shape, "head_model": head.id, "camera": asdict(CAMERA), "valid": valid}
            row["invalid_reason"] = np.where(valid, "", "lost").tolist()
            row["reprojection_px"] = np.where(valid, 0.5, np.nan).astype(np.float32)
            row["q_valid"] = float(valid.mean())
            row["video"] = media(encode(frames), "video.mp4")
            row["matte"] = None if row["subject_id"] == "bare" else media(encode(mattes), "matte.mp4")
        part = root / "parts" / spec.clip_id
        part.mkdir(parents=True)
        for name, table, records in ((ROWS_FILE, "triplets", rows), (CLIPS_FILE, "clips", [make_clip(spec, rows)])):
            kind = schemas.TABLES[table]
            pq.write_table(table_from_rows(kind, records), part / name, **schemas.parquet_options(kind.schema))
        parts.append(part)
    publish(parts, root / "out")
    return root / "out"
