from __future__ import annotations

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest

from model.evaluate import EvaluateConfig, Predictor, Report, evaluate
from model.evaluate.harness import mean_of
from model.evaluate.predictors import Others, counted, floors, truth_of, with_audio_of, with_partner_of
from model.head import HeadModel, load_head
from model.metrics.motion import REGISTRY, Figure
from model.motion.conversation import Conversation
from rsat_data.errors import ConfigError, DatasetError, HeadMismatch, RunError
from tests.model.evaluate.talks import talk

SOME = ("fd", "fd_centred", "pfd", "mse", "mse_centred", "sts", "diversity", "variance", "jaw_correlation", "nod_f1")
CODES_ONLY = EvaluateConfig(reference_s=1.0, rounds=200, vertices=False)


def noisy(size: float, name: str) -> Predictor:
    """The truth with noise of a size, in units of each group's spread."""

    def predict(conversation: Conversation, person: str):
        rng = np.random.default_rng([int(conversation.clip_id.split("~")[0][5:]), "AB".index(person)])
        return {g: v + size * v.std() * rng.normal(size=v.shape) for g, v in truth_of(conversation, person).items()}

    return Predictor(name, name, "model", predict)


def delayed(frames: int) -> Predictor:
    return Predictor(
        f"late{frames}",
        f"late by {frames}",
        "model",
        lambda c, p: {g: np.roll(v, frames, 0) for g, v in truth_of(c, p).items()},
    )


def value(report: Report, name: str, metric: str, group: str = "expression", role: str = "all") -> float:
    found = report.figure("test", role, name, metric, group)
    assert found is not None and found.value is not None, found
    return found.value


@pytest.fixture(scope="module")
def report() -> Report:
    talks = [talk(i) for i in range(8)]
    models = [noisy(0.1, "good"), noisy(0.6, "fair"), delayed(5), delayed(20)]
    config = EvaluateConfig(reference_s=1.0, rounds=200, vertices=False, metrics=SOME)
    return evaluate({"test": talks}, models, None, config, dataset="toy")


def test_figures_of_several_samples_are_the_mean_of_each_ones_own() -> None:
    talks = [talk(i) for i in range(3)]
    one, two = noisy(0.2, "one"), noisy(0.5, "two")
    both = replace(one, name="both", more=(two.predict,), controlled=False)
    config = replace(CODES_ONLY, metrics=("mse", "nod_f1"))
    found = evaluate({"test": talks}, [one, two, both], None, config)
    expected = (value(found, "one", "mse") + value(found, "two", "mse")) / 2
    # Not the figure of the mean of both motions, which would be lower.
    assert value(found, "both", "mse") == pytest.approx(expected)
    names = {p.name for p in found.predictors}
    assert "one:shuffled_audio" in names and "both:shuffled_audio" not in names
    rivals = found.headline_rivals("test", "all", "mse", "expression", "both")
    assert [r.against for r in rivals] == [rivals[0].against] and ":" not in rivals[0].against
    # One sample without a figure leaves the other's; events are pooled over samples.
    assert mean_of([Figure(None, 0.0, "none"), Figure(0.5, 4.0)]) == Figure(0.5, 2.0)
    assert mean_of([Figure(1.0, 1.0), Figure(0.0, 3.0)]) == Figure(0.25, 2.0)
    assert mean_of([Figure(None, 0.0, "none")] * 2).reason == "none"


def test_predictors_of_known_order_come_in_that_order(report: Report) -> None:
    for metric in ("fd", "mse", "mse_centred", "pfd", "sts"):
        order = [value(report, name, metric) for name in ("truth", "good", "fair")]
        assert order == sorted(order) and order[0] == pytest.approx(0, abs=1e-9), metric
    assert value(report, "good", "mse") < value(report, "late5", "mse") < value(report, "late20", "mse")
    # A delay leaves the distribution nearly as it was: FD does not see it, errors do.
    assert value(report, "late5", "fd_centred") < 0.1 * value(report, "zero", "fd_centred")
    jaw = [value(report, name, "jaw_correlation", "jaw") for name in ("zero", "late20", "late5", "good", "truth")]
    assert jaw[0] == 0 and jaw[2:] == sorted(jaw[2:]) and jaw[-1] == pytest.approx(1)


def test_floors_are_what_they_say(report: Report) -> None:
    own, still = value(report, "own_mean", "mse"), value(report, "static_mean", "mse")
    assert own < still  # nothing that does not move is better than the oracle
    assert own == pytest.approx(value(report, "own_mean", "mse_centred"))
    assert value(report, "zero", "fd_centred") == pytest.approx(value(report, "own_mean", "fd"))
    assert value(report, "zero", "diversity") == 0 and value(report, "zero", "variance") == 0
    assert value(report, "copy_partner", "diversity") == pytest.approx(value(report, "truth", "diversity"))
    assert value(report, "half_split", "fd") > 0.1 * value(
        report, "zero", "fd"
    )  # a clip is too short to be its own law


