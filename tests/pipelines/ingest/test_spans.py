from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.ingest.spans import FPS, clips_of_shot, cut_evenly, runs_of_same_faces
from pipelines.ingest.tracks import Look, Track, link, real_faces


def looks_of(paths: dict[str, tuple[float, float, float, float]], end: float, step: float = 0.2) -> list[Look]:
    """Looks at faces that stand still: name -> (first time, last time, x, width)."""
    looks = []
    for time in np.arange(0, end - 1e-9, step):
        boxes = [(x, 50.0, w, w) for a, b, x, w in paths.values() if a - 1e-9 <= time <= b + 1e-9]
        looks.append(Look(float(time), np.array(boxes, float).reshape(-1, 4)))
    return looks


def analyse(paths, end, **limits):
    looks = looks_of(paths, end)
    tracks = real_faces(link(looks, 1.0), min_track_s=0.5, background_ratio=0.4)
    runs = runs_of_same_faces(0.0, end, [look.time for look in looks], tracks)
    bounds = {"min_clip_s": 3.0, "max_clip_s": 30.0, "min_face_px": 100.0, **limits}
    return clips_of_shot(0.0, end, runs, np.zeros(int(end * FPS) + 1), **bounds)


def test_two_faces_that_stay_are_one_clip_from_edge_to_edge():
    clips, skipped = analyse({"b": (0, 10, 600, 150), "a": (0, 10, 100, 120)}, 10.0)
    assert not skipped
    (clip,) = clips
    assert (clip.start_frame, clip.num_frames) == (0, 250)
    assert [box[0] for box in clip.boxes] == [100, 600]


def test_a_face_missed_in_the_first_and_last_looks_was_there():
    clips, _ = analyse({"a": (0.4, 9.4, 100, 120), "b": (0, 10, 600, 120)}, 10.0)
    assert [(c.start_frame, c.num_frames, len(c.boxes)) for c in clips] == [(0, 250, 2)]


def test_a_third_face_cuts_its_span_out():
    clips, skipped = analyse(
        {"a": (0, 20, 100, 120), "b": (0, 20, 400, 120), "c": (8, 12, 700, 120)}, 20.0
    )
    assert [len(c.boxes) for c in clips] == [2, 2]
    assert [s.reason for s in skipped] == ["too_many_faces"]
    assert clips[0].end_s <= 8.0 and clips[1].start_s >= 12.0
    assert "3 faces" in skipped[0].detail


def test_somebody_who_leaves_makes_two_clips():
    clips, skipped = analyse({"a": (0, 5, 100, 120), "b": (0, 12, 400, 120)}, 12.0)
    assert [len(c.boxes) for c in clips] == [2, 1] and not skipped


@pytest.mark.parametrize(
    ("paths", "end", "reason"),
    [
        ({}, 8.0, "no_face"),
        ({"a": (0, 8, 100, 60)}, 8.0, "face_too_small"),
        ({"a": (3, 5, 100, 120)}, 8.0, "span_too_short"),
        ({"a": (0, 2, 100, 120)}, 2.0, "shot_too_short"),
        ({k: (0, 8, 300 * i, 120) for i, k in enumerate("abcd")}, 8.0, "too_many_faces"),
    ],
)
def test_every_refusal_has_its_reason(paths, end, reason):
    clips, skipped = analyse(paths, end)
    assert not clips
    assert reason in [s.reason for s in skipped]
    assert all(s.detail and s.end_s > s.start_s for s in skipped)


def test_background_faces_and_blinks_of_the_detector_do_not_count():
    clips, _ = analyse({"a": (0, 8, 100, 200), "audience": (0, 8, 700, 60), "flash": (4, 4.2, 400, 200)}, 8.0)
    assert [len(c.boxes) for c in clips] == [1]


def test_a_face_the_landmarker_denies_does_not_count():
    looks = [Look(t, np.array([[10.0, 10, 100, 100]]), np.array([False])) for t in np.arange(0, 5, 0.2)]
    assert not real_faces(link(looks, 1.0), min_track_s=0.5, background_ratio=0.4)


def test_tracks_survive_short_misses_and_movement():
    looks = []
    for i in range(50):
        boxes = [] if i in (10, 11, 30) else [(10.0 + 6 * i, 50.0, 100.0, 100.0)]
        looks.append(Look(0.2 * i, np.array(boxes, float).reshape(-1, 4)))
    (track,) = link(looks, 1.0)
    assert (track.start, track.end) == (0.0, pytest.approx(9.8))


def test_two_people_who_pass_each_other_keep_their_tracks():
    looks = [
        Look(0.2 * i, np.array([[10.0 + 12 * i, 50, 100, 100], [610.0 - 12 * i, 190, 100, 100]])) for i in range(50)
    ]
    tracks = link(looks, 1.0)
    assert len(tracks) == 2
    assert all(np.ptp([b[1] for b in t.boxes]) == 0 for t in tracks)


@settings(deadline=None)
@given(
    num=st.integers(75, 6000), seed=st.integers(0, 99), low=st.integers(25, 100), high=st.integers(250, 750)
)
def test_pieces_cover_a_span_within_the_bounds(num, seed, low, high):
    loudness = np.random.default_rng(seed).random(num)
    cuts = cut_evenly(num, loudness, low, high)
    lengths = np.diff([0, *cuts, num])
    assert lengths.sum() == num and len(lengths) == math.ceil(num / high)
    assert lengths.max() <= high
    assert num < low or lengths.min() >= low


def test_cuts_fall_into_the_silence():
    loudness = np.ones(1000)
    loudness[480:490] = 0
    assert cut_evenly(1000, loudness, 75, 750) == [480]


@settings(deadline=None)
@given(start=st.floats(0, 50), length=st.floats(0.5, 90), seed=st.integers(0, 20))
def test_clips_stay_inside_their_shot_and_on_the_grid(start, length, seed):
    box = np.array([10.0, 10, 120, 120])
    times = list(np.arange(start, start + length, 0.2))
    track = Track(times=times, boxes=[box] * len(times))
    runs = runs_of_same_faces(start, start + length, times, [track])
    loudness = np.random.default_rng(seed).random(4000)
    clips, skipped = clips_of_shot(
        start, start + length, runs, loudness, min_clip_s=3.0, max_clip_s=30.0, min_face_px=100.0
    )
    for clip in clips:
        assert start - 1e-6 <= clip.start_s and clip.end_s <= start + length + 1e-6
        assert 75 <= clip.num_frames <= 750
    assert all(a.end_s <= b.start_s for a, b in zip(clips, clips[1:], strict=False))
    assert bool(clips) != bool(skipped)
