from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.synth.behaviour import draw_events
from pipelines.synth.records import FPS, PERSONS, SAMPLES_PER_FRAME, rng_for, spans_to_frames
from pipelines.synth.relations import Rates, Relation, RelationEffects, relation_of
from pipelines.synth.scene import FRAME_CODES, Head
from pipelines.synth.simulate import SimulationConfig, simulate
from pipelines.synth.speech import RecordingSource
from pipelines.synth.truth import Truth, read_truth, truth_bytes, write_truth

CONFIG = SimulationConfig(seed=11, seconds=8.0)


@pytest.fixture(scope="module")
def many(speech: RecordingSource, facts: Head) -> list[Truth]:
    """200 conversations."""
    return [simulate(CONFIG, index, speech, facts)[0] for index in range(200)]


def test_same_seed_same_bytes_in_any_order(speech: RecordingSource, facts: Head) -> None:
    first = [truth_bytes(simulate(CONFIG, index, speech, facts)[0]) for index in (0, 1, 2)]
    again = [truth_bytes(simulate(CONFIG, index, speech, facts)[0]) for index in (2, 1, 0)]
    assert first == again[::-1]
    other = SimulationConfig(seed=12, seconds=8.0)
    assert truth_bytes(simulate(other, 0, speech, facts)[0]) != first[0]


def test_truth_survives_the_disk(speech: RecordingSource, facts: Head, tmp_path) -> None:
    truth, _ = simulate(CONFIG, 4, speech, facts)
    write_truth(tmp_path, truth)
    assert truth_bytes(read_truth(tmp_path, truth.name)) == truth_bytes(truth)
    assert not list(tmp_path.glob("*.tmp"))


def test_turns_speaking_and_audio_agree(speech: RecordingSource, facts: Head) -> None:
    for index in range(6):
        truth, dialogue = simulate(CONFIG, index, speech, facts)
        for person in PERSONS:
            turns = [turn for turn in truth.turns if turn.person == person]
            assert turns and all(0 <= turn.start < turn.end <= CONFIG.seconds for turn in turns)
            assert all(a.end <= b.start for a, b in zip(turns, turns[1:], strict=False))
            expected = spans_to_frames([(turn.start, turn.end) for turn in turns], truth.num_frames)
            assert np.array_equal(truth.speaking[person], expected)
            audio = dialogue.audio[person]
            assert audio.dtype == np.float32 and len(audio) == truth.num_frames * SAMPLES_PER_FRAME
            loud = np.abs(audio.reshape(truth.num_frames, -1)).max(axis=1)
            # Where the person does not speak, there is silence, but for the frames that a turn touches.
            near = np.convolve(expected, np.ones(3), mode="same") > 0
            assert loud[~near].max(initial=0.0) == 0.0
            assert loud[expected].mean() > 0.02


def test_mouth_moves_with_speech_and_closes_in_silence(many: list[Truth]) -> None:
    for truth in many[:30]:
        for person in PERSONS:
            jaw, speaking = truth.codes[person].jaw[:, 0], truth.speaking[person]
            far = np.convolve(speaking, np.ones(15), mode="same") == 0
            assert jaw[far].max(initial=0.0) < 0.01
            if speaking.sum() > 25:
                assert jaw[speaking].mean() > 0.02
                assert jaw[speaking].std() > 0.01


def test_codes_are_bounded_smooth_and_of_the_head(many: list[Truth], facts: Head) -> None:
    for truth in many:
        for person in PERSONS:
            codes = truth.codes[person]
            assert codes.shape.shape == (facts.num_shape,) and np.abs(codes.shape).max() <= 2.0
            assert codes.expression.shape == (truth.num_frames, len(facts.expression_names))
            assert codes.expression.min() >= 0.0 and codes.expression.max() <= 1.0
            assert codes.jaw[:, 0].min() >= 0.0 and codes.jaw.max() < 0.35
            assert np.abs(np.degrees(codes.rotation)).max() < 50
            assert np.abs(np.degrees(codes.eyes)).max() < 25
            # Both eyes look at about the same place: never more than a few degrees apart.
            assert np.degrees(np.abs(codes.eyes[:, :3] - codes.eyes[:, 3:]).max()) < 4
            assert np.degrees(np.abs(np.diff(codes.rotation, axis=0)).max()) < 6
            assert not codes.neck.any()
            assert all(getattr(codes, name).dtype == np.float32 for name in FRAME_CODES)


def test_people_differ_and_keep_their_side(many: list[Truth]) -> None:
    shapes = {truth.codes[person].shape.tobytes() for truth in many for person in PERSONS}
    assert len(shapes) == 2 * len(many)
    assert len({truth.subjects[p] for truth in many for p in PERSONS}) == 2 * len(many)
    for truth in many:
        assert truth.appearance["A"] != truth.appearance["B"]
        left, right = (truth.codes[p].translation[:, 0] for p in PERSONS)
        assert left.max() < -0.1 and right.min() > 0.1
        assert (truth.family["A"] == truth.family["B"]) == (truth.relation.kinship == "blood")


def test_clips_of_a_dyad_share_people_and_relation(speech: RecordingSource, facts: Head) -> None:
    config = SimulationConfig(seed=3, seconds=3.0, clips_per_dyad=2)
    first, second, third = (simulate(config, index, speech, facts)[0] for index in range(3))
    assert first.subjects == second.subjects != third.subjects
    assert first.relation == second.relation
    assert np.array_equal(first.codes["A"].shape, second.codes["A"].shape)
    assert not np.array_equal(first.codes["A"].rotation, second.codes["A"].rotation)


