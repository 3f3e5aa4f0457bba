from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.head import load_head
from model.motion.conversation import UNKNOWN, Relation, conversations
from model.motion.run import load_run
from model.train import checkpoint
from model.train.config import AugmentConfig, TrainConfig
from model.train.loop import _schedule
from model.train.stages import Prepared, run_stage
from rsat_data.errors import ConfigError, HeadMismatch, RunError
from tests.model.train.conftest import CPU, prepared_for, tiny

FOLDERS = {1: ("stage1", "stage1/draws"), 3: ("stage3", "stage3/draws")}


def trained(prepared: Prepared, run: Path, stage: int = 1, *, resume: bool = False) -> dict[str, torch.Tensor]:
    run_stage(stage, prepared, run, load_head(), CPU, resume=resume)
    return checkpoint.read(run / FOLDERS[stage][-1] / checkpoint.LAST)[0]


def with_steps(prepared: Prepared, steps: int) -> Prepared:
    config = prepared.facts.config
    return replace(
        prepared, facts=replace(prepared.facts, config=replace(config, train=replace(config.train, steps=steps)))
    )


class Stopped(Exception):
    pass


@pytest.mark.parametrize(("stage", "part"), [(1, 0), (1, 1), (3, 0), (3, 1)])
def test_going_on_equals_never_having_stopped_to_the_bit(stage: int, part: int, talks: Path, tmp_path: Path) -> None:
    seen: list[int] = []

    def stop(step: int, values: object) -> None:
        seen.append(step)
        if seen.count(5) > part:  # after the checkpoint of step 3, before the next
            raise Stopped

    runs = [tmp_path / name for name in ("whole", "pieces")]
    config = replace(tiny(draw_steps=12), augment=AugmentConfig(gain_db=6, warp=0.1, hole_frames=2))
    both = [prepared_for(talks, run, config) for run in runs]
    if stage == 3:
        for prepared, run in zip(both, runs, strict=True):
            trained(prepared, run)
    whole = trained(both[0], runs[0], stage)
    torch.manual_seed(99)  # nothing outside the seed and the step may matter
    with pytest.raises(Stopped):
        run_stage(stage, both[1], runs[1], load_head(), CPU, resume=False, report=stop)
    torch.manual_seed(7)
    pieces = trained(both[1], runs[1], stage, resume=True)
    assert set(whole) == set(pieces)
    for name, value in whole.items():
        assert torch.equal(value, pieces[name]), name
    for folder in FOLDERS[stage]:
        best = [(run / folder / checkpoint.BEST).read_bytes() for run in runs]
        assert best[0] == best[1]


@pytest.mark.slow
def test_one_conversation_is_learnt_by_heart(talks: Path, tmp_path: Path) -> None:
    config = tiny(
        steps=360, lr=5e-3, warmup=20, weight_decay=0.0, ema=0.9, validate_every=400, clip=10.0,
        partner_dropout=0.0, reference_dropout=0.0, draw_steps=0,
    )  # fmt: skip
    network = replace(config.network, dropout=0.0, width=64, layers=2, heads=4, reach=40)
    config = replace(config, network=network)
    prepared = prepared_for(talks, tmp_path, config)
    one = replace(prepared.training, entries=prepared.training.entries[:1])
    seen: list[float] = []

    def keep(step: int, values: Mapping[str, float]) -> None:
        if "loss" in values:
            seen.append(values["loss"])

    run_stage(1, replace(prepared, training=one, validation=None), tmp_path, None, CPU, resume=False, report=keep)
    # Blinks and all: what is drawn by dice, too, once it has been seen often enough.
    assert np.mean(seen[-10:]) < 0.02 * np.mean(seen[:5]), (seen[:5], seen[-10:])


def test_stage_three_leaves_what_is_frozen_and_hears_the_relation(talks: Path, tmp_path: Path) -> None:
    config = tiny(lr=0.02, relation_dropout=0.0)
    prepared = prepared_for(talks, tmp_path, config, social=True)
    trained(prepared, tmp_path)
    first = checkpoint.read(tmp_path / "stage1" / checkpoint.DRAWS / checkpoint.BEST)[0]
    after = trained(prepared, tmp_path, 3)
    changed = {n for n, v in first.items() if not torch.equal(v, after[n])}
    behind = ("network.decode.", "network.norm_out.", "network.out.", "network.draw.", "network.trust")
    assert changed and all(name.startswith(behind) for name in changed)
    assert after["network.social.gate.weight"].abs().sum() > 0
    talk = conversations(talks, "test")[0]
    social, plain = load_run(tmp_path), load_run(tmp_path, stage=1)
    assert (social.stage, plain.stage) == (3, 1)
    relations = [UNKNOWN, Relation("blood", "unequal", "A"), Relation("blood", "unequal", "B")]
    said = [social.predict(talk, "A", relation=relation)["expression"] for relation in relations]
    assert not np.array_equal(said[0], said[1]) and not np.array_equal(said[1], said[2])
    same = [plain.predict(talk, "A", relation=relation)["expression"] for relation in relations]
    np.testing.assert_array_equal(same[0], same[1])


