"""What annotators see and hear of a clip: a video for browsers, the sound as a waveform, a picture of each face.

Made from the dataset's own columns, without the sources. A file is named by a hash of what it is made from: making it
again finds it, and its name tells annotators nothing. Files appear whole, by one rename.
"""

from __future__ import annotations

import hashlib
import io
import os
import threading
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from rsat_data.errors import SkippedClip
from rsat_data.files import as_disk_error
from rsat_data.optional import require

FPS = 25
SAMPLE_RATE = 16_000
#: Part of every name: files of another recipe are other files.
RECIPE = "1"
#: Largest difference of the lengths of picture and sound, seconds.
SAME_LENGTH_S = 0.005
MAX_HEIGHT = 480
FACE_PX = 320
_CRF = 26
_MAX_PIXELS = 40_000_000
_TMP = ".rsat-"


@dataclass(frozen=True)
class ClipSource:
    """What a dataset holds of a clip. Of pictures some may be absent."""

    clip_id: str
    """Its name, for messages."""
    num_frames: int
    """T; the clip is T / 25 seconds long."""
    audio: bytes
    """The mixture as FLAC, 16 kHz, mono."""
    preview: bytes | None
    """The whole frame with the mixture, as MP4."""
    images: tuple[bytes | None, bytes | None] = (None, None)
    """A picture of A and of B, as JPEG."""
    crops: tuple[bytes | None, bytes | None] = (None, None)
    """Videos of the heads of A and B, T frames each; looked at only where preview or pictures are absent."""


@dataclass(frozen=True)
class ClipMedia:
    """Names of a clip's files in the media folder."""

    video: str
    """MP4: H.264, yuv420p, square pixels, T frames at exactly 25/s; AAC of the same length; both from 0."""
    audio: str
    """WAV: 16 kHz, mono, 16 bit, exactly 640 T samples."""
    face_a: str
    """JPEG of person A."""
    face_b: str
    """JPEG of person B."""

    @property
    def names(self) -> tuple[str, str, str, str]:
        """All four."""
        return (self.video, self.audio, self.face_a, self.face_b)


def media_of(source: ClipSource) -> ClipMedia:
    """The names a clip's files have, whether they are there or not."""
    # A preview stands alone; a picture made of crops depends on them and on the sound that goes with them.
    pictures = (source.preview,) if source.preview is not None else source.crops
    faces = [image if image is not None else crop for image, crop in zip(source.images, source.crops, strict=True)]
    return ClipMedia(
        video=_name("video", source.num_frames, source.audio, *pictures) + ".mp4",
        audio=_name("audio", source.num_frames, source.audio) + ".wav",
        face_a=_name("face", 0, faces[0]) + ".jpg",
        face_b=_name("face", 0, faces[1]) + ".jpg",
    )


def render(source: ClipSource, folder: Path) -> ClipMedia:
    """Make the files of a clip that are not in ``folder`` yet.

    Raises:
        SkippedClip: a part of the clip is damaged; names the clip and the part. No half-made file stays.
        DiskFullError: no space is left.
        MissingDependencyError: a package for media is not installed.
    """
    names = media_of(source)
    _make(folder, names.audio, source, "audio", lambda stream: _write_wav(stream, _samples(source)))
    for name, image, crop in zip((names.face_a, names.face_b), source.images, source.crops, strict=True):
        data = _face(source, image, crop) if not (folder / name).exists() else b""
        _make(folder, name, source, "image", lambda stream, data=data: stream.write(data))  # type: ignore[misc]
    _make(folder, names.video, source, "preview", lambda stream: _write_video(source, stream))
    return names


def sweep(folder: Path) -> None:
    """Remove files that a killed process left half made."""
    for leftover in folder.glob(f"{_TMP}*.tmp"):
        leftover.unlink(missing_ok=True)


