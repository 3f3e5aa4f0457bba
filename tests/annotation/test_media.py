"""Files for annotators: what is right is kept, what is not is made right, what is damaged is named."""

from __future__ import annotations

import io
import wave
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile as sf
from PIL import Image

from annotation.media import ClipSource, flaws, is_tidy, media_of, render, sweep
from rsat_data.errors import DiskFullError, SkippedClip
from rsat_data.mp4 import write_video
from tests.dataset_factory import jpeg, mp4

FRAMES = 30


def flac(samples: int = FRAMES * 640, rate: int = 16_000, channels: int = 1) -> bytes:
    time = np.arange(samples) / rate
    tone = (0.2 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    buffer = io.BytesIO()
    sf.write(buffer, np.stack([tone] * channels, axis=1), rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def preview(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A preview as the stage `faces` writes it."""
    path = tmp_path_factory.mktemp("preview") / "p.mp4"
    pictures = (np.full((36, 64, 3), 8 * n, np.uint8) for n in range(FRAMES))
    write_video(path, pictures, 25.0, 20, audio=sf.read(io.BytesIO(flac()))[0])
    return path.read_bytes()


def source(preview: bytes | None, **more: object) -> ClipSource:
    values: dict[str, object] = {"clip_id": "clip_1", "num_frames": FRAMES, "audio": flac(), "preview": preview}
    return ClipSource(**{**values, "images": (jpeg(1), jpeg(2)), **more})  # type: ignore[arg-type]


def change(video: bytes, *, rate: int = 25, sound: bool = True, frames: int = FRAMES, **options: str) -> bytes:
    """The preview's picture in another MP4."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4", options=options) as target:
        target.metadata["title"] = "mother and daughter.mov"
        picture = target.add_stream("libx264", rate=rate)
        picture.width, picture.height, picture.pix_fmt = 64, 36, "yuv420p"
        picture.codec_context.time_base = Fraction(1, rate)
        if sound:
            voice = target.add_stream("aac", rate=16_000)
            voice.codec_context.layout = "mono"
        for number in range(frames):
            image = av.VideoFrame.from_ndarray(np.full((36, 64, 3), 8 * number % 250, np.uint8), format="rgb24")
            image.pts, image.time_base = number, Fraction(1, rate)
            target.mux(picture.encode(image))
        target.mux(picture.encode())
        if sound:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, FRAMES * 640), np.float32), "fltp", "mono")
            silence.sample_rate, silence.pts = 16_000, 0
            target.mux(voice.encode(silence))
            target.mux(voice.encode())
    return buffer.getvalue()


def test_a_good_preview_is_kept_byte_by_byte(preview: bytes, tmp_path: Path) -> None:
    assert flaws(preview, FRAMES) == [] and is_tidy(preview)
    names = render(source(preview), tmp_path)
    assert (tmp_path / names.video).read_bytes() == preview
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names.names)


def test_what_was_made_is_found_again(preview: bytes, tmp_path: Path) -> None:
    names = render(source(preview), tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert render(source(preview), tmp_path) == names == media_of(source(preview))
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    # A name follows from the content and from nothing else.
    assert media_of(source(preview, clip_id="other")) == names
    other = media_of(source(preview, images=(jpeg(3), jpeg(2))))
    assert other.face_a != names.face_a and other.face_b == names.face_b and other.video == names.video


def test_sound_is_exact(preview: bytes, tmp_path: Path) -> None:
    for samples in (FRAMES * 640, FRAMES * 640 - 300, FRAMES * 640 + 300):
        audio = flac(samples)
        names = render(source(preview, audio=audio), tmp_path)
        with wave.open(str(tmp_path / names.audio)) as file:
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 1, 2)
            got = np.frombuffer(file.readframes(10**6), "<i2")
        expected = sf.read(io.BytesIO(audio), dtype="int16")[0]
        assert len(got) == FRAMES * 640
        common = min(len(got), len(expected))
        assert np.array_equal(got[:common], expected[:common]) and not got[common:].any()


def test_pictures_carry_nothing_but_the_picture(preview: bytes, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "grandmother"
    buffer = io.BytesIO()
    Image.new("RGB", (900, 600), (200, 30, 30)).save(buffer, "JPEG", exif=exif)
    names = render(source(preview, images=(buffer.getvalue(), jpeg(2))), tmp_path)
    data = (tmp_path / names.face_a).read_bytes()
    assert b"grandmother" in buffer.getvalue() and b"grandmother" not in data
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.size == (320, 213) and picture.getpixel((10, 10))[0] > 180  # type: ignore[index]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: change(p, rate=30, frames=36), "frame 1 is not at 1/25 s"),
        (lambda p: change(p, sound=False), "0 sounds"),
        (lambda p: change(p, frames=FRAMES - 5), "video of 1.000 s"),
    ],
)
def test_other_previews_are_made_right(
    make: Callable[[bytes], bytes], words: str, preview: bytes, tmp_path: Path
) -> None:
    wrong = make(preview)
    assert words in " ".join(flaws(wrong, FRAMES))
    names = render(source(wrong), tmp_path)
    made = (tmp_path / names.video).read_bytes()
    assert flaws(made, FRAMES) == [] and is_tidy(made)


