"""One pass over a source's frames: shots, faces a few times a second, and whether all of it can be read."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from av.video.reformatter import Interpolation

from pipelines.faces.boxes import cut_square, square_around
from pipelines.faces.nets import FaceDetector, FaceLandmarker
from pipelines.faces.tracking import appearance
from pipelines.ingest.config import IngestConfig
from pipelines.ingest.container import Opened, frame_rate, open_media, unreadable
from pipelines.ingest.frames import Upright, iter_decoded, to_rgb, upright_of
from pipelines.ingest.media import MediaInfo
from pipelines.ingest.shots import CutFinder, shots_between
from pipelines.ingest.spans import FPS
from pipelines.ingest.tracks import Look
from rsat_data.errors import UnsupportedSource

_SMALL_WIDTH = 320
_CHECK_EVERY = 3
"""At every how manieth look the landmarker is asked whether what the detector found is a face."""
_MIN_CHECK_PX = 192
_MAX_HOLE_S = 0.5
"""A steady video has lost data where no frame comes for longer than this; in an unsteady one it is a cut."""
_HEADER_SLACK_S = 0.25
"""Container lengths are those of the longest stream, sound included, and rounded: less is not held against a file."""


@dataclass(frozen=True)
class Scan:
    """What a pass over the frames found."""

    upright: Upright
    """Geometry of the picture."""
    num_frames: int
    """Frames decoded."""
    start_s: float
    """When the first frame is shown."""
    end_s: float
    """When the last frame stops being shown."""
    vfr: bool
    """Whether the frame rate varies."""
    shots: list[list[float]]
    """[[start_s, end_s], ...]."""
    looks: list[Look]
    """Faces found, ``scan_fps`` times a second."""


def scan_video(
    path: Path,
    info: MediaInfo,
    config: IngestConfig,
    detector: FaceDetector,
    landmarker: FaceLandmarker,
    progress: Callable[[float], None],
    threads: int = 0,
) -> Scan:
    """Decode a whole video once: cuts are looked for at up to 25 frames/s, faces ``config.scan_fps`` times a second.

    Raises:
        UnreadableSource: it is truncated or damaged; the message names the time up to which it could be read.
        UnsupportedSource: it turned out longer than ``config.max_duration_s``.
    """
    finder = CutFinder(threshold=config.cut_threshold, ratio=config.cut_ratio, min_change=config.min_cut_change)
    times: list[float] = []
    seen: list[float] = []
    looks: list[Look] = []
    damage: list[float] = []
    upright: Upright | None = None
    next_small = next_look = -math.inf
    with open_media(path, threads=threads) as opened:
        step = 1.0 / frame_rate(opened.video)
        tolerance = 0.5 * min(step, 1.0 / FPS)
        for time, frame in iter_decoded(opened, damage=damage):
            times.append(time)
            if time > config.max_duration_s:
                raise too_long(path, time, config)
            if upright is None:
                upright = upright_of(opened, frame)
            if time + tolerance < next_small:
                continue
            next_small = max(next_small, time - tolerance) + 1.0 / FPS if seen else time + 1.0 / FPS
            height = max(2, round(_SMALL_WIDTH * frame.height / frame.width))
            small = frame.reformat(
                width=_SMALL_WIDTH, height=height, format="bgr24", interpolation=Interpolation.BILINEAR, threads=1
            )
            finder.add(small.to_ndarray())
            seen.append(time)
            if time + tolerance >= next_look:
                next_look = time + 1.0 / config.scan_fps
                picture = to_rgb(frame, upright)
                asks = len(looks) % _CHECK_EVERY == 0
                looks.append(_look(time, picture, detector, landmarker if asks else None))
                if info.duration_s:
                    progress(min(1.0, time / info.duration_s))
        if upright is None or len(times) < 2:
            raise unreadable(path, "no frame of its video track can be decoded")
        last_step = min(float(np.median(np.diff(times))), 1.0)
        end = times[-1] + last_step
        check_complete(opened, info, times, end, damage, config.max_missing_frames)
    return Scan(
        upright=upright,
        num_frames=len(times),
        start_s=times[0],
        end_s=end,
        vfr=varies(np.asarray(times)),
        shots=shots_between(finder.cuts(), seen, end, max_hold_s=_MAX_HOLE_S),
        looks=looks,
    )


def _look(time: float, picture: np.ndarray, detector: FaceDetector, landmarker: FaceLandmarker | None) -> Look:
    large = detector.sure_px(picture) > 0.0
    boxes, _ = detector(picture, fine=large and landmarker is not None)
    if large and landmarker is None and not len(boxes):
        boxes, _ = detector(picture, fine=True)
    checks = None
    if landmarker is not None:
        checks = np.array([is_face(picture, box, landmarker) for box in boxes], bool)
    looks = np.array([appearance(picture, box) for box in boxes]).reshape(len(boxes), 512)
    return Look(time, boxes, checks, looks)


def is_face(picture: np.ndarray, box: np.ndarray, landmarker: FaceLandmarker) -> bool:
    """Whether the landmarker finds a face in the middle of twice the box (x, y, width, height)."""
    x0, y0, side = square_around(box, 2.0)
    window = cut_square(picture, round(x0), round(y0), max(2, round(side)))
    if side < _MIN_CHECK_PX:
        repeat = math.ceil(_MIN_CHECK_PX / side)
        window = window.repeat(repeat, axis=0).repeat(repeat, axis=1)
    middle = window.shape[0] / 2
    return any(np.abs(f.landmarks[:, :2].mean(axis=0) - middle).max() < 0.5 * middle for f in landmarker(window))


def varies(times: np.ndarray) -> bool:
    """Whether frame times (N,) are uneven: over 2 % of the steps are more than a quarter off the median step.

    Holes do not count: a steady video with a hole is still steady.
    """
    steps = np.diff(times)
    steps = steps[steps <= _MAX_HOLE_S]
    return len(steps) > 0 and float(np.mean(np.abs(steps / np.median(steps) - 1) > 0.25)) > 0.02


def too_long(path: Path, seconds: float, config: IngestConfig) -> UnsupportedSource:
    """The error for a source of more than ``config.max_duration_s``."""
    return UnsupportedSource(
        f"{path.name!r} is longer than {config.max_duration_s / 3600:g} h ({seconds / 3600:.1f} h)",
        hint="split it into parts, or raise ingest.max_duration_s",
        path=path,
    )


def check_complete(
    opened: Opened, info: MediaInfo, times: list[float], end: float, damage: list[float], max_missing: float
) -> None:
    """Raise UnreadableSource where frames are missing at the end or where data could not be decoded.

    Args:
        opened: the source.
        info: what its header says.
        times: when each decoded frame is shown, seconds.
        end: when the last one stops being shown.
        damage: times of the last good frame before each failure to decode.
        max_missing: how many frames may be missing.
    """
    assert info.video is not None
    step = float(np.median(np.diff(times)))
    path = opened.path
    hint = "copy or download it again; if this is all there is, re-encode the readable part"
    declared = info.video.declared_end_s
    if info.container == "avi" and opened.video.frames:
        # For a shortened AVI file the demuxer corrects the length it tells, but not the number of frames.
        declared = info.video.start_s + opened.video.frames / info.video.fps
    if declared is None and info.duration_s is not None:
        sound_end = _end_of_sound(opened)
        declared = info.duration_s - _HEADER_SLACK_S if sound_end < info.duration_s - _HEADER_SLACK_S else None
    if declared is not None and declared - end >= max_missing * step - 1e-3:
        raise unreadable(
            path,
            f"it is truncated: the header says {declared:.2f} s of video, it can be read up to {end:.2f} s",
            hint,
        )
    moments = np.asarray(times)
    holes = np.flatnonzero(np.diff(moments) > _MAX_HOLE_S)
    if len(holes) and not varies(moments):
        low, high = float(moments[holes[0]]), float(moments[holes[0] + 1])
        raise unreadable(path, f"its video is damaged: frames are missing between {low:.2f} and {high:.2f} s", hint)
    lost = 0
    for moment in damage:
        after = moments[moments > moment + 1e-6]
        gap = (float(after[0]) if len(after) else (declared or end)) - moment - step
        lost += 1
        if gap >= max_missing * step - 1e-3 or lost > max_missing:
            raise unreadable(path, f"its video is damaged: it can be read without fault up to {moment:.2f} s", hint)


def _end_of_sound(opened: Opened) -> float:
    if opened.audio is None:
        return 0.0
    end = 0.0
    with open_media(opened.path) as again:
        for packet in again.container.demux(again.audio):
            if packet.pts is not None:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base) - again.origin)
    return end
