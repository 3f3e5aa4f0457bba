"""Spans of a video, forwards and again from the start."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.flame.pictures import Frames
from pipelines.ingest.media import iter_frames, write_video


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "A.mp4"
    ramp = np.arange(64)[None, :, None] + np.zeros((64, 1, 3), int)
    write_video(path, ((ramp + 5 * t).astype(np.uint8) for t in range(25)), 25.0, 18)
    return path


def test_spans_equal_the_video(video: Path) -> None:
    whole = np.stack(list(iter_frames(video, 0.0, 25)))
    frames = Frames(video, 25)
    for start, stop in ((0, 8), (6, 14), (14, 20), (19, 25), (3, 5), (0, 25), (24, 25)):
        np.testing.assert_array_equal(frames(start, stop), whole[start:stop])
    np.testing.assert_array_equal(Frames(video, 25, grey=True)(4, 6), whole[4:6, ..., 0])


@pytest.mark.parametrize("span", [(0, 26), (5, 5), (-1, 3)])
def test_spans_outside_are_refused(video: Path, span: tuple[int, int]) -> None:
    with pytest.raises(IndexError, match="25 frames"):
        Frames(video, 25)(*span)
