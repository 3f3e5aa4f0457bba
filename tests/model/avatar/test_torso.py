from __future__ import annotations

from dataclasses import replace

import numpy as np

from model.avatar.fit import with_torso
from model.avatar.posing import SPREAD, Torso
from model.avatar.torso import track_torso
from model.camera import Camera
from model.head import HeadModel
from tests.model.avatar.conftest import footage_of, made_codes, made_pictures

WIDE = Camera(150.0, 150.0, 34.0, 22.0, 64, 64)
FRAMES = 24


def test_shoulders_are_found_where_they_are(head: HeadModel) -> None:
    codes = made_codes(head, FRAMES, seed=3)
    t = np.arange(FRAMES) / FRAMES
    truth = np.zeros((FRAMES, 6), np.float32)
    truth[:, 3], truth[:, 4] = 0.9 * np.sin(2 * np.pi * t), 0.6 * np.cos(4 * np.pi * t)
    images = made_pictures(head, {**codes, "torso": truth}, WIDE, Torso.still())
    footage = footage_of(head, codes, images, WIDE)
    found = track_torso(head, footage)
    assert found.shape == (FRAMES, 6)
    assert np.abs(found[:, :3]).max() < 1.0 and np.abs(found[:, 5]).max() < 1.5  # it hardly turns or leans
    pixel = 0.95 / WIDE.fx / SPREAD[3]
    for axis in (3, 4):
        left = (found - truth)[:, axis] - np.median((found - truth)[:, axis])
        assert np.sqrt(np.square(left).mean()) < 0.5 * pixel
        assert np.corrcoef(found[:, axis], truth[:, axis])[0, 1] > 0.9
    # A row that knows its torso is left as it is.
    known = replace(footage, codes={**codes, "torso": truth})
    assert with_torso(head, known) is known
    assert np.array_equal(with_torso(head, footage).codes["torso"], found)


def test_pictures_without_shoulders_have_a_still_torso(head: HeadModel) -> None:
    codes = made_codes(head, 6)
    near = Camera(700.0, 700.0, 32.0, 20.0, 64, 64)
    images = made_pictures(head, codes, near, Torso.still())
    assert not track_torso(head, footage_of(head, codes, images, near)).any()
