"""A contact sheet: the telling frames of a row, each with the mesh beside it, and the row's curves."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from rsat_data.preview import paint
from rsat_data.preview.paint import Picture
from rsat_data.preview.panels import curves, mesh_panels, no_video
from rsat_data.preview.scene import Scene
from rsat_data.preview.telling import Telling, Tracks

CELL = 248
"""Side of a picture, pixels; a cell holds two of them."""
COLUMNS = 3
GAP = 12
CAPTION = 46
HEADER = 84
STRIP = 190
SIZE = 14
"""Letters of captions, pixels."""


def draw_sheet(scene: Scene, tracks: Tracks, chosen: Sequence[Telling], drawn_with: str = "") -> Picture:
    """The sheet, uint8 RGB.

    Args:
        scene: the row.
        tracks: of the row.
        chosen: frames in the order of time.
        drawn_with: a remark for the header, such as another head than the codes'.
    """
    wanted = [telling.frame for telling in chosen]
    crops: dict[int, Picture] = {}
    if scene.has_video:
        frames = scene.row.frames(wanted)
        for number, frame in zip(wanted, frames, strict=True):
            height = round(CELL * frame.shape[0] / frame.shape[1])
            crops[number] = cv2.resize(frame, (CELL, height), interpolation=cv2.INTER_AREA)
    rows = -(-len(chosen) // COLUMNS)
    width = COLUMNS * (2 * CELL + GAP) + GAP
    tall = round(CELL * scene.camera.height / scene.camera.width)
    cell_height = tall + CAPTION + GAP
    sheet = paint.canvas(HEADER + rows * cell_height + STRIP + GAP, width)
    _header(sheet, scene, tracks, drawn_with)
    for number, telling in enumerate(chosen):
        frame = telling.frame
        posed = next(scene.posed(CELL, range(frame, frame + 1)))
        crop = crops.get(frame)
        y = HEADER + number // COLUMNS * cell_height
        x = GAP + number % COLUMNS * (2 * CELL + GAP)
        left = no_video(tall, CELL) if crop is None else crop
        sheet[y : y + tall, x : x + CELL] = left
        sheet[y : y + tall, x + CELL : x + 2 * CELL] = mesh_panels(crop, posed.colour[0])[0]
        _caption(sheet, (x, y + tall + 4), telling, scene, tracks)
        if not tracks.valid[frame]:
            paint.frame_in(sheet[y : y + tall, x : x + 2 * CELL], paint.BAD)
            words = f"INVALID  {tracks.reasons[frame]}".rstrip()
            paint.tag(sheet, (x + 36, y), paint.fit(words, SIZE, 2 * CELL - 60, True), SIZE, paint.PAPER, paint.BAD)
        paint.tag(sheet, (x, y), str(number + 1), SIZE, paint.PAPER, paint.INK)
    strip, _ = curves(tracks, width - 2 * GAP, STRIP, scene.fps, wanted)
    y = HEADER + rows * cell_height
    sheet[y : y + STRIP, GAP : width - GAP] = strip
    return sheet


def _caption(sheet: Picture, at: tuple[int, int], telling: Telling, scene: Scene, tracks: Tracks) -> None:
    """Frame and time, what was measured, and why it is shown."""
    x, y = at
    frame = telling.frame
    after = paint.text(sheet, (x, y), f"frame {frame}", SIZE, bold=True)
    facts = [f"{frame / scene.fps:.2f} s"]
    if np.isfinite(tracks.reprojection_px[frame]):
        facts.append(f"{tracks.reprojection_px[frame]:.1f} px")
    if tracks.confidence is not None and np.isfinite(tracks.confidence[frame]):
        facts.append(f"confidence {tracks.confidence[frame]:.2f}")
    if tracks.speaking[frame]:
        facts.append("speaking")
    paint.text(sheet, (after + 10, y), " \u00b7 ".join(facts), SIZE, paint.FAINT)
    why = paint.fit(", ".join(telling.reasons), SIZE, 2 * CELL)
    colour = paint.FAINT if telling.reasons == ("between",) else paint.REPROJECTION
    paint.text(sheet, (x, y + round(1.4 * SIZE)), why, SIZE, colour)


def _header(sheet: Picture, scene: Scene, tracks: Tracks, drawn_with: str) -> None:
    """Who and what, and the row's quality in one line."""
    row = scene.row
    room = sheet.shape[1] - 2 * GAP
    after = paint.text(sheet, (GAP, 12), row["row_id"], 22, bold=True)
    about = f"person {row['person']} of {row['clip_id']}  \u00b7  {row['subject_id']}  \u00b7  {row['split']}"
    paint.text(sheet, (after + 16, 18), paint.fit(about, 15, room - after), 15, paint.FAINT)
    facts = [f"{scene.num} frames, {scene.num / scene.fps:.1f} s", f"valid {100 * tracks.valid.mean():.0f} %"]
    known = tracks.reprojection_px[tracks.valid & np.isfinite(tracks.reprojection_px)]
    if len(known):
        facts.append(f"reprojection median {np.median(known):.2f} px")
    if row["q_reprojection"] is not None:
        facts.append(f"{100 * row['q_reprojection']:.2f} % of the eye distance")
    if tracks.confidence is not None and np.isfinite(tracks.confidence).any():
        facts.append(f"confidence median {np.nanmedian(tracks.confidence):.2f}")
    facts.append(drawn_with or row["head_model"])
    paint.text(sheet, (GAP, 48), paint.fit("  \u00b7  ".join(facts), 15, room), 15, paint.INK)
