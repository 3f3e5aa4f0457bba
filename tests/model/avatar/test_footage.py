from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.avatar.footage import Footage, Frame, Store, Video, divide, from_row, pictures
from model.camera import Camera
from model.head import HeadModel
from rsat_data.errors import DatasetError, DiskFullError, HeadMismatch, UnreadableSource


def plain(valid: np.ndarray, name: str = "row") -> Footage:
    count = len(valid)
    sizes = {"expression": 2, "jaw": 3, "neck": 3, "eyes": 6, "rotation": 3, "translation": 3}
    codes = {key: np.zeros((count, size), np.float32) for key, size in sizes.items()}
    camera = Camera(9.0, 9.0, 4.0, 4.0, 8, 8)
    return Footage(name, camera, np.zeros(1, np.float32), codes, valid, lambda a, b: np.zeros((b - a, 8, 8, 3)), None)


@settings(deadline=None)
@given(
    rows=st.lists(st.lists(st.booleans(), min_size=1, max_size=40), min_size=1, max_size=4),
    hold_out=st.floats(0.05, 0.6),
    most=st.integers(3, 60),
)
def test_frames_are_divided_in_the_order_of_time(rows: list[list[bool]], hold_out: float, most: int) -> None:
    footage = [plain(np.array(row)) for row in rows]
    usable = [Frame(r, t) for r, row in enumerate(rows) for t, on in enumerate(row) if on]
    cut = round((1 - hold_out) * len(usable))
    if cut < 3 or cut >= len(usable):
        with pytest.raises(DatasetError, match="Too few frames"):
            divide(footage, hold_out, most, 4, 3)
        return
    division = divide(footage, hold_out, most, 4, 3)
    assert list(division.test) == usable[cut:]
    training = {*division.train, *division.validation}
    assert len(training) == len(division.train) + len(division.validation) == min(most, cut)
    assert training <= set(usable[:cut])
    assert len(division.validation) <= max(1, len(training) // 10)
    assert list(division.train) == sorted(division.train, key=lambda f: (f.row, f.time))


def test_frames_with_codes_that_are_not_finite_are_left_out(changed: Callable[..., Footage]) -> None:
    footage = changed()
    codes = {name: value.copy() for name, value in footage.codes.items()}
    codes["jaw"][5, 1] = np.nan
    codes["translation"][7, 0] = np.inf
    assert np.flatnonzero(~changed(codes=codes).usable()).tolist() == [5, 7]


def test_codes_of_another_head_are_refused(head: HeadModel, changed: Callable[..., Footage]) -> None:
    with pytest.raises(HeadMismatch, match="row_made"):
        changed(head_model="flame-2020@000000000000").check(head)
    codes = dict(changed().codes)
    codes["expression"] = codes["expression"][:, :10]
    with pytest.raises(HeadMismatch, match="expression should be"):
        changed(codes=codes, head_model="").check(head)
    with pytest.raises(HeadMismatch, match="shape code"):
        changed(shape=np.zeros(3, np.float32)).check(head)


def encoded(frames: np.ndarray) -> bytes:
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        stream.options = {"crf": "1"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


@pytest.fixture(scope="module")
def clip() -> bytes:
    """16 frames; frame t is grey of brightness 10 t."""
    return encoded(
        np.repeat(np.arange(16, dtype=np.uint8)[:, None, None, None] * 10, 3, 3) + np.zeros((1, 32, 32, 1), np.uint8)
    )


def test_videos_are_read_forwards_and_again_from_the_start(clip: bytes, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(clip)
    for video in (Video(clip, 16), Video(path, 16)):
        for start, stop in ((0, 3), (3, 8), (12, 16), (2, 4)):
            found = video(start, stop)
            assert found.shape == (stop - start, 32, 32, 3)
            assert np.abs(found.mean((1, 2, 3)) - 10 * np.arange(start, stop)).max() < 2
    assert Video(clip, 16, grey=True)(1, 2).shape == (1, 32, 32)


def test_videos_that_end_early_or_are_none(clip: bytes) -> None:
    with pytest.raises(UnreadableSource, match="ends before frame 16 of 20"):
        Video(clip, 20, "short")(10, 20)
    with pytest.raises(UnreadableSource, match="noise"):
        Video(b"no video", 4, "noise")(0, 4)
    with pytest.raises(IndexError):
        Video(clip, 16)(10, 17)


def test_rows_without_video_are_refused() -> None:
    with pytest.raises(DatasetError, match="no video"):
        from_row({"row_id": "row_x", "num_frames": 3, "video": None, "matte": None})


def test_pictures_are_decoded_in_short_spans_whatever_is_asked(footage: Footage) -> None:
    frames = [Frame(0, t) for t in (1, 2, 30, 39)]
    found = dict(pictures([footage], frames, 32))
    assert sorted(found) == [0, 1, 2, 3]
    assert all(stop - start <= 16 for start, stop in footage.frames.spans)  # type: ignore[attr-defined]
    wanted = footage.frames(30, 31)[0].reshape(32, 2, 32, 2, 3).mean((1, 3))
    assert np.abs(found[2][..., :3] - wanted).max() <= 1


def test_store_gives_back_what_it_was_given() -> None:
    store = Store(16)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, 16, 16, 4), dtype=np.uint8)
    for index in (3, 0, 4, 1, 2):
        store.write(index, images[index])
    for index in (4, 2, 0, 3, 1):
        np.testing.assert_array_equal(store.read(index), images[index])
    store.close()


def test_full_disk_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    store = Store(16)
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(DiskFullError, match="training pictures"):
        store.write(0, np.zeros((16, 16, 4), np.uint8))
    store.close()