def test_speaking_and_listening_make_up_the_whole(report: Report) -> None:
    size = report.sizes[0]
    assert size.frames["speaking"] + size.frames["listening"] == size.frames["all"] == 8 * 2 * 125
    assert size.dyads == 8 and size.subjects == 16


def test_differences_are_signed_so_that_positive_is_better(report: Report) -> None:
    found = {(v.predictor, v.against, v.metric, v.group): v.gain for v in report.versus if v.role == "all"}
    assert found["good", "fair", "mse", "expression"].low > 0
    assert found["fair", "good", "mse", "expression"].high < 0
    assert found["good", "zero", "jaw_correlation", "jaw"].low > 0
    gain = found["good", "zero", "mse", "expression"]
    assert gain.value == pytest.approx(value(report, "zero", "mse") - value(report, "good", "mse"))
    assert not any(
        v.metric in ("variance", "diversity") for v in report.versus
    )  # closer to the truth: no better or worse


def test_every_figure_is_a_number_or_has_a_reason(report: Report) -> None:
    for found in report.figures:
        here = found.estimate
        assert here.low is not None or here.reason, found
        assert here.value is not None or (here.reason and here.low is None), found
    text = json.dumps(report.as_dict(), allow_nan=False)
    assert json.loads(text)["format"] == "1"
    assert {m.id for m in report.measures} <= REGISTRY.keys()


def test_the_same_input_gives_the_same_report() -> None:
    talks = [talk(i, frames=60) for i in range(3)]
    quick = EvaluateConfig(reference_s=0.4, rounds=100, vertices=False, metrics=("fd", "mse", "sid"))
    reports = [evaluate({"test": talks}, [], None, quick) for _ in range(2)]
    assert reports[0].as_dict() == reports[1].as_dict()


def test_frames_that_are_not_valid_and_the_reference_never_count() -> None:
    clean = [talk(i) for i in range(3)]
    dirty = []
    for one in clean:
        valid = {p: v.copy() for p, v in one.valid.items()}
        codes = {p: {n: c.copy() for n, c in by.items()} for p, by in one.codes.items()}
        for p in ("A", "B"):
            valid[p][60:90] = False
            for name in codes[p]:
                codes[p][name][60:90] = 1e6
        dirty.append(replace(one, valid=valid, codes=codes))

    def spoilt(conversation: Conversation, person: str):
        made = {g: v + 0.1 for g, v in truth_of(conversation, person).items()}
        for values in made.values():
            values[:25] = np.nan  # the reference: nobody's business
            values[60:90] = np.nan
        return made

    model = Predictor("spoilt", "spoilt", "model", spoilt)
    report = evaluate({"test": dirty}, [model], None, CODES_ONLY)
    for one in report.figures:
        if one.predictor == "spoilt" and one.metric == "mse":
            assert one.estimate.value == pytest.approx(0.01, rel=1e-4)
    assert report.sizes[0].frames["all"] == 3 * 2 * (150 - 25 - 30)


def test_shuffled_inputs_are_other_peoples() -> None:
    talks = [talk(0, dyad=0), talk(1, dyad=0, frames=100), talk(2, dyad=1, frames=80)]
    others = Others(talks, [(t.clip_id, t.dyad_id) for t in talks])
    assert others(talks[0]).clip_id == "clip-2" and others(talks[1]).clip_id == "clip-2"
    swapped = with_audio_of(talks[0], "A", talks[2])
    np.testing.assert_array_equal(swapped.audio("A")[: 80 * 640], talks[2].audio("A"))
    assert len(swapped.audio("A")) == 150 * 640
    np.testing.assert_array_equal(swapped.audio("B"), talks[0].audio("B"))
    assert swapped.codes is talks[0].codes and swapped.clip_id != talks[0].clip_id
    other = with_partner_of(talks[0], "A", talks[2])
    np.testing.assert_array_equal(other.codes["B"]["jaw"][:80], talks[2].codes["B"]["jaw"])
    np.testing.assert_array_equal(other.codes["A"]["jaw"], talks[0].codes["A"]["jaw"])
    np.testing.assert_array_equal(other.audio("A"), talks[0].audio("A"))


def test_a_model_that_listens_is_worse_on_others_speech() -> None:
    talks = [talk(i, frames=60) for i in range(4)]

    def listens(conversation: Conversation, person: str):
        # The truth, if the sound is this conversation's own.
        own = next(t for t in talks if t.clip_id == conversation.clip_id.split("~")[0])
        heard = np.array_equal(conversation.audio(person)[:640], own.audio(person)[:640])
        return {g: (v if heard else np.zeros_like(v)) for g, v in truth_of(own, person).items()}

    model = Predictor("m", "m", "model", listens)
    config = EvaluateConfig(reference_s=0.4, rounds=200, metrics=("mse",))
    report = evaluate({"test": talks}, [model], None, config)
    found = {(v.against, v.metric, v.group): v.gain for v in report.versus if v.role == "all"}
    assert found["m:shuffled_audio", "mse", "expression"].low > 0
    assert found["m:shuffled_partner", "mse", "expression"].value == 0
    speed = next(p for p in report.predictors if p.name == "m").frames_per_second
    assert speed is not None and speed > 0


