from __future__ import annotations

import av
import numpy as np
import pytest
from av.video.reformatter import Interpolation

from pipelines.ingest.colour import matrix_coefficients, rgb_420


def frame_of(luma: int, blue: int, red: int, *, matrix: int, full: bool, height: int = 16) -> av.VideoFrame:
    planes = np.concatenate(
        [np.full(height * 16, luma, np.uint8), np.full(height * 4, blue, np.uint8), np.full(height * 4, red, np.uint8)]
    )
    frame = av.VideoFrame.from_ndarray(planes.reshape(-1, 16), format="yuv420p")
    frame.colorspace, frame.color_range = matrix, 2 if full else 1
    return frame


@pytest.mark.parametrize("matrix", [1, 5, 6, 9])
@pytest.mark.parametrize("full", [False, True])
def test_primaries_come_back(matrix, full):
    kr, kb = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}[matrix]
    for colour in ((255, 255, 255), (0, 0, 0), (180, 90, 40), (10, 200, 120)):
        r, g, b = (c / 255 for c in colour)
        luma = kr * r + (1 - kr - kb) * g + kb * b
        blue, red = (b - luma) / (2 * (1 - kb)), (r - luma) / (2 * (1 - kr))
        if full:
            coded = (luma * 255, blue * 255 + 128, red * 255 + 128)
        else:
            coded = (luma * 219 + 16, blue * 224 + 128, red * 224 + 128)
        frame = frame_of(*(int(np.clip(round(c), 0, 255)) for c in coded), matrix=matrix, full=full)
        picture = rgb_420(frame)
        assert picture is not None
        assert np.abs(picture[4, 4].astype(int) - colour).max() <= 2


def test_agrees_with_the_scalers_exact_path():
    rng = np.random.default_rng(3)
    picture = np.kron(rng.integers(0, 256, (8, 8, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p", dst_colorspace="ITU601")
    frame.colorspace = 6
    exact = frame.reformat(
        format="rgb24",
        src_colorspace="ITU601",
        interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT,
    ).to_ndarray()
    ours = rgb_420(frame)
    assert ours is not None
    inner = np.s_[4:12, 4:12]  # inside a block, where chroma interpolation plays no part
    assert np.abs(ours[inner].astype(int) - exact[inner]).max() <= 1


def test_other_kinds_are_left_to_the_scaler():
    assert rgb_420(av.VideoFrame(16, 16, "yuv444p")) is None
    assert rgb_420(av.VideoFrame(17, 16, "yuv420p")) is None


def test_untagged_pictures_are_judged_by_their_height():
    assert matrix_coefficients(av.VideoFrame(1280, 720, "yuv420p")) == 1
    assert matrix_coefficients(av.VideoFrame(640, 480, "yuv420p")) == 6
