from __future__ import annotations

import numpy as np
import pytest

from pipelines.faces.crop import Window, cut, inside, window_in
from pipelines.faces.seams import Panel, SeamFinder
from tests.pipelines.faces.test_crop import face


def finder(paint, frames: int = 10, size: tuple[int, int] = (360, 640), seed: int = 0) -> SeamFinder:
    """Frames of moving blobs, painted over by ``paint``."""
    rng = np.random.default_rng(seed)
    height, width = size
    found = SeamFinder(width, height)
    for _ in range(frames):
        coarse = rng.integers(60, 200, (height // 20, width // 20, 3)).astype(np.float32)
        picture = np.kron(coarse, np.ones((20, 20, 1))).astype(np.uint8)
        picture = np.ascontiguousarray(np.roll(picture, rng.integers(0, 20, 2), axis=(0, 1)))
        paint(picture)
        found.add(picture)
    return found


LEFT, RIGHT = np.array([100.0, 100, 220, 240]), np.array([420.0, 100, 540, 240])


def test_a_picture_without_seams_is_whole():
    found = finder(lambda picture: None)
    # Blobs change from frame to frame, so their edges are not steady.
    assert found.panel(LEFT) == Panel(0, 0, 640, 360)


def test_a_split_screen_gives_each_face_its_half():
    def paint(picture):
        picture[:, :317] //= 2
        picture[:, 317:323] = 255

    found = finder(paint)
    assert found.panel(LEFT) == Panel(0, 0, 315, 360)
    assert found.panel(RIGHT) == Panel(325, 0, 640, 360)


def test_black_bars_are_left_out():
    def paint(picture):
        picture[:45] = 16
        picture[-45:] = 0
        picture[:, :30] = 5

    assert finder(paint).panel(LEFT) == Panel(32, 47, 640, 313)


def test_a_seam_that_would_cut_the_face_is_none():
    def paint(picture):
        picture[:, 160:] = 255

    panel = finder(paint).panel(LEFT)
    assert panel.x0 <= 100 and panel.x1 >= 220


def test_few_frames_say_nothing():
    def paint(picture):
        picture[:45] = 0

    assert finder(paint, frames=3).panel(LEFT) == Panel(0, 0, 640, 360)


def test_a_dark_picture_keeps_its_face():
    def paint(picture):
        picture[:] = 10

    assert finder(paint).panel(LEFT) == Panel(0, 0, 640, 360)


def test_the_window_stays_in_the_panel_where_it_fits():
    panel = Panel(160, 20, 600, 700)
    window = window_in(face(300, 300, 150), panel)
    assert panel.x0 <= window.x0 and window.x0 + window.side <= panel.x1
    assert panel.y0 <= window.y0 and window.y0 + window.side <= panel.y1
    assert inside(window, panel, 512) is None


def test_beyond_the_panel_is_black_and_no_foreground():
    picture = np.full((400, 600, 3), 200, np.uint8)
    panel, window = Panel(100, 0, 300, 400), Window(50, 50, 256)
    crop, part = cut(picture, window, 256, panel), inside(window, panel, 256)
    assert part is not None
    assert np.array_equal(crop[..., 0] == 200, part == 1)
    assert part[:, 50:250].all() and not part[:, :50].any() and not part[:, 250:].any()


@pytest.mark.parametrize("size", [128, 512])
def test_the_part_inside_follows_the_crops_scale(size):
    part = inside(Window(0, 0, 256), Panel(64, 0, 256, 256), size)
    assert part is not None and part.mean() == pytest.approx(0.75)
