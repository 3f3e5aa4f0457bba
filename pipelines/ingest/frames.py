"""Decoding frames: upright, square pixels, RGB, by time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from av.video.reformatter import Colorspace, Interpolation

from pipelines.ingest.colour import matrix_coefficients, rgb_420
from pipelines.ingest.container import Opened, frame_rate, open_media, pixel_aspect, unreadable

# Matrix coefficients (ITU-T H.273) -> the scaler's tables.
_MATRICES = {
    1: Colorspace.ITU709, 4: Colorspace.FCC, 5: Colorspace.ITU601, 6: Colorspace.SMPTE170M, 7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020, 10: Colorspace.BT2020,
}  # fmt: skip

_DAMAGE = (av.error.InvalidDataError, av.error.PatchWelcomeError, av.error.UndefinedError, av.error.BugError)
_SEEK_MARGIN_S = 0.5
_MAX_HOLD_S = 0.5
"""How much of a span may be missing at the stream's end and be filled by the last frame."""


@dataclass(frozen=True)
class Upright:
    """How a coded frame becomes an upright picture of square pixels."""

    width: int
    """Upright width in px."""
    height: int
    """Upright height in px."""
    quarter_turns: int
    """Turns by 90 degrees counterclockwise, applied after the pixels are made square."""
    mirrored: bool
    """The picture is flipped left to right after the turn."""

    @property
    def rotation(self) -> int:
        """Degrees by which the coded picture is turned counterclockwise to stand upright: 0, 90, 180 or 270."""
        return 90 * self.quarter_turns


def orientation(frame: av.VideoFrame) -> tuple[int, bool]:
    """Quarter turns counterclockwise and mirroring that make a decoded frame upright, from its display matrix.

    The display matrix maps coded to displayed coordinates by [x' y'] = [x y] [[a, b], [c, d]] (row vectors, y down);
    it is read as the nearest of the eight rotations and reflections by right angles.
    """
    data = None
    items: Any = frame.side_data
    for item in items:
        if item.type.name == "DISPLAYMATRIX":
            data = np.frombuffer(bytes(item), dtype="<i4").astype(np.float64)
    if data is None or data.size != 9:
        return 0, False
    a, b, c, d = data[0], data[1], data[3], data[4]
    mirrored = a * d - b * c < 0
    if mirrored:  # Undo the flip in display space, where it is applied last: x' -> -x'.
        a, c = -a, -c
    # Pure rotation now: the coded x axis is shown along (a, b) with y down, so counterclockwise is -atan2(b, a).
    turns = round(-math.atan2(b, a) / (math.pi / 2)) % 4
    return turns, mirrored


def upright_of(opened: Opened, frame: av.VideoFrame) -> Upright:
    """The geometry of ``opened``'s video, judged by a decoded frame."""
    turns, mirrored = orientation(frame)
    width = max(1, round(frame.width * pixel_aspect(opened.video)))
    height = frame.height
    if turns % 2:
        width, height = height, width
    return Upright(width, height, turns, mirrored)


def to_rgb(frame: av.VideoFrame, upright: Upright, size: tuple[int, int] | None = None) -> np.ndarray:
    """A decoded frame as (H, W, 3) uint8 RGB, upright, square pixels, scaled to ``size`` = (width, height) if given."""
    width, height = size or (upright.width, upright.height)
    if upright.quarter_turns % 2:
        width, height = height, width
    picture = rgb_420(frame) if (width, height) == (frame.width, frame.height) else None
    if picture is None:
        picture = frame.reformat(
            width=width,
            height=height,
            format="rgb24",
            src_colorspace=_MATRICES[matrix_coefficients(frame)],
            # Without these two the scaler repeats chroma and rounds down: a bias of 1 to 2 of 255.
            interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT,
            threads=1,
        ).to_ndarray()
    if upright.quarter_turns:
        picture = np.rot90(picture, upright.quarter_turns)
    if upright.mirrored:
        picture = picture[:, ::-1]
    return np.ascontiguousarray(picture)