def _name(kind: str, number: int, *parts: bytes | None) -> str:
    found = hashlib.sha256(f"{RECIPE} {kind} {number}".encode())
    for part in parts:
        found.update(b"-" if part is None else hashlib.sha256(part).digest())
    return found.hexdigest()[:32]


def _make(folder: Path, name: str, source: ClipSource, part: str, write: Callable[[BinaryIO], Any]) -> None:
    path = folder / name
    if path.exists():
        return
    # Two clips may share a picture, and be made by two threads at once.
    temporary = folder / f"{_TMP}{os.getpid()}-{threading.get_ident()}-{name}.tmp"
    try:
        with temporary.open("w+b") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except SkippedClip:
        raise
    except OSError as error:
        # Errors of PyAV and libsndfile are OSErrors too; those of the disk have a number of their own.
        full = as_disk_error(error, path)
        if full is not error or error.filename is not None:
            raise full from error
        raise _damaged(source, part, error) from error
    except (ValueError, RuntimeError, EOFError, SyntaxError) as error:
        raise _damaged(source, part, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def _damaged(source: ClipSource, part: str, why: object) -> SkippedClip:
    return SkippedClip(
        f"{source.clip_id}: its {part} cannot be used: {why}.",
        hint="`rsat-data validate` tells whether the file is damaged; building the clip again makes it anew.",
    )


# Sound -------------------------------------------------------------------------------------------------------------


def _samples(source: ClipSource) -> np.ndarray:
    """The mixture, (640 T,) int16. A difference of less than a frame is cut off or filled up with silence."""
    import soundfile

    try:
        samples, rate = soundfile.read(io.BytesIO(source.audio), dtype="int16", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise _damaged(source, "audio", error.error_string) from error
    wanted = source.num_frames * SAMPLE_RATE // FPS
    if rate != SAMPLE_RATE or samples.shape[1] != 1:
        raise _damaged(source, "audio", f"it has {samples.shape[1]} channels at {rate} Hz, not one at {SAMPLE_RATE}")
    if abs(len(samples) - wanted) >= SAMPLE_RATE // FPS:
        raise _damaged(source, "audio", f"it has {len(samples)} samples, the clip's frames last {wanted}")
    exact = np.zeros(wanted, np.int16)
    exact[: len(samples)] = samples[:wanted, 0]
    return exact


def _write_wav(stream: BinaryIO, samples: np.ndarray) -> None:
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(samples.astype("<i2").tobytes())


# Pictures ----------------------------------------------------------------------------------------------------------


def _face(source: ClipSource, image: bytes | None, crop: bytes | None) -> bytes:
    """A JPEG of a face, without what cameras write into JPEGs."""
    from PIL import Image

    try:
        if image is not None:
            with Image.open(io.BytesIO(image), formats=("JPEG", "PNG", "WEBP")) as opened:
                if opened.width * opened.height > _MAX_PIXELS:
                    raise ValueError(f"it is {opened.width} x {opened.height} pixels large")
                picture = opened.convert("RGB")
        elif crop is not None:
            # The middle frame: people have begun to talk, and faces are where they stay.
            frames = list(_frames(crop, source.num_frames, only=source.num_frames // 2))
            picture = Image.fromarray(frames[0])
        else:
            picture = _card((FACE_PX, FACE_PX), "no picture")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _damaged(source, "image", error) from error
    picture.thumbnail((FACE_PX, FACE_PX))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def _card(size: tuple[int, int], text: str) -> Any:
    """A plain picture with a word, where a dataset holds none."""
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.new("RGB", size, (40, 42, 46))
    font = ImageFont.load_default(size=size[1] // 12)
    ImageDraw.Draw(picture).text((size[0] / 2, size[1] / 2), text, (200, 200, 200), font=font, anchor="mm")
    return picture


# Video -------------------------------------------------------------------------------------------------------------


def _write_video(source: ClipSource, stream: BinaryIO) -> None:
    if source.preview is not None and not flaws(source.preview, source.num_frames):
        if is_tidy(source.preview):
            stream.write(source.preview)
            return
        _remux(source.preview, stream)
    else:
        _encode(source, stream)
    stream.seek(0)
    if found := flaws(stream.read(), source.num_frames):
        raise _damaged(source, "preview", f"what was made of it is not right: {'; '.join(found)}")


def flaws(video: bytes, num_frames: int) -> list[str]:
    """What about an MP4 would let picture, sound and waveform drift apart in a browser, in words; empty for nothing.

    Every frame is decoded. Wanted: H.264 yuv420p in square pixels, ``num_frames`` frames exactly 1/25 s apart, AAC,
    both from 0 and of the same length.
    """
    av = require("av", needed_for="Videos for annotators")
    try:
        with av.open(io.BytesIO(video), mode="r", format="mp4") as container:
            return list(_flaws(container, num_frames))
    except (OSError, ValueError, RuntimeError) as error:
        return [f"it cannot be decoded ({error})"]


def _flaws(container: Any, num_frames: int) -> Iterator[str]:
    if len(container.streams.video) != 1 or len(container.streams.audio) != 1:
        yield f"{len(container.streams.video)} pictures and {len(container.streams.audio)} sounds"
        return
    if len(container.streams) != 2:
        yield "streams besides picture and sound"
    video, audio = container.streams.video[0], container.streams.audio[0]
    codecs = (video.codec_context.name, audio.codec_context.name)
    if codecs != ("h264", "aac"):
        yield f"{codecs[0]} and {codecs[1]}"
        return
    if video.codec_context.pix_fmt != "yuv420p":
        yield f"pixels of kind {video.codec_context.pix_fmt}"
    if video.sample_aspect_ratio not in (None, 0, 1):
        yield "pixels that are not square"
    if video.codec_context.height > 2 * MAX_HEIGHT:
        yield f"{video.codec_context.height} lines"
    for stream in (video, audio):
        if stream.start_time:
            yield f"{stream.type} starts at {float(stream.start_time * stream.time_base):.3f} s"
    seconds = Fraction(num_frames, FPS)
    for stream in (video, audio):
        length = (stream.duration or 0) * stream.time_base
        if abs(length - seconds) > SAME_LENGTH_S:
            yield f"{stream.type} of {float(length):.3f} s instead of {float(seconds):.3f}"
    step = Fraction(1, FPS)
    count = 0
    for frame in container.decode(video):
        if frame.pts is None or frame.pts * frame.time_base != count * step:
            yield f"frame {count} is not at {count}/25 s"
            return
        if frame.is_corrupt:
            yield f"frame {count} is corrupt"
            return
        if frame.rotation:
            yield "a picture that is turned"
            return
        count += 1
    if count != num_frames:
        yield f"{count} frames instead of {num_frames}"


def is_tidy(video: bytes) -> bool:
    """Whether an MP4 has its index first (a browser starts at once) and says nothing of where it comes from."""
    av = require("av", needed_for="Videos for annotators")
    boxes = list(_boxes(video))
    if "moov" not in boxes or "mdat" not in boxes or boxes.index("moov") > boxes.index("mdat"):
        return False
    with av.open(io.BytesIO(video), mode="r", format="mp4") as container:
        harmless = {"major_brand", "minor_version", "compatible_brands", "encoder", "language", "handler_name"}
        said = {**container.metadata}
        for stream in container.streams:
            said.update(stream.metadata)
    names = {"VideoHandler", "SoundHandler", ""}
    return not (said.keys() - harmless - {"vendor_id"}) and said.get("handler_name", "") in names


def _boxes(video: bytes) -> Iterator[str]:
    """Names of the outermost boxes of an MP4."""
    at = 0
    while at + 8 <= len(video):
        size = int.from_bytes(video[at : at + 4], "big")
        yield video[at + 4 : at + 8].decode("latin-1")
        if size == 1:
            size = int.from_bytes(video[at + 8 : at + 16], "big")
        if size < 8:
            return
        at += size


def _remux(video: bytes, stream: BinaryIO) -> None:
    """The same packets in a new file: index first, no metadata."""
    av = require("av", needed_for="Videos for annotators")
    options = {"movflags": "+faststart", "fflags": "+bitexact"}
    with (
        av.open(io.BytesIO(video), mode="r", format="mp4") as source,
        av.open(stream, mode="w", format="mp4", container_options=options) as target,
    ):
        places = {each.index: target.add_stream_from_template(each) for each in source.streams}
        for place in places.values():
            place.metadata.clear()
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = places[packet.stream.index]
                target.mux(packet)


def _encode(source: ClipSource, stream: BinaryIO) -> None:
    """T frames of preview, of the heads side by side, or of a card, with the mixture."""
    import tempfile

    from rsat_data.mp4 import VideoWriter

    if source.preview is not None:
        frames = _frames(source.preview, source.num_frames)
    elif all(crop is not None for crop in source.crops):
        frames = _side_by_side(source)
    else:
        plain = np.asarray(_card((320, 180), "no picture: listen"))
        frames = (plain for _ in range(source.num_frames))
    with tempfile.TemporaryDirectory(prefix="rsat-label-") as folder:
        path = Path(folder) / "clip.mp4"
        with VideoWriter(path, FPS, _CRF, audio=_samples(source), sample_rate=SAMPLE_RATE) as writer:
            for frame in frames:
                writer.add(frame)
        stream.write(path.read_bytes())


def _side_by_side(source: ClipSource) -> Iterator[np.ndarray]:
    height = 360
    left, right = source.crops
    assert left is not None and right is not None
    pairs = zip(
        _frames(left, source.num_frames, height=height), _frames(right, source.num_frames, height=height), strict=True
    )
    for a, b in pairs:
        yield np.concatenate([a, b], axis=1)


def _frames(
    video: bytes, num_frames: int, *, height: int = MAX_HEIGHT, only: int | None = None
) -> Iterator[np.ndarray]:
    """(H, W, 3) RGB frames at 0, 1/25, ... s, upright, square pixels, even sides, at most ``height`` high.

    A frame stays until the next one begins. A picture that ends up to half a second early keeps its last frame.

    Raises:
        ValueError: there are no frames, or they end earlier.
    """
    av = require("av", needed_for="Videos for annotators")
    with av.open(io.BytesIO(video), mode="r") as container:
        if not container.streams.video:
            raise ValueError("there is no picture in it")
        stream = container.streams.video[0]
        current: np.ndarray | None = None
        done = 0
        for frame in container.decode(stream):
            at = float(frame.pts * frame.time_base) if frame.pts is not None else done / FPS
            # Frames shown before this one begins; half a frame of slack for rounded time stamps.
            while current is not None and done < num_frames and done / FPS < at - 0.5 / FPS:
                if only is None or done == only:
                    yield current
                done += 1
            if done >= num_frames:
                return
            current = _upright(frame, stream, height)
        if current is None:
            raise ValueError("no frame of its picture can be decoded")
        if num_frames - done > FPS // 2 + 1:
            raise ValueError(f"its picture ends after {done} of {num_frames} frames")
        for number in range(done, num_frames):
            if only is None or number == only:
                yield current


def _upright(frame: Any, stream: Any, height: int) -> np.ndarray:
    aspect = float(stream.sample_aspect_ratio or 1)
    turn = round((frame.rotation % 360) / 90) % 4
    wide, high = frame.width * aspect, float(frame.height)
    if turn % 2:
        wide, high = high, wide
    factor = min(1.0, height / high)
    width, lines = (max(2, 2 * round(side * factor / 2)) for side in (wide, high))
    size = (lines, width) if turn % 2 else (width, lines)
    picture = frame.reformat(width=size[0], height=size[1], format="rgb24").to_ndarray()
    return np.ascontiguousarray(np.rot90(picture, turn)) if turn else picture