def test_a_run_predicts_what_it_should_be_asked(talks: Path, tmp_path: Path) -> None:
    trained(prepared_for(talks, tmp_path, tiny()), tmp_path)
    run = load_run(tmp_path)
    talk = conversations(talks, "test")[0]
    found = run.predict(talk, "B")
    assert {name: value.shape for name, value in found.items()} == {
        "expression": (100, 41), "jaw": (100, 3), "pose": (100, 3), "eyes": (100, 6),
    }  # fmt: skip
    assert run.evaluated(talk, "B").sum() == 75 and not run.evaluated(talk, "B")[:25].any()
    # The target's own codes beyond the reference never reach the network.
    codes = {name: np.where(np.arange(100)[:, None] < 25, v, v + 1) for name, v in talk.codes["B"].items()}
    other = replace(talk, codes={"A": talk.codes["A"], "B": codes})
    np.testing.assert_array_equal(run.predict(other, "B")["jaw"], found["jaw"])
    alone = run.predict(talk, "B", partner_motion=False)
    assert not np.array_equal(alone["jaw"], found["jaw"])
    silent = {p: np.zeros(64000, np.float32) for p in "AB"}
    assert not np.array_equal(run.predict(talk, "B", audio=silent)["jaw"], found["jaw"])
    lent = {name: value[:30] for name, value in talk.codes["A"].items()}
    assert not np.array_equal(run.predict(talk, "B", reference=lent)["pose"], found["pose"])
    with pytest.raises(HeadMismatch, match="codes of the head"):
        run.predict(replace(talk, head_model="other-1.0@0"), "B")


