from __future__ import annotations

import cv2
import numpy as np

from pipelines.faces.quality import sharpness, still_candidates


def texture(size: int = 400) -> np.ndarray:
    noise = np.random.default_rng(0).normal(128, 50, (size, size, 3))
    return np.clip(cv2.GaussianBlur(noise, (0, 0), 1.5) * 3 - 256, 0, 255).astype(np.uint8)


def test_blur_lowers_sharpness_step_by_step():
    box = np.array([50.0, 50, 256, 256])
    values = [sharpness(cv2.GaussianBlur(texture(), (0, 0), s), box) for s in (0.5, 2, 4, 8)]
    assert values == sorted(values, reverse=True) and values[0] > 5 * values[-1]


def test_a_face_of_few_pixels_counts_as_blurred():
    large = texture()
    small = cv2.resize(large, (100, 100), interpolation=cv2.INTER_AREA)
    assert sharpness(small, np.array([10.0, 10, 80, 80])) < sharpness(large, np.array([40.0, 40, 320, 320]))


def test_outside_the_picture_nothing_is_sharp():
    assert sharpness(texture(100), np.array([200.0, 200, 50, 50])) == 0.0


def test_the_still_comes_from_frontal_open_eyed_frames():
    yaw = np.array([0.0, 30, -5, 3, 2])
    pitch = np.array([10.0, 10, 11, 9, 40])
    blink = np.array([0.1, 0.1, 0.9, 0.2, 0.1])
    valid = np.array([False, True, True, True, True])
    assert still_candidates(yaw, pitch, blink, valid, 15.0).tolist() == [False, False, False, True, False]


def test_a_head_that_never_looks_here_gives_its_least_turned_frame():
    yaw = np.array([60.0, 50, 40, 70])
    chosen = still_candidates(yaw, np.zeros(4), np.zeros(4), np.array([True, True, False, True]), 15.0)
    assert chosen.tolist() == [False, True, False, False]
