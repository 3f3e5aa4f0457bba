"""What ``rsat-data avatar render`` does: an avatar under the codes of a row, as a video or as pictures."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from rsat_data.avatars.drive import drive_of
from rsat_data.avatars.find import find_avatar, open_dataset, row_of
from rsat_data.avatars.jobs import find_places
from rsat_data.errors import EXIT_OK, UsageError, WorkspaceError
from rsat_data.progress import Bars
from rsat_data.reader import Row
from rsat_data.writer import disk_errors

COLOURS = {
    "white": (1.0, 1.0, 1.0),
    "grey": (0.5, 0.5, 0.5),
    "black": (0.0, 0.0, 0.0),
    "green": (0.0, 0.69, 0.25),
    "blue": (0.0, 0.28, 0.73),
}
FPS = 25.0


@dataclass(frozen=True)
class RenderOptions:
    """Options of the command, as given."""

    out: Path | None
    target: Path
    subject: str | None = None
    folder: Path | None = None
    row: str | None = None
    turntable: bool = False
    full_turn: bool = False
    size: int = 512
    alpha: bool = False
    background: str = "white"
    device: str = "auto"
    as_json: bool = False
    quiet: bool = False


def run_render(options: RenderOptions) -> int:
    """Draw, write and return the exit code.

    Raises:
        RsatError: nothing was written; a file that was there is untouched.
    """
    video = options.target.suffix.lower() == ".mp4"
    colour = _check(options, video)
    data = open_dataset(options.out, needed=options.subject is not None or options.row is not None)
    found = find_avatar(data, options.subject, options.folder)
    row = None if options.row is None or data is None else row_of(data, options.row)
    from model.avatar.draw import torso_of
    from rsat_data.avatars.scene import Shot, row_shot, still_shot, torso_of_row

    place = find_places(options.device, 1, 1)
    if row is None:
        shot: Shot = still_shot(found, full_turn=options.full_turn)
    else:
        drive = drive_of(row, found.avatar.head, found.head.num_expression)
        torso = torso_of_row(found, row, drive, place.threads) if torso_of(found.avatar) is not None else None
        shot = row_shot(found, drive, options.turntable, torso, options.full_turn)
    started = time.perf_counter()
    with Bars(enabled=not options.quiet and not options.as_json) as bars:
        bar = bars.bar("render", float(len(shot)), "frames")

        def counted() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for picture in shot.pictures(options.size, None if options.alpha else colour, place):
                yield picture
                bar.advance()

        count = _write_video(options.target, counted(), row) if video else _write_pngs(options, counted())
    seconds = time.perf_counter() - started
    facts = {
        "out": str(options.target),
        "avatar": found.name,
        "row": None if row is None else row["row_id"],
        "frames": count,
        "frames_interpolated": 0 if shot.drive is None else int((~shot.drive.usable).sum()),
        "camera_yaw_deg": None if shot.swing is None else shot.swing.yaw_deg(),
        "size": options.size,
        "seconds": round(seconds, 2),
        "frames_per_s": round(count / seconds, 1),
    }
    if options.as_json:
        click.echo(json.dumps(facts, indent=1))
    else:
        click.echo(f"{options.target}: {count} frames in {seconds:.1f} s ({facts['frames_per_s']} a second)")
        if shot.swing is not None and not shot.swing.full:
            left, right = shot.swing.yaw_deg()
            why = "near what training saw" if shot.swing.told else "since this avatar does not say what training saw"
            click.echo(f"the camera swings from {left:.0f} to {right:.0f} degrees, {why}; --full-turn goes all around")
        if facts["frames_interpolated"]:
            click.echo(f"{facts['frames_interpolated']} frames are not valid: they are drawn between their neighbours")
    return EXIT_OK


def _check(options: RenderOptions, video: bool) -> tuple[float, float, float]:
    """Refuse options that do not go together; the background's colour."""
    if options.row is None and not (options.turntable or options.full_turn):
        raise UsageError(
            "What should move the avatar? Give --row ID, --turntable, or both.",
            hint="For a start: rsat-data avatar render my_dataset --subject ID --turntable --out turn.mp4",
        )
    if options.size % 2 or not 64 <= options.size <= 2048:
        raise UsageError(f"--size must be an even number from 64 to 2048, it is {options.size}.")
    if video and options.alpha:
        raise UsageError(
            "An MP4 file has no alpha channel.", hint="Give a folder: --alpha --out frames/ writes PNG files with one."
        )
    if not video and options.target.suffix and not options.target.is_dir():
        raise UsageError(
            f"--out {options.target} is neither a file .mp4 nor a folder.",
            hint="For example --out talk.mp4 or --out frames/",
        )
    if not video and options.target.exists() and not options.target.is_dir():
        raise UsageError(f"--out {options.target} is a file; PNG files need a folder.")
    return parse_colour(options.background)


def parse_colour(text: str) -> tuple[float, float, float]:
    """A name of :data:`COLOURS` or ``#RRGGBB`` as RGB in [0, 1].

    Raises:
        UsageError: it is neither.
    """
    if text.lower() in COLOURS:
        return COLOURS[text.lower()]
    if re.fullmatch(r"#[0-9a-fA-F]{6}", text) is None:
        raise UsageError(
            f"--background {text!r} is no colour.", hint=f"One of {', '.join(COLOURS)}, or #RRGGBB such as '#20c040'."
        )
    return (int(text[1:3], 16) / 255, int(text[3:5], 16) / 255, int(text[5:7], 16) / 255)


def _write_video(path: Path, pictures: Iterator[tuple[np.ndarray, np.ndarray]], row: Row | None) -> int:
    from pipelines.ingest.media import write_video

    _make_folder(path.parent)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp.mp4")
    sound: dict[str, Any] = {}
    if row is not None and row["audio"] is not None and row["audio"]["bytes"] is not None:
        sound = {"audio": row.audio(), "sample_rate": int(row["sample_rate"])}
    try:
        with disk_errors(path):
            fps = FPS if row is None else float(row["fps"])
            count = write_video(temporary, (rgb for rgb, _ in pictures), fps, crf=16, **sound)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return count


def _write_pngs(options: RenderOptions, pictures: Iterator[tuple[np.ndarray, np.ndarray]]) -> int:
    """``000000.png`` and so on; with --alpha straight (not premultiplied) colour and an alpha channel."""
    import cv2

    _make_folder(options.target)
    count = 0
    for rgb, alpha in pictures:
        path = options.target / f"{count:06d}.png"
        bgr = rgb[..., ::-1]
        picture = np.dstack([bgr, alpha]) if options.alpha else np.ascontiguousarray(bgr)
        done, data = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 3])
        if not done:
            raise WorkspaceError(f"{path} cannot be written as PNG.", path=path)
        temporary = path.with_name(f".{path.name}.tmp")
        with disk_errors(path):
            temporary.write_bytes(data.tobytes())
            os.replace(temporary, path)
        count += 1
    return count


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorkspaceError(f"{folder} cannot be made: {error.strerror}.", path=folder) from error
