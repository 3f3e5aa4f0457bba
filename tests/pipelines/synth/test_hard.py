from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.head import load_head
from pipelines.synth.clip import _Props, posed_vertices
from pipelines.synth.hard import KINDS, PROPS, HardCase, parse_kinds, schedule
from pipelines.synth.layout import make_layout
from pipelines.synth.props import draw, make_hand, make_sunglasses, place_hand, place_sunglasses
from pipelines.synth.records import FPS, PERSONS
from pipelines.synth.render import Lighting, draw_lighting, encoding_table
from pipelines.synth.scene import Head
from pipelines.synth.simulate import SimulationConfig, simulate
from pipelines.synth.speech import RecordingSource
from pipelines.synth.truth import Truth, read_truth, truth_bytes, write_truth
from rsat_data.errors import UsageError

CONFIG = SimulationConfig(seed=3, seconds=12.0, width=640, height=360, hard=KINDS)


@pytest.fixture(scope="module")
def truth(speech: RecordingSource, facts: Head) -> Truth:
    return simulate(CONFIG, 0, speech, facts)[0]


@given(st.integers(0, 2**31), st.lists(st.sampled_from(KINDS), min_size=1, unique=True), st.integers(250, 900))
def test_both_people_go_through_every_kind_once(seed: int, kinds: list[str], frames: int) -> None:
    cases = schedule(kinds, frames, seed)
    assert cases == schedule(kinds, frames, seed)
    for person in PERSONS:
        mine = sorted((c for c in cases if c.person == person), key=lambda c: c.start)
        assert sorted(c.kind for c in mine) == sorted(kinds)
        assert all(a.end < b.start for a, b in zip(mine, mine[1:], strict=False))
        for case in mine:
            strength = case.strength(frames)
            assert strength[0] == strength[-1] == 0 and strength.max() > 0.99
            assert (np.flatnonzero(strength) / FPS > case.start).all()
    if len(kinds) > 1:
        starts = {c.kind: c.start for c in cases if c.person == "A"}
        assert all(abs(starts[c.kind] - c.start) > 0.2 for c in cases if c.person == "B")


def test_names() -> None:
    assert parse_kinds("") == () and parse_kinds("all") == KINDS
    assert parse_kinds("blur, occlusion") == ("hand", "sunglasses", "blur")
    with pytest.raises(UsageError, match="'fog'"):
        parse_kinds("hand,fog")
    with pytest.raises(UsageError, match="do not fit into 4 s"):
        schedule(KINDS, 100, 0)


def test_heads_do_what_they_are_said_to_do(truth: Truth) -> None:
    head = load_head()
    for case in truth.hard:
        full = np.flatnonzero(case.strength(truth.num_frames) > 0.999)
        vertices = posed_vertices(truth, case.person, head, [int(full[len(full) // 2])])[0]
        eyes = [vertices[head.groups[f"{side}_eye"]].mean(axis=0) for side in ("left", "right")]
        if case.kind == "outside":
            middle = 0.5 * (eyes[0] + eyes[1])
            x = middle[0] / middle[2] * truth.camera.fx + truth.camera.cx
            assert x == pytest.approx(0 if case.person == "A" else truth.camera.width, abs=30)
        if case.kind == "profile":  # one eye behind the other
            across = eyes[0] - eyes[1]
            assert abs(across[2]) > 10 * abs(across[0])


def test_the_truth_keeps_them(truth: Truth, tmp_path: Path) -> None:
    write_truth(tmp_path, truth)
    assert read_truth(tmp_path, truth.name).hard == truth.hard
    assert b'"hard"' in truth_bytes(truth)[0]


def test_without_them_nothing_changes(speech: RecordingSource, facts: Head) -> None:
    plain = simulate(replace(CONFIG, hard=()), 0, speech, facts)[0]
    assert plain.hard == () and b'"hard"' not in truth_bytes(plain)[0]
    hard = simulate(replace(CONFIG, hard=("hand",)), 0, speech, facts)[0]
    np.testing.assert_array_equal(hard.codes["A"].rotation, plain.codes["A"].rotation)  # a hand moves no head


def test_things_lie_before_the_face(truth: Truth) -> None:
    head = load_head()
    layout, light, table = make_layout(head), draw_lighting(1), encoding_table()
    frame = next(t for t in range(truth.num_frames) if all(c.strength(truth.num_frames)[t] == 0 for c in truth.hard))
    vertices = posed_vertices(truth, "A", head, [frame])[0].astype(np.float64)
    camera = truth.camera

    def where(points: np.ndarray) -> np.ndarray:
        return points[:, :2] / points[:, 2:] * [camera.fx, camera.fy] + [camera.cx, camera.cy]

    hand, glasses = make_hand((0.5, 0.3, 0.2), -1.0), make_sunglasses()
    for thing, place, group in ((hand, place_hand, "lips"), (glasses, place_sunglasses, "left_eye")):
        image = np.full((camera.height, camera.width, 3), 200, np.uint8)
        args = (camera, light.sh, light.direction, light.colour, table)
        draw(image, thing, place(thing, layout, vertices, 1.0), vertices, layout.faces, *args)
        changed = (image != 200).any(axis=2)
        x, y = where(vertices[head.groups[group]]).astype(int).T
        assert changed[y, x].mean() > 0.9, group
        again = np.full_like(image, 200)
        draw(again, thing, place(thing, layout, vertices, 1.0) - [0, 0, 0.3], vertices, layout.faces, *args)
        behind = np.full_like(image, 200)
        draw(behind, thing, place(thing, layout, vertices, 1.0) + [0, 0, 0.15], vertices, layout.faces, *args)
        assert (behind != 200).sum() < (image != 200).sum() < (again != 200).sum()  # the head hides, nearness enlarges


def test_props_know_their_frames(truth: Truth) -> None:
    class Renderer:
        layout = make_layout(load_head())
        lighting: Lighting = draw_lighting(0)
        table = encoding_table()

    class Looks:
        class traits:
            skin = (0.4, 0.3, 0.2)

    props = _Props(truth, Renderer(), [Looks(), Looks()])  # type: ignore[arg-type, list-item]
    shaken = np.zeros(truth.num_frames, bool)
    for case in truth.hard:
        shaken |= (case.kind == "blur") & (case.strength(truth.num_frames) > 0)
    assert [props.blurred(t) for t in range(truth.num_frames)] == shaken.tolist()
    case = next(c for c in truth.hard if c.kind in PROPS)
    for frame, drawn in ((0, False), (round((case.start + case.end) / 2 * FPS), True)):
        image = np.full((truth.camera.height, truth.camera.width, 3), 200, np.uint8)
        props.draw(image, [posed_vertices(truth, p, load_head(), [frame])[0] for p in PERSONS], frame)
        assert (image != 200).any() == drawn


def test_a_case_is_what_it_says() -> None:
    case = HardCase("A", "hand", 1.0, 3.0, 0.24)
    strength = case.strength(100)
    assert strength[25] == 0 and strength[31] == 1.0 and strength[69] == 1.0 and strength[75] == 0
