"""The side-by-side video of a row: crop, mesh over face, mesh alone, landmarks; below them the curves and the words."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from pipelines.ingest.media import write_video
from rsat_data.preview import paint
from rsat_data.preview.paint import Picture
from rsat_data.preview.panels import TITLES, TRAIL, curves, landmarks, mesh_panels, no_video
from rsat_data.preview.scene import Scene
from rsat_data.preview.telling import Tracks

HEADER, CAPTION, STRIP = 32, 34, 104
SIZE = 15


def write_preview(path: Path, scene: Scene, tracks: Tracks, size: int, progress: Callable[[], None]) -> int:
    """Write the video with the row's sound and return its number of frames.

    Args:
        path: an MP4 file.
        scene: the row.
        tracks: of the row.
        size: side of a panel, an even number of pixels.
        progress: called after every frame.
    """
    frames = _counted(draw_frames(scene, tracks, size), progress)
    return write_video(path, frames, scene.fps, crf=20, audio=scene.row.audio(), sample_rate=scene.row["sample_rate"])


def _counted(frames: Iterator[Picture], progress: Callable[[], None]) -> Iterator[Picture]:
    for frame in frames:
        yield frame
        progress()


def draw_frames(scene: Scene, tracks: Tracks, size: int) -> Iterator[Picture]:
    """The video's frames, uint8 RGB, both sides even; the same array each time, so copy what you keep."""
    tall = round(size * scene.camera.height / scene.camera.width)
    width = len(TITLES) * size
    height = HEADER + tall + CAPTION + STRIP
    page = paint.canvas(height + height % 2, width)
    for number, title in enumerate(TITLES):
        paint.text(page, (number * size + 10, 7), title, SIZE, paint.FAINT)
    name = scene.row["row_id"]
    paint.text(page, (width - paint.width_of(name, SIZE) - 10, 7), name, SIZE, paint.INK)
    strip, (left, right) = curves(tracks, width, STRIP, scene.fps)
    words = _words(scene)
    empty = None if scene.has_video else no_video(tall, size)
    trail: deque[np.ndarray] = deque(maxlen=TRAIL)
    pictures = scene.pictures(size)
    bottom = HEADER + tall + CAPTION
    for posed in scene.posed(size):
        for index, frame in enumerate(posed.frames):
            picture = next(pictures)
            colour = posed.colour[index]
            panels = (
                picture if picture is not None else empty,
                *mesh_panels(picture, colour),
                landmarks(picture, posed, index, list(trail)),
            )
            for number, panel in enumerate(panels):
                assert panel is not None
                page[HEADER : HEADER + tall, number * size : (number + 1) * size] = panel
            trail.append(posed.points[index])
            if not tracks.valid[frame]:
                paint.frame_in(page[HEADER : HEADER + tall], paint.BAD)
                why = f"INVALID  {tracks.reasons[frame]}".rstrip()
                paint.tag(page, (12, HEADER + 12), why, SIZE, paint.PAPER, paint.BAD)
            page[HEADER + tall : bottom] = paint.PAPER
            _caption(page, HEADER + tall + 8, frame, scene, tracks, words)
            page[bottom : bottom + STRIP] = strip
            place = round(left + (right - left) * (frame + 0.5) / scene.num)
            page[bottom + 24 : bottom + STRIP - 24, place - 1 : place + 1] = paint.INK
            yield page


def _caption(page: Picture, y: int, frame: int, scene: Scene, tracks: Tracks, words: list[str]) -> None:
    """Number, time and quality of the frame, and what is being said."""
    x = paint.text(page, (10, y), f"frame {frame}", SIZE, bold=True)
    x = max(x + 14, 120)
    paint.text(page, (x, y), f"{frame / scene.fps:.2f} s", SIZE, paint.FAINT)
    x += 80
    if np.isfinite(tracks.reprojection_px[frame]):
        paint.text(page, (x, y), f"{tracks.reprojection_px[frame]:.1f} px", SIZE, paint.REPROJECTION)
        x += 80
    if tracks.confidence is not None and np.isfinite(tracks.confidence[frame]):
        paint.text(page, (x, y), f"confidence {tracks.confidence[frame]:.2f}", SIZE, paint.CONFIDENCE)
        x += 160
    if words[frame]:
        colour = paint.GOOD if tracks.speaking[frame] else paint.FAINT
        paint.text(page, (x, y), paint.fit(words[frame], SIZE, page.shape[1] - x - 10), SIZE, colour)


def _words(scene: Scene) -> list[str]:
    """What this person is saying in every frame: the words of one breath, the present one in brackets."""
    said = [word for word in scene.row["words"] if word["speaker"] == scene.row["person"]]
    groups: list[list[int]] = []
    for number, word in enumerate(said):
        together = groups and len(groups[-1]) < 10 and word["start"] - said[number - 1]["end"] < 0.7
        groups[-1].append(number) if together else groups.append([number])
    lines = [""] * scene.num
    for group in groups:
        first, last = said[group[0]]["start"], said[group[-1]]["end"]
        for frame in range(max(0, int(first * scene.fps)), min(scene.num, int(np.ceil(last * scene.fps)))):
            time = (frame + 0.5) / scene.fps
            now = max((n for n in group if said[n]["start"] <= time), default=group[0])
            parts = (f"[{said[n]['word'].strip()}]" if n == now else said[n]["word"].strip() for n in group)
            lines[frame] = " ".join(parts)
    return lines
