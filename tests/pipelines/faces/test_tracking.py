"""The tracker with real pictures of two real people that are moved about, so that the truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.faces.nets import FaceDetector, FaceLandmarker
from pipelines.faces.run import left_to_right
from pipelines.faces.tracking import PeopleTracker, appearance, appearance_distance, stack
from pipelines.ingest.media import iter_frames
from tests.pipelines.ingest.helpers import need_model


@pytest.fixture(scope="module")
def networks():
    model = need_model("face_landmarker")
    with FaceDetector(model) as detector, FaceLandmarker(model) as landmarker:
        yield detector, landmarker


@pytest.fixture(scope="module")
def heads(real_data):
    """Square pictures (240, 240, 3) of the two heads of the interview."""
    frame = next(iter_frames(real_data / "clips" / "two_interview.mp4", 6.0, 1))
    import cv2

    return [
        cv2.resize(np.ascontiguousarray(frame[y : y + 400, x : x + 400]), (240, 240), interpolation=cv2.INTER_AREA)
        for x, y in ((200, 80), (700, 50))
    ]


def stage_of(heads, places, size=(360, 900)):
    """A grey frame with heads at places (x, y); None leaves a head out."""
    frame = np.full((*size, 3), 90, np.uint8)
    for head, place in zip(heads, places, strict=True):
        if place is not None:
            x, y = place
            frame[y : y + 240, x : x + 240] = head
    return frame


def middles(tracker):
    return [
        [None if p is None else float(p[:, 0].mean()) for p in found.landmarks] for found in tracker.found
    ]


START = [[100.0, 120, 110, 110], [660.0, 120, 110, 110]]


def test_two_people_who_change_places_are_not_swapped(heads, networks):
    """They pass behind each other's back: one above the other, and are both lost for some frames."""
    tracker = PeopleTracker(START, *networks)
    frames = 24
    for i in range(frames):
        x = round(40 + 560 * i / (frames - 1))
        places = [(x, 20), (640 - x, 100)]
        if 9 <= i <= 13:
            places = [None, None]
        tracker.step(stage_of(heads, places))
    first, second = middles(tracker)
    assert first[-1] is not None and second[-1] is not None
    assert first[0] < 300 < 600 < first[-1]
    assert second[-1] < 300 < 600 < second[0]
    assert first[11] is None and second[11] is None


def test_one_who_is_hidden_is_missing_and_found_again(heads, networks):
    tracker = PeopleTracker(START, *networks)
    for i in range(14):
        tracker.step(stage_of(heads, [(40, 60) if not 4 <= i <= 7 else None, (600, 60)]))
    first, second = middles(tracker)
    assert all(m is None for m in first[4:8]) and all(m is not None for m in first[:4])
    assert all(m is not None for m in first[11:]) and all(m is not None for m in second)
    landmarks, blendshapes, matrix, confidence, valid = stack(tracker.found[0])
    assert valid.sum() >= 8 and landmarks.shape == (14, 478, 3) and blendshapes.shape == (14, 52)
    assert np.isfinite(landmarks).all() and (confidence[valid] > 0.5).all() and (confidence[~valid] == 0).all()
    assert (matrix[~valid] == np.eye(4)).all()


def test_one_face_is_never_given_to_two(heads, networks):
    tracker = PeopleTracker([START[0], [140.0, 120, 110, 110]], *networks)
    for _ in range(3):
        tracker.step(stage_of(heads, [(40, 60), None]))
    assert sum(f.landmarks[-1] is not None for f in tracker.found) == 1


def test_landmarks_move_with_the_picture(heads, networks):
    tracker = PeopleTracker(START, *networks)
    for shift in (0, 2, 4, 6):
        tracker.step(stage_of(heads, [(40 + shift, 60), (600, 60 + shift)]))
    for found, axis in zip(tracker.found, (0, 1), strict=True):
        moved = [(p - found.landmarks[0]).mean(axis=0) for p in found.landmarks]
        assert np.allclose([m[axis] for m in moved], [0, 2, 4, 6], atol=0.7)
        assert np.abs([m[1 - axis] for m in moved]).max() < 0.7


def test_looks_tell_people_apart(heads):
    box = np.array([40.0, 40, 160, 160])
    first, second = (appearance(h, box) for h in heads)
    again = appearance(np.roll(heads[0], 3, axis=1), box)
    assert first.sum() == pytest.approx(1)
    assert appearance_distance(first, again) < 0.3 < appearance_distance(first, second)


def test_order_is_from_left_to_right(heads, networks):
    from pipelines.faces.run import Track

    tracker = PeopleTracker(START[::-1], *networks)
    for _ in range(3):
        tracker.step(stage_of(heads, [(40, 60), (600, 60)]))
    tracks = []
    for found in tracker.found:
        landmarks, blendshapes, matrix, confidence, valid = stack(found)
        tracks.append(Track(landmarks, blendshapes, matrix, confidence, valid))
    ordered = left_to_right(tracks)
    assert ordered[0].boxes[0, 0] < 300 < ordered[1].boxes[0, 0]


def test_another_face_at_the_same_place_is_not_taken_for_the_person(heads, networks):
    """A cut that nobody noticed: what follows is missing, not swapped."""
    tracker = PeopleTracker([[385.0, 115, 120, 120]], *networks)
    for i in range(16):
        tracker.step(stage_of([heads[0] if i < 8 else heads[1]], [(330, 60)]))
    valid = stack(tracker.found[0])[4]
    assert valid[:8].all() and not valid[8:].any()


def test_a_dissolve_ends_before_the_other_face_is_there(heads, networks):
    tracker = PeopleTracker([[385.0, 115, 120, 120]], *networks)
    for i in range(20):
        share = np.clip((i - 4) / 10, 0, 1)
        mixed = ((1 - share) * heads[0] + share * heads[1]).astype(np.uint8)
        tracker.step(stage_of([mixed], [(330, 60)]))
    valid = stack(tracker.found[0])[4]
    assert valid[:5].all() and not valid[10:].any()


def test_a_flash_is_survived(heads, networks):
    tracker = PeopleTracker([[385.0, 115, 120, 120]], *networks)
    for i in range(12):
        head = np.minimum(heads[0].astype(int) + 110, 255).astype(np.uint8) if i == 5 else heads[0]
        tracker.step(stage_of([head], [(330, 60)]))
    valid = stack(tracker.found[0])[4]
    assert valid[:5].all() and valid[8:].all()
