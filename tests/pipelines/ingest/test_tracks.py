from __future__ import annotations

import numpy as np

from pipelines.ingest.tracks import Look, Track, link, real_faces

ONE, TWO = np.eye(512)[3], np.eye(512)[200]


def look(i: int, faces: list[tuple[float, np.ndarray]]) -> Look:
    boxes = np.array([[x, 100, 120, 120] for x, _ in faces], np.float64).reshape(len(faces), 4)
    return Look(0.2 * i, boxes, None, np.array([a for _, a in faces]).reshape(len(faces), 512))


def test_another_face_at_the_same_place_begins_a_track():
    tracks = link([look(i, [(100, ONE if i < 10 else TWO)]) for i in range(20)], 1.0)
    assert [len(t.times) for t in tracks] == [10, 10]
    assert tracks[0].end < tracks[1].start


def test_a_flash_does_not_end_a_track():
    tracks = link([look(i, [(100, TWO if i == 5 else ONE)]) for i in range(12)], 1.0)
    assert sorted(len(t.times) for t in tracks) == [1, 11]


def test_faces_that_pass_each_other_keep_their_tracks():
    looks = [look(i, [(100 + 40.0 * i, ONE), (500 - 40.0 * i, TWO)]) for i in range(11)]
    tracks = link(looks, 1.0)
    assert len(tracks) == 2
    for track, seen in zip(sorted(tracks, key=lambda t: t.boxes[0][0]), (ONE, TWO), strict=True):
        assert len(track.times) == 11 and np.allclose(track.looks, seen)


def test_without_appearances_places_decide():
    looks = [Look(0.2 * i, np.array([[100.0 + i, 100, 120, 120]])) for i in range(6)]
    assert [len(t.times) for t in link(looks, 1.0)] == [6]


def test_a_look_without_faces_is_a_miss():
    looks = [look(0, [(100, ONE)]), look(1, []), look(2, [(100, ONE)])]
    assert [len(t.times) for t in link(looks, 1.0)] == [2]


def still(width: float, start: int = 0, stop: int = 20) -> Track:
    times = [0.2 * i for i in range(start, stop)]
    return Track(times, [np.array([100.0, 100, width, width])] * len(times))


def test_of_three_faces_the_two_in_front_stay():
    tracks = [still(200), still(180), still(110)]
    assert real_faces(tracks, min_track_s=0.5, background_ratio=0.4) == tracks[:2]


def test_three_faces_of_like_size_all_count():
    tracks = [still(200), still(180), still(150)]
    assert real_faces(tracks, min_track_s=0.5, background_ratio=0.4) == tracks


def test_of_two_faces_the_smaller_counts_down_to_the_ratio():
    assert len(real_faces([still(200), still(100)], min_track_s=0.5, background_ratio=0.4)) == 2
    assert len(real_faces([still(200), still(70)], min_track_s=0.5, background_ratio=0.4)) == 1


def test_a_third_face_at_another_time_is_nobodys_background():
    tracks = [still(200), still(180), still(110, 40, 60)]
    assert real_faces(tracks, min_track_s=0.5, background_ratio=0.4) == tracks