def test_one_dyad_has_no_intervals_and_nothing_to_shuffle() -> None:
    report = evaluate({"test": [talk(0, dyad=0), talk(1, dyad=0)]}, [noisy(0.1, "m")], None, CODES_ONLY)
    assert {p.name for p in report.predictors} == {"m", "zero", "static_mean", "own_mean", "copy_partner",
                                                   "half_split", "truth"}  # fmt: skip
    assert any("one dyad" in warning for warning in report.warnings)
    assert all(f.estimate.low is None for f in report.figures)


def test_what_to_know_is_said() -> None:
    shared = [talk(0), talk(1)]
    object.__setattr__(shared[1], "subject_id", {"A": "s0", "B": "s9"})
    warnings = " ".join(evaluate({"test": shared}, [], None, CODES_ONLY).warnings)
    assert "2 dyads are few" in warnings and "3 people make 2 dyads" in warnings


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda v: v[:-1], RunError, "149 frames"),
        (lambda v: v[:, :-1], HeadMismatch, "another head"),
        (lambda v: np.where(np.arange(len(v))[:, None] == 60, np.nan, v), RunError, "not finite"),
    ],
)
def test_predictions_that_are_no_motion_are_refused(change, error, words: str) -> None:
    def broken(conversation: Conversation, person: str):
        return {g: change(v) for g, v in truth_of(conversation, person).items()}

    with pytest.raises(error) as caught:
        evaluate({"test": [talk(0), talk(1)]}, [Predictor("m", "m", "model", broken)], None, CODES_ONLY)
    assert words in str(caught.value) and "hint" in str(caught.value) or "clip-0" in str(caught.value)


def test_options_and_data_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="no metric 'fdd'"):
        EvaluateConfig(metrics=("fdd",))
    with pytest.raises(ConfigError, match="rounds"):
        EvaluateConfig(rounds=3)
    with pytest.raises(DatasetError, match="no conversation"):
        evaluate({"test": []}, [], None, CODES_ONLY)
    with pytest.raises(HeadMismatch, match="6 expression"):
        evaluate({"test": [talk(0)]}, [], load_head("open"), EvaluateConfig())
    with pytest.raises(HeadMismatch, match="different heads"):
        evaluate({"a": [talk(0, head_model="x")], "b": [talk(1, head_model="y")]}, [], None, CODES_ONLY)


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head("open")


def test_measures_on_the_face_see_the_face_only(head: HeadModel) -> None:
    talks = [talk(i, frames=60, num_expression=head.num_expression, head_model=head.id) for i in range(2)]
    config = EvaluateConfig(reference_s=0.4, rounds=100, metrics=("lve_codetalker", "mve", "fdd_codetalker", "mse"))

    def turned(conversation: Conversation, person: str):
        truth = truth_of(conversation, person)
        return {**truth, "pose": truth["pose"] + 0.5, "eyes": truth["eyes"] + 0.5}

    report = evaluate({"test": talks}, [Predictor("turned", "turned", "model", turned)], head, config)
    assert value(report, "turned", "mse", "pose") == pytest.approx(0.25, rel=1e-4)
    assert value(report, "turned", "lve_codetalker", "face") == 0 == value(report, "turned", "mve", "face")
    assert value(report, "zero", "fdd_codetalker", "face") > 0  # moves less than the truth: positive
    lips = next(m for m in report.measures if m.id == "lve_codetalker")
    assert lips.vertex_count == len(head.groups["lips"]) and len(lips.vertex_sha256) == 64


def test_people_who_are_never_seen_count_nowhere(head: HeadModel) -> None:
    talks = [talk(i, frames=60, num_expression=head.num_expression, head_model=head.id) for i in range(3)]
    half = [replace(one, valid={**one.valid, "B": np.zeros(60, bool)}) for one in talks]
    config = EvaluateConfig(reference_s=0.4, rounds=100, metrics=("lve_codetalker", "mve", "fdd_codetalker", "mse"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = evaluate({"test": half}, [], head, config)
    assert report.sizes[0].frames["all"] == 3 * (60 - 10)
    assert np.isfinite(value(report, "zero", "lve_codetalker", "face"))


def test_half_against_half_by_hand() -> None:
    one = talk(0)
    half = next(p for p in floors(Others([one], [("clip-0", "d")]), 1.0) if p.name == "half_split")
    frames = counted(one, "A", 1.0)
    kept = half.frames(one, "A", frames)
    assert np.flatnonzero(kept).tolist() == list(range(25, 25 + 62))
    made = half.predict(one, "A")["jaw"]
    np.testing.assert_array_equal(made[25:87], one.codes["A"]["jaw"][87:149])
