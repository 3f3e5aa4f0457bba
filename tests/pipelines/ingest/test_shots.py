from __future__ import annotations

import numpy as np

from pipelines.ingest.shots import CutFinder, shots_between


def scene(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.kron(rng.integers(0, 256, (9, 16, 3)), np.ones((20, 20, 1))).astype(np.uint8)


def find(frames) -> list[int]:
    finder = CutFinder(threshold=27.0, ratio=3.0, min_change=18.0)
    for frame in frames:
        finder.add(frame)
    return finder.cuts()


def test_hard_cuts_are_found_to_the_frame():
    assert find([scene(1 + (i >= 30) + (i >= 71)) for i in range(120)]) == [30, 71]


def test_a_still_and_a_pan_have_no_cut():
    assert find([scene(1)] * 60) == []
    wide = np.concatenate([scene(1), scene(2), scene(3)], axis=1)
    wide = np.stack([np.convolve(row, np.ones(41) / 41, "same") for row in wide.transpose(2, 0, 1).reshape(-1, 960)])
    wide = wide.reshape(3, 180, 960).transpose(1, 2, 0).astype(np.uint8)
    assert find([np.ascontiguousarray(wide[:, 5 * i : 5 * i + 320]) for i in range(100)]) == []


def test_a_cut_of_one_half_of_a_split_screen_is_found():
    frames = []
    for i in range(80):
        frame = scene(1).copy()
        frame[:, 160:] = scene(2 if i < 40 else 3)[:, 160:]
        frames.append(frame)
    assert find(frames) == [40]


def test_shots_leave_out_the_frames_at_a_cut_but_not_at_the_ends():
    times = [i / 25 for i in range(100)]
    assert shots_between([40], times, 4.0) == [[0.0, 1.6 - 0.04], [1.6 + 0.04, 4.0]]


def test_a_stall_ends_a_shot():
    times = [i / 25 for i in range(50)] + [4 + i / 25 for i in range(50)]
    shots = shots_between([], times, 6.0)
    assert np.allclose(shots, [[0.0, 2.0], [4.0, 6.0]])