def test_long_clips_in_pieces_are_as_in_one(talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(tiny(), network=replace(tiny().network, reach=2))
    trained(prepared_for(talks, tmp_path, config), tmp_path)
    run, talk = load_run(tmp_path), conversations(talks, "test")[0]
    found = [run.predict(talk, "A"), run.predict(talk, "A", draw=3), {"surprise": run.surprise(talk, "A")}]
    monkeypatch.setattr("model.motion.run._CHUNK", 23)
    again = [run.predict(talk, "A"), run.predict(talk, "A", draw=3), {"surprise": run.surprise(talk, "A")}]
    for whole, pieces in zip(found, again, strict=True):
        for name, value in pieces.items():
            np.testing.assert_allclose(value, whole[name], atol=1e-4, rtol=1e-4)


def test_draws_and_surprise_of_a_run(talks: Path, tmp_path: Path) -> None:
    config = tiny(steps=60, lr=1e-2, batch=8, validate_every=60, draw_steps=60, draw_batch=8)
    prepared = prepared_for(talks, tmp_path, config)
    run_stage(1, prepared, tmp_path, None, CPU, resume=False)
    run, talk = load_run(tmp_path), conversations(talks, "train")[0]
    drawn = run.predict(talk, "A", draw=5)
    for name, value in run.predict(talk, "A", draw=5).items():
        np.testing.assert_array_equal(value, drawn[name])
        assert not np.array_equal(run.predict(talk, "A", draw=6)[name], value)
        assert not np.array_equal(run.predict(talk, "A")[name], value)
    # A and B are told apart by more than what they hear: the same noise would make both blink at once.
    mirrored = replace(
        talk,
        **{  # type: ignore[arg-type]
            field: {"A": value["B"], "B": value["A"]}
            for field in ("codes", "valid", "speaking", "sound", "shape")
            for value in [getattr(talk, field)]
        },
        clip_id="mirrored",
    )
    np.testing.assert_allclose(run.predict(mirrored, "B")["pose"], run.predict(talk, "A")["pose"], atol=1e-5)
    assert not np.allclose(run.predict(mirrored, "B", draw=5)["pose"], drawn["pose"], atol=1e-3)
    surprise = run.surprise(talk, "A")
    assert surprise.shape == (100,) and surprise.dtype == np.float32
    counted = run.evaluated(talk, "A")
    assert np.isfinite(surprise).all() and (surprise[counted] != 0).all()
    gaps = {"A": talk.valid["A"] & (np.arange(100) < 90), "B": talk.valid["B"]}
    assert (run.surprise(replace(talk, valid=gaps), "A")[90:] == 0).all()
    # A run that does not hear the relation is equally surprised by all of them.
    other = Relation("blood", "unequal", "A")
    np.testing.assert_array_equal(run.surprise(talk, "A", relation=other), surprise)
    theirs, mine = [], []
    for number, one in enumerate(conversations(talks, "train")):
        stranger = conversations(talks, "train")[(number + 1) % len(conversations(talks, "train"))]
        first = np.arange(100)[:, None] < 25
        swapped = {name: np.where(first, v, stranger.codes["A"][name]) for name, v in one.codes["A"].items()}
        mine.append(run.surprise(one, "A")[25:].mean())
        theirs.append(run.surprise(replace(one, codes={**one.codes, "A": swapped}), "A")[25:].mean())
    assert np.mean(mine) < np.mean(theirs) - 0.1, (mine, theirs)


def test_draws_are_learnt_when_asked_for_and_anew_for_another_mean(talks: Path, tmp_path: Path) -> None:
    talk = conversations(talks, "test")[0]
    first = prepared_for(talks, tmp_path, tiny(draw_steps=0))
    run_stage(1, first, tmp_path, None, CPU, resume=False)
    run = load_run(tmp_path)
    assert not run.draws
    for asked in (lambda: run.predict(talk, "A", draw=0), lambda: run.surprise(talk, "A")):
        with pytest.raises(RunError, match="cannot draw"):
            asked()
    run_stage(3, first, tmp_path, None, CPU, resume=False)
    assert not load_run(tmp_path, stage=3).draws
    both = prepared_for(talks, tmp_path, tiny())
    assert [outcome.steps for outcome in run_stage(1, both, tmp_path, None, CPU, resume=True)] == [6, 6]
    drawing = load_run(tmp_path, stage=1)
    assert drawing.draws
    np.testing.assert_array_equal(drawing.predict(talk, "A")["jaw"], run.predict(talk, "A")["jaw"])
    # Going on with the mean: the head that drew from the old one is learnt anew.
    longer = prepared_for(talks, tmp_path, tiny(steps=9, lr=1e-2))
    seen: list[int] = []
    run_stage(1, longer, tmp_path, None, CPU, resume=True, report=lambda step, values: seen.append(step))
    assert seen.count(1) == 1 and seen.count(9) == 2
    again = load_run(tmp_path, stage=1)
    assert again.draws and not np.array_equal(again.predict(talk, "A")["jaw"], run.predict(talk, "A")["jaw"])


@pytest.mark.parametrize("stage", [1, 3])
def test_a_stage_begun_anew_and_stopped_leaves_no_older_draws(stage: int, talks: Path, tmp_path: Path) -> None:
    prepared = prepared_for(talks, tmp_path, tiny(draw_steps=6))
    for before in sorted({1, stage}):
        run_stage(before, prepared, tmp_path, None, CPU, resume=False)
    assert load_run(tmp_path, stage=stage).draws
    seen: list[int] = []

    def stop(step: int, values: object) -> None:
        seen.append(step)
        if seen.count(1) == 2:  # the mean stands, what draws has begun
            raise Stopped

    with pytest.raises(Stopped):
        run_stage(stage, prepared, tmp_path, None, CPU, resume=False, report=stop)
    kept = checkpoint.weights_of(tmp_path, stage)
    assert kept == tmp_path / f"stage{stage}" / checkpoint.BEST


def test_runs_that_cannot_be_used_say_why(talks: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no run"):
        load_run(tmp_path)
    prepared = prepared_for(talks, tmp_path, tiny())
    with pytest.raises(RunError, match="holds no finished stage 1"):
        load_run(tmp_path)
    with pytest.raises(RunError, match="has no stage 1"):
        run_stage(3, prepared, tmp_path, None, CPU, resume=False)
    with pytest.raises(RunError, match="no checkpoint"):
        run_stage(1, prepared, tmp_path, None, CPU, resume=True)
    trained(prepared, tmp_path)
    best = tmp_path / "stage1" / checkpoint.DRAWS / checkpoint.BEST
    best.write_bytes(best.read_bytes()[:-40])
    with pytest.raises(RunError, match="damaged"):
        load_run(tmp_path)
    facts = json.loads((tmp_path / "run.json").read_text())
    # Version 1: networks that could not draw.
    (tmp_path / "run.json").write_text(json.dumps({**facts, "version": "1"}))
    with pytest.raises(RunError, match="another version") as found:
        load_run(tmp_path)
    assert "Train it anew" in found.value.hint


def test_a_run_belongs_to_one_dataset_and_one_network(talks: Path, tmp_path: Path) -> None:
    from tests.synth_dataset import synth_dataset

    prepared_for(talks, tmp_path / "run", tiny())
    other = synth_dataset(tmp_path / "other", clips=8, seconds=4.0, seed=6)
    with pytest.raises(RunError, match="another dataset"):
        prepared_for(other, tmp_path / "run", tiny())
    wider = replace(tiny(), network=replace(tiny().network, width=32))
    with pytest.raises(RunError, match="other settings in the section 'network'"):
        prepared_for(talks, tmp_path / "run", wider)


def test_the_step_grows_and_then_shrinks() -> None:
    config = TrainConfig(steps=100, warmup=10)
    shares = [_schedule(config, step) for step in range(100)]
    assert shares[9] == 1.0 and max(shares) == 1.0
    assert shares[:10] == sorted(shares[:10]) and shares[10:] == sorted(shares[10:], reverse=True)
    assert shares[-1] < 0.02
    with pytest.raises(ConfigError, match=r"train\.lr"):
        TrainConfig(lr=0)
