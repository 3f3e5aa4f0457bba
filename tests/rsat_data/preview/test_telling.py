from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rsat_data.preview.telling import MIN_GAP, Tracks, choose


def tracks(num: int, seed: int = 0) -> Tracks:
    rng = np.random.default_rng(seed)
    noise = [rng.random(num) for _ in range(9)]
    return Tracks(
        np.ones(num, bool), ("",) * num, noise[0], noise[1], None, noise[2] > 0.5,
        noise[3], noise[4], 90 * noise[5], 30 * noise[6], noise[7], noise[8],
    )  # fmt: skip


def why(chosen: list, frame: int) -> tuple[str, ...]:
    return next((telling.reasons for telling in chosen if telling.frame == frame), ())


def test_extremes_are_named_at_their_frames() -> None:
    calm = tracks(200)
    for name, values in (("mouth", np.full(200, 0.1)), ("lids", np.full(200, 0.5)), ("turn_deg", np.full(200, 5.0))):
        calm = replace(calm, **{name: values})
    calm.mouth[40], calm.lids[90], calm.turn_deg[150], calm.reprojection_px[120] = 0.9, 0.0, 33.4, 9.0
    chosen = choose(calm)
    assert why(chosen, 0)[0] == "first" and why(chosen, 199)[0] == "last"
    assert "mouth widest" in why(chosen, 40) and "eyes closed" in why(chosen, 90)
    assert "most turned 33\u00b0" in why(chosen, 150) and "worst reprojection 9.0 px" in why(chosen, 120)


def test_invalid_frames_are_shown_once_a_reason_and_are_no_extremes() -> None:
    base = tracks(100)
    valid, reasons = base.valid.copy(), [""] * 100
    for start, stop, reason in ((20, 24, "blurred"), (50, 70, "turned away"), (80, 82, "turned away")):
        valid[start:stop] = False
        reasons[start:stop] = [reason] * (stop - start)
    base.mouth[60] = 5.0
    chosen = choose(replace(base, valid=valid, reasons=tuple(reasons)))
    marked = {telling.frame: telling.reasons for telling in chosen if not valid[telling.frame]}
    assert "invalid: turned away" in marked[59] and "invalid: blurred" in marked[21]
    assert sum("invalid: turned away" in words for words in marked.values()) == 1
    assert not any("mouth widest" in words for words in marked.values())


def test_a_row_without_a_valid_frame_and_without_landmarks_can_still_be_shown() -> None:
    nothing = np.full(30, np.nan)
    bare = replace(
        tracks(30), valid=np.zeros(30, bool), reasons=("lost",) * 30, reprojection_px=nothing, confidence=None,
        lids=nothing, motion_mm=nothing, gaze_deg=nothing,
    )  # fmt: skip
    chosen = choose(bare)
    assert len(chosen) > 3 and any("invalid: lost" in telling.reasons for telling in chosen)


@given(st.integers(1, 60), st.integers(1, 14), st.integers(0, 5), st.floats(0, 1))
def test_frames_are_few_sorted_and_apart(num: int, count: int, seed: int, share: float) -> None:
    some = tracks(num, seed)
    valid = np.random.default_rng(seed).random(num) < share
    chosen = choose(replace(some, valid=valid), count)
    frames = [telling.frame for telling in chosen]
    assert 1 <= len(frames) <= count and frames == sorted(set(frames))
    assert 0 <= frames[0] and frames[-1] < num
    assert all(telling.reasons for telling in chosen)
    momentary = {"mouth widest", "eyes closed"}
    seen = [telling for telling in chosen if valid[telling.frame]]
    for first, second in zip(seen[:-1], seen[1:], strict=True):
        least = 2 if momentary & {*first.reasons, *second.reasons} else MIN_GAP
        assert second.frame - first.frame >= least


def test_the_widest_mouth_is_shown_itself_and_not_by_a_neighbour() -> None:
    row = replace(tracks(300), mouth=np.full(300, 0.1), lids=np.full(300, 0.5), turn_deg=np.full(300, 5.0))
    row.turn_deg[150], row.mouth[153] = 33.0, 0.9
    chosen = choose(row)
    assert "mouth widest" in why(chosen, 153) and "mouth widest" not in why(chosen, 150)
