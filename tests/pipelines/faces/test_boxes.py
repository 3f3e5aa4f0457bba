from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.faces.boxes import assign, cut_square, iou, merge_detections, motion_cost, square_around

boxes = st.lists(
    st.tuples(st.floats(-50, 500), st.floats(-50, 500), st.floats(1, 200), st.floats(1, 200)), min_size=1, max_size=5
).map(lambda rows: np.array(rows))


@settings(deadline=None)
@given(a=boxes, b=boxes)
def test_overlap_is_symmetric_and_bounded(a, b):
    values = iou(a, b)
    assert np.allclose(values, iou(b, a).T)
    assert (values >= 0).all() and (values <= 1 + 1e-9).all()
    assert np.allclose(np.diag(iou(a, a)), 1)


def test_overlap_of_known_boxes():
    assert iou(np.array([[0.0, 0, 2, 2]]), np.array([[1.0, 1, 2, 2]]))[0, 0] == pytest.approx(1 / 7)
    assert iou(np.array([[0.0, 0, 0, 0]]), np.array([[0.0, 0, 0, 0]]))[0, 0] == 0


@settings(deadline=None)
@given(a=boxes, b=boxes)
def test_motion_is_symmetric_and_free_for_standing_still(a, b):
    assert np.allclose(motion_cost(a, b), motion_cost(b, a).T)
    assert np.allclose(np.diag(motion_cost(a, a)), 0)


@settings(deadline=None)
@given(
    rows=st.integers(0, 4), columns=st.integers(0, 4), seed=st.integers(0, 1000), limit=st.floats(0.1, 1.5)
)
def test_assignment_is_the_best_of_all(rows, columns, seed, limit):
    cost = np.random.default_rng(seed).random((rows, columns)) * 2
    pairs = assign(cost, limit)
    assert len({r for r, _ in pairs}) == len({c for _, c in pairs}) == len(pairs)
    assert all(cost[r, c] <= limit for r, c in pairs)

    def price(chosen):
        return sum(cost[r, c] for r, c in chosen) + limit * (min(rows, columns) - len(chosen))

    everything = [
        list(zip(left, right, strict=True))
        for size in range(min(rows, columns) + 1)
        for left in itertools.combinations(range(rows), size)
        for right in itertools.permutations(range(columns), size)
    ]
    best = min(price(chosen) for chosen in everything if all(cost[pair] <= limit for pair in chosen))
    assert price(pairs) == pytest.approx(best)


def test_doubles_and_parts_of_a_face_are_merged():
    found = np.array([[10.0, 10, 100, 100], [15, 12, 98, 98], [20, 60, 60, 45], [300, 10, 100, 100]])
    assert merge_detections(found, np.array([0.8, 0.9, 0.7, 0.6])).tolist() == [1, 3]


@settings(deadline=None)
@given(x=st.integers(-30, 50), y=st.integers(-30, 50), side=st.integers(1, 60))
def test_a_square_over_the_edge_is_black_outside(x, y, side):
    picture = np.random.default_rng(0).integers(1, 256, (32, 40, 3), dtype=np.uint8)
    big = np.zeros((200, 200, 3), np.uint8)
    big[80:112, 80:120] = picture
    assert (cut_square(picture, x, y, side) == big[80 + y : 80 + y + side, 80 + x : 80 + x + side]).all()


def test_a_square_around_a_box_has_its_centre():
    assert square_around(np.array([10.0, 20, 40, 20]), 2.0) == (-10.0, -10.0, 80.0)