def iter_decoded(
    opened: Opened, from_s: float = 0.0, damage: list[float] | None = None
) -> Iterator[tuple[float, av.VideoFrame]]:
    """Decoded frames with their time on the shared timeline, from a key frame at or before ``from_s``, strictly rising.

    Packets that cannot be decoded are passed over: the frames they held are missing from the times. At each, and at
    frames the decoder itself calls corrupt, the time of the last good frame is appended to ``damage`` if given.
    """
    stream = opened.need_video()
    step = 1.0 / frame_rate(stream)
    if from_s > 0:
        # Some demuxers (AVI) refuse to seek to before their start.
        target = (max(from_s - _SEEK_MARGIN_S, 0.0) + opened.origin) / float(stream.time_base)
        opened.container.seek(int(target), stream=stream, backward=True)
    last = -math.inf
    notes = [] if damage is None else damage
    for packet in _packets(opened, stream):
        if packet is None:
            notes.append(max(last, 0.0))
            continue
        try:
            frames = packet.decode()
        except _DAMAGE:
            notes.append(max(last, 0.0))
            continue
        for frame in frames:
            if frame.is_corrupt and math.isfinite(last):
                notes.append(last)
            if frame.pts is not None:
                time = float(frame.pts * frame.time_base) - opened.origin
            else:
                time = last + step if math.isfinite(last) else 0.0
            if time > last:
                last = time
                yield time, frame


def _packets(opened: Opened, stream: Any) -> Iterator[Any]:
    """Packets of a stream; None where the container is damaged, followed by the empty packet that ends a stream."""
    packets = opened.container.demux(stream)
    while True:
        try:
            yield next(packets)
        except StopIteration:
            return
        except (*_DAMAGE, av.error.EOFError):
            # What lies after is out of reach: hand out what the decoder still holds.
            yield None
            yield av.Packet()
            return


def iter_frames(
    path: Path | str,
    start_s: float,
    num_frames: int,
    fps: float = 25.0,
    *,
    size: tuple[int, int] | None = None,
    threads: int = 0,
) -> Iterator[np.ndarray]:
    """Exactly ``num_frames`` frames of ``path`` at times start_s + i / fps of the shared timeline.

    Frame i is the last one shown at or before its time; half a frame of tolerance (of the source's or the asked
    rate, whichever is quicker) makes this the nearest frame for steady rates, whatever the rounding of timestamps.
    Before the first frame the first one is given; where the stream ends up to 0.5 s early the last one is held.

    Args:
        path: the video file.
        start_s: time of frame 0 in seconds.
        num_frames: how many frames.
        fps: asked rate in frames/s.
        size: (width, height) of the frames given; None keeps the upright size.
        threads: decoder threads; 0 lets the library choose.

    Yields:
        (H, W, 3) uint8 RGB, upright, square pixels. A frame that stands for several times is the same array: copy
        before writing into it.

    Raises:
        NoVideoTrack, UnreadableSource: no video, or the stream ends more than 0.5 s before the span does.
    """
    if num_frames < 1:
        return
    with open_media(path, threads=threads) as opened:
        stream = opened.need_video()
        tolerance = 0.5 * min(1.0 / frame_rate(stream), 1.0 / fps)
        decoded = iter_decoded(opened, start_s)
        first = next(decoded, None)
        if first is not None and start_s > 0 and first[0] > start_s + tolerance:
            # The container's index led past the span: decode from the beginning.
            opened.container.seek(0)
            opened.container.seek(int(opened.origin * av.time_base), backward=True)
            decoded = iter_decoded(opened, 0.0)
            first = next(decoded, None)
        if first is None:
            raise unreadable(opened.path, f"no frame could be decoded at {start_s:.2f} s")
        upright = upright_of(opened, first[1])
        current, upcoming, picture = first, next(decoded, None), None
        for index in range(num_frames):
            time = start_s + index / fps + tolerance
            while upcoming is not None and upcoming[0] <= time:
                current, upcoming, picture = upcoming, next(decoded, None), None
            if upcoming is None and time - tolerance - current[0] > _MAX_HOLD_S + 1.0 / frame_rate(stream):
                raise unreadable(
                    opened.path,
                    f"the video ends at {current[0]:.2f} s, {num_frames - index} frames before the end of the span",
                )
            if picture is None:
                picture = to_rgb(current[1], upright, size)
            yield picture
