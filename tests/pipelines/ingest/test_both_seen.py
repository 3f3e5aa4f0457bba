"""Clips of two recordings: where both show their main face, whatever else is in the pictures."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.ingest.both_seen import both_seen, main_faces
from pipelines.ingest.config import IngestConfig
from pipelines.ingest.frames import Upright
from pipelines.ingest.scan import Scan
from pipelines.ingest.timeline import Clock
from pipelines.ingest.tracks import Look

CONFIG = IngestConfig()
Face = tuple[float, float, float, float]
"""x, width, first and last second."""


def scan(seconds: float, faces: list[Face], cuts: tuple[float, ...] = ()) -> Scan:
    """What would be found in a video with these faces: a look five times a second."""
    looks = []
    for time in np.arange(0, seconds, 0.2):
        seen = [[x, 100.0, w, w] for x, w, start, end in faces if start <= time <= end]
        looks.append(Look(float(time), np.array(seen, np.float64).reshape(-1, 4), np.ones(len(seen), bool)))
    edges = [0.0, *cuts, seconds]
    shots = [[a + 0.04 * (a > 0), b - 0.04 * (b < seconds)] for a, b in zip(edges, edges[1:], strict=False)]
    return Scan(Upright(1280, 720, 0, False), round(25 * seconds), 0.0, seconds, False, shots, looks)


SAME = Clock()


def clips(a: Scan, b: Scan, clock: Clock = SAME):
    low, high = max(0.0, clock.offset_s), min(a.end_s, clock.shared(b.end_s))
    return both_seen({"A": (a, Clock()), "B": (b, clock)}, (low, high), np.ones(2000, np.float32), CONFIG)


def test_boxes_are_in_the_order_of_the_persons() -> None:
    right, left = scan(8, [(900, 200, 0, 8)]), scan(10, [(100, 300, 0, 10)])
    found, skipped = clips(right, left, Clock(-1.0))
    assert not skipped and len(found) == 1
    assert (found[0]["start_s"], found[0]["end_s"], found[0]["num_faces"]) == (0.0, 8.0, 2)
    assert found[0]["boxes"] == [[900.0, 100.0, 200.0, 200.0], [100.0, 100.0, 300.0, 300.0]]


def test_a_cut_or_a_gap_in_either_ends_a_clip() -> None:
    cut_at_4 = scan(10, [(500, 200, 0, 10)], cuts=(4.0,))
    gone_for_a_while = scan(10, [(500, 200, 0, 6.7), (500, 200, 8.4, 10)])
    found, skipped = clips(cut_at_4, gone_for_a_while, Clock(0.5))
    # B's times are half a second later on the shared timeline: seen up to 7.2 and from 8.9 s on.
    assert [(c["start_s"], c["end_s"]) for c in found] == [(0.52, 3.96), (4.04, 7.08)]
    assert {s.reason for s in skipped} >= {"no_face"}
    assert any("in B's recording" in s.detail for s in skipped)


def test_background_is_ignored_and_a_face_of_like_size_is_not() -> None:
    alone = scan(8, [(500, 200, 0, 8)])
    found, skipped = clips(scan(8, [(500, 200, 0, 8), (900, 140, 0, 8)]), alone)
    assert len(found) == 1 and found[0]["boxes"][0][0] == 500.0 and not skipped
    found, skipped = clips(scan(8, [(500, 200, 0, 8), (900, 190, 0, 8)]), alone)
    assert not found and {s.reason for s in skipped} == {"too_many_faces"}
    assert "two faces of like size in A's recording" in skipped[0].detail
    found, _ = clips(scan(8, [(500, 200, 0, 8), (900, 190, 6, 8)]), alone)  # somebody looks in
    assert len(found) == 1


def test_short_and_small_are_skipped_with_the_reason() -> None:
    found, skipped = clips(scan(8, [(500, 200, 0, 8)]), scan(8, [(500, 200, 0, 8)]), Clock(5.5))
    assert not found and skipped[0].reason == "span_too_short" and "2.5 s, 3 s needed" in skipped[0].detail
    found, skipped = clips(scan(8, [(500, 200, 0, 8)]), scan(8, [(500, 60, 0, 8)]))
    assert not found and skipped[0].reason == "face_too_small"


def test_long_runs_are_cut_and_drift_moves_times() -> None:
    long = scan(70, [(500, 200, 0, 70)])
    found, _ = clips(long, long)
    assert len(found) == 3 and all(c["end_s"] - c["start_s"] <= 30 for c in found)
    (seen,) = main_faces(long, Clock(10.0, 1000.0), CONFIG)
    assert seen.start_s == 10.0 and seen.end_s == pytest.approx(10.0 + 70 / 1.001)
    assert seen.face is not None and seen.face.times[-1] == pytest.approx(10.0 + 69.8 / 1.001)
