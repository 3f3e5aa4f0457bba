"""Previews of chosen rows of a dataset."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2

from rsat_data.errors import DatasetError
from rsat_data.preview.lookup import find_head
from rsat_data.preview.scene import Scene
from rsat_data.preview.sheet import draw_sheet
from rsat_data.preview.telling import choose
from rsat_data.preview.video import write_preview
from rsat_data.reader import Row


@dataclass(frozen=True)
class PreviewOptions:
    """What is drawn."""

    size: int = 400
    """Side of a panel of the video, an even number of pixels."""
    frames: int = 12
    """Frames on the contact sheet, at most."""
    video: bool = True
    """Whether to write the video as well."""
    head: str | None = None
    """Name or file of a head to draw the codes with; None for the one they belong to."""


@dataclass(frozen=True)
class Preview:
    """What was written for a row."""

    row_id: str
    sheet: Path
    video: Path | None
    has_video: bool
    """Whether the row holds a video; if not, the mesh is drawn alone."""
    num_frames: int
    seconds: float
    """Time that it took."""
    chosen: tuple[tuple[int, tuple[str, ...]], ...]
    """Frames on the sheet and why."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "row_id": self.row_id,
            "sheet": str(self.sheet),
            "video": None if self.video is None else str(self.video),
            "has_video": self.has_video,
            "num_frames": self.num_frames,
            "seconds": round(self.seconds, 3),
            "frames": [{"frame": frame, "why": list(why)} for frame, why in self.chosen],
        }


@lru_cache(maxsize=2)
def _head(head_id: str, given: str | None) -> Any:
    return find_head(head_id, given)


def preview_row(row: Row, out: Path, options: PreviewOptions, progress: Callable[[], None] = lambda: None) -> Preview:
    """Write ``<row_id>.png`` and, if wanted, ``<row_id>.mp4`` into the folder ``out``; files there are replaced.

    Args:
        row: a row of triplets, columns not restricted.
        out: a folder that exists.
        options: what to draw.
        progress: called after every frame of the video, and once for the sheet.

    Raises:
        HeadMismatch: the head of the codes is not on this machine.
        DatasetError: the row cannot be drawn: codes of another size, a video that ends early.
    """
    started = time.perf_counter()
    head = _head(row["head_model"], options.head)
    other = f"{row['head_model']} drawn with {head.id}" if head.id != row["head_model"] else ""
    scene = Scene(row, head)
    if not scene.num:
        raise DatasetError(f"{row!r} has no frame.")
    tracks = scene.tracks()
    chosen = choose(tracks, options.frames)
    name = re.sub(r"[^A-Za-z0-9._-]", "_", row["row_id"]).lstrip(".") or "row"
    sheet = out / f"{name}.png"
    _replace(sheet, lambda path: _write_png(path, draw_sheet(scene, tracks, chosen, other)))
    progress()
    video = out / f"{name}.mp4" if options.video else None
    if video is not None:
        _replace(video, lambda path: write_preview(path, scene, tracks, options.size, progress))
    return Preview(
        row["row_id"],
        sheet,
        video,
        scene.has_video,
        scene.num,
        time.perf_counter() - started,
        tuple((telling.frame, telling.reasons) for telling in chosen),
    )


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under another name and rename it when it is whole."""
    temporary = path.with_name(f".{path.stem}.tmp{path.suffix}")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _write_png(path: Path, picture: Any) -> None:
    done, data = cv2.imencode(".png", picture[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 4])
    if not done:
        raise DatasetError(f"{path} cannot be written as PNG.")
    path.write_bytes(data.tobytes())