def test_frames_come_at_their_time(preview: bytes, tmp_path: Path) -> None:
    # 30 frames/s with grey 8 n: at time i/25 the frame of that time is shown.
    names = render(source(change(preview, rate=30, frames=36)), tmp_path)
    with av.open(str(tmp_path / names.video)) as container:
        levels = [float(frame.to_ndarray(format="rgb24").mean()) for frame in container.decode(video=0)]
    expected = [8 * min(round(n / 25 * 30 - 1e-6), 35) % 250 for n in range(FRAMES)]
    assert np.abs(np.array(levels) - expected).max() <= 12
    assert np.all(np.diff(levels[:25]) > 0)


def test_titles_and_late_indexes_are_taken_out(preview: bytes, tmp_path: Path) -> None:
    named = change(preview)
    assert flaws(named, FRAMES) == [] and not is_tidy(named)
    names = render(source(named), tmp_path)
    made = (tmp_path / names.video).read_bytes()
    assert b"daughter" in named and b"daughter" not in made
    assert flaws(made, FRAMES) == [] and is_tidy(made)

    def packets(data: bytes) -> list[bytes]:
        with av.open(io.BytesIO(data)) as container:
            return [bytes(packet) for packet in container.demux(video=0) if packet.size]

    assert packets(made) == packets(named)  # copied, not encoded again


def test_without_a_preview_the_heads_are_shown(tmp_path: Path) -> None:
    crops = (mp4(FRAMES), mp4(FRAMES, 90))
    names = render(source(None, crops=crops, images=(None, jpeg(2))), tmp_path)
    assert flaws((tmp_path / names.video).read_bytes(), FRAMES) == []
    with av.open(str(tmp_path / names.video)) as container:
        frame = next(container.decode(video=0)).to_ndarray(format="rgb24")
    left, right = np.split(frame, 2, axis=1)
    assert right.mean() - left.mean() > 50
    with Image.open(tmp_path / names.face_a) as picture:
        assert picture.size == (32, 32)


def test_without_any_picture_there_is_a_card(tmp_path: Path) -> None:
    names = render(source(None, images=(None, None)), tmp_path)
    assert flaws((tmp_path / names.video).read_bytes(), FRAMES) == []
    assert names.face_a == names.face_b


def damaged(data: bytes) -> bytes:
    """The middle overwritten."""
    third = len(data) // 3
    return data[:third] + bytes(third) + data[2 * third :]


@pytest.mark.parametrize(
    ("more", "part"),
    [
        ({"audio": b"fLaC nonsense"}, "audio"),
        ({"audio": flac(FRAMES * 640 - 700)}, "audio"),
        ({"audio": flac(FRAMES * 1920, 48_000)}, "audio"),
        ({"audio": flac(channels=2)}, "audio"),
        ({"images": (b"no picture", jpeg(2))}, "image"),
        ({"images": (jpeg(1), jpeg(2)[:200])}, "image"),
        ({"preview": b"no video"}, "preview"),
        ({"preview": b""}, "preview"),
        ({"preview": mp4(FRAMES)[:900]}, "preview"),
        ({"preview": mp4(10)}, "preview"),
    ],
)
def test_damage_is_named_and_leaves_nothing_half_made(
    more: dict[str, object], part: str, preview: bytes, tmp_path: Path
) -> None:
    with pytest.raises(SkippedClip, match=f"clip_1: its {part} cannot be used"):
        render(source(**{"preview": preview, **more}), tmp_path)  # type: ignore[arg-type]
    assert not list(tmp_path.glob(".*")) and not list(tmp_path.glob("*.mp4"))


def test_a_damaged_stream_is_noticed(preview: bytes) -> None:
    assert flaws(damaged(preview), FRAMES)


def test_threads_may_make_the_same_file(preview: bytes, tmp_path: Path) -> None:
    for number in range(5):
        folder = tmp_path / str(number)
        folder.mkdir()
        with ThreadPoolExecutor(8) as pool:
            names = list(pool.map(lambda _, at=folder: render(source(preview), at), range(16)))
        assert len(set(names)) == 1
        assert sorted(path.name for path in folder.iterdir()) == sorted(names[0].names)


def test_half_made_files_are_swept(preview: bytes, tmp_path: Path) -> None:
    (tmp_path / ".rsat-123-abc.mp4.tmp").write_bytes(b"half")
    (tmp_path / "other.txt").write_bytes(b"mine")
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["other.txt"]


def test_a_full_disk_is_no_damaged_clip(preview: bytes, tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    from annotation.media import _make

    def write(stream: io.BufferedWriter) -> None:
        with full.open("wb", buffering=0) as device:
            device.write(b"x")

    with pytest.raises(DiskFullError):
        _make(tmp_path, "a.wav", source(preview), "audio", write)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