def test_relations_are_balanced() -> None:
    for seed in (0, 1, 99):
        relations = [relation_of(seed, index) for index in range(80)]
        assert sum(r.kinship == "blood" for r in relations) == 40
        assert sum(r.status == "equal" for r in relations) == 40
        assert sum(r.senior == "A" for r in relations) == sum(r.senior == "B" for r in relations) == 20


def test_contradicting_relation_is_refused() -> None:
    with pytest.raises(ValueError, match="senior"):
        Relation("blood", "equal", "A")
    with pytest.raises(ValueError, match="senior"):
        Relation("blood", "unequal", "none")


# Effects of the relation, measured in the tracks and not in the rates ------------------------------------------------


def nodding(truth: Truth, person: str) -> float:
    """Power of the head's pitch around the frequency of nods, degrees squared."""
    pitch = np.degrees(truth.codes[person].rotation[:, 0].astype(np.float64))
    spectrum = np.abs(np.fft.rfft((pitch - pitch.mean()) * np.hanning(len(pitch)))) ** 2 / len(pitch)
    hertz = np.fft.rfftfreq(len(pitch), 1 / FPS)
    return float(spectrum[(hertz > 1.7) & (hertz < 3.2)].sum())


def by_role(many: list[Truth], role: str) -> list[tuple[Truth, str]]:
    return [(truth, p) for truth in many for p in PERSONS if truth.relation.role(p) == role]


def test_juniors_nod_more_and_seniors_less(many: list[Truth]) -> None:
    power = {role: np.array([nodding(t, p) for t, p in by_role(many, role)]) for role in ("junior", "equal", "senior")}
    assert power["junior"].mean() > 1.25 * power["equal"].mean() > 1.25 * power["senior"].mean()
    junior, senior = power["junior"], power["senior"]
    error = math.sqrt(junior.var() / len(junior) + senior.var() / len(senior))
    assert (junior.mean() - senior.mean()) / error > 3


def test_relatives_smile_more(many: list[Truth]) -> None:
    def smiling(truth: Truth) -> float:
        column = truth.expression_names.index("mouthSmileLeft")
        return float(np.mean([truth.codes[p].expression[:, column].mean() for p in PERSONS]))

    blood = np.array([smiling(t) for t in many if t.relation.kinship == "blood"])
    others = np.array([smiling(t) for t in many if t.relation.kinship != "blood"])
    assert blood.mean() > 1.3 * others.mean()


def test_seniors_hold_the_floor_and_juniors_look_away(many: list[Truth]) -> None:
    share = {r: np.mean([t.speaking[p].mean() for t, p in by_role(many, r)]) for r in ("junior", "senior")}
    assert share["senior"] > share["junior"] + 0.05
    away = {
        r: np.mean([sum(e.end - e.start for e in t.events[p] if e.kind == "gaze_away") for t, p in by_role(many, r)])
        for r in ("junior", "equal")
    }
    assert away["junior"] > 1.15 * away["equal"]


def test_relatives_resemble_each_other(many: list[Truth]) -> None:
    def resemblance(kin: bool) -> float:
        chosen = [t for t in many if (t.relation.kinship == "blood") == kin]
        return float(np.mean([np.corrcoef(*(t.codes[p].shape for p in PERSONS))[0, 1] for t in chosen]))

    assert 0.28 < resemblance(True) < 0.42
    assert abs(resemblance(False)) < 0.04


def test_scale_zero_takes_every_effect_away(speech: RecordingSource, facts: Head) -> None:
    none = RelationEffects().scaled(0.0)
    for relation in (Relation("blood", "unequal", "A"), Relation("non_blood", "equal", "none")):
        assert all(none.rates(relation, person) == Rates() for person in PERSONS)
    same = RelationEffects().scaled(1.0)
    assert same == RelationEffects()
    config = SimulationConfig(seed=11, seconds=4.0, effects=none)
    truth, _ = simulate(config, 0, speech, facts)
    assert truth.effects == none


@settings(max_examples=20, deadline=None)
@given(st.floats(0.0, 3.0), st.sampled_from(["equal", "A", "B"]), st.sampled_from(["blood", "non_blood"]))
def test_probabilities_stay_probabilities(scale: float, senior: str, kinship: str) -> None:
    status = "equal" if senior == "equal" else "unequal"
    relation = Relation(kinship, status, "none" if senior == "equal" else senior)  # type: ignore[arg-type]
    for person in PERSONS:
        rates = RelationEffects().scaled(scale).rates(relation, person)
        for name in ("gaze_at_partner", "overlap_probability", "mirror_probability", "hold_probability"):
            assert 0.0 <= getattr(rates, name) <= 0.9
        assert rates.nod_hz > 0


def test_event_rate_is_what_was_asked() -> None:
    rate = np.full(25 * 4000, 0.25)
    starts = draw_events(rate, 1.0, rng_for(1, "rate"))
    assert abs(len(starts) / 4000 - 0.25) < 0.02
    assert np.diff(starts).min() >= 1.0


def test_a_cast_keeps_its_faces_and_shapes_in_changing_pairs(speech: RecordingSource, facts: Head) -> None:
    config = SimulationConfig(seed=3, seconds=2.0, people=4)
    truths = [simulate(config, index, speech, facts)[0] for index in range(8)]
    seen: dict[str, list[tuple[int, bytes]]] = {}
    for truth in truths:
        assert truth.subjects["A"] != truth.subjects["B"] and truth.relation.kinship == "non_blood"
        for person in PERSONS:
            look = (truth.appearance[person], truth.codes[person].shape.tobytes())
            seen.setdefault(truth.subjects[person], []).append(look)
    assert len(seen) == 4 and all(len(looks) == 4 and len(set(looks)) == 1 for looks in seen.values())
    assert len({looks[0] for looks in seen.values()}) == 4
    assert len({frozenset(truth.subjects.values()) for truth in truths}) > 2
